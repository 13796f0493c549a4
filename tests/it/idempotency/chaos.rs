//! Many clients, few keys, and an endpoint that misbehaves in every way: no key is executed twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use plimsoll::entropy::Random;
use tokio::task::JoinSet;

use super::{client, content, fast_before, keyed};
use crate::harness::{DEADLINE, Scripted, Step, eventually};

const KEYS: usize = 60;
const CLIENTS: usize = 12;
const REQUESTS: usize = 40;

/// What the endpoint does on one connection: up to three requests well, and then one thing of many.
fn script(random: &mut Random) -> Vec<Step> {
    let well = [Step::ReadRequest, Step::ok()];
    let count = random.below(3);
    let mut steps: Vec<Step> = (0..count).flat_map(|_| well.clone()).collect();
    steps.push(Step::ReadRequest);
    steps.extend(match random.below(7) {
        0 => vec![Step::Reset],
        1 => vec![Step::write(
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        )],
        2 => vec![Step::write("nonsense\r\n\r\n")],
        3 => vec![Step::Stall],
        4 => vec![Step::write(
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        )],
        5 => vec![Step::write(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        )],
        _ => vec![Step::ok()],
    });
    steps
}

/// The answers that one client got, by key; it leaves now and then without one.
async fn use_keys(address: SocketAddr, seed: u64) -> Vec<(usize, u16, Vec<u8>)> {
    let mut random = Random::seeded(seed);
    let mut answers = Vec::new();
    for _ in 0..REQUESTS {
        let key = random.below(KEYS);
        let mut client = client(random.below(2) == 0, address).await;
        let request = keyed(&format!("key-{key}"), "/", format!("pay {key}"));
        let patience = match random.below(3) {
            0 => Duration::from_millis(random.below(20) as u64),
            _ => DEADLINE,
        };
        if let Ok(answer) = tokio::time::timeout(patience, client.send(request)).await {
            let (status, _, body) = content(&answer);
            answers.push((key, status, body.to_vec()));
        }
    }
    answers
}

#[tokio::test]
async fn no_key_is_executed_twice_whatever_the_endpoint_and_its_clients_do() {
    let mut random = Random::seeded(41);
    let scripts = (0..200).map(|_| script(&mut random)).collect();
    let endpoint = Scripted::play(scripts).await;
    // An open breaker would answer in the place of the endpoint.
    let upstream = "timeouts: { connect: 10s, total: 5s }, breaker: off";
    let rules = "result_wait: 3s, ttl: 30d";
    let proxy = fast_before(&endpoint.address().to_string(), rules, upstream).await;
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(use_keys(proxy.address(), seed as u64));
    }
    let answers: Vec<_> = clients.join_all().await.concat();
    let running = || {
        let snapshot = proxy.live().snapshot.load();
        let guard = snapshot.guards[0].as_ref().unwrap();
        guard
            .store
            .read(proxy.live().clock.now(), &guard.limits)
            .running
    };
    eventually(DEADLINE, || running() == 0).await;
    let mut executed: BTreeMap<String, usize> = BTreeMap::new();
    for request in endpoint.requests() {
        let key = request.field("idempotency-key").unwrap().to_owned();
        *executed.entry(key).or_default() += 1;
    }
    assert!(executed.values().all(|count| *count == 1), "{executed:?}");
    assert!(executed.len() > KEYS / 2, "{executed:?}");
    // What the endpoint answered is the only answer of its key; what else there is comes of not having one.
    let mut results: BTreeMap<usize, (u16, Vec<u8>)> = BTreeMap::new();
    for (key, status, body) in answers {
        if status == 200 || (status == 503 && body.is_empty()) {
            let result = (status, body);
            let first = results.entry(key).or_insert_with(|| result.clone());
            assert_eq!(*first, result, "key {key}");
        } else {
            assert!(matches!(status, 409 | 502 | 504), "key {key}: {status}");
        }
    }
    assert!(results.len() > KEYS / 4, "{results:?}");
}
