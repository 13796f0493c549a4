//! Breakers on real sockets: when they open, what an open one costs, how it finds out that it may close, and what never
//! opens one.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use plimsoll::admin::status::Status;
use plimsoll::observe::event::Kind;
use plimsoll::upstream::Upstream;
use plimsoll::upstream::breaker::{Phase, Switch};
use tokio::task::JoinSet;

use crate::harness::{
    Answer, Backend, Client, Closed, DEADLINE, Proxy, Raw, Scripted, Step, eventually, plain,
    within,
};

/// One route and one upstream on so many workers; `upstream` adds keys.
fn yaml(workers: usize, endpoints: &[String], upstream: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("{one:?}")).collect();
    format!(
        "workers: {workers}\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ name: all, upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{}], {upstream} }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        endpoints.join(", ")
    )
}

async fn start(endpoints: &[String], upstream: &str) -> Proxy {
    Proxy::start(&yaml(1, endpoints, upstream)).await
}

fn upstream(proxy: &Proxy) -> Arc<Upstream> {
    Arc::clone(&proxy.live().snapshot.load().upstreams[0])
}

/// The breaker of an endpoint.
fn breaker(proxy: &Proxy, endpoint: usize) -> Arc<Switch> {
    Arc::clone(&upstream(proxy).endpoints[endpoint].breaker)
}

async fn comes_to(proxy: &Proxy, endpoint: usize, phase: Phase) {
    eventually(DEADLINE, || breaker(proxy, endpoint).phase() == phase).await;
}

/// What was noted of breakers.
fn events(proxy: &Proxy) -> Vec<String> {
    let (events, _) = proxy.live().events.after(0);
    let of_breakers = events.iter().filter(|event| event.kind == Kind::Breaker);
    of_breakers.map(ToString::to_string).collect()
}

async fn ask(client: &mut Client, path: &str, times: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(client.get(path).await);
    }
    answers
}

fn count(answers: &[Answer], status: u16) -> usize {
    let same = answers.iter().filter(|a| a.status.as_u16() == status);
    same.count()
}

const NEVER: &str = "breaker: { open_for: 1h, open_for_max: 1h }";
const SOON: &str = "breaker: { open_for: 10ms, ramp: off }";

#[tokio::test]
async fn opens_after_five_failures_and_asks_nothing_of_the_endpoint_then() {
    for (path, status, cause) in [
        ("/status/503", 503, "status_503"),
        ("/status/502", 502, "status_502"),
        ("/gone", 502, "connection_closed"),
    ] {
        let backend = Backend::start("a");
        let proxy = start(&[backend.endpoint()], NEVER).await;
        let mut client = Client::h1(proxy.address()).await;
        let answers = ask(&mut client, path, 5).await;
        assert_eq!(count(&answers, status), 5);
        let accepted = backend.counters().accepted();
        for answer in ask(&mut client, "/", 20).await {
            answer.assert_told(503, "destination_unavailable", "all_open");
            assert!(answer.text().contains("1 breaker_open"), "{answer:?}");
        }
        assert_eq!(backend.counters().accepted(), accepted);
        assert_eq!(backend.counters().requests(), 5);
        let [event] = &events(&proxy)[..] else {
            panic!("one event: {:?}", events(&proxy))
        };
        let told = format!(
            "breaker: upstream pool, endpoint {} opened: 5 failures in a row, the last {cause}; next probe in ",
            backend.endpoint()
        );
        assert!(event.starts_with(&told), "{event}");
    }
}

#[tokio::test]
async fn a_refused_connection_and_a_timeout_are_failures() {
    let closed = Closed::new();
    let proxy = start(&[closed.endpoint()], NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 7).await;
    assert_eq!((count(&answers, 502), count(&answers, 503)), (5, 2));

    let backend = Backend::start("a");
    let upstream = format!("timeouts: {{ first_byte: 30ms }}, {NEVER}");
    let proxy = start(&[backend.endpoint()], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/hang", 7).await;
    assert_eq!((count(&answers, 504), count(&answers, 503)), (5, 2));
    // All that a request had went here.
    let upstream = format!("timeouts: {{ total: 30ms }}, {NEVER}");
    let proxy = start(&[backend.endpoint()], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/hang", 7).await;
    assert_eq!((count(&answers, 504), count(&answers, 503)), (5, 2));
}

/// Each head says that all is well. What follows does not come.
#[tokio::test]
async fn answers_that_are_cut_off_are_failures() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let scripted = Scripted::start(vec![answer]).await;
    let proxy = start(&[scripted.address().to_string()], NEVER).await;
    for _ in 0..5 {
        let mut client = Client::h1(proxy.address()).await;
        assert!(client.try_get("/").await.is_err());
    }
    comes_to(&proxy, 0, Phase::Open).await;
    assert_eq!(scripted.heads().len(), 5);
}

#[tokio::test]
async fn posts_count_like_any_request() {
    let backend = Backend::labelled("a").status("503:1").start();
    let proxy = start(&[backend.endpoint()], NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..5 {
        client.post("/", "body").await;
    }
    let answer = client.post("/", "body").await;
    answer.assert_told(503, "destination_unavailable", "all_open");
    assert_eq!(backend.counters().requests(), 5);
}

#[tokio::test]
async fn what_says_nothing_of_the_endpoint_does_not_open_it() {
    let backend = Backend::start("a");
    let proxy = start(&[backend.endpoint()], NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    for status in [429, 500, 501, 404, 304] {
        let answers = ask(&mut client, &format!("/status/{status}"), 10).await;
        assert_eq!(count(&answers, status), 10);
    }
    // Clients that leave.
    for _ in 0..10 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let before = backend.counters().requests();
        eventually(DEADLINE, || {
            backend.counters().in_flight() > 0 && backend.counters().requests() >= before
        })
        .await;
        drop(raw);
        eventually(DEADLINE, || {
            upstream(&proxy).endpoints[0].signals.in_flight.load() == 0
        })
        .await;
    }
    // Bodies that are no bodies, and ones cut short.
    for _ in 0..10 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("POST /checksum HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
            .await;
        assert_eq!(raw.response().await.status(), 400);
    }
    // Connections that died while they were idle.
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
        backend.cut_connections();
    }
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
    assert_eq!(events(&proxy), Vec::<String>::new());
}

#[tokio::test]
async fn our_own_caps_do_not_count() {
    let backend = Backend::start("a");
    let upstream = format!("connections: {{ max: 1, idle: 1 }}, {NEVER}");
    let proxy = start(&[backend.endpoint()], &upstream).await;
    let mut holder = Raw::connect(proxy.address()).await;
    holder.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let mut client = Client::h1(proxy.address()).await;
    for answer in ask(&mut client, "/", 10).await {
        answer.assert_told(503, "connection_limit_reached", "endpoints_full");
    }
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
}

#[tokio::test]
async fn an_error_of_the_application_counts_by_option() {
    let backend = Backend::start("a");
    let keys =
        "breaker: { count_500: true, consecutive_failures: 2, open_for: 1m, open_for_max: 1m }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/status/500", 4).await;
    assert_eq!((count(&answers, 500), count(&answers, 503)), (2, 2));
}

#[tokio::test]
async fn the_others_serve_on() {
    let broken = Backend::labelled("a").status("503:1").start();
    let well = Backend::start("b");
    let upstream = format!("balance: round_robin, failure_penalty: off, {NEVER}");
    let proxy = start(&[broken.endpoint(), well.endpoint()], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 100).await;
    assert_eq!((count(&answers, 503), count(&answers, 200)), (5, 95));
}

#[tokio::test]
async fn half_open_lets_so_many_probes_through_on_all_workers_together() {
    let backend = Backend::labelled("a").status("503:1").start();
    let keys = "breaker: { open_for: 10ms, probes: 3, ramp: off }";
    let proxy = Proxy::start(&yaml(2, &[backend.endpoint()], keys)).await;
    ask(&mut Client::h1(proxy.address()).await, "/", 5).await;
    backend.change(Backend::labelled("a"));
    comes_to(&proxy, 0, Phase::HalfOpen).await;
    let before = backend.counters().requests();
    let mut hanging = JoinSet::new();
    for _ in 0..40 {
        let address = proxy.address();
        hanging.spawn(async move { Client::h1(address).await.get("/hang").await });
    }
    // All but the probes are told at once.
    for _ in 0..37 {
        let answer = within(hanging.join_next()).await.unwrap().unwrap();
        answer.assert_told(503, "destination_unavailable", "all_open");
    }
    eventually(DEADLINE, || backend.counters().in_flight() == 3).await;
    assert_eq!(backend.counters().requests() - before, 3);
    assert!(breaker(&proxy, 0).is_taken());
    // The clients of the probes leave: nothing is decided, and others find out.
    hanging.abort_all();
    eventually(DEADLINE, || !breaker(&proxy, 0).is_taken()).await;
    assert_eq!(breaker(&proxy, 0).phase(), Phase::HalfOpen);
    let answers = ask(&mut Client::h1(proxy.address()).await, "/", 10).await;
    assert_eq!(count(&answers, 200), 10);
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    let told = events(&proxy);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains("is half-open: 3 probes at a time"));
    assert!(told[2].contains("closed: its probes succeeded"));
}

#[tokio::test]
async fn a_probe_that_fails_opens_it_again_for_longer() {
    let backend = Backend::labelled("a").status("503:1").start();
    let keys = "breaker: { open_for: 10ms, open_for_max: 1h, jitter: 0%, ramp: off }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/", 5).await;
    for probe in 1..4 {
        comes_to(&proxy, 0, Phase::HalfOpen).await;
        assert_eq!(client.get("/").await.backend(), Some("a"));
        assert_eq!(backend.counters().requests(), 5 + probe);
    }
    let told = events(&proxy);
    let opened: Vec<&String> = told.iter().filter(|t| t.contains("opened")).collect();
    for (told, span) in opened.iter().zip(["10 ms", "20 ms", "40 ms", "80 ms"]) {
        assert!(told.ends_with(&format!("next probe in {span}")), "{told}");
    }
    assert!(opened[1].contains("a probe failed, status_503"));
}

/// A connection that died while it was idle says nothing. The replay goes in its place, as the same probe.
#[tokio::test]
async fn a_probe_on_a_dead_connection_is_replayed_as_a_probe() {
    let backend = Backend::start("a");
    let proxy = start(&[backend.endpoint()], SOON).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 5).await;
    comes_to(&proxy, 0, Phase::HalfOpen).await;
    backend.cut_connections();
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    comes_to(&proxy, 0, Phase::Closed).await;
    assert!(!breaker(&proxy, 0).is_taken());
}

/// Of 200 requests in turn the one that has recovered gets `0.1 / 1.1` at the beginning of its ramp, 18; the bound is
/// more than six standard deviations away. Without a ramp it gets half.
#[tokio::test]
async fn its_share_grows_after_it_has_closed() {
    for (ramp, most) in [("1h", 44), ("off", 100)] {
        let broken = Backend::labelled("a").status("503:1").start();
        let well = Backend::start("b");
        let upstream = format!(
            "balance: round_robin, failure_penalty: off, breaker: {{ open_for: 10ms, ramp: {ramp} }}"
        );
        let proxy = start(&[broken.endpoint(), well.endpoint()], &upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        ask(&mut client, "/", 10).await;
        broken.change(Backend::labelled("a"));
        while breaker(&proxy, 0).changes()[Phase::Closed as usize] == 0 {
            client.get("/").await;
        }
        // The share is told by the tick.
        if ramp == "1h" {
            let endpoint = Arc::clone(&upstream_endpoint(&proxy, 0));
            eventually(DEADLINE, || endpoint.signals.charge().factor < 0.2).await;
        }
        let answers = ask(&mut client, "/", 200).await;
        let recovered = answers
            .iter()
            .filter(|answer| answer.backend() == Some("a"));
        let recovered = recovered.count();
        assert!((1..=most).contains(&recovered), "{ramp}: {recovered}");
        assert!(ramp == "1h" || recovered == 100, "{recovered}");
    }
}

fn upstream_endpoint(proxy: &Proxy, place: usize) -> Arc<plimsoll::upstream::endpoint::Endpoint> {
    Arc::clone(&upstream(proxy).endpoints[place])
}

#[tokio::test]
async fn a_rate_opens_it_within_a_tick() {
    let backend = Backend::start("a");
    let keys = "breaker: { consecutive_failures: off, failure_rate: 50%, min_samples: 10, open_for: 1h, open_for_max: 1h }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..4 {
        ask(&mut client, "/", 1).await;
        ask(&mut client, "/status/503", 1).await;
    }
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed, "8 samples of 10");
    ask(&mut client, "/", 1).await;
    ask(&mut client, "/status/503", 1).await;
    comes_to(&proxy, 0, Phase::Open).await;
    let told = events(&proxy);
    assert!(
        told[0].contains("opened: 5 of 10 attempts failed (50%)"),
        "{told:?}"
    );
}

#[tokio::test]
async fn slow_answers_open_it_where_they_count() {
    let backend = Backend::start("a");
    let keys = "breaker: { slow_call: 5ms, min_samples: 5, open_for: 1h, open_for_max: 1h }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/delay/20", 5).await;
    assert_eq!(count(&answers, 200), 5);
    comes_to(&proxy, 0, Phase::Open).await;
    assert!(events(&proxy)[0].contains("5 of 5 attempts were slow (100%)"));
}

#[tokio::test]
async fn its_state_survives_a_reload_and_other_rules_apply_to_it() {
    let backend = Backend::start("a");
    let endpoints = [backend.endpoint()];
    let proxy = start(&endpoints, NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 4).await;
    // The fifth in a row, though four came under another configuration.
    let other = format!("timeouts: {{ first_byte: 9s }}, {NEVER}");
    within(proxy.reload(&yaml(1, &endpoints, &other)))
        .await
        .unwrap();
    ask(&mut client, "/status/503", 1).await;
    within(proxy.reload(&yaml(1, &endpoints, NEVER)))
        .await
        .unwrap();
    let answer = client.get("/").await;
    answer.assert_told(503, "destination_unavailable", "all_open");
    assert_eq!(events(&proxy).len(), 1);
    // Off, it keeps nobody out, and says so.
    within(proxy.reload(&yaml(1, &endpoints, "breaker: off")))
        .await
        .unwrap();
    eventually(DEADLINE, || {
        events(&proxy).len() >= 1 && breaker(&proxy, 0).phase() == Phase::Closed
    })
    .await;
    eventually(DEADLINE, || {
        let now = upstream(&proxy);
        now.endpoints[0].out().is_none()
    })
    .await;
    let answers = ask(&mut client, "/status/503", 20).await;
    assert_eq!(
        answers.iter().filter(|a| a.backend() == Some("a")).count(),
        20
    );
}

#[tokio::test]
async fn an_endpoint_that_moves_begins_with_a_closed_one() {
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    let at = |backend: &Backend| {
        yaml(1, &[], NEVER).replace(
            "endpoints: []",
            &format!(
                "endpoints: [{{ id: a, address: {:?} }}]",
                backend.endpoint()
            ),
        )
    };
    let proxy = Proxy::start(&at(&old)).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 5).await;
    assert_eq!(count(&ask(&mut client, "/", 1).await, 503), 1);
    within(proxy.reload(&at(&new))).await.unwrap();
    eventually(DEADLINE, || breaker(&proxy, 0).phase() == Phase::Closed).await;
    // A worker may still be about to learn of it.
    within(async { while client.get("/").await.status != StatusCode::OK {} }).await;
    assert_eq!(client.get("/").await.backend(), Some("new"));
}

#[tokio::test]
async fn one_for_the_whole_upstream_refuses_before_anything_is_picked() {
    let backends = [
        Backend::labelled("a").status("503:1").start(),
        Backend::labelled("b").status("503:1").start(),
    ];
    let endpoints = backends.each_ref().map(Backend::endpoint);
    let keys = "balance: round_robin, breaker: { scope: upstream, open_for: 200ms, ramp: off }";
    let proxy = start(&endpoints, keys).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 5).await;
    assert!(answers.iter().all(|answer| answer.backend().is_some()));
    let answer = client.get("/").await;
    answer.assert_told(503, "destination_unavailable", "breaker_open");
    let both = || {
        backends
            .iter()
            .map(|b| b.counters().requests())
            .sum::<u64>()
    };
    assert_eq!(both(), 5, "neither has five of its own");
    assert!(events(&proxy)[0].starts_with("breaker: upstream pool opened: 5 failures in a row"));
    for backend in &backends {
        backend.change(Backend::labelled("well"));
    }
    let shared = upstream(&proxy);
    let shared = shared.breaker.as_ref().unwrap().shared.clone().unwrap();
    eventually(DEADLINE, || shared.phase() == Phase::HalfOpen).await;
    let answers = ask(&mut client, "/", 10).await;
    assert_eq!(count(&answers, 200), 10);
    assert_eq!(shared.phase(), Phase::Closed);
}

#[tokio::test]
async fn one_of_a_route_leaves_other_routes_alone_and_survives_a_reload() {
    let backend = Backend::start("a");
    let yaml = |more: &str| {
        format!(
            "workers: 1\n\
             listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes:\n\
             \x20 - {{ name: fragile, match: {{ path: /status }}, upstream: pool, breaker: {{ consecutive_failures: 3, open_for: 1h, open_for_max: 1h }} }}\n\
             \x20 - {{ name: rest, upstream: pool }}\n\
             upstreams: {{ pool: {{ endpoints: [{:?}], {more} }} }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n",
            backend.endpoint()
        )
    };
    let proxy = Proxy::start(&yaml("")).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 3).await;
    let refused = |answer: Answer| {
        answer.assert_told(503, "destination_unavailable", "breaker_open");
    };
    refused(client.get("/status/200").await);
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    assert_eq!(backend.counters().requests(), 4);
    let told = events(&proxy);
    assert!(
        told[0].starts_with("breaker: route fragile opened: 3 failures in a row"),
        "{told:?}"
    );
    within(proxy.reload(&yaml("timeouts: { first_byte: 9s }")))
        .await
        .unwrap();
    refused(client.get("/status/200").await);
    let status = status(&proxy).await;
    let states: Vec<Option<&str>> = status
        .routes
        .iter()
        .map(|route| route.breaker.as_ref().map(|b| b.state.as_str()))
        .collect();
    assert_eq!(states, [Some("open"), None]);
    let metrics = Client::h1(proxy.admin()).await.get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("plimsoll_route_breaker_state{route=\"fragile\"} 2")
    );
}

async fn status(proxy: &Proxy) -> Status {
    let answer = Client::h1(proxy.admin()).await.get("/api/v1/status").await;
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn how_it_stands_and_why_can_be_seen() {
    let backend = Backend::start("a");
    let proxy = Proxy::start(&plain(&[backend.endpoint()])).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/", 2).await;
    ask(&mut client, "/status/503", 3).await;
    eventually(DEADLINE, || {
        breaker(&proxy, 0)
            .facts(proxy.live().clock.now())
            .window
            .ended
            == 5
    })
    .await;
    let seen = status(&proxy).await.upstreams[0].endpoints[0]
        .breaker
        .clone()
        .unwrap();
    assert_eq!((seen.state.as_str(), seen.failures_in_row), ("closed", 3));
    assert_eq!((seen.window.attempts, seen.window.failed), (5, 3));
    assert_eq!((seen.reason, seen.next_probe_seconds), (None, None));
    within(proxy.reload(
        &plain(&[backend.endpoint()]).replace("endpoints:", &format!("{NEVER}, endpoints:")),
    ))
    .await
    .unwrap();
    ask(&mut client, "/status/503", 2).await;
    let seen = status(&proxy).await.upstreams[0].endpoints[0].clone();
    assert_eq!(seen.out.as_deref(), Some("breaker_open"));
    let seen = seen.breaker.unwrap();
    assert_eq!((seen.state.as_str(), seen.opened_total), ("open", 1));
    assert_eq!(
        seen.reason.as_deref(),
        Some("5 failures in a row, the last status_503")
    );
    assert!(seen.next_probe_seconds.unwrap() > Duration::from_secs(60).as_secs_f64());
    let metrics = Client::h1(proxy.admin()).await.get("/metrics").await;
    let of = format!("upstream=\"pool\",endpoint=\"{}\"", backend.endpoint());
    for line in [
        format!("plimsoll_breaker_state{{{of}}} 2"),
        format!("plimsoll_breaker_changes_total{{{of},to=\"open\"}} 1"),
    ] {
        assert!(metrics.text().contains(&line), "{line}");
    }
}

#[tokio::test]
async fn a_client_that_asks_for_a_tunnel_in_vain_does_not_open_it() {
    let refusal = Step::write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    );
    let scripted = Scripted::play(vec![vec![Step::ReadHead, refusal]]).await;
    let proxy = start(&[scripted.address().to_string()], NEVER).await;
    for _ in 0..10 {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
        assert_eq!(raw.response().await.status(), 502);
    }
    assert_eq!(breaker(&proxy, 0).in_row(), 0);
}
