//! Memory that grows short: nobody is let in, what rests is closed, what runs goes on, and all of it is over when memory
//! is back.

use std::time::Duration;

use crate::harness::{Backend, Client, DEADLINE, Proxy, Raw, eventually, plain};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

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
    // Less than any process has.
    proxy.reload(&with("1MiB")).await.unwrap();
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
