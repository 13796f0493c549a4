//! Which endpoints a policy may pick among: priorities, backups, zones, subsets, a random few, and what happens when too few
//! are healthy.

use hyper::{Method, Request};
use plimsoll::observe::Metric;

use super::{Pool, Tally, ask, endpoint, hang, hold, of, picks, reached, reload, start, yaml};
use crate::harness::{Answer, Client, Closed, DEADLINE, Outgoing, Proxy, eventually, request};

const TURNS: &str = "balance: round_robin";

async fn tiers() -> (Pool, Proxy) {
    let pool = Pool::start(6);
    let second = "priority: 1";
    let written = pool.written(&["", "", "", "", second, second]);
    let proxy = Proxy::start(&yaml(&written, TURNS)).await;
    (pool, proxy)
}

/// Answers of the second tier among so many.
async fn spilled(client: &mut Client, requests: usize) -> usize {
    let tally = ask(client, requests).await;
    of(&tally, "e") + of(&tally, "f")
}

/// With half of the first tier out its health is `1.4 × 0.5 = 0.7`, and the rest goes on. The bound is six standard
/// deviations of the binomial count, which one run in 500 million leaves.
#[tokio::test]
async fn a_second_tier_gets_what_the_first_cannot_bear() {
    let (_pool, proxy) = tiers().await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(spilled(&mut client, 60).await, 0);
    hold(&proxy, &["a"], true);
    // 1.4 × 0.75 is more than it needs.
    assert_eq!(spilled(&mut client, 60).await, 0);
    hold(&proxy, &["b"], true);
    let second = spilled(&mut client, 600).await;
    assert!(second.abs_diff(180) < 68, "{second}");
    hold(&proxy, &["c", "d"], true);
    assert_eq!(spilled(&mut client, 60).await, 60);
    hold(&proxy, &["a", "b", "c", "d"], false);
    assert_eq!(spilled(&mut client, 60).await, 0);
}

#[tokio::test]
async fn backups_serve_when_all_others_are_out_or_full() {
    let pool = Pool::start(4);
    let written = pool.written(&["", "", "backup: true", "backup: true, priority: 1"]);
    let upstream = format!("{TURNS}, connections: {{ max: 1 }}");
    let proxy = Proxy::start(&yaml(&written, &upstream)).await;
    let mut client = Client::h1(proxy.address()).await;
    let labels = |tally: &Tally| tally.keys().cloned().collect::<String>();
    assert_eq!(labels(&ask(&mut client, 20).await), "ab");
    hold(&proxy, &["a"], true);
    assert_eq!(labels(&ask(&mut client, 20).await), "b");
    hold(&proxy, &["b"], true);
    assert_eq!(labels(&ask(&mut client, 20).await), "c");
    hold(&proxy, &["c"], true);
    assert_eq!(labels(&ask(&mut client, 20).await), "d");
    hold(&proxy, &["a", "b", "c"], false);
    assert_eq!(labels(&ask(&mut client, 20).await), "ab");
    // Full: the picks go on to the next group.
    let mut held = Vec::new();
    for (count, next) in [(1, None), (2, Some("c")), (3, Some("d"))] {
        held.push(hang(proxy.address(), "").await);
        pool.holds(count).await;
        if let Some(next) = next {
            assert_eq!(labels(&ask(&mut client, 5).await), next);
        }
    }
    assert!(picks(&proxy, "other_group") >= 10);
    held.push(hang(proxy.address(), "").await);
    pool.holds(4).await;
    client
        .get("/")
        .await
        .assert_told(503, "connection_limit_reached", "endpoints_full");
}

#[tokio::test]
async fn endpoints_of_the_own_zone_come_first() {
    let pool = Pool::start(4);
    let written = pool.written(&["zone: here", "zone: here", "zone: there", ""]);
    let local = format!("zone: here\n{}", yaml(&written, TURNS));
    let proxy = Proxy::start(&local).await;
    let mut client = Client::h1(proxy.address()).await;
    let tally = ask(&mut client, 40).await;
    assert_eq!((of(&tally, "a"), of(&tally, "b")), (20, 20));
    // Half of the zone is out: it keeps 70 % (the same rule and bound as for tiers).
    hold(&proxy, &["a"], true);
    let tally = ask(&mut client, 400).await;
    assert!(of(&tally, "b").abs_diff(280) < 56, "{tally:?}");
    hold(&proxy, &["b"], true);
    let tally = ask(&mut client, 40).await;
    assert_eq!((of(&tally, "c"), of(&tally, "d")), (20, 20));
    hold(&proxy, &["a", "b"], false);
    let tally = ask(&mut client, 40).await;
    assert_eq!((of(&tally, "a"), of(&tally, "b")), (20, 20));
    // A proxy without a zone prefers none.
    let proxy = Proxy::start(&yaml(&written, TURNS)).await;
    let tally = ask(&mut Client::h1(proxy.address()).await, 40).await;
    assert!(tally.values().all(|count| *count == 10), "{tally:?}");
}

async fn versions(otherwise: &str) -> (Pool, Proxy) {
    let pool = Pool::start(4);
    let one = "metadata: { version: one }";
    let two = "metadata: { version: two }";
    let written = pool.written(&[one, one, two]);
    let upstream = format!(
        "{TURNS}, subset: {{ metadata: version, header: X-Version, otherwise: {otherwise} }}"
    );
    let yaml = yaml(&written, &upstream).replacen(
        "routes: [ ",
        "routes: [ { match: { path: /two }, upstream: pool, subset: two }, \
                   { match: { path: /nine }, upstream: pool, subset: nine }, ",
        1,
    );
    (pool, Proxy::start(&yaml).await)
}

async fn version(client: &mut Client, path: &str, version: &str) -> Answer {
    let request = Request::get(path).header("x-version", version);
    client.send(request.body(Outgoing::empty()).unwrap()).await
}

#[tokio::test]
async fn a_subset_is_asked_for_by_the_route_or_else_by_the_request() {
    for otherwise in ["any", "none"] {
        let (_pool, proxy) = versions(otherwise).await;
        for is_h2 in [false, true] {
            let mut client = match is_h2 {
                false => Client::h1(proxy.address()).await,
                true => Client::h2(proxy.address()).await,
            };
            let mut seen = String::new();
            for _ in 0..8 {
                let one = version(&mut client, "/", "one").await;
                assert!(matches!(one.backend(), Some("a" | "b")));
                assert_eq!(version(&mut client, "/", "two").await.backend(), Some("c"));
                // The route's word comes first, and counts without another.
                assert_eq!(
                    version(&mut client, "/two", "one").await.backend(),
                    Some("c")
                );
                assert_eq!(client.get("/two").await.backend(), Some("c"));
                seen += client.get("/").await.backend().unwrap();
            }
            assert!("abcd".chars().all(|label| seen.contains(label)), "{seen}");
            for (path, value) in [("/", "nine"), ("/", ""), ("/nine", "one")] {
                let answer = version(&mut client, path, value).await;
                if otherwise == "any" {
                    assert!(answer.backend().is_some());
                } else {
                    answer.assert_told(503, "destination_unavailable", "no_subset");
                    let told = "no endpoint has the metadata asked for (no_subset)\n";
                    assert!(answer.text().starts_with(told), "{answer:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_subset_that_is_out_says_so_and_borrows_from_no_other() {
    let (_pool, proxy) = versions("any").await;
    hold(&proxy, &["c"], true);
    let mut client = Client::h1(proxy.address()).await;
    let answer = version(&mut client, "/", "two").await;
    answer.assert_told(503, "destination_unavailable", "no_endpoint");
    let told = "no endpoint is eligible: 1 unhealthy (no_endpoint)\n";
    assert!(answer.text().starts_with(told), "{answer:?}");
    assert!(version(&mut client, "/", "one").await.backend().is_some());
}

/// Room for a request is made where it may go, and nowhere else.
#[tokio::test]
async fn a_full_subset_closes_no_connections_of_another() {
    let pool = Pool::start(2);
    let written = pool.written(&["metadata: { v: x }", "metadata: { v: y }"]);
    let upstream = "subset: { metadata: v, header: X-V }, connections: { max: 1 }";
    let yaml = yaml(&written, upstream).replacen("workers: 1", "workers: 2", 1);
    let proxy = Proxy::start(&yaml).await;
    // Connections find their workers by chance: until both workers have served one.
    let mut others = Vec::new();
    let served = |worker: usize| {
        let mailbox = &proxy.live().mailboxes[worker];
        mailbox
            .connections
            .load(std::sync::atomic::Ordering::Relaxed)
            > 0
    };
    while !(served(0) && served(1)) {
        others.push(Client::h1(proxy.address()).await);
        eventually(DEADLINE, || proxy.live().connections() == others.len()).await;
    }
    let asking = |value: &str| {
        let request = Request::get("/").header("x-v", value);
        request.body(Outgoing::empty()).unwrap()
    };
    let _held = hang(proxy.address(), "X-V: x\r\n").await;
    pool.holds(1).await;
    // One worker keeps an idle connection to the other endpoint.
    assert_eq!(others[0].send(asking("y")).await.backend(), Some("b"));
    let open = pool.backends[1].counters().accepted();
    for client in &mut others {
        let answer = client.send(asking("x")).await;
        answer.assert_told(503, "connection_limit_reached", "endpoints_full");
    }
    assert_eq!(others[0].send(asking("y")).await.backend(), Some("b"));
    assert_eq!(pool.backends[1].counters().accepted(), open);
}

#[tokio::test]
async fn a_random_subset_uses_so_many_endpoints_and_the_same_after_a_reload() {
    let pool = Pool::start(6);
    let upstream = format!("{TURNS}, random_subset: 2");
    let proxy = start(&pool, &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let before = ask(&mut client, 40).await;
    assert!(
        before.len() == 2 && before.values().all(|count| *count == 20),
        "{before:?}"
    );
    let generation = proxy.live().snapshot.load().generation;
    let same = yaml(
        &pool.written(&[]),
        &format!("{upstream}, timeouts: {{ connect: 5s }}"),
    );
    reload(&proxy, &same).await;
    assert!(proxy.live().snapshot.load().generation > generation);
    assert_eq!(ask(&mut client, 40).await, before);
    // Of two that are out, no other takes the place: that is for the panic rule, or an operator.
    let used: Vec<&str> = before.keys().map(String::as_str).collect();
    hold(&proxy, &used, true);
    let answer = client.get("/").await;
    let told = "no endpoint is eligible: 2 unhealthy (no_endpoint)\n";
    assert!(answer.text().starts_with(told), "{answer:?}");
}

#[tokio::test]
async fn a_panic_that_fails_open_uses_all_and_is_counted() {
    let pool = Pool::start(3);
    let proxy = start(&pool, &format!("{TURNS}, panic: {{ threshold: 50% }}")).await;
    let mut client = Client::h1(proxy.address()).await;
    hold(&proxy, &["a"], true);
    let tally = ask(&mut client, 30).await;
    assert_eq!(
        (tally.len(), picks(&proxy, "panic")),
        (2, 0),
        "two of three are enough"
    );
    hold(&proxy, &["b"], true);
    let tally = ask(&mut client, 30).await;
    assert_eq!(tally.len(), 3, "{tally:?}");
    eventually(DEADLINE, || picks(&proxy, "panic") == 30).await;
    hold(&proxy, &["c"], true);
    assert_eq!(ask(&mut client, 30).await.len(), 3);
    hold(&proxy, &["a", "b", "c"], false);
    assert_eq!(ask(&mut client, 30).await.len(), 3);
    assert_eq!(picks(&proxy, "panic"), 60);
}

/// It does not say that it fails closed when it is merely full, or when nobody listens.
#[tokio::test]
async fn a_panic_that_fails_open_says_what_is_wrong() {
    let pool = Pool::start(2);
    let upstream = format!("{TURNS}, panic: {{}}, connections: {{ max: 1 }}");
    let proxy = start(&pool, &upstream).await;
    hold(&proxy, &["a", "b"], true);
    let _first = hang(proxy.address(), "").await;
    pool.holds(1).await;
    let _second = hang(proxy.address(), "").await;
    pool.holds(2).await;
    let mut client = Client::h1(proxy.address()).await;
    client
        .get("/")
        .await
        .assert_told(503, "connection_limit_reached", "endpoints_full");

    let closed = Closed::new();
    let endpoints = [endpoint("a", &closed.endpoint(), "")];
    let proxy = Proxy::start(&yaml(&endpoints, "panic: {}")).await;
    hold(&proxy, &["a"], true);
    let mut client = Client::h1(proxy.address()).await;
    client
        .get("/")
        .await
        .assert_told(502, "connection_refused", "connection_refused");
}

#[tokio::test]
async fn a_panic_that_fails_closed_refuses_and_says_why() {
    let pool = Pool::start(3);
    let upstream = format!("{TURNS}, panic: {{ threshold: 50%, rule: fail_closed }}");
    let proxy = start(&pool, &upstream).await;
    hold(&proxy, &["a", "b"], true);
    for is_h2 in [false, true] {
        let mut client = match is_h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let answer = client.get("/").await;
        answer.assert_told(503, "destination_unavailable", "panic");
        let told = "too few endpoints are healthy, and the upstream fails closed then: 2 unhealthy (panic)\n";
        assert!(answer.text().starts_with(told), "{answer:?}");
    }
    eventually(DEADLINE, || {
        proxy.routes(Metric::RequestErrors, "panic") == 2
    })
    .await;
    assert_eq!(picks(&proxy, "panic"), 0);
    hold(&proxy, &["b"], false);
    assert_eq!(
        ask(&mut Client::h1(proxy.address()).await, 20).await.len(),
        2
    );
}

#[tokio::test]
async fn without_a_panic_rule_nobody_who_is_out_is_asked() {
    let pool = Pool::start(2);
    let proxy = start(&pool, TURNS).await;
    let mut client = Client::h1(proxy.address()).await;
    hold(&proxy, &["a"], true);
    assert_eq!(of(&ask(&mut client, 20).await, "b"), 20);
    hold(&proxy, &["b"], true);
    let answer = client.get("/").await;
    answer.assert_told(503, "destination_unavailable", "no_endpoint");
    let told = "no endpoint is eligible: 2 unhealthy (no_endpoint)\n";
    assert!(answer.text().starts_with(told), "{answer:?}");
    let json = Request::get("/").header("accept", "application/json");
    let json = client
        .send(json.body(Outgoing::empty()).unwrap())
        .await
        .json();
    assert_eq!(json["error"], "no_endpoint");
    assert_eq!(json["message"], "no endpoint is eligible: 2 unhealthy");
    let head = client
        .send(request(Method::HEAD, "/", Outgoing::empty()))
        .await;
    assert_eq!(head.status, 503);
    eventually(DEADLINE, || {
        proxy.routes(Metric::RequestErrors, "no_endpoint") == 3
    })
    .await;
    let seen = pool.backends[0].counters().requests();
    assert_eq!(reached(&proxy, "a").signals.in_flight.load(), 0);
    hold(&proxy, &["a"], false);
    assert_eq!(of(&ask(&mut client, 5).await, "a"), 5);
    assert_eq!(pool.backends[0].counters().requests(), seen + 5);
}

#[tokio::test]
async fn endpoints_that_all_drain_are_told_apart_from_those_that_are_unhealthy() {
    let pool = Pool::start(3);
    let draining = "draining: true";
    let written = pool.written(&[draining, draining]);
    let proxy = Proxy::start(&yaml(&written, TURNS)).await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(of(&ask(&mut client, 10).await, "c"), 10);
    hold(&proxy, &["c"], true);
    let answer = client.get("/").await;
    answer.assert_told(503, "destination_unavailable", "no_endpoint");
    let told = "no endpoint is eligible: 2 draining, 1 unhealthy (no_endpoint)\n";
    assert!(answer.text().starts_with(told), "{answer:?}");
    let written = pool.written(&[draining, draining, draining]);
    reload(&proxy, &yaml(&written, TURNS)).await;
    let told = "no endpoint is eligible: 3 draining (no_endpoint)\n";
    let answer = client.get("/").await;
    assert!(answer.text().starts_with(told), "{answer:?}");
}

#[tokio::test]
async fn a_key_keeps_its_tier_while_the_shares_stay() {
    let pool = Pool::start(4);
    let second = "priority: 1";
    let written = pool.written(&["", "", second, second]);
    let upstream = "balance: { consistent_hash: { key: path } }";
    let proxy = Proxy::start(&yaml(&written, upstream)).await;
    hold(&proxy, &["a"], true);
    let mut client = Client::h1(proxy.address()).await;
    let mut tally = Tally::new();
    for key in 0..60 {
        let path = format!("/k{key}");
        let first = client.get(&path).await;
        super::count(&mut tally, &first);
        for _ in 0..2 {
            assert_eq!(client.get(&path).await.backend(), first.backend());
        }
    }
    // 42 of 60 in the first tier on average; the keys are the same in every run.
    let second = of(&tally, "c") + of(&tally, "d");
    assert!((8..30).contains(&second), "{tally:?}");
}
