//! Starting, draining and ending.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hyper::StatusCode;
use plimsoll::clock::Clock;
use plimsoll::lifecycle::Ended;
use rustix::process::Signal;

use crate::harness::{
    Backend, Client, DEADLINE, Directory, Process, Program, Proxy, Raw, Unfinished, eventually,
    plain, within,
};

#[tokio::test]
async fn term_finishes_what_runs_refuses_what_is_new_and_exits_0() {
    let backend = Backend::start("a");
    let mut program = Program::before(&[backend.endpoint()], "");
    let slow = Unfinished::begin(program.address).await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let idle = Client::h1(program.address).await;

    program.process.signal(Signal::TERM);
    eventually(DEADLINE, || TcpStream::connect(program.address).is_err()).await;
    eventually(DEADLINE, || idle.is_closed()).await;
    let ready = Client::h1(program.admin()).await.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        ready.json()["reasons"][0],
        "draining: no new connection is accepted"
    );
    let mut health = Process::start(&["health", "--admin", &program.admin().to_string()]);
    assert_eq!(health.wait(), Some(1));

    assert_eq!(slow.finish().await.status, StatusCode::OK);
    assert_eq!(
        program.process.wait(),
        Some(0),
        "{}",
        program.process.stderr()
    );
}

#[tokio::test]
async fn a_second_term_ends_at_once_and_says_what_was_cut() {
    let backend = Backend::start("a");
    let mut program = Program::before(&[backend.endpoint()], "");
    let mut client = Client::h1(program.address).await;
    let hanging = tokio::spawn(async move { client.try_get("/hang").await.is_err() });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    program.process.signal(Signal::TERM);
    program.process.wait_for_line("draining");
    program.process.signal(Signal::INT);
    assert_eq!(program.process.wait(), Some(1));
    let stderr = program.process.stderr();
    assert!(stderr.ends_with("plimsoll: 1 connection cut\n"), "{stderr}");
    assert!(within(hanging).await.unwrap());
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    let mut program = Program::before(&["127.0.0.1:1".to_owned()], "");
    let clock = Clock::system();
    let start = clock.now();
    program.process.signal(Signal::INT);
    assert_eq!(
        program.process.wait(),
        Some(0),
        "{}",
        program.process.stderr()
    );
    assert!(clock.now().since(start) < Duration::from_secs(5));
}

#[tokio::test]
async fn draining_ends_after_its_timeout_and_tells_how_much_was_cut() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "drain_timeout: 20s\n";
    // Twenty seconds pass in two.
    let proxy = Proxy::start_on(Clock::scaled(10), &yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    let hanging =
        tokio::spawn(async move { client.try_get("/chunked/1000000/1/60000").await.is_err() });
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    proxy.drain();
    eventually(DEADLINE, || proxy.live().is_draining()).await;
    assert!(!proxy.is_finished());
    assert_eq!(within(proxy.join()).await, Ended::Asked { cut: 1 });
    assert!(within(hanging).await.unwrap());
}

#[tokio::test]
async fn a_connection_that_never_sent_a_byte_does_not_hold_up_the_end() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let mut silent = Raw::connect(proxy.address()).await;
    eventually(DEADLINE, || proxy.live().connections() == 1).await;
    let clock = Clock::system();
    let start = clock.now();
    proxy.drain();
    silent.expect_closed().await;
    assert_eq!(within(proxy.join()).await, Ended::Asked { cut: 0 });
    // The head of a first request may take 10 s.
    assert!(clock.now().since(start) < Duration::from_secs(5));
}

#[tokio::test]
async fn a_request_on_its_way_when_draining_begins_is_answered() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let mut raw = Raw::connect(proxy.address()).await;
    eventually(DEADLINE, || proxy.live().connections() == 1).await;
    raw.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    proxy.drain();
    assert_eq!(raw.response().await.status(), 200);
    raw.expect_closed().await;
}

#[tokio::test]
async fn http2_clients_are_told_to_go_and_finish_their_streams() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let mut client = Client::h2(proxy.address()).await;
    let slow = Unfinished::on(client.another()).await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    proxy.drain();
    // It is told while the stream runs, and says so when it is asked for another one.
    within(async { while client.try_get("/").await.is_ok() {} }).await;
    assert!(!slow.is_answered());
    assert_eq!(slow.finish().await.status, StatusCode::OK);
    assert_eq!(within(proxy.join()).await, Ended::Asked { cut: 0 });
}

#[tokio::test]
async fn an_answer_while_draining_closes_its_connection() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send(b"POST /checksum HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nso")
        .await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    proxy.drain();
    eventually(DEADLINE, || proxy.live().is_draining()).await;
    raw.send(b"me").await;
    let answer = raw.response().await;
    assert_eq!(answer.status(), 200);
    raw.expect_closed().await;
    assert_eq!(within(proxy.join()).await, Ended::Asked { cut: 0 });
}

#[tokio::test]
async fn a_proxy_that_is_dropped_gives_its_addresses_back() {
    // Where no other test binds a port meanwhile.
    let apart = plain(&["127.0.0.1:1".to_owned()]).replace("127.0.0.1:0", "127.0.0.78:0");
    let proxy = Proxy::start(&apart).await;
    let (address, admin) = (proxy.address(), proxy.admin());
    drop(proxy);
    let yaml = format!(
        "listeners: {{ web: {{ address: {:?} }} }}\nroutes: [ {{ respond: {{ status: 204 }} }} ]\nadmin: {{ address: {:?} }}\n",
        address.to_string(),
        admin.to_string()
    );
    let again = Proxy::start(&yaml).await;
    let answer = Client::h1(again.address()).await.get("/").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}

/// Runs the proxy on a Unix socket.
fn on_unix(path: &std::path::Path) -> Process {
    let listen = format!("unix:{}", path.display());
    Process::start(&["proxy", "--listen", &listen, "--to", "127.0.0.1:1"])
}

#[test]
fn a_unix_socket_left_behind_is_replaced_and_a_live_one_is_not() {
    let directory = Directory::new();
    let path = directory.path().join("proxy.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut first = on_unix(&path);
    first.wait_for_line("listening on unix:");

    let mut second = on_unix(&path);
    assert_eq!(second.wait(), Some(3));
    let told = second.stderr();
    assert!(
        told.contains("proxy.sock is in use by another process"),
        "{told}"
    );
    UnixStream::connect(&path).expect("the first is still there");

    first.signal(Signal::TERM);
    assert_eq!(first.wait(), Some(0), "{}", first.stderr());
    assert!(!path.exists(), "the socket file outlives its process");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone_and_exits_3() {
    let directory = Directory::new();
    let path = directory.write("precious", "data");
    let mut process = on_unix(&path);
    assert_eq!(process.wait(), Some(3));
    let told = process.stderr();
    assert!(
        told.contains("precious there is something else than a socket"),
        "{told}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}

#[tokio::test]
async fn a_process_that_ran_out_of_descriptors_serves_again_when_there_are_some() {
    const LIMIT: usize = 64;
    let backend = Backend::start("a");
    let directory = Directory::new();
    let yaml = plain(&[backend.endpoint()]) + "workers: 1\n";
    let file = directory.write("plimsoll.yaml", yaml);
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!(
        "ulimit -n {LIMIT}; exec {:?} run -c {file:?}",
        env!("CARGO_BIN_EXE_plimsoll")
    ));
    let process = Process::spawn(command);
    let line = process.wait_for_line("listening on http://");
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http://"));
    let address = word.unwrap().parse().unwrap();
    let descriptors = format!("/proc/{}/fd", process.id());
    let open = || std::fs::read_dir(&descriptors).unwrap().count();
    let mut clients = Vec::new();
    for _ in 0..2 * LIMIT {
        // What cannot be accepted waits in the kernel's queue.
        clients.push(Raw::connect(address).await);
    }
    eventually(DEADLINE, || open() >= LIMIT).await;
    drop(clients);
    eventually(DEADLINE, || open() < LIMIT / 2).await;
    let mut client = Client::h1(address).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
}
