//! Which endpoint a request meets, and what is told of that: the policies, what narrows the choice, sessions, slow start and
//! decision records, all through real sockets.
//!
//! Not here: the laws of each policy, which `plimsoll::balance` proves without sockets.

mod bounded;
mod cookies;
mod decisions;
mod hostile;
mod narrowing;
mod policies;
mod slow_start;
mod state;
mod sticky;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plimsoll::balance::Exclusion;
use plimsoll::observe::{Metric, Reading};
use plimsoll::upstream::Upstream;
use plimsoll::upstream::endpoint::Endpoint;
use tokio::task::JoinSet;

use crate::harness::{Answer, Backend, Client, DEADLINE, Proxy, Raw, config, eventually, within};

/// Labels of backends, which are the ids of their endpoints, too.
const LABELS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// How often each backend answered, by label.
type Tally = BTreeMap<String, usize>;

/// Backends that answer at once.
struct Pool {
    backends: Vec<Backend>,
}

impl Pool {
    fn start(count: usize) -> Self {
        let labels = LABELS[..count].iter();
        Self {
            backends: labels.map(|label| Backend::start(label)).collect(),
        }
    }

    /// The endpoints as they are written, with these further keys of the first, the second, ...
    fn written(&self, more: &[&str]) -> Vec<String> {
        let all = self.backends.iter().enumerate();
        let written = all.map(|(i, backend)| {
            let more = more.get(i).copied().unwrap_or_default();
            endpoint(LABELS[i], &backend.endpoint(), more)
        });
        written.collect()
    }

    /// Lets the backend answer after this time.
    fn slow(&self, i: usize, latency: &str) {
        self.backends[i].change(Backend::labelled(LABELS[i]).latency(latency));
    }

    /// Requests under way at each backend.
    fn in_flight(&self) -> Vec<u64> {
        let all = self.backends.iter();
        all.map(|backend| backend.counters().in_flight()).collect()
    }

    /// Waits until so many requests are under way at all of them together.
    async fn holds(&self, count: u64) {
        eventually(DEADLINE, || self.in_flight().iter().sum::<u64>() == count).await;
    }
}

/// One endpoint as it is written.
fn endpoint(id: &str, address: &str, more: &str) -> String {
    format!("{{ id: {id}, address: {address:?}, {more} }}")
}

/// The configuration of one upstream of these endpoints, with these further keys, on one worker.
fn yaml(endpoints: &[String], upstream: &str) -> String {
    yaml_with(endpoints, "", "", upstream)
}

/// The same with keys of the listener and of the route.
fn yaml_with(endpoints: &[String], listener: &str, route: &str, upstream: &str) -> String {
    let endpoints = format!("endpoints: [{}]", endpoints.join(", "));
    config(&[], listener, route, upstream).replacen("endpoints: []", &endpoints, 1)
}

async fn start(pool: &Pool, upstream: &str) -> Proxy {
    Proxy::start(&yaml(&pool.written(&[]), upstream)).await
}

fn count(tally: &mut Tally, answer: &Answer) {
    let label = answer.backend().expect("an answer of a backend");
    *tally.entry(label.to_owned()).or_default() += 1;
}

/// One request after the other on one connection.
async fn ask(client: &mut Client, requests: usize) -> Tally {
    let mut tally = Tally::new();
    for _ in 0..requests {
        count(&mut tally, &client.get("/").await);
    }
    tally
}

/// So many requests of so many clients at once, each for a path of its own.
async fn load(address: SocketAddr, is_h2: bool, clients: usize, requests: usize) -> Tally {
    let shared = match is_h2 {
        true => Some(Client::h2(address).await),
        false => None,
    };
    let begun = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let begun = Arc::clone(&begun);
        let mut client = match &shared {
            Some(shared) => shared.another(),
            None => Client::h1(address).await,
        };
        tasks.spawn(async move {
            let mut tally = Tally::new();
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    break tally;
                }
                count(&mut tally, &client.get(&format!("/{number}")).await);
            }
        });
    }
    let mut all = Tally::new();
    while let Some(tally) = tasks.join_next().await {
        for (label, count) in tally.unwrap() {
            *all.entry(label).or_default() += count;
        }
    }
    all
}

/// How often this backend answered.
fn of(tally: &Tally, label: &str) -> usize {
    tally.get(label).copied().unwrap_or_default()
}

/// A request that is never answered; it is under way until this is dropped. `fields` end in CR LF, each of them.
async fn hang(address: SocketAddr, fields: &str) -> Raw {
    let mut raw = Raw::connect(address).await;
    let request = format!("GET /hang HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    raw.send(request).await;
    raw
}

/// The only upstream, as it is in force.
fn upstream(proxy: &Proxy) -> Arc<Upstream> {
    let snapshot = proxy.live().snapshot.load();
    let [upstream] = &snapshot.upstreams[..] else {
        panic!("which of several upstreams?");
    };
    Arc::clone(upstream)
}

/// The endpoint of this id, as it is in force.
fn reached(proxy: &Proxy, id: &str) -> Arc<Endpoint> {
    let upstream = upstream(proxy);
    let mut endpoints = upstream.endpoints.iter();
    let found = endpoints.find(|endpoint| endpoint.id == id);
    Arc::clone(found.expect("an endpoint of this id"))
}

/// Puts another configuration in force and waits until every worker uses it.
async fn reload(proxy: &Proxy, yaml: &str) {
    within(proxy.reload(yaml)).await.unwrap();
    // The snapshot has one reference to the upstream, this test has one, and each worker.
    let all = 2 + proxy.live().mailboxes.len();
    eventually(DEADLINE, || Arc::strong_count(&upstream(proxy)) >= all).await;
}

/// Takes endpoints for unhealthy from now on, or no longer.
fn hold(proxy: &Proxy, ids: &[&str], is_held: bool) {
    let now = proxy.live().clock.now();
    for id in ids {
        reached(proxy, id).hold(Exclusion::Unhealthy, is_held, now);
    }
    upstream(proxy).look(now);
}

/// Picks that came about like this.
fn picks(proxy: &Proxy, reason: &str) -> u64 {
    let report = proxy.report();
    let counts = report
        .picks
        .iter()
        .map(|reading: &Reading| reading.count(Metric::UpstreamPicks, reason));
    counts.sum()
}
