//! What stands in the access log of requests that did not end as they should.

use std::net::SocketAddr;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Backend, Client, DEADLINE, Directory, Process, Proxy, Raw, Scripted, eventually, plain,
};

/// The lines of a log, none when it does not exist.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last one may be half written.
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn before(endpoint: String, directory: &Directory) -> (Proxy, std::path::PathBuf) {
    let log = directory.path().join("access.log");
    let yaml = plain(&[endpoint]) + &format!("access_log: {{ path: {log:?}, format: json }}\n");
    (Proxy::start(&yaml).await, log)
}

#[tokio::test]
async fn a_client_that_left_before_any_answer_is_logged_as_499() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let (proxy, log) = before(backend.endpoint(), &directory).await;
    for mut client in [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ] {
        let before = backend.counters().requests();
        tokio::select! {
            _ = client.try_get("/hang") => panic!("answered"),
            () = eventually(DEADLINE, || backend.counters().requests() > before) => {}
        }
    }
    // Within the answer: the status that was sent stands.
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET /sse/2/3600000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(raw.head().await.status(), 200);
    drop(raw);
    eventually(DEADLINE, || lines(&log).len() == 3).await;
    let lines = lines(&log);
    for line in lines {
        let status = if line["target"] == "/hang" { 499 } else { 200 };
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(
            (&line["outcome"], &line["error"]),
            (&"client_gone".into(), &"client_gone".into())
        );
    }
}

#[tokio::test]
async fn the_cause_of_a_malformed_message_stands_in_the_log() {
    let directory = Directory::new();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello".to_vec();
    let endpoint = Scripted::start(vec![answer]).await;
    let (proxy, log) = before(endpoint.address().to_string(), &directory).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send(request).await;
        assert!(raw.response().await.status() >= 400);
    }
    eventually(DEADLINE, || lines(&log).len() == 3).await;
    let mut told: Vec<_> = lines(&log)
        .iter()
        .map(|line| (line["status"].as_u64(), line["error"].clone()))
        .collect();
    told.sort_by_key(|(_, error)| error.to_string());
    assert_eq!(
        told,
        [
            (Some(400), "bad_chunk_size".into()),
            (Some(400), "missing_host".into()),
            (Some(502), "response_malformed_length".into())
        ]
    );
}

#[tokio::test]
async fn what_may_be_a_key_does_not_reach_the_log() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let (proxy, log) = before(backend.endpoint(), &directory).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(
        "GET /?a=1&Token=hunter2&b=2 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hunter3\r\n\
         Cookie: session=hunter4\r\nX-Api-Key: hunter5\r\nReferer: https://hunter6@a/?api_key=hunter7\r\n\r\n",
    )
    .await;
    assert_eq!(raw.response().await.status(), 200);
    eventually(DEADLINE, || lines(&log).len() == 1).await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.contains("hunter"), "{text}");
    let line = &lines(&log)[0];
    assert_eq!(line["target"], "/?a=1&Token=***&b=2");
    assert_eq!(line["referer"], "https://***@a/?api_key=***");
}

/// The program with its access log there, before this endpoint.
fn logging_to(path: &str, endpoint: String, directory: &Directory) -> (Process, SocketAddr) {
    let yaml = plain(&[endpoint]) + &format!("access_log: {{ path: {path:?} }}\nworkers: 1\n");
    let file = directory.write("plimsoll.yaml", yaml);
    let process = Process::start(&["run", "-c", file.to_str().unwrap()]);
    let line = process.wait_for_line("listening on http://");
    let (_, rest) = line.split_once("http://").unwrap();
    let address = rest.split_whitespace().next().unwrap().parse().unwrap();
    (process, address)
}

#[tokio::test]
async fn a_full_disk_is_said_once_and_traffic_goes_on() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let (mut process, address) = logging_to("/dev/full", backend.endpoint(), &directory);
    let mut client = Client::h1(address).await;
    let lost = "the access log loses lines, which are counted; traffic goes on: No space left";
    for round in 0..2 {
        for _ in 0..50 {
            assert_eq!(client.get("/").await.backend(), Some("a"));
        }
        // Both rounds are lost: what is told in between comes from a reload, which nothing is wrong with.
        process.wait_for_line(lost);
        process.signal(Signal::HUP);
        process.wait_for_line(&format!("generation {} is in force", round + 2));
    }
    assert_eq!(process.stderr().matches("loses lines").count(), 1);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}

#[tokio::test]
async fn that_lines_are_lost_stands_in_the_status() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let (process, address) = logging_to("/dev/full", backend.endpoint(), &directory);
    Client::h1(address).await.get("/").await;
    process.wait_for_line("loses lines");
    let line = process.wait_for_line("admin on http://");
    let (_, rest) = line.split_once("http://").unwrap();
    let admin = rest.split_whitespace().next().unwrap();
    let mut operator = Client::h1(admin.parse().unwrap()).await;
    let status = operator.get("/api/v1/status").await.json();
    let log = &status["access_log"];
    assert_eq!((&log["written"], &log["dropped"]), (&0.into(), &1.into()));
    let failure = log["failure"].as_str().unwrap();
    assert!(failure.contains("No space left on device"), "{failure}");
    let shown = Process::start(&["status", "--admin", admin]);
    shown.wait_for_line("Access log: LINES ARE LOST, 1 so far: No space left");
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_stops_neither_traffic_nor_reloads_nor_the_end() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let pipe = directory.path().join("log");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let (mut process, address) = logging_to(pipe.to_str().unwrap(), backend.endpoint(), &directory);
    let mut client = Client::h1(address).await;
    // Several times what a pipe holds: its writer waits.
    let target = format!("/{}", "x".repeat(2000));
    for generation in 2..4 {
        for _ in 0..100 {
            assert_eq!(client.get(&target).await.backend(), Some("a"));
        }
        // Opens it anew.
        process.signal(Signal::HUP);
        process.wait_for_line(&format!("generation {generation} is in force"));
    }
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}
