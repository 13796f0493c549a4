//! What makes an endpoint count less than its weight: that it has just come, and that it fails.
//!
//! A share is compared while the ramp stands still, so that no test depends on how fast the machine is: a window of an hour
//! does not pass meanwhile, and a reload to one of 100 ms ends it.

use super::{
    Pool, Tally, ask, count, endpoint, hang, hold, load, of, reached, reload, start, upstream, yaml,
};
use crate::harness::{Backend, Client, DEADLINE, Proxy, eventually, within};

const SLOW: &str = "slow_start: { window: 1h, min_weight: 10% }";
const FAST: &str = "slow_start: { window: 100ms }";
const BY_PATH: &str = "{ consistent_hash: { key: path } }";

/// The upstream's endpoints have their whole weight.
async fn all_are_through(proxy: &Proxy) {
    eventually(DEADLINE, || {
        upstream(proxy).endpoints.iter().all(|endpoint| {
            endpoint.signals.ramping_since().is_none() && endpoint.signals.charge().factor >= 1.0
        })
    })
    .await;
}

/// Requests for paths of their own.
async fn paths(client: &mut Client, requests: usize) -> Tally {
    let mut tally = Tally::new();
    for number in 0..requests {
        count(&mut tally, &client.get(&format!("/{number}")).await);
    }
    tally
}

/// Of 200 requests the newcomer gets half in the end, and `0.1 / 1.1` in the beginning: 18, of which the bound is more than
/// six standard deviations away. By least load it gets nothing while the other one is idle.
#[tokio::test]
async fn an_endpoint_that_is_added_comes_up_slowly_in_every_policy() {
    for policy in [
        "round_robin",
        "random",
        "least_connections",
        "p2c",
        BY_PATH,
        "{ consistent_hash: { key: path, algorithm: maglev } }",
        "{ consistent_hash: { key: path, algorithm: rendezvous } }",
    ] {
        let pool = Pool::start(2);
        let all = pool.written(&[]);
        let proxy = Proxy::start(&yaml(&all[..1], &format!("balance: {policy}, {SLOW}"))).await;
        let mut client = Client::h1(proxy.address()).await;
        assert_eq!(of(&paths(&mut client, 10).await, "a"), 10);
        reload(&proxy, &yaml(&all, &format!("balance: {policy}, {SLOW}"))).await;
        let early = of(&paths(&mut client, 200).await, "b");
        assert!(early < 44, "{policy}: {early}");
        reload(&proxy, &yaml(&all, &format!("balance: {policy}, {FAST}"))).await;
        all_are_through(&proxy).await;
        // Of idle ones least load takes that with the fewest requests of the last second: it makes up for them first.
        paths(&mut client, 200).await;
        let late = of(&paths(&mut client, 200).await, "b");
        match policy {
            "round_robin" => assert_eq!(late, 100),
            _ => assert!((56..145).contains(&late), "{policy}: {late}"),
        }
    }
}

#[tokio::test]
async fn nobody_is_new_when_the_process_starts() {
    let pool = Pool::start(3);
    let proxy = start(&pool, &format!("balance: round_robin, {SLOW}")).await;
    all_are_through(&proxy).await;
    let tally = ask(&mut Client::h1(proxy.address()).await, 30).await;
    assert!(tally.values().all(|count| *count == 10), "{tally:?}");
}

#[tokio::test]
async fn an_endpoint_that_recovers_comes_up_slowly() {
    let pool = Pool::start(2);
    let proxy = start(&pool, &format!("balance: round_robin, {SLOW}")).await;
    let mut client = Client::h1(proxy.address()).await;
    hold(&proxy, &["b"], true);
    assert_eq!(of(&ask(&mut client, 10).await, "b"), 0);
    hold(&proxy, &["b"], false);
    let early = of(&ask(&mut client, 200).await, "b");
    assert!(early < 44, "{early}");
    let factor = reached(&proxy, "b").signals.charge().factor;
    assert!((factor - 0.1).abs() < 0.01, "{factor}");
}

/// One that is put back begins anew though something has run on it all along; so does one at another address.
#[tokio::test]
async fn an_endpoint_that_comes_back_or_moves_comes_up_slowly() {
    let pool = Pool::start(2);
    let upstream = format!("balance: round_robin, {SLOW}");
    let all = pool.written(&[]);
    let proxy = Proxy::start(&yaml(&all, &upstream)).await;
    let mut client = Client::h1(proxy.address()).await;
    let _held = [
        hang(proxy.address(), "").await,
        hang(proxy.address(), "").await,
    ];
    pool.holds(2).await;
    reload(&proxy, &yaml(&all[..1], &upstream)).await;
    reload(&proxy, &yaml(&all, &upstream)).await;
    assert_eq!(reached(&proxy, "b").signals.in_flight.load(), 1);
    let early = of(&ask(&mut client, 200).await, "b");
    assert!(early < 44, "{early}");
    reload(
        &proxy,
        &yaml(&all, &format!("balance: round_robin, {FAST}")),
    )
    .await;
    all_are_through(&proxy).await;
    let other = Backend::start("b");
    let moved = [all[0].clone(), endpoint("b", &other.endpoint(), "")];
    reload(&proxy, &yaml(&moved, &upstream)).await;
    let early = of(&ask(&mut client, 200).await, "b");
    assert!(early < 44, "{early}");
}

#[tokio::test]
async fn the_weight_in_force_grows_with_the_time() {
    let pool = Pool::start(2);
    let all = pool.written(&[]);
    let upstream = "balance: round_robin, slow_start: { window: 1500ms, min_weight: 1% }";
    let proxy = Proxy::start(&yaml(&all[..1], upstream)).await;
    reload(&proxy, &yaml(&all, upstream)).await;
    let signals = reached(&proxy, "b").signals.clone();
    let mut seen = vec![signals.charge().factor];
    eventually(DEADLINE, || {
        let factor = signals.charge().factor;
        if seen.last() != Some(&factor) {
            seen.push(factor);
        }
        factor >= 1.0
    })
    .await;
    assert!(seen.is_sorted(), "{seen:?}");
    // It is looked at every 100 ms; a machine that stands still misses some.
    assert!(seen.len() >= 4 && seen[0] < 0.7, "{seen:?}");
    assert_eq!(reached(&proxy, "a").signals.charge().factor, 1.0);
}

#[tokio::test]
async fn the_cap_of_a_newcomer_grows_too() {
    let pool = Pool::start(2);
    let all = pool.written(&[]);
    let keys = |slow_start: &str| format!("connections: {{ max: 20 }}, {slow_start}");
    let proxy = Proxy::start(&yaml(&all[..1], &keys(SLOW))).await;
    reload(&proxy, &yaml(&all, &keys(SLOW))).await;
    hold(&proxy, &["a"], true);
    let mut held = Vec::new();
    for count in 1..=2 {
        held.push(hang(proxy.address(), "").await);
        pool.holds(count).await;
    }
    // A tenth of 20.
    let mut client = Client::h1(proxy.address()).await;
    client
        .get("/")
        .await
        .assert_told(503, "connection_limit_reached", "endpoints_full");
    reload(&proxy, &yaml(&all, &keys(FAST))).await;
    eventually(DEADLINE, || {
        reached(&proxy, "b").signals.ramping_since().is_none()
    })
    .await;
    for count in 3..=20 {
        held.push(hang(proxy.address(), "").await);
        pool.holds(count).await;
    }
    client
        .get("/")
        .await
        .assert_told(503, "connection_limit_reached", "endpoints_full");
}

/// Two good endpoints that take so long, and one that fails at once.
fn failing(latency: &str) -> Pool {
    let pool = Pool::start(3);
    pool.slow(0, latency);
    pool.slow(1, latency);
    pool.backends[2].change(Backend::labelled("c").status("503:1"));
    pool
}

/// The share of the failing endpoint among 120 requests of 6 clients.
async fn share(proxy: &Proxy) -> f64 {
    let tally = within(load(proxy.address(), true, 6, 120)).await;
    of(&tally, "c") as f64 / 120.0
}

/// It looks idle, and yet has no more than its round-robin share, from the first request on.
#[tokio::test]
async fn an_endpoint_that_fails_at_once_draws_no_traffic() {
    for policy in ["least_connections", "p2c", "peak_ewma", "prequal"] {
        let pool = failing("5ms");
        let proxy = start(&pool, &format!("balance: {policy}")).await;
        let first = share(&proxy).await;
        assert!(first < 1.0 / 3.0, "{policy}: {first}");
        // Much less, once its weight has fallen.
        let settled = async { while share(&proxy).await > 0.1 {} };
        within(settled).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_well_again_has_its_share_again() {
    let pool = failing("10ms");
    let upstream = "balance: p2c, failure_penalty: { window: 1s }";
    let proxy = start(&pool, upstream).await;
    share(&proxy).await;
    pool.slow(2, "10ms");
    let recovered = async { while share(&proxy).await < 0.25 {} };
    within(recovered).await;
}

/// What the penalty is for: without it, and without a breaker, the same endpoint has most of the traffic, so that the test
/// above could fail.
#[tokio::test]
async fn without_the_penalty_an_endpoint_that_fails_at_once_draws_traffic() {
    for policy in ["least_connections", "p2c"] {
        let pool = failing("150ms");
        let upstream = format!("balance: {policy}, failure_penalty: off, breaker: off");
        let proxy = start(&pool, &upstream).await;
        share(&proxy).await;
        let drawn = share(&proxy).await;
        assert!(drawn > 0.5, "{policy}: {drawn}");
    }
}

/// A cap is the proxy's own: that it is reached is no failure of the endpoint.
#[tokio::test]
async fn a_full_endpoint_is_no_failing_one() {
    let pool = Pool::start(2);
    let upstream = "balance: round_robin, connections: { max: 1 }";
    let yaml = yaml(&pool.written(&[]), upstream).replacen("workers: 1", "workers: 2", 1);
    let proxy = Proxy::start(&yaml).await;
    // Both workers dial for the same few connections, and some of them in vain.
    let address = proxy.address();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..16 {
        asking.spawn(async move {
            let mut client = Client::h1(address).await;
            for _ in 0..10 {
                client.get("/").await;
            }
        });
    }
    within(asking.join_all()).await;
    for id in ["a", "b"] {
        let (ended, failed) = reached(&proxy, id).signals.ends();
        assert_eq!(failed, 0, "of {ended}");
    }
}
