//! Active checks through real sockets: what passes, what comes of it for requests, what is told of it, and whom a check
//! must not hold up.
//!
//! Not here: when a check is due and what turns a verdict, which `plimsoll::upstream::health` proves in virtual time.

mod grpc;
mod isolation;
mod kinds;
mod narrowing;
mod told;
mod verdicts;

use std::sync::Arc;

use plimsoll::observe::event::Kind;
use plimsoll::upstream::Upstream;
use plimsoll::upstream::endpoint::Endpoint;
use plimsoll::upstream::health::{Check, Health, Outcome, Verdict};

use crate::harness::{DEADLINE, Proxy, eventually};

/// Checks that follow each other fast, and are not in doubt on a busy machine.
const QUICK: &str = "interval: 20ms, fast_interval: 10ms, jitter: 0%, timeout: 5s";

/// One endpoint as it is written.
fn written(id: &str, address: &str, more: &str) -> String {
    format!("{{ id: {id}, address: {address:?}, {more} }}")
}

/// One upstream named `pool` of these endpoints, with these keys of active checks and of the upstream.
fn yaml(endpoints: &[String], active: &str, upstream: &str) -> String {
    several(&[("pool", endpoints, active, upstream)])
}

/// Several upstreams, each for the paths that begin with its name; the first also for all others.
fn several(upstreams: &[(&str, &[String], &str, &str)]) -> String {
    let mut text = String::from(
        "workers: 1\nadmin: { address: \"127.0.0.1:0\" }\n\
         listeners: { web: { address: \"127.0.0.1:0\" } }\nroutes:\n",
    );
    for (name, ..) in upstreams {
        text.push_str(&format!(
            "  - {{ match: {{ path: /{name}/ }}, upstream: {name} }}\n"
        ));
    }
    text.push_str(&format!(
        "  - {{ upstream: {} }}\nupstreams:\n",
        upstreams[0].0
    ));
    for (name, endpoints, active, more) in upstreams {
        let endpoints = endpoints.join(", ");
        let health = match *active {
            "off" => "off".to_owned(),
            active => format!("{{ active: {{ {active} }} }}"),
        };
        text.push_str(&format!(
            "  {name}: {{ endpoints: [{endpoints}], health: {health}, {more} }}\n"
        ));
    }
    text
}

/// An upstream as it is in force.
fn upstream(proxy: &Proxy, name: &str) -> Arc<Upstream> {
    let snapshot = proxy.live().snapshot.load();
    let mut all = snapshot.upstreams.iter();
    let found = all.find(|upstream| upstream.name == name);
    Arc::clone(found.expect("an upstream of this name"))
}

/// An endpoint of `pool` as it is in force.
fn endpoint(proxy: &Proxy, id: &str) -> Arc<Endpoint> {
    let upstream = upstream(proxy, "pool");
    let mut all = upstream.endpoints.iter();
    Arc::clone(
        all.find(|one| one.id == id)
            .expect("an endpoint of this id"),
    )
}

/// What is known of an endpoint of `pool` by its checks.
fn health(proxy: &Proxy, id: &str) -> Health {
    let health = endpoint(proxy, id).health().clone();
    health.expect("it is checked")
}

async fn turns(proxy: &Proxy, id: &str, verdict: Verdict) {
    eventually(DEADLINE, || health(proxy, id).verdict() == verdict).await;
}

/// Waits until an endpoint was checked so many times more, all with this result.
async fn checked(proxy: &Proxy, id: &str, outcome: Outcome, times: u64) {
    let wanted = health(proxy, id).count(outcome) + times;
    eventually(DEADLINE, || health(proxy, id).count(outcome) >= wanted).await;
}

/// The first check of an endpoint that counts.
async fn first(endpoint: &Endpoint) -> Check {
    let mut found = None;
    eventually(DEADLINE, || {
        let health = endpoint.health();
        let mut history = health.iter().flat_map(Health::history);
        found = history
            .find(|check| check.outcome != Outcome::Void)
            .cloned();
        found.is_some()
    })
    .await;
    found.expect("it was awaited")
}

/// What was noted of its own accord, as it is said.
fn events(proxy: &Proxy) -> Vec<String> {
    let (events, _) = proxy.live().events.after(0);
    let of_health = events.iter().filter(|event| event.kind == Kind::Health);
    of_health.map(ToString::to_string).collect()
}

/// The same once so much was noted: a verdict is in force a moment before it is told.
async fn events_when(proxy: &Proxy, count: usize) -> Vec<String> {
    eventually(DEADLINE, || events(proxy).len() >= count).await;
    events(proxy)
}
