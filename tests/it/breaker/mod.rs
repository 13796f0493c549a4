//! Breakers on real sockets: when they open, what an open one costs, how it finds out that it may close, and what never
//! opens one.

mod excused;
mod opening;
mod probing;
mod state;

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use plimsoll::admin::status::Status;
use plimsoll::balance::Exclusion;
use plimsoll::clock::Clock;
use plimsoll::observe::Metric;
use plimsoll::observe::event::Kind;
use plimsoll::upstream::Upstream;
use plimsoll::upstream::breaker::{Phase, Switch};
use tokio::task::JoinSet;

use crate::harness::{
    Answer, Backend, Client, Closed, DEADLINE, FAST, Proxy, Raw, Scripted, Step, eventually, within,
};

/// One route and one upstream on so many workers; `upstream` adds keys. Nothing is retried, so that each request is one
/// attempt.
fn yaml(workers: usize, endpoints: &[String], upstream: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("{one:?}")).collect();
    format!(
        "workers: {workers}\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ name: all, upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{}], retry: {{ max_attempts: 1 }}, {upstream} }} }}\n\
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

/// Its breaker is in this phase, and so far as it lets anything through, the picks know of it: they do a moment later.
async fn comes_to(proxy: &Proxy, endpoint: usize, phase: Phase) {
    let is_kept_out = || {
        let narrowed = upstream(proxy).groups.narrowed();
        let mut groups = narrowed.section(0).groups().iter();
        groups.any(|group| group.members.excluded(endpoint) == Some(Exclusion::BreakerOpen))
    };
    eventually(DEADLINE, || {
        breaker(proxy, endpoint).phase() == phase && (phase == Phase::Open || !is_kept_out())
    })
    .await;
}

/// What was noted of breakers.
fn events(proxy: &Proxy) -> Vec<String> {
    let (events, _) = proxy.live().events.after(0);
    let of_breakers = events.iter().filter(|event| event.kind == Kind::Breaker);
    of_breakers.map(ToString::to_string).collect()
}

/// The same once there is one: what a tick does is told when it is done.
async fn first_event(proxy: &Proxy) -> String {
    eventually(DEADLINE, || !events(proxy).is_empty()).await;
    events(proxy).remove(0)
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

fn upstream_endpoint(proxy: &Proxy, place: usize) -> Arc<plimsoll::upstream::endpoint::Endpoint> {
    Arc::clone(&upstream(proxy).endpoints[place])
}

async fn status(proxy: &Proxy) -> Status {
    let answer = Client::h1(proxy.admin()).await.get("/api/v1/status").await;
    serde_json::from_slice(&answer.body).unwrap()
}
