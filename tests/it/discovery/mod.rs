//! Endpoints that come and go: host names, SRV records and files that are followed.

mod files;
mod names;
mod services;

use plimsoll::admin::status::{SourceStatus, Status, UpstreamStatus};
use plimsoll::observe::event::Kind;

use crate::harness::{Client, DEADLINE, NameServer, Proxy, eventually, within};

/// A proxy before the upstream `pool`, which has these keys; `discovery` asks this server, as often as it can.
async fn proxy(server: &NameServer, keys: &str, discovery: &str) -> Proxy {
    Proxy::start(&yaml(server, keys, discovery)).await
}

fn yaml(server: &NameServer, keys: &str, discovery: &str) -> String {
    format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
         upstreams:\n  pool:\n    {keys}\n    \
         discovery: {{ servers: [\"{}\"], refresh_min: 100ms, {discovery} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        server.address()
    )
}

async fn pool(proxy: &Proxy) -> UpstreamStatus {
    let answer = Client::h1(proxy.admin()).await.get("/api/v1/status").await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    status.upstreams.into_iter().next().unwrap()
}

/// The upstream once it is as wanted.
async fn pool_when(proxy: &Proxy, holds: impl Fn(&UpstreamStatus) -> bool) -> UpstreamStatus {
    within(async {
        loop {
            let seen = pool(proxy).await;
            if holds(&seen) {
                return seen;
            }
        }
    })
    .await
}

/// The only source of the upstream once it is as wanted.
async fn source_when(proxy: &Proxy, holds: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
    let pool = pool_when(proxy, |pool| pool.sources.iter().any(&holds)).await;
    pool.sources.into_iter().next().unwrap()
}

/// Waits until these are its endpoints, in whatever order.
async fn endpoints_become(proxy: &Proxy, ids: &[String]) {
    let mut wanted = ids.to_vec();
    wanted.sort_unstable();
    eventually(DEADLINE, || {
        let snapshot = proxy.live().snapshot.load();
        let endpoints = snapshot.upstreams[0].endpoints.iter();
        let mut found: Vec<String> = endpoints.map(|endpoint| endpoint.id.clone()).collect();
        found.sort_unstable();
        found == wanted
    })
    .await;
}

/// Texts of the events about lists.
fn told(proxy: &Proxy) -> Vec<String> {
    let (events, _) = proxy.live().events.after(0);
    let about = events
        .into_iter()
        .filter(|event| event.kind == Kind::Discovery);
    about.map(|event| event.text).collect()
}

/// Waits for an event about lists with all of these parts.
async fn tells(proxy: &Proxy, parts: &[&str]) {
    let holds = |text: &String| parts.iter().all(|part| text.contains(part));
    eventually(DEADLINE, || told(proxy).iter().any(holds)).await;
}
