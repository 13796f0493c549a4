//! What is known of the endpoints outlives a reload that leaves them: what is in flight, how fast they are, whose turn it
//! is; and a request goes on under the configuration that it began with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Pool, Tally, ask, endpoint, hang, hold, of, reached, reload, start, yaml};
use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, Proxy, Scripted, Step, eventually, within,
};

/// Who answers so many requests, in their order.
async fn order(client: &mut Client, requests: usize) -> String {
    let mut order = String::new();
    for _ in 0..requests {
        order += client.get("/").await.backend().unwrap();
    }
    order
}

#[tokio::test]
async fn round_robin_goes_on_where_it_was() {
    let pool = Pool::start(4);
    let all = pool.written(&[]);
    let three = |more: &str| yaml(&all[..3], &format!("balance: round_robin{more}"));
    let proxy = Proxy::start(&three("")).await;
    let mut client = Client::h1(proxy.address()).await;
    let round = order(&mut client, 3).await;
    // One more than a round: the second is next.
    assert_eq!(order(&mut client, 1).await, round[..1]);
    reload(&proxy, &three(", timeouts: { connect: 2s }")).await;
    assert_eq!(order(&mut client, 1).await, round[1..2], "another setting");
    reload(&proxy, &yaml(&all[..3], "balance: random")).await;
    client.get("/").await;
    reload(&proxy, &three("")).await;
    assert_eq!(
        order(&mut client, 1).await,
        round[2..3],
        "another policy and back"
    );
    // The order in which they are written means nothing.
    let turned = [&all[2..3], &all[..2]].concat();
    reload(&proxy, &yaml(&turned, "balance: round_robin")).await;
    assert_eq!(order(&mut client, 2).await, round[..2], "another order");
    // One that comes has its turn somewhere; the others keep theirs.
    reload(&proxy, &yaml(&all, "balance: round_robin")).await;
    let with_d = order(&mut client, 8).await;
    assert_eq!(with_d[..4], with_d[4..]);
    let others: String = with_d[..4].chars().filter(|label| *label != 'd').collect();
    assert_eq!(
        others,
        format!("{}{}", &round[2..], &round[..2]),
        "{with_d}"
    );
    // And one that goes leaves no gap.
    reload(&proxy, &three("")).await;
    assert_eq!(order(&mut client, 3).await, others);
}

#[tokio::test]
async fn what_is_out_and_back_leaves_the_others_in_their_turns() {
    let pool = Pool::start(3);
    let proxy = start(&pool, "balance: round_robin").await;
    let mut client = Client::h1(proxy.address()).await;
    let round = order(&mut client, 3).await;
    hold(&proxy, &[&round[..1]], true);
    assert_eq!(order(&mut client, 4).await, round[1..].repeat(2));
    hold(&proxy, &[&round[..1]], false);
    let all = order(&mut client, 6).await;
    assert_eq!(all[..3], all[3..]);
    let others: String = all[..3]
        .chars()
        .filter(|label| !round.starts_with(*label))
        .collect();
    assert_eq!(others, round[1..]);
}

#[tokio::test]
async fn requests_under_way_count_after_a_reload() {
    let pool = Pool::start(3);
    let all = pool.written(&[]);
    let least = "balance: least_connections";
    let proxy = Proxy::start(&yaml(&all[..2], least)).await;
    let mut held = Vec::new();
    for count in 1..=6 {
        held.push(hang(proxy.address(), "").await);
        pool.holds(count).await;
    }
    let under_way = |id: &str| reached(&proxy, id).signals.in_flight.load();
    assert_eq!((under_way("a"), under_way("b")), (3, 3));
    // Another weight and another member: three for each of `a` and `b` are known, and the new one draws level.
    let written = pool.written(&["weight: 2"]);
    reload(&proxy, &yaml(&written, least)).await;
    assert_eq!((under_way("a"), under_way("b")), (3, 3));
    for count in 7..=12 {
        held.push(hang(proxy.address(), "").await);
        pool.holds(count).await;
    }
    // Twelve by weights 2, 1, 1.
    assert_eq!(pool.in_flight(), [6, 3, 3]);
    // Another policy.
    reload(&proxy, &yaml(&written, "balance: p2c")).await;
    for count in 13..=16 {
        held.push(hang(proxy.address(), "").await);
        pool.holds(count).await;
    }
    assert_eq!(pool.in_flight(), [8, 4, 4]);
    drop(held);
    eventually(DEADLINE, || {
        ["a", "b", "c"].iter().all(|id| under_way(id) == 0)
    })
    .await;
}

#[tokio::test]
async fn a_bound_knows_what_was_under_way_before_it_was_set() {
    let pool = Pool::start(2);
    let policy = |more: &str| {
        format!("balance: {{ consistent_hash: {{ key: {{ header: X-User }}{more} }} }}")
    };
    let unbound = yaml(&pool.written(&[]), &policy(""));
    let bounded = yaml(&pool.written(&[]), &policy(", bounded_load: 1.25"));
    let proxy = Proxy::start(&unbound).await;
    let mut held = Vec::new();
    for count in 1..=10 {
        held.push(hang(proxy.address(), "X-User: popular\r\n").await);
        pool.holds(count).await;
    }
    assert!(pool.in_flight().contains(&10), "{:?}", pool.in_flight());
    reload(&proxy, &bounded).await;
    for count in 11..=20 {
        held.push(hang(proxy.address(), "X-User: popular\r\n").await);
        pool.holds(count).await;
    }
    // ⌈1.25 × 20 / 2⌉.
    assert!(
        pool.in_flight().iter().all(|count| *count <= 13),
        "{:?}",
        pool.in_flight()
    );
    drop(held);
}

#[tokio::test]
async fn a_latency_is_known_after_a_reload_and_a_newcomer_begins_with_that_of_the_others() {
    let pool = Pool::start(3);
    pool.slow(0, "1ms");
    pool.slow(1, "60ms");
    let all = pool.written(&[]);
    // It is forgotten so slowly that it stays for the length of this test.
    let ewma = "balance: { peak_ewma: { decay: 1h } }";
    let proxy = Proxy::start(&yaml(&all[..2], ewma)).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, 4).await;
    let signals = ["a", "b"].map(|id| Arc::clone(&reached(&proxy, id).signals));
    let measured = signals[1].last_latency().unwrap();
    assert!(measured >= 60e6, "{measured} ns");
    // As if it had been slower still: a stall of this machine makes the other one look slow, too.
    let hour = Duration::from_secs(3600);
    signals[1].answered(proxy.live().clock.now(), hour, 0, hour);
    reload(&proxy, &yaml(&pool.written(&["", "weight: 2"]), ewma)).await;
    for (id, before) in ["a", "b"].iter().zip(&signals) {
        assert!(Arc::ptr_eq(before, &reached(&proxy, id).signals), "{id}");
    }
    // The slow one is known to be slow, and is not asked again.
    let seen = pool.backends[1].counters().requests();
    let tally = ask(&mut client, 20).await;
    assert_eq!(
        (of(&tally, "b"), pool.backends[1].counters().requests()),
        (0, seen)
    );
    // By another policy and back it still is.
    reload(&proxy, &yaml(&all, "balance: round_robin")).await;
    reload(&proxy, &yaml(&all, ewma)).await;
    let tally: Tally = ask(&mut client, 20).await;
    assert_eq!(of(&tally, "b"), 0, "{tally:?}");
}

/// A regression: the memory of the policies went with the new configuration, and a pick on the old one found none.
#[tokio::test]
async fn a_request_that_began_before_a_reload_goes_on_to_the_next_endpoint() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let ca = authority.write(&directory, "ca.pem");
    let identity = authority.identity(&["127.0.0.1"]);
    let backend = Backend::labelled("b").tls(authority.server(&identity, &["http/1.1"]));
    let backend = backend.start();
    for policy in [
        "round_robin",
        "random",
        "prequal",
        "{ consistent_hash: {} }",
    ] {
        // The handshake begins, and breaks off when the test says so.
        let told = Arc::new(Notify::new());
        let broken = Scripted::play(vec![vec![
            Step::ReadBytes(1),
            Step::Wait(Arc::clone(&told)),
            Step::Reset,
        ]])
        .await;
        let endpoints = [
            endpoint("a", &broken.address().to_string(), ""),
            endpoint("b", &backend.endpoint(), "priority: 1"),
        ];
        let upstream =
            format!("balance: {policy}, tls: {{ ca: {ca:?} }}, timeouts: {{ connect: 20s }}");
        let proxy = Proxy::start(&yaml(&endpoints, &upstream)).await;
        let address = proxy.address();
        let asking = tokio::spawn(async move { Client::h1(address).await.get("/").await });
        eventually(DEADLINE, || {
            reached(&proxy, "a").signals.in_flight.load() == 1
        })
        .await;
        for _ in 0..2 {
            reload(&proxy, &yaml(&endpoints[1..], &upstream)).await;
        }
        // The worker serves by the new configuration already.
        let new = within(async { Client::h1(address).await.get("/").await }).await;
        assert_eq!(new.backend(), Some("b"));
        told.notify_one();
        assert_eq!(
            within(asking).await.unwrap().backend(),
            Some("b"),
            "{policy}"
        );
    }
}
