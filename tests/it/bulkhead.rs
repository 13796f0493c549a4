//! How many attempts an upstream may have under way, who waits for a place, and what the others are told.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::{Request, StatusCode};
use plimsoll::admin::status::{BulkheadStatus, Status};
use plimsoll::config::Priority;
use plimsoll::observe::{Metric, Phase};
use plimsoll::upstream::bulkhead::{Bulkhead, Refusal};
use tokio::task::JoinHandle;

use crate::harness::{
    Answer, Backend, Client, DEADLINE, Outgoing, Proxy, Raw, WebSocket, config, eventually, within,
};

/// The bulkhead of the upstream `pool`.
fn bulkhead(proxy: &Proxy) -> Arc<Bulkhead> {
    of(proxy, "pool")
}

fn of(proxy: &Proxy, name: &str) -> Arc<Bulkhead> {
    let snapshot = proxy.live().snapshot.load();
    let mut upstreams = snapshot.upstreams.iter();
    let upstream = upstreams.find(|upstream| upstream.name == name).unwrap();
    Arc::clone(&upstream.bulkhead.as_ref().expect("it is on").state)
}

/// One worker before one upstream with these keys of its bulkhead.
async fn start(backends: &[&Backend], keys: &str) -> Proxy {
    let endpoints: Vec<String> = backends.iter().map(|backend| backend.endpoint()).collect();
    let upstream = format!("bulkhead: {{ {keys} }}, breaker: off");
    Proxy::start(&config(&endpoints, "", "", &upstream)).await
}

/// A request that is never answered; it is under way until this is dropped.
async fn hang(address: SocketAddr) -> Raw {
    let mut raw = Raw::connect(address).await;
    raw.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw
}

/// As many as that, each of which has its place.
async fn hold(proxy: &Proxy, bulkhead: &Bulkhead, count: u32) -> Vec<Raw> {
    let mut held = Vec::new();
    for place in 1..=count {
        held.push(hang(proxy.address()).await);
        eventually(DEADLINE, || bulkhead.in_flight() == place).await;
    }
    held
}

/// A request on a connection of its own, whose answer is awaited elsewhere.
fn get(address: SocketAddr, path: &'static str) -> JoinHandle<Answer> {
    tokio::spawn(async move { Client::h1(address).await.get(path).await })
}

async fn answer(asked: JoinHandle<Answer>) -> Answer {
    within(asked).await.unwrap()
}

async fn waiting(bulkhead: &Bulkhead, count: u32) {
    eventually(DEADLINE, || bulkhead.waiting() == count).await;
}

/// Nothing is under way, nobody waits, and no slot is held.
async fn is_empty(proxy: &Proxy) {
    let snapshot = proxy.live().snapshot.load_full();
    for upstream in &snapshot.upstreams {
        let state = &upstream.bulkhead.as_ref().expect("it is on").state;
        eventually(DEADLINE, || {
            let held = upstream.endpoints.iter();
            let mut held = held.map(|endpoint| endpoint.signals.in_flight.load());
            (state.in_flight(), state.waiting()) == (0, 0) && held.all(|slots| slots == 0)
        })
        .await;
    }
}

async fn status(proxy: &Proxy) -> BulkheadStatus {
    let live = proxy.live();
    let status: Status = plimsoll::admin::status::read(live);
    status.upstreams[0].bulkhead.clone().expect("it is on")
}

/// Forty clients on two workers, ten of which fit; the backend would take them all.
#[tokio::test]
async fn no_more_are_under_way_than_may_be() {
    let backend = Backend::labelled("a").latency("20ms").start();
    let endpoint = [backend.endpoint()];
    let keys = "bulkhead: { max_in_flight: 10, queue_timeout: 15s, order: fifo }";
    let yaml = config(&endpoint, "", "", keys).replace("workers: 1", "workers: 2");
    let proxy = Proxy::start(&yaml).await;
    let address = proxy.address();
    let clients: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::h1(address).await;
                for _ in 0..5 {
                    assert_eq!(client.get("/").await.status, StatusCode::OK);
                }
            })
        })
        .collect();
    let state = bulkhead(&proxy);
    let mut most = 0;
    eventually(DEADLINE, || {
        let now = backend.counters().in_flight();
        most = most.max(now);
        assert!(now <= 10, "{now} at the backend");
        assert!(state.in_flight() <= 10);
        clients.iter().all(JoinHandle::is_finished)
    })
    .await;
    for client in clients {
        client.await.unwrap();
    }
    assert!(most >= 5, "{most} at most");
    assert!(state.waited() > 0);
    is_empty(&proxy).await;
}

#[tokio::test]
async fn who_waits_is_served_when_a_place_comes_free() {
    let backend = Backend::start("a");
    let proxy = start(&[&backend], "max_in_flight: 1, queue_timeout: 15s").await;
    let state = bulkhead(&proxy);
    let held = hold(&proxy, &state, 1).await;
    let asked = get(proxy.address(), "/");
    waiting(&state, 1).await;
    eventually(DEADLINE, || backend.counters().requests() == 1).await;
    drop(held);
    assert_eq!(answer(asked).await.status, StatusCode::OK);
    is_empty(&proxy).await;
    // What it waited for is its time in the queue, and none of the proxy's own.
    eventually(DEADLINE, || proxy.routes(Metric::RequestAttempts, "") == 2).await;
    let report = proxy.report();
    assert_eq!(report.routes[0].phase(Phase::Queue).count, 1);
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let backend = Backend::start("a");
    let proxy = start(&[&backend], "max_in_flight: 1, queue_timeout: 50ms").await;
    let state = bulkhead(&proxy);
    let held = hold(&proxy, &state, 1).await;
    let told = answer(get(proxy.address(), "/")).await;
    told.assert_told(503, "connection_limit_reached", "queue_timeout");
    assert_eq!(told.header("retry-after"), Some("1"));
    assert_eq!(state.refused_by(Refusal::Timeout), 1);
    eventually(DEADLINE, || {
        proxy.routes(Metric::RequestErrors, "queue_timeout") == 1
    })
    .await;
    drop(held);
    is_empty(&proxy).await;
}

#[tokio::test]
async fn total_ends_a_wait_that_may_last_longer() {
    let backend = Backend::start("a");
    let keys = "bulkhead: { max_in_flight: 1, queue_timeout: 15s, order: fifo }";
    let with = |more: &str| config(&[backend.endpoint()], "", "", &format!("{keys}{more}"));
    let proxy = Proxy::start(&with("")).await;
    let state = bulkhead(&proxy);
    // A tunnel: `total` does not end it.
    let mut socket = Client::h1(proxy.address()).await;
    let tunnel = socket.tunnel("echo", "/upgrade").await.unwrap();
    eventually(DEADLINE, || state.in_flight() == 1).await;
    let short = ", timeouts: { total: 100ms, first_byte: 100ms, connect: 100ms }";
    proxy.reload(&with(short)).await.unwrap();
    let told = answer(get(proxy.address(), "/")).await;
    told.assert_told(504, "http_response_timeout", "total_timeout");
    drop((tunnel, socket));
    is_empty(&proxy).await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let backend = Backend::start("a");
    let keys = "max_in_flight: 1, queue: 1, queue_timeout: 15s";
    let proxy = start(&[&backend], keys).await;
    let state = bulkhead(&proxy);
    let held = hold(&proxy, &state, 1).await;
    let first = get(proxy.address(), "/");
    waiting(&state, 1).await;
    let told = answer(get(proxy.address(), "/")).await;
    told.assert_told(503, "connection_limit_reached", "queue_full");
    drop(held);
    assert_eq!(answer(first).await.status, StatusCode::OK);
    let without = start(&[&backend], "max_in_flight: 1, queue: 0").await;
    let state = bulkhead(&without);
    let _held = hold(&without, &state, 1).await;
    let told = answer(get(without.address(), "/")).await;
    told.assert_told(503, "connection_limit_reached", "queue_full");
}

/// Over HTTP/1.1 by closing, over HTTP/2 by resetting its stream.
#[tokio::test]
async fn a_client_that_leaves_frees_its_place_in_the_queue() {
    let backend = Backend::start("a");
    let proxy = start(&[&backend], "max_in_flight: 1, queue_timeout: 15s").await;
    let state = bulkhead(&proxy);
    let held = hold(&proxy, &state, 1).await;
    let leaves = hang(proxy.address()).await;
    waiting(&state, 1).await;
    drop(leaves);
    waiting(&state, 0).await;
    let h2 = Client::h2(proxy.address()).await;
    let mut other = h2.another();
    let leaves = tokio::spawn(async move { other.try_get("/").await });
    waiting(&state, 1).await;
    leaves.abort();
    waiting(&state, 0).await;
    eventually(DEADLINE, || backend.counters().requests() == 1).await;
    drop(held);
    is_empty(&proxy).await;
    assert_eq!(backend.counters().requests(), 1);
    assert_eq!(state.refused_by(Refusal::Timeout), 0);
}

const CLASSES: &str = "listeners: { web: { address: \"127.0.0.1:0\", TRUST } }\n\
     workers: 1\n\
     routes:\n\
     - { match: { path: /low }, upstream: pool, priority: low, rewrite: { path: / } }\n\
     - { match: { path: /high }, upstream: pool, priority: high, rewrite: { path: / } }\n\
     - { match: { path: / }, upstream: pool, priority_header: X-Priority }\n\
     upstreams: { pool: { endpoints: [\"ENDPOINT\"], \
     bulkhead: { max_in_flight: 1, queue: 2, queue_timeout: 15s, order: fifo } } }\n";

async fn classes(backend: &Backend, trust: &str) -> Proxy {
    let yaml = CLASSES.replace("ENDPOINT", &backend.endpoint());
    Proxy::start(&yaml.replace("TRUST", trust)).await
}

#[tokio::test]
async fn what_matters_more_goes_first_and_pushes_out_what_matters_less() {
    let backend = Backend::start("a");
    let proxy = classes(&backend, "").await;
    let state = bulkhead(&proxy);
    let held = hold(&proxy, &state, 1).await;
    let low = get(proxy.address(), "/low");
    waiting(&state, 1).await;
    // Were it first, it would never make room for another.
    let normal = hang(proxy.address()).await;
    waiting(&state, 2).await;
    let high = get(proxy.address(), "/high");
    let told = answer(low).await;
    told.assert_told(503, "http_request_denied", "shed");
    assert_eq!(state.refused_by(Refusal::PushedOut), 1);
    drop(held);
    assert_eq!(answer(high).await.status, StatusCode::OK);
    eventually(DEADLINE, || (state.in_flight(), state.waiting()) == (1, 0)).await;
    drop(normal);
    is_empty(&proxy).await;
}

/// Every worker is late by a millisecond sometimes, and twice in a row before long. Then one of these paths is refused, and
/// the others never are.
async fn sheds(keys: &str, path: &str, others: &[&str]) {
    let backend = Backend::start("a");
    let yaml = CLASSES.replace("ENDPOINT", &backend.endpoint());
    let yaml = yaml.replace("order: fifo", &format!("order: fifo, shed: {{ {keys} }}"));
    let proxy = Proxy::start(&yaml.replace("TRUST", "")).await;
    let state = bulkhead(&proxy);
    let mut client = Client::h1(proxy.address()).await;
    let refused = async {
        loop {
            for path in others {
                assert_eq!(client.get(path).await.status, StatusCode::OK);
            }
            let answer = client.get(path).await;
            if answer.status != StatusCode::OK {
                return answer;
            }
        }
    };
    let refused = within(refused).await;
    refused.assert_told(503, "http_request_denied", "shed");
    assert_eq!(state.refused_by(Refusal::Lag), 1);
    is_empty(&proxy).await;
}

#[tokio::test]
async fn a_worker_that_runs_late_refuses_what_matters_least() {
    sheds("low: 1ms, normal: off", "/low", &["/high", "/"]).await;
}

/// On a route whose requests say how much they matter nothing was ever refused then.
#[tokio::test]
async fn a_worker_that_runs_late_refuses_what_is_normal_where_only_that_is_asked_for() {
    sheds("low: off, normal: 1ms", "/", &["/high", "/low"]).await;
}

/// How a request that says so is classed.
async fn classed(proxy: &Proxy, path: &str, said: &str) -> Priority {
    let state = bulkhead(proxy);
    let held = hold(proxy, &state, 1).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Priority: {said}\r\n\r\n");
    raw.send(request).await;
    waiting(&state, 1).await;
    let standing = state.standing(proxy.live().clock.now());
    drop(raw);
    waiting(&state, 0).await;
    drop(held);
    is_empty(proxy).await;
    let mut classes = Priority::ALL.into_iter().zip(standing.waiting);
    classes.find(|(_, count)| *count == 1).unwrap().0
}

#[tokio::test]
async fn anybody_may_say_less_and_only_a_trusted_proxy_more() {
    let backend = Backend::start("a");
    let proxy = classes(&backend, "").await;
    for (path, said, class) in [
        ("/", "low", Priority::Low),
        ("/", "high", Priority::Normal),
        ("/", "urgent", Priority::Normal),
        // This route asks no header.
        ("/low", "high", Priority::Low),
    ] {
        assert_eq!(classed(&proxy, path, said).await, class, "{said}");
    }
    let trusting = classes(&backend, "trusted_proxies: [\"127.0.0.0/8\"]").await;
    let said = classed(&trusting, "/", "high").await;
    assert_eq!(said, Priority::High);
}

/// Each endpoint takes two; the fifth waits, for whichever comes free.
#[tokio::test]
async fn each_endpoint_has_a_cap_of_its_own() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let keys = "max_in_flight: 100, per_endpoint: 2, queue_timeout: 15s";
    let proxy = start(&[&a, &b], keys).await;
    let state = bulkhead(&proxy);
    let mut held = hold(&proxy, &state, 4).await;
    eventually(DEADLINE, || {
        [&a, &b].map(|backend| backend.counters().requests()) == [2, 2]
    })
    .await;
    let asked = get(proxy.address(), "/");
    waiting(&state, 1).await;
    // It holds no permit that another upstream's worth of endpoints could use.
    eventually(DEADLINE, || state.in_flight() == 4).await;
    drop(held.remove(2));
    assert_eq!(answer(asked).await.status, StatusCode::OK);
    drop(held);
    is_empty(&proxy).await;
}

#[tokio::test]
async fn who_waits_for_a_slot_in_vain_is_told_so() {
    let backend = Backend::start("a");
    let keys = "per_endpoint: 1, queue_timeout: 50ms";
    let proxy = start(&[&backend], keys).await;
    let state = bulkhead(&proxy);
    let _held = hold(&proxy, &state, 1).await;
    let told = answer(get(proxy.address(), "/")).await;
    told.assert_told(503, "connection_limit_reached", "queue_timeout");
}

/// Bound to different endpoints: a slot of one is of no use to who waits for the other.
#[tokio::test]
async fn who_waits_for_another_endpoint_does_not_stand_in_the_way() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let yaml = format!(
        "workers: 2\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes:\n\
         - {{ match: {{ path: /a/ }}, upstream: pool, subset: a, rewrite: {{ prefix: / }} }}\n\
         - {{ match: {{ path: /b/ }}, upstream: pool, subset: b, rewrite: {{ prefix: / }} }}\n\
         upstreams: {{ pool: {{ subset: {{ metadata: is }}, endpoints: [\
         {{ address: \"{}\", metadata: {{ is: a }} }}, {{ address: \"{}\", metadata: {{ is: b }} }}], \
         bulkhead: {{ per_endpoint: 1, queue_timeout: 15s, order: fifo }} }} }}\n",
        a.endpoint(),
        b.endpoint(),
    );
    let proxy = Proxy::start(&yaml).await;
    let (state, address) = (bulkhead(&proxy), proxy.address());
    let hang = async |path: &str| {
        let mut raw = Raw::connect(address).await;
        let request = format!("GET {path}/hang HTTP/1.1\r\nHost: a\r\n\r\n");
        raw.send(request).await;
        raw
    };
    let held_a = hang("/a").await;
    eventually(DEADLINE, || state.in_flight() == 1).await;
    let held_b = hang("/b").await;
    eventually(DEADLINE, || state.in_flight() == 2).await;
    let first: Vec<_> = (0..5).map(|_| get(address, "/a/")).collect();
    waiting(&state, 5).await;
    let second = get(address, "/b/");
    waiting(&state, 6).await;
    drop(held_b);
    assert_eq!(answer(second).await.backend(), Some("b"));
    assert_eq!(state.waiting(), 5);
    drop(held_a);
    for asked in first {
        assert_eq!(answer(asked).await.backend(), Some("a"));
    }
    is_empty(&proxy).await;
}

/// Its own places are all taken, and those of the other are not touched.
#[tokio::test]
async fn a_slow_upstream_takes_nothing_from_another() {
    let (slow, fast) = (Backend::start("slow"), Backend::start("fast"));
    let yaml = format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes:\n\
         - {{ match: {{ path: /hang }}, upstream: slow }}\n\
         - {{ match: {{ path: / }}, upstream: fast }}\n\
         upstreams:\n\
         \x20 slow: {{ endpoints: [\"{}\"], bulkhead: {{ max_in_flight: 5, queue: 5, queue_timeout: 15s }} }}\n\
         \x20 fast: {{ endpoints: [\"{}\"], bulkhead: {{ max_in_flight: 5 }} }}\n",
        slow.endpoint(),
        fast.endpoint(),
    );
    let proxy = Proxy::start(&yaml).await;
    let (full, free) = (of(&proxy, "slow"), of(&proxy, "fast"));
    let mut held = hold(&proxy, &full, 5).await;
    for place in 1..=5 {
        held.push(hang(proxy.address()).await);
        waiting(&full, place).await;
    }
    let told = answer(get(proxy.address(), "/hang")).await;
    told.assert_told(503, "connection_limit_reached", "queue_full");
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.backend(), Some("fast"));
    }
    assert_eq!((free.waited(), free.limit()), (0, 5));
    drop(held);
    is_empty(&proxy).await;
}

/// Whole answers, broken ones, refused connections, tunnels, uploads and clients that leave: all give back what they had.
#[tokio::test]
async fn every_end_of_an_exchange_gives_its_place_back() {
    let backend = Backend::start("a");
    let proxy = start(&[&backend], "max_in_flight: 4, queue_timeout: 15s").await;
    let (state, address) = (bulkhead(&proxy), proxy.address());
    for path in [
        "/",
        "/drop/10",
        "/reset",
        "/reset/0",
        "/gone",
        "/close",
        "/status/503",
    ] {
        let asked = Client::h1(address).await.try_get(path).await;
        assert!(
            asked.is_ok() || path.starts_with("/drop") || path == "/reset/0",
            "{path}"
        );
    }
    is_empty(&proxy).await;
    let talk = move || {
        WebSocket::open(address, "/ws")
            .unwrap()
            .expect_echo("hello")
    };
    within(tokio::task::spawn_blocking(talk)).await.unwrap();
    is_empty(&proxy).await;
    // Left in the middle of the answer, and of the upload.
    let mut raw = Raw::connect(address).await;
    raw.send("GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    eventually(DEADLINE, || state.in_flight() == 1).await;
    drop(raw);
    is_empty(&proxy).await;
    let mut client = Client::h1(address).await;
    let (mut upload, body) = Outgoing::pieces();
    let request = Request::post("/echo").body(body).unwrap();
    // Both are kept: the answer begins before the request ends.
    let opened = tokio::spawn(async move { (client.open(request).await, client) });
    assert!(upload.send("some").await);
    eventually(DEADLINE, || state.in_flight() == 1).await;
    upload.fail().await;
    let _ = within(opened).await;
    is_empty(&proxy).await;
    assert_eq!(
        Client::h1(address).await.get("/").await.status,
        StatusCode::OK
    );
}

/// The idle connection is closed without an answer: the replay goes on with the only place there is, which the attempt
/// had.
#[tokio::test]
async fn a_replay_keeps_its_place() {
    let backend = Backend::start("a");
    let proxy = start(&[&backend], "max_in_flight: 1, queue_timeout: 15s").await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    let replays = || proxy.routes(Metric::Replays, "");
    assert_eq!(client.get("/gone").await.status, StatusCode::BAD_GATEWAY);
    eventually(DEADLINE, || replays() == 1).await;
    is_empty(&proxy).await;
    assert_eq!(bulkhead(&proxy).waited(), 0);
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    is_empty(&proxy).await;
}

/// With a single place there is none for a hedge, and the attempt goes on alone; with two there is.
#[tokio::test]
async fn a_hedge_takes_a_place_of_its_own_and_waits_for_none() {
    let backends = ["a", "b"].map(|label| Backend::labelled(label).latency("5ms").start());
    let endpoints = backends.each_ref().map(Backend::endpoint);
    let yaml = |places: u32| {
        let upstream = format!(
            "hedge: {{ min_samples: 20 }}, bulkhead: {{ max_in_flight: {places}, queue_timeout: 15s }}"
        );
        config(&endpoints, "", "", &upstream)
    };
    let proxy = Proxy::start(&yaml(1)).await;
    let (state, mut client) = (bulkhead(&proxy), Client::h1(proxy.address()).await);
    let is_known = || {
        let snapshot = proxy.live().snapshot.load();
        let hedge = snapshot.upstreams[0].hedge.as_ref().unwrap();
        hedge.hedging.after().is_some()
    };
    while !is_known() {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    let hedged = |outcome: &str| -> u64 {
        let report = proxy.report();
        let readings = report.picks.iter();
        readings
            .map(|reading| reading.count(Metric::UpstreamHedges, outcome))
            .sum()
    };
    let before = hedged("won") + hedged("lost");
    let slow = |latency: &str| {
        for (backend, label) in backends.iter().zip(["a", "b"]) {
            backend.change(Backend::labelled(label).latency(latency));
        }
    };
    slow("1s");
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    assert_eq!(hedged("won") + hedged("lost"), before);
    assert!(hedged("no_endpoint") > 0);
    is_empty(&proxy).await;
    proxy.reload(&yaml(2)).await.unwrap();
    eventually(DEADLINE, || state.limit() == 2).await;
    // Neither is answered, so that both can be seen.
    slow("1h");
    let asked = tokio::spawn(async move { client.try_get("/").await.is_ok() });
    eventually(DEADLINE, || state.in_flight() == 2).await;
    asked.abort();
    is_empty(&proxy).await;
}

#[tokio::test]
async fn a_reload_moves_the_limit_and_loses_nobody() {
    let backend = Backend::start("a");
    let yaml = |keys: &str| {
        let upstream = format!("bulkhead: {{ queue_timeout: 15s, order: fifo, {keys} }}");
        config(&[backend.endpoint()], "", "", &upstream)
    };
    let proxy = Proxy::start(&yaml("max_in_flight: 1")).await;
    let state = bulkhead(&proxy);
    let held = hold(&proxy, &state, 1).await;
    let asked = get(proxy.address(), "/");
    waiting(&state, 1).await;
    proxy.reload(&yaml("max_in_flight: 2")).await.unwrap();
    assert_eq!(answer(asked).await.status, StatusCode::OK);
    assert!(Arc::ptr_eq(&state, &bulkhead(&proxy)));
    proxy.reload(&yaml("max_in_flight: 1")).await.unwrap();
    eventually(DEADLINE, || state.limit() == 1).await;
    let asked = get(proxy.address(), "/");
    waiting(&state, 1).await;
    drop(held);
    assert_eq!(answer(asked).await.status, StatusCode::OK);
    is_empty(&proxy).await;
}

#[tokio::test]
async fn it_can_be_off() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&config(&[backend.endpoint()], "", "", "bulkhead: off")).await;
    assert_eq!(Client::h1(proxy.address()).await.get("/").await.status, 200);
    let status = plimsoll::admin::status::read(proxy.live());
    assert!(status.upstreams[0].bulkhead.is_none());
}

#[tokio::test]
async fn status_and_metrics_tell_how_it_stands() {
    let backend = Backend::start("a");
    let keys = "max_in_flight: 2, queue: 3, queue_timeout: 15s";
    let upstream = format!("bulkhead: {{ {keys} }}");
    let yaml = config(&[backend.endpoint()], "", "priority: high", &upstream)
        + "admin: { address: \"127.0.0.1:0\" }\n";
    let proxy = Proxy::start(&yaml).await;
    let state = bulkhead(&proxy);
    let mut held = hold(&proxy, &state, 2).await;
    for place in 1..=3 {
        held.push(hang(proxy.address()).await);
        waiting(&state, place).await;
    }
    answer(get(proxy.address(), "/")).await;
    let told = status(&proxy).await;
    assert_eq!((told.limit, told.in_flight, told.remaining), (2, 2, 0));
    assert_eq!((told.queue.capacity, told.queue.waited), (3, 3));
    assert_eq!(told.queue.waiting["high"], 3);
    assert_eq!(told.refused["queue_full"], 1);
    assert!(told.queue.oldest_seconds.is_some() && told.adaptive.is_none());
    eventually(DEADLINE, || {
        state.standing(proxy.live().clock.now()).is_newest_first
    })
    .await;
    assert_eq!(status(&proxy).await.queue.order, "lifo");
    let text = Client::h1(proxy.admin()).await.get("/metrics").await;
    for sample in [
        "plimsoll_bulkhead_in_flight{upstream=\"pool\"} 2\n",
        "plimsoll_bulkhead_limit{upstream=\"pool\"} 2\n",
        "plimsoll_bulkhead_remaining{upstream=\"pool\"} 0\n",
        "plimsoll_bulkhead_waiting{upstream=\"pool\",priority=\"high\"} 3\n",
        "plimsoll_bulkhead_waited_total{upstream=\"pool\"} 3\n",
        "plimsoll_bulkhead_refused_total{upstream=\"pool\",reason=\"queue_full\"} 1\n",
    ] {
        assert!(text.text().contains(sample), "{sample}{}", text.text());
    }
    // It is told once that it came to its bound.
    eventually(DEADLINE, || {
        let (events, _) = proxy.live().events.after(0);
        let mut events = events.iter().map(ToString::to_string);
        events.any(|event| {
            event.starts_with("bulkhead: upstream pool is at its bound: 2 in flight of 2")
        })
    })
    .await;
}

/// Far from what it may have in flight it stays what it was, and says what it goes by.
#[tokio::test]
async fn an_adaptive_limit_tells_what_it_goes_by() {
    for algorithm in ["gradient2", "vegas"] {
        let backend = Backend::labelled("a").latency("2ms").start();
        let keys = format!("adaptive: {{ algorithm: {algorithm}, min: 5, initial: 30 }}");
        let proxy = start(&[&backend], &keys).await;
        let mut client = Client::h1(proxy.address()).await;
        assert_eq!(bulkhead(&proxy).limit(), 30);
        while status(&proxy)
            .await
            .adaptive
            .is_none_or(|told| told.windows < 3)
        {
            assert_eq!(client.get("/").await.status, StatusCode::OK);
        }
        let told = status(&proxy).await;
        let adaptive = told.adaptive.unwrap();
        assert_eq!((told.limit, adaptive.min, adaptive.max), (30, 5, 1024));
        assert!(adaptive.latency_seconds.unwrap() >= 0.002, "{adaptive:?}");
        assert!(adaptive.baseline_seconds.unwrap() >= 0.002, "{adaptive:?}");
        assert_eq!(adaptive.gradient.is_some(), algorithm == "gradient2");
        assert_eq!(adaptive.queued_upstream.is_some(), algorithm == "vegas");
    }
}

/// Two at a time is what the backend can do; of fifty clients most would queue in it.
#[tokio::test]
async fn an_adaptive_limit_falls_to_what_the_upstream_can_do() {
    let backend = Backend::labelled("a").latency("5ms").slots(2).start();
    let keys = "queue: 1000, queue_timeout: 15s, order: fifo, \
                adaptive: { algorithm: vegas, min: 1, initial: 60 }";
    let proxy = start(&[&backend], keys).await;
    let address = proxy.address();
    // What an answer takes where nothing queues.
    let mut client = Client::h1(address).await;
    while status(&proxy)
        .await
        .adaptive
        .is_none_or(|told| told.windows < 1)
    {
        client.get("/").await;
    }
    let clients: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::h1(address).await;
                loop {
                    client.get("/").await;
                }
            })
        })
        .collect();
    let state = bulkhead(&proxy);
    eventually(DEADLINE, || state.limit() < 50 && state.waiting() > 0).await;
    clients.into_iter().for_each(|client| client.abort());
}
