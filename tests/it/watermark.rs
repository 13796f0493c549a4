//! Memory that grows short: nobody is let in, what rests is closed, what runs goes on, and all of it is over when memory
//! is back.

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll::clock::{Clock, Instant};
use serde_json::Value;

use crate::harness::{
    Backend, Client, DEADLINE, Directory, Process, Proxy, Raw, eventually, plain,
};

/// More than a hundredth of it is used, and less than half, from where on what runs is cut.
const BETWEEN: &str = "limit: 2GiB, shed_at: 1%, resume_at: 1%";
/// Longer for a head than a test waits for anything.
const PATIENT: &str = "address: \"127.0.0.1:0\", timeouts: { head: 5m }";
/// The preface, SETTINGS, and HEADERS without their end.
const HALF_H2: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x01\0\0\0\x01\x82";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// How memory stands by the API.
async fn memory(admin: SocketAddr) -> Value {
    let mut client = Raw::connect(admin).await;
    let request = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.ask(request).await["memory"].clone()
}

/// Where a program says that it listens.
fn told(process: &Process, what: &str) -> SocketAddr {
    let line = process.wait_for_line(what);
    let (_, rest) = line.split_once("http://").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Bytes of memory that a process holds.
fn resident(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}

async fn ready(proxy: &Proxy) -> u16 {
    let mut admin = Raw::connect(proxy.admin()).await;
    admin.send("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n").await;
    admin.response().await.status()
}

#[tokio::test]
async fn short_memory_sheds_and_resumes() {
    let backend = Backend::start("a");
    let with =
        |limit: &str| plain(&[backend.endpoint()]) + &format!("memory: {{ limit: {limit} }}\n");
    let proxy = Proxy::start(&with("1024GiB")).await;
    let mut idle = Raw::connect(proxy.address()).await;
    idle.send(GET).await;
    assert_eq!(idle.response().await.status(), 200);
    let mut idle_h2 = Client::h2(proxy.address()).await;
    assert_eq!(idle_h2.get("/").await.status, 200);
    let mut silent = Raw::connect(proxy.address()).await;
    let mut streaming = Raw::connect(proxy.address()).await;
    streaming
        .send("GET /sse/100000/50 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(streaming.head().await.status(), 200);
    assert_eq!(ready(&proxy).await, 200);
    let between = plain(&[backend.endpoint()]) + &format!("memory: {{ {BETWEEN} }}\n");
    proxy.reload(&between).await.unwrap();
    eventually(DEADLINE, || proxy.live().memory.is_shedding()).await;
    idle.expect_closed().await;
    eventually(DEADLINE, || idle_h2.is_closed()).await;
    assert_eq!(ready(&proxy).await, 503);
    // What runs is not cut: more of it comes, for longer than it takes to close what rests.
    let (clock, begun) = (&proxy.live().clock, proxy.live().clock.now());
    while clock.now().since(begun) < Duration::from_secs(3) {
        streaming.some().await;
    }
    let events = proxy.live().events.after(0).0;
    let text = events
        .iter()
        .map(ToString::to_string)
        .find(|text| text.contains("memory:"));
    let text = text.unwrap();
    assert!(
        text.contains("it is short (") && text.contains("that this process may use"),
        "{text}"
    );
    // Who comes now waits in the queue of the system.
    let before = backend.counters().requests();
    let mut waiting = Raw::connect(proxy.address()).await;
    waiting.send(GET).await;
    let answered = tokio::time::timeout(Duration::from_millis(300), waiting.some());
    assert!(answered.await.is_err());
    assert_eq!(backend.counters().requests(), before);
    proxy.reload(&with("1024GiB")).await.unwrap();
    eventually(DEADLINE, || !proxy.live().memory.is_shedding()).await;
    assert_eq!(waiting.response().await.status(), 200);
    assert_eq!(ready(&proxy).await, 200);
    assert_eq!(proxy.live().memory.sheds(), 1);
    // It has said nothing, and its head is late by now.
    silent.expect_closed().await;
}

#[tokio::test]
async fn metrics_and_status_show_how_memory_stands() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "memory: { limit: 1MiB }\n";
    let proxy = Proxy::start(&yaml).await;
    eventually(DEADLINE, || proxy.live().memory.is_shedding()).await;
    let mut admin = Raw::connect(proxy.admin()).await;
    admin
        .send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let metrics = admin.response().await;
    for line in [
        "plimsoll_memory_shedding 1",
        "plimsoll_memory_sheds_total 1",
        "plimsoll_memory_limit_bytes 1048576",
        "plimsoll_ready 0",
    ] {
        assert!(metrics.text().contains(line), "{line}");
    }
    let status = admin
        .ask("GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(status["memory"]["is_shedding"], true);
    assert!(status["memory"]["used_bytes"].as_u64() > Some(1 << 20));
}

/// Who waits in the queue of the system while memory is short is served when the process ends, not reset.
#[tokio::test]
async fn a_drain_lets_those_in_who_wait() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "memory: { limit: 1MiB }\n";
    let proxy = Proxy::start(&yaml).await;
    eventually(DEADLINE, || proxy.live().memory.is_shedding()).await;
    // Some acceptor may look for the last time while this comes.
    let mut waiting = Raw::connect(proxy.address()).await;
    waiting.send(GET).await;
    proxy.drain();
    assert_eq!(waiting.response().await.status(), 200);
}

/// Half a head holds memory for nothing, and is not waited for until its time is over.
#[tokio::test]
async fn half_a_head_is_closed_while_memory_is_short() {
    let backend = Backend::start("a");
    let with = |memory: &str| {
        plain(&[backend.endpoint()]).replacen("address: \"127.0.0.1:0\"", PATIENT, 1)
            + &format!("memory: {{ {memory} }}\n")
    };
    let proxy = Proxy::start(&with("limit: 1024GiB")).await;
    let mut half = Raw::connect(proxy.address()).await;
    half.send("GET / HTTP/1.1\r\nHost: ").await;
    let mut half_h2 = Raw::connect(proxy.address()).await;
    half_h2.send(HALF_H2).await;
    proxy.reload(&with(BETWEEN)).await.unwrap();
    eventually(DEADLINE, || proxy.live().memory.is_shedding()).await;
    half.expect_closed().await;
    let _ = half_h2.rest().await;
    assert_eq!(proxy.live().memory.cuts(), 0);
}

/// The mark halfway between shedding and the limit is passed: what runs is cut, and when no client is left whose memory could
/// be given back, others are let in.
#[tokio::test]
async fn memory_that_runs_out_cuts_what_runs_and_nobody_waits_for_ever() {
    let backend = Backend::start("a");
    let with =
        |limit: &str| plain(&[backend.endpoint()]) + &format!("memory: {{ limit: {limit} }}\n");
    let proxy = Proxy::start(&with("1024GiB")).await;
    let mut streaming = Raw::connect(proxy.address()).await;
    streaming
        .send("GET /sse/100000/50 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(streaming.head().await.status(), 200);
    // Less than any process has.
    proxy.reload(&with("1MiB")).await.unwrap();
    eventually(DEADLINE, || proxy.live().memory.cuts() == 1).await;
    let _ = streaming.rest().await;
    eventually(DEADLINE, || !proxy.live().memory.is_shedding()).await;
    let events = proxy.live().events.after(0).0;
    let has = |part: &str| events.iter().any(|event| event.to_string().contains(part));
    assert!(has("it runs out: 1 connections were cut"), "{events:?}");
    assert!(has("waiting gives nothing back"), "{events:?}");
    let mut late = Raw::connect(proxy.address()).await;
    late.send(GET).await;
    assert_eq!(late.response().await.status(), 200);
    assert_eq!(ready(&proxy).await, 200);
}

/// Memory of those who have left is given back by the program with its own allocator, although nothing is accepted.
#[tokio::test]
async fn the_program_resumes_once_those_who_held_memory_have_left() {
    const HEADS: u64 = 500;
    // Twice as many bytes are kept for it.
    const HEAD: usize = 40 << 10;
    let backend = Backend::start("a");
    let directory = Directory::new();
    let with = |limit: u64| {
        let listener =
            "address: 127.0.0.1:0, limits: { head_bytes: 160KiB }, timeouts: { head: 60s }";
        format!(
            "listeners: {{ web: {{ {listener} }} }}\nroutes: [{{ upstream: app }}]\n\
             upstreams: {{ app: {{ endpoints: [\"{}\"] }} }}\nworkers: 2\n\
             memory: {{ limit: {limit}B }}\nadmin: {{ address: 127.0.0.1:0 }}\n",
            backend.endpoint()
        )
    };
    let file = directory.write("plimsoll.yaml", with(1 << 40));
    let process = Process::start(&["run", "-c", file.to_str().unwrap()]);
    let address = told(&process, "listening on http://");
    let admin = told(&process, "admin on http://");
    let base = resident(process.id());
    // Less than the heads take.
    let limit = base + HEADS * HEAD as u64;
    directory.write("plimsoll.yaml", with(limit));
    process.wait_for_line("generation 2 is in force");
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(HEAD));
    let mut clients = Vec::new();
    for _ in 0..HEADS {
        let mut client = Raw::connect(address).await;
        // It may be cut meanwhile.
        let _ = client.try_send(&head).await;
        clients.push(client);
    }
    while memory(admin).await["sheds"] == 0 {}
    drop(clients);
    let within = Clock::system();
    while memory(admin).await["is_shedding"] == true {
        assert!(
            within.now().since(Instant(0)) < DEADLINE,
            "{}",
            process.stderr()
        );
    }
    let used = memory(admin).await["used_bytes"].as_u64();
    assert!(used < Some(limit * 85 / 100), "{used:?} of {limit}");
    let mut late = Raw::connect(address).await;
    late.send(GET).await;
    assert_eq!(late.response().await.status(), 200);
}
