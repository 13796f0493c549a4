//! What stands in the access log of requests that did not end as they should.

use std::path::Path;

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

/// A disk that is full, in small.
#[tokio::test]
async fn lines_that_are_lost_are_told_where_operators_look() {
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let yaml = plain(&[backend.endpoint()]) + "access_log: { path: /dev/full }\n";
    let file = directory.write("plimsoll.yaml", yaml);
    let process = Process::start(&["run", "-c", file.to_str().unwrap()]);
    let address = |what: &str| -> std::net::SocketAddr {
        let line = process.wait_for_line(what);
        let (_, rest) = line.split_once("http://").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let listener = address("listening on http://");
    let admin = address("admin on http://");
    Client::h1(listener).await.get("/").await;
    let line = process.wait_for_line("access_log: lines are lost, since /dev/full takes none");
    assert!(line.contains("No space left on device"), "{line}");
    let mut operator = Client::h1(admin).await;
    let events = operator.get("/api/v1/events").await.text();
    assert!(events.contains("lines are lost"), "{events}");
    let status = operator.get("/api/v1/status").await.json();
    let log = &status["access_log"];
    assert_eq!(log["dropped"], 1, "{log}");
    let trouble = log["trouble"].as_str().unwrap();
    assert!(trouble.contains("No space left on device"), "{trouble}");
    let shown = Process::start(&["status", "--admin", &admin.to_string()]);
    shown.wait_for_line("Access log: LINES ARE LOST, 1 so far, since /dev/full takes none");
}
