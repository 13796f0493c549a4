//! What a fault in the program's own code does: a panic ends one connection and is counted, a worker that stands still
//! is told, and one that ends takes the process with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::StatusCode;
use plimsoll::admin::Reason;
use plimsoll::clock::Clock;
use plimsoll::lifecycle::Ended;
use plimsoll::observe::Metric;

use crate::harness::{
    Backend, Client, DEADLINE, Faults, ON_PURPOSE, Proxy, Raw, assert_on_purpose, eventually,
    plain, within,
};

async fn start(workers: usize, backend: &Backend, faults: &Arc<Faults>) -> Proxy {
    let yaml = plain(&[backend.endpoint()]) + &format!("workers: {workers}\n");
    Proxy::start_with(Clock::system(), &yaml, faults.handler()).await
}

/// Panics counted by all workers.
fn panics(proxy: &Proxy) -> u64 {
    proxy.workers(Metric::WorkerPanics, "")
}

fn in_flight(proxy: &Proxy) -> u32 {
    let snapshot = proxy.live().snapshot.load();
    snapshot.upstreams[0].endpoints[0].signals.in_flight.load()
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_is_counted() {
    let backend = Backend::start("a");
    let (_go_on, faults) = Faults::new();
    let proxy = start(1, &backend, &faults).await;
    let mut other = Client::h1(proxy.address()).await;
    assert_eq!(other.get("/").await.status, StatusCode::OK);
    for count in 1..=3 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
        raw.expect_closed().await;
        eventually(DEADLINE, || panics(&proxy) == count).await;
    }
    // Those that were there are served on, and so are new ones; nothing of the dead is still counted.
    assert_eq!(other.get("/").await.status, StatusCode::OK);
    let mut next = Client::h1(proxy.address()).await;
    assert_eq!(next.get("/").await.status, StatusCode::OK);
    eventually(DEADLINE, || proxy.live().connections() == 2).await;
    assert_eq!(proxy.live().listeners.load()[0].gate.open(), 2);
    let text = Client::h1(proxy.admin()).await.get("/metrics").await;
    let sample = "plimsoll_worker_panics_total{worker=\"0\"} 3\n";
    assert!(text.text().contains(sample), "{}", text.text());
}

#[tokio::test]
async fn a_panic_half_way_gives_back_what_the_exchange_held() {
    for is_h2 in [false, true] {
        let backend = Backend::start("a");
        let (_go_on, faults) = Faults::new();
        let proxy = start(1, &backend, &faults).await;
        let mut client = match is_h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let another = is_h2.then(|| client.another());
        let hanging = tokio::spawn(async move { client.try_get("/hang").await.is_err() });
        eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
        assert_eq!(in_flight(&proxy), 1);
        faults.panic.notify_one();
        assert!(within(hanging).await.unwrap());
        eventually(DEADLINE, || panics(&proxy) == 1).await;
        assert_eq!(in_flight(&proxy), 0);
        assert_eq!(proxy.routes(Metric::RequestErrors, "panicked"), 1);
        eventually(DEADLINE, || backend.counters().open() == 0).await;
        // In HTTP/2 one stream ends, and its connection goes on.
        if let Some(mut client) = another {
            assert_eq!(client.get("/").await.status, StatusCode::OK);
        }
        let mut next = Client::h1(proxy.address()).await;
        assert_eq!(next.get("/").await.status, StatusCode::OK);
        assert_eq!(panics(&proxy), 1);
    }
}

#[tokio::test]
async fn a_worker_whose_thread_ends_takes_the_process_down_with_a_reason() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "workers: 2\n";
    let proxy = Proxy::start_with(Clock::system(), &yaml, |worker| {
        assert_on_purpose(worker.index != 1);
        plimsoll::proxy::Proxy::new(worker)
    })
    .await;
    let reason = format!("worker 1 ended: panicked: {ON_PURPOSE}");
    assert_eq!(within(proxy.join()).await, Ended::Failed(reason));
}

#[tokio::test]
async fn a_worker_that_can_no_longer_accept_takes_the_process_down() {
    let backend = Backend::start("a");
    let (_go_on, faults) = Faults::new();
    let proxy = start(1, &backend, &faults).await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    faults.in_clone.store(true, Ordering::Relaxed);
    Raw::connect(proxy.address()).await.expect_closed().await;
    match within(proxy.join()).await {
        Ended::Failed(reason) => assert!(reason.starts_with("worker 0 ended: "), "{reason}"),
        ended @ Ended::Asked { .. } => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn a_stuck_worker_turns_readiness_negative_and_is_named() {
    let backend = Backend::start("a");
    let (go_on, faults) = Faults::new();
    let proxy = start(2, &backend, &faults).await;
    eventually(DEADLINE, || proxy.live().reasons().is_empty()).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.send("GET /block HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // A real clock: how long a thread stands still is the one thing that no other clock can tell.
    eventually(DEADLINE, || !proxy.live().reasons().is_empty()).await;
    let blocked = faults.blocked.lock().unwrap().unwrap();
    let reasons = proxy.live().reasons();
    let [Reason::Stuck { worker, .. }] = reasons[..] else {
        panic!("{reasons:?}");
    };
    assert_eq!(worker, blocked);
    let ready = Client::h1(proxy.admin()).await.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let told = ready.json()["reasons"][0].as_str().unwrap().to_owned();
    let expected = format!("worker {blocked} is stuck: it has not shown itself for ");
    assert!(told.starts_with(&expected), "{told}");
    go_on.send(()).unwrap();
    assert_eq!(raw.response().await.status(), 200);
    eventually(DEADLINE, || proxy.live().reasons().is_empty()).await;
    let ready = Client::h1(proxy.admin()).await.get("/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
}
