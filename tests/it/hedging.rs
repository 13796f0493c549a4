//! A slow attempt is overtaken by another beside it, where that is harmless; the loser leaves no trace with the client.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use plimsoll::admin::status;
use plimsoll::attempt::hedge::Hedged;
use plimsoll::observe::Metric;
use plimsoll::upstream::breaker::Phase;

use crate::harness::{
    Answer, Backend, Client, DEADLINE, Outgoing, Planned, Proxy, config, eventually, within,
};

/// What answers usually take.
const USUAL: &str = "20ms";

/// A proxy that has seen what is usual of two endpoints.
struct Seen {
    proxy: Proxy,
    client: Client,
    /// With this key a request goes to the first of them, as long as nothing is held against it.
    key: String,
}

impl Seen {
    async fn of(backends: &[Backend; 2], upstream: &str) -> Self {
        let endpoints = backends.each_ref().map(Backend::endpoint);
        let upstream = format!(
            "balance: {{ consistent_hash: {{ key: {{ header: X-Key }}, bounded_load: off }} }}, hedge: {{ min_samples: 20 }}, {upstream}"
        );
        let proxy = Proxy::start(&config(&endpoints, "", "", &upstream)).await;
        let client = Client::h1(proxy.address()).await;
        let key = "k".to_owned();
        let mut seen = Self { proxy, client, key };
        while seen.ask(Method::GET, "/", "").await.backend() != Some("a") {
            seen.key.push('x');
        }
        within(async {
            while after(&seen.proxy).is_none() {
                seen.ask(Method::GET, "/", "").await;
            }
        })
        .await;
        seen
    }

    async fn ask(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("x-key", &self.key);
        let body = body.into();
        let body = if body.is_empty() {
            Outgoing::empty()
        } else {
            Outgoing::whole(body)
        };
        self.client.send(request.body(body).unwrap()).await
    }
}

fn backends() -> [Backend; 2] {
    ["a", "b"].map(|label| Backend::labelled(label).latency(USUAL).start())
}

fn after(proxy: &Proxy) -> Option<Duration> {
    let snapshot = proxy.live().snapshot.load();
    let hedge = snapshot.upstreams[0].hedge.as_ref().unwrap();
    hedge.hedging.after()
}

/// A backend that a hedge begins long before, however slow what is usual was on this machine.
fn slower(label: &str, proxy: &Proxy) -> Planned {
    let usual = after(proxy).unwrap_or_default();
    let latency = (3 * usual).max(Duration::from_millis(300));
    Backend::labelled(label).latency(&format!("{}ms", latency.as_millis()))
}

/// Those of hedges, and those of retries.
fn tokens(proxy: &Proxy) -> [f64; 2] {
    let snapshot = proxy.live().snapshot.load();
    let upstream = &snapshot.upstreams[0];
    let hedge = upstream.hedge.as_ref().unwrap();
    [
        hedge.hedging.fund.tokens(hedge.terms),
        upstream.retries.tokens(upstream.terms.unwrap()),
    ]
}

fn hedged(proxy: &Proxy, outcome: &str) -> u64 {
    let report = proxy.report();
    let readings = report.picks.iter();
    readings
        .map(|reading| reading.count(Metric::UpstreamHedges, outcome))
        .sum()
}

#[tokio::test]
async fn a_slow_answer_is_overtaken_and_its_attempt_ended() {
    let backends = backends();
    let mut seen = Seen::of(&backends, "").await;
    let usual = after(&seen.proxy).unwrap();
    assert!(usual >= Duration::from_millis(20), "{usual:?}");
    backends[0].change(Backend::labelled("a").latency("1h"));
    for _ in 0..4 {
        let answer = seen.ask(Method::GET, "/", "").await;
        assert_eq!(answer.backend(), Some("b"));
    }
    let proxy = &seen.proxy;
    let won = hedged(proxy, "won");
    assert!(won >= 4);
    // Those that had not come to an end were ended.
    eventually(DEADLINE, || backends[0].counters().in_flight() == 0).await;
    eventually(DEADLINE, || {
        proxy.endpoints(Metric::AttemptKinds, "hedge") >= won
    })
    .await;
    assert!(proxy.endpoints(Metric::Attempts, "cancelled") >= won);
    let failed = ["failed", "broken"].map(|outcome| proxy.endpoints(Metric::Attempts, outcome));
    assert_eq!(failed, [0, 0]);
    assert_eq!(proxy.routes(Metric::RequestOutcomes, "client_gone"), 0);
    let told = status::read(proxy.live()).upstreams[0]
        .hedges
        .clone()
        .unwrap();
    assert_eq!(told.lifetime["won"], hedged(proxy, "won"));
    let body: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8).collect();
    for _ in 0..4 {
        let answer = seen.ask(Method::PUT, "/echo", body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body == body);
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_does_not_hide_behind_its_hedges() {
    let backends = ["a", "b"].map(|label| Backend::labelled(label).latency("100ms").start());
    // The hedges begin after 100 ms at least, so that an attempt that they overtake took 250 ms, and they themselves 150.
    let breaker = "breaker: { consecutive_failures: off, failure_rate: off, slow_call: 200ms, slow_rate: 50%, min_samples: 10, open_for: 1h, open_for_max: 1h }";
    let mut seen = Seen::of(&backends, breaker).await;
    backends[0].change(Backend::labelled("a").latency("1h"));
    backends[1].change(Backend::labelled("b").latency("150ms"));
    let is_open = |proxy: &Proxy| {
        let snapshot = proxy.live().snapshot.load();
        snapshot.upstreams[0].endpoints[0].breaker.phase() == Phase::Open
    };
    within(async {
        while !is_open(&seen.proxy) {
            let answer = seen.ask(Method::GET, "/", "").await;
            assert_eq!(answer.backend(), Some("b"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_idempotent_runs_once() {
    let backends = backends();
    let mut seen = Seen::of(&backends, "").await;
    let slow = |label| Backend::labelled(label).latency("200ms");
    backends[0].change(slow("a"));
    backends[1].change(slow("b"));
    let requests = || {
        let counts = backends.iter().map(|one| one.counters().requests());
        counts.sum::<u64>()
    };
    let before = requests();
    for _ in 0..4 {
        let answer = seen.ask(Method::POST, "/", "body").await;
        assert_eq!(answer.backend(), Some("a"));
    }
    assert_eq!(requests() - before, 4);
}

#[tokio::test]
async fn the_first_attempt_may_still_win_or_a_hedge_fail() {
    for other in [
        Backend::labelled("b").latency("1h"),
        Backend::labelled("b").status("503:1"),
    ] {
        let backends = backends();
        let mut seen = Seen::of(&backends, "retry: { budget: off }").await;
        backends[1].change(other);
        for _ in 0..4 {
            backends[0].change(slower("a", &seen.proxy));
            let answer = seen.ask(Method::GET, "/", "").await;
            assert_eq!(answer.backend(), Some("a"));
        }
        let outcomes = Hedged::LABELS.map(|outcome| (outcome, hedged(&seen.proxy, outcome)));
        let lost = hedged(&seen.proxy, "lost");
        assert!(lost >= 4, "{outcomes:?} after {:?}", after(&seen.proxy));
        eventually(DEADLINE, || backends[1].counters().in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let backends = backends();
    let Seen { proxy, client, .. } = Seen::of(&backends, "").await;
    drop(client);
    for (backend, label) in backends.iter().zip(["a", "b"]) {
        backend.change(Backend::labelled(label).latency("1h"));
    }
    let address = proxy.address();
    let asking = tokio::spawn(async move { Client::h1(address).await.try_get("/").await.is_ok() });
    let in_flight = |count| {
        backends
            .iter()
            .all(|one| one.counters().in_flight() == count)
    };
    eventually(DEADLINE, || in_flight(1)).await;
    asking.abort();
    eventually(DEADLINE, || in_flight(0)).await;
    let gone = || proxy.routes(Metric::RequestOutcomes, "client_gone");
    eventually(DEADLINE, || gone() == 1).await;
}

#[tokio::test]
async fn a_hedge_takes_a_place_of_its_own_and_waits_for_none() {
    let backends = backends();
    let mut seen = Seen::of(&backends, "bulkhead: { max_in_flight: 1 }").await;
    backends[0].change(slower("a", &seen.proxy));
    let before = backends[1].counters().requests();
    let in_hand = tokens(&seen.proxy);
    assert!(in_hand.iter().all(|tokens| *tokens >= 1.0));
    let answer = seen.ask(Method::GET, "/", "").await;
    assert_eq!(answer.backend(), Some("a"));
    assert!(hedged(&seen.proxy, "no_endpoint") >= 1);
    // What was not made costs nothing.
    let left = tokens(&seen.proxy);
    assert!(left[0] >= in_hand[0] && left[1] >= in_hand[1], "{left:?}");
    assert_eq!(backends[1].counters().requests(), before);
}
