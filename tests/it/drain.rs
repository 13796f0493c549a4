//! The way to the end: who is told first, how long it may take, and what the signals ask for.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use hyper::StatusCode;
use plimsoll::lifecycle::Ended;
use rustix::process::Signal;

use crate::harness::{
    Backend, Client, DEADLINE, Directory, Process, Program, Proxy, Raw, Unfinished, eventually,
    plain, within,
};

#[tokio::test]
async fn readiness_turns_negative_before_anything_is_closed() {
    let backend = Backend::start("a");
    // All that is asked meanwhile takes some milliseconds.
    let yaml = plain(&[backend.endpoint()]) + "drain_delay: 3s\n";
    let proxy = Proxy::start(&yaml).await;
    let mut kept = Client::h1(proxy.address()).await;
    kept.get("/").await;
    proxy.drain();
    eventually(DEADLINE, || proxy.live().farewell().is_some()).await;
    assert!(!proxy.live().is_draining());
    let ready = Client::h1(proxy.admin()).await.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let reason = "about to drain: connections are still accepted, send no new ones";
    assert_eq!(ready.json()["reasons"][0], reason);
    let status = Client::h1(proxy.admin()).await.get("/api/v1/status").await;
    let status = status.json()["draining"].clone();
    assert!(
        status["accepting_seconds"].as_f64().unwrap() > 0.0,
        "{status}"
    );
    assert!(status["cut_seconds"].is_null(), "{status}");
    let fresh = Client::h1(proxy.address()).await.get("/").await;
    assert_eq!(fresh.header("connection"), None);
    assert_eq!(kept.get("/").await.status, StatusCode::OK);
    eventually(DEADLINE, || proxy.live().is_draining()).await;
    assert_eq!(within(proxy.join()).await, Ended::Asked { cut: 0 });
}

#[tokio::test]
async fn a_request_that_meets_the_drain_on_an_idle_connection_is_answered() {
    let backend = Backend::start("a");
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    // It is waited for 200 ms. Where this test itself is late, it says nothing.
    let in_time = async || {
        let proxy = Proxy::before(&[backend.endpoint()]).await;
        let mut idle = Raw::connect(proxy.address()).await;
        idle.send(request).await;
        assert_eq!(idle.response().await.status(), 200);
        let (clock, begun) = (proxy.live().clock, proxy.live().clock.now());
        proxy.drain();
        eventually(DEADLINE, || proxy.live().is_draining()).await;
        idle.send(request).await;
        if clock.now().since(begun) > Duration::from_millis(100) {
            return false;
        }
        let last = idle.response().await;
        assert_eq!(last.status(), 200);
        assert_eq!(last.head.field("connection"), Some("close"));
        idle.expect_closed().await;
        assert_eq!(within(proxy.join()).await, Ended::Asked { cut: 0 });
        true
    };
    within(async { while !in_time().await {} }).await;
}

#[tokio::test]
async fn quit_takes_its_time_whatever_the_timeout() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "drain_timeout: 0s\n";
    let mut program = Program::start(&yaml);
    let slow = Unfinished::begin(program.address).await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    program.process.signal(Signal::QUIT);
    program
        .process
        .wait_for_line("draining: 1 connection is open and has as long as it takes");
    assert_eq!(slow.finish().await.status, StatusCode::OK);
    let code = program.process.wait();
    assert_eq!(code, Some(0), "{}", program.process.stderr());
}

#[tokio::test]
async fn term_after_quit_ends_the_patience() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "drain_timeout: 0s\n";
    let mut program = Program::start(&yaml);
    let mut client = Client::h1(program.address).await;
    let hanging = tokio::spawn(async move { client.try_get("/hang").await.is_err() });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    program.process.signal(Signal::QUIT);
    program.process.wait_for_line("draining");
    program.process.signal(Signal::TERM);
    assert_eq!(program.process.wait(), Some(1));
    assert!(within(hanging).await.unwrap());
    let told = program.process.stderr();
    let cut = "plimsoll: cut 1 request: 1 of route ";
    assert!(told.contains(cut), "{told}");
}

#[tokio::test]
async fn the_command_begins_a_drain_and_waits_for_the_end() {
    let backend = Backend::start("a");
    let mut program = Program::start(&plain(&[backend.endpoint()]));
    let slow = Unfinished::begin(program.address).await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let admin = program.admin().to_string();
    let mut command = Process::start(&["drain", "--admin", &admin, "--wait"]);
    command.wait_for_line("draining: 1 connection is open and has 25s");
    assert_eq!(slow.finish().await.status, StatusCode::OK);
    assert_eq!(program.process.wait_for_exit(), Some(0));
    assert_eq!(command.wait(), Some(0), "{}", command.stderr());
    assert!(command.stdout().ends_with("ended\n"));
    let mut late = Process::start(&["drain", "--admin", &admin]);
    assert_eq!(late.wait(), Some(1));
}

#[tokio::test]
async fn usr1_opens_the_log_anew_and_reads_nothing_else() {
    let backend = Backend::start("a");
    let directory = Directory::new();
    let log = directory.path().join("access.log");
    let log_to = format!(
        "watch: off\naccess_log: {{ path: {:?} }}\n",
        log.display().to_string()
    );
    let mut program = Program::start(&(plain(&[backend.endpoint()]) + &log_to));
    let mut client = Client::h1(program.address).await;
    client.get("/").await;
    let moved = directory.path().join("access.log.1");
    eventually(DEADLINE, || log.metadata().is_ok_and(|log| log.len() > 0)).await;
    std::fs::rename(&log, &moved).unwrap();
    // What HUP would refuse.
    program.directory.write("plimsoll.yaml", "listeners: {}\n");
    program.process.signal(Signal::USR1);
    eventually(DEADLINE, || log.exists()).await;
    client.get("/").await;
    eventually(DEADLINE, || log.metadata().is_ok_and(|log| log.len() > 0)).await;
    let lines = std::fs::read_to_string(&moved).unwrap().lines().count();
    assert_eq!(lines, 1);
    program.process.signal(Signal::TERM);
    assert_eq!(program.process.wait(), Some(0));
    let told = program.process.stderr();
    assert!(!told.contains("reload"), "{told}");
}

#[tokio::test]
async fn a_drain_is_ordered_and_answered_before_the_end() {
    let backend = Backend::start("a");
    let mut program = Program::start(&plain(&[backend.endpoint()]));
    let slow = Unfinished::begin(program.address).await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let mut admin = Client::h1(program.admin()).await;
    let told = within(admin.post("/api/v1/drain", "")).await;
    assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.text());
    let json = told.json();
    assert_eq!(
        (&json["draining"], &json["connections_open"]),
        (&true.into(), &1.into())
    );
    assert_eq!(json["drain_timeout_seconds"], 25.0);
    assert_eq!(slow.finish().await.status, StatusCode::OK);
    let code = program.process.wait();
    assert_eq!(code, Some(0), "{}", program.process.stderr());
}

/// As `/metrics` tells.
async fn lines_lost(operator: &mut Client) -> u64 {
    let metrics = within(operator.get("/metrics")).await;
    let text = metrics.text();
    let mut lines = text.lines();
    let lost = lines.find_map(|line| line.strip_prefix("plimsoll_console_lines_dropped_total "));
    lost.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_reader_of_stderr_that_stalls_stops_neither_traffic_nor_reload_nor_the_end() {
    let backend = Backend::start("a");
    let directory = Directory::new();
    let yaml = plain(&[backend.endpoint()]) + "watch: off\n";
    let file = directory.write("plimsoll.yaml", yaml);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["run", "-c", file.to_str().unwrap()]);
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    command.stdin(Stdio::null()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut lines = BufReader::new(reader);
    let mut address = |what: &str| -> std::net::SocketAddr {
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0);
            if line.contains(what) {
                let (_, rest) = line.split_once("http://").unwrap();
                return rest.split_whitespace().next().unwrap().parse().unwrap();
            }
        }
    };
    let listener = address("listening on http://");
    let admin = address("admin on http://");
    // From here on nobody reads. Each refusal says hundreds of bytes.
    directory.write("plimsoll.yaml", "listeners: {}\n");
    let mut operator = Client::h1(admin).await;
    let mut refusals = 0;
    // A thousand lines wait, and what comes then is lost.
    while lines_lost(&mut operator).await == 0 {
        for _ in 0..200 {
            let refused = within(operator.post("/api/v1/reload", "")).await;
            assert_eq!(refused.status, StatusCode::CONFLICT);
        }
        refusals += 200;
        assert!(refusals < 3000, "nothing was lost, or it was not counted");
    }
    let mut client = Client::h1(listener).await;
    assert_eq!(within(client.get("/")).await.backend(), Some("a"));
    assert_eq!(within(operator.get("/ready")).await.status, StatusCode::OK);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    let mut ended = None;
    eventually(DEADLINE + Duration::from_secs(5), || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    })
    .await;
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}
