//! Bounded load on real sockets: no endpoint gets much more than its part, however popular its keys are.
//!
//! A pick takes no endpoint beyond `⌈c × (in flight + 1) / endpoints⌉`. Two workers that pick at the same moment do not see
//! each other's pick, so that each of them may bring an endpoint one above.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use super::{Pool, hang, picks, reached, yaml};
use crate::harness::{Client, DEADLINE, Proxy, eventually};

const WORKERS: u32 = 2;
const ENDPOINTS: usize = 4;
const FACTOR: f64 = 1.25;

/// The most that an endpoint may have when so many are in flight in all.
fn bound(in_flight: usize) -> u32 {
    (FACTOR * in_flight as f64 / ENDPOINTS as f64).ceil() as u32
}

async fn start(pool: &Pool, algorithm: &str, bounded_load: &str) -> Proxy {
    let policy = format!(
        "balance: {{ consistent_hash: {{ key: {{ header: X-User }}, algorithm: {algorithm}, bounded_load: {bounded_load} }} }}"
    );
    let yaml = yaml(&pool.written(&[]), &policy);
    Proxy::start(&yaml.replacen("workers: 1", "workers: 2", 1)).await
}

/// Attempts in flight at each endpoint, as the balancer counts them.
fn in_flight(proxy: &Proxy) -> Vec<u32> {
    let all = super::LABELS[..ENDPOINTS].iter();
    all.map(|id| reached(proxy, id).signals.in_flight.load())
        .collect()
}

#[tokio::test]
async fn picks_that_follow_each_other_hold_the_bound_exactly() {
    for algorithm in ["ring", "maglev", "rendezvous"] {
        let pool = Pool::start(ENDPOINTS);
        let proxy = start(&pool, algorithm, "1.25").await;
        let mut held = Vec::new();
        for count in 1..=24 {
            // One key, on whichever worker the connection lives.
            held.push(hang(proxy.address(), "X-User: popular\r\n").await);
            eventually(DEADLINE, || {
                in_flight(&proxy).iter().sum::<u32>() == count as u32
            })
            .await;
            let now = in_flight(&proxy);
            assert!(
                now.iter().all(|one| *one <= bound(count)),
                "{algorithm}: {now:?}"
            );
        }
        eventually(DEADLINE, || {
            picks(&proxy, "spilled") + picks(&proxy, "policy") == 24
        })
        .await;
        // The owner of the key has its part, and the others have the rest.
        let most = in_flight(&proxy).into_iter().max().unwrap();
        assert_eq!(picks(&proxy, "policy"), u64::from(most), "{algorithm}");
    }
}

#[tokio::test]
async fn picks_at_the_same_moment_exceed_the_bound_by_one_for_each_worker() {
    let pool = Pool::start(ENDPOINTS);
    let proxy = start(&pool, "ring", "1.25").await;
    let mut hanging = JoinSet::new();
    for _ in 0..64 {
        hanging.spawn(hang(proxy.address(), "X-User: popular\r\n"));
    }
    let held = hanging.join_all().await;
    pool.holds(64).await;
    let now = in_flight(&proxy);
    let most = bound(64) + WORKERS;
    assert!(now.iter().all(|one| *one <= most), "{now:?}");
    let seen = pool.in_flight();
    assert!(seen.iter().all(|one| *one <= u64::from(most)), "{seen:?}");
    drop(held);
    eventually(DEADLINE, || in_flight(&proxy).iter().sum::<u32>() == 0).await;
}

/// Clients that wait for one answer before they ask again, so that never more are in flight than there are clients.
async fn closed_loop(address: SocketAddr, clients: usize) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let mut client = Client::h1(address).await;
        running.spawn(async move {
            for _ in 0..40 {
                let request = hyper::Request::get("/").header("x-user", "popular");
                let body = crate::harness::Outgoing::empty();
                client.send(request.body(body).unwrap()).await;
            }
        });
    }
    running
}

#[tokio::test]
async fn the_bound_holds_while_requests_come_and_go() {
    const CLIENTS: usize = 16;
    for (bounded_load, is_bounded) in [("1.25", true), ("off", false)] {
        let pool = Pool::start(ENDPOINTS);
        (0..ENDPOINTS).for_each(|i| pool.slow(i, "exp:2ms"));
        let proxy = start(&pool, "ring", bounded_load).await;
        let mut running = closed_loop(proxy.address(), CLIENTS).await;
        let mut most = 0;
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(1));
        while !running.is_empty() {
            let seen = pool.in_flight();
            most = most.max(seen.into_iter().max().unwrap());
            most = most.max(u64::from(in_flight(&proxy).into_iter().max().unwrap()));
            tokio::select! {
                _ = tick.tick() => {}
                Some(ended) = running.join_next() => ended.unwrap(),
            }
        }
        let allowed = u64::from(bound(CLIENTS) + WORKERS);
        if is_bounded {
            assert!(most <= allowed, "{most}");
            assert!(picks(&proxy, "spilled") > 0);
        } else {
            // All of them stand at one endpoint: the bound is what keeps them apart.
            assert!(most > allowed, "{most}");
            assert_eq!(picks(&proxy, "spilled"), 0);
        }
    }
}
