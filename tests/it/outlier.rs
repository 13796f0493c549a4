//! Outlier detection on real sockets: who is worse than their peers goes for a time, and enough stay.

use std::sync::Arc;

use plimsoll::admin::status::Status;
use plimsoll::balance::Exclusion;
use plimsoll::observe::event::Kind;
use plimsoll::upstream::Upstream;

use crate::harness::{Backend, Client, DEADLINE, Proxy, eventually, within};

fn yaml(backends: &[Backend], outlier: &str) -> String {
    let endpoints: Vec<String> = backends
        .iter()
        .map(|b| format!("{:?}", b.endpoint()))
        .collect();
    format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ upstream: pool }} ]\n\
         upstreams:\n\
         \x20 pool:\n\
         \x20   endpoints: [{}]\n\
         \x20   balance: round_robin\n\
         \x20   failure_penalty: off\n\
         \x20   outlier: {outlier}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n",
        endpoints.join(", ")
    )
}

fn upstream(proxy: &Proxy) -> Arc<Upstream> {
    Arc::clone(&proxy.live().snapshot.load().upstreams[0])
}

fn is_out(proxy: &Proxy, place: usize) -> bool {
    upstream(proxy).endpoints[place].out() == Some(Exclusion::Ejected)
}

/// Whether the picks keep it out: they learn of its ejection, and of its end, a moment later.
fn is_kept_out(proxy: &Proxy, place: usize) -> bool {
    let narrowed = upstream(proxy).groups.narrowed();
    let mut groups = narrowed.section(0).groups().iter();
    groups.any(|group| group.members.excluded(place) == Some(Exclusion::Ejected))
}

fn events(proxy: &Proxy) -> Vec<String> {
    let (events, _) = proxy.live().events.after(0);
    let of_outliers = events.iter().filter(|event| event.kind == Kind::Outlier);
    of_outliers.map(ToString::to_string).collect()
}

/// Sends requests until it is as wanted.
async fn until(proxy: &Proxy, client: &mut Client, holds: impl Fn(&Proxy) -> bool) {
    within(async {
        while !holds(proxy) {
            client.get("/").await;
        }
    })
    .await;
}

/// Of so many requests, how many each backend answered.
async fn served(client: &mut Client, labels: &[&str], requests: usize) -> Vec<usize> {
    let mut counts = vec![0; labels.len()];
    for _ in 0..requests {
        let answer = client.get("/").await;
        let label = answer.backend().expect("an answer of a backend");
        counts[labels.iter().position(|known| *known == label).unwrap()] += 1;
    }
    counts
}

const LABELS: [&str; 3] = ["a", "b", "c"];

/// It answers 500, which is no business of the breaker: it is the comparison that tells.
#[tokio::test]
async fn one_that_fails_more_than_its_peers_goes_and_returns() {
    let backends = LABELS.map(Backend::start);
    backends[0].change(Backend::labelled("a").status("500:1"));
    let keys = "{ interval: 200ms, min_samples: 10, eject_for: 300ms, jitter: 0% }";
    let proxy = Proxy::start(&yaml(&backends, keys)).await;
    let mut client = Client::h1(proxy.address()).await;
    until(&proxy, &mut client, |proxy| is_kept_out(proxy, 0)).await;
    let told = events(&proxy);
    let about = format!(
        "outlier: upstream pool, endpoint {}",
        backends[0].endpoint()
    );
    assert_eq!(
        told,
        [format!(
            "{about} is ejected for 300 ms: 100% of its attempts failed, beside 0% of its peers'"
        )]
    );
    backends[0].change(Backend::labelled("a"));
    until(&proxy, &mut client, |proxy| {
        !is_out(proxy, 0) && !is_kept_out(proxy, 0)
    })
    .await;
    assert_eq!(
        events(&proxy)[1],
        format!("{about} is back: its time is over")
    );
    assert_eq!(served(&mut client, &LABELS, 30).await, [10, 10, 10]);
}

#[tokio::test]
async fn enough_stay_whatever_they_do() {
    let backends = LABELS.map(Backend::start);
    let keys = "{ interval: 100ms, min_samples: 5, keep: 2, eject_for: 1h, eject_for_max: 1h }";
    let proxy = Proxy::start(&yaml(&backends, keys)).await;
    let mut client = Client::h1(proxy.address()).await;
    backends[0].change(Backend::labelled("a").status("500:1"));
    until(&proxy, &mut client, |proxy| is_kept_out(proxy, 0)).await;
    assert_eq!(served(&mut client, &LABELS, 20).await, [0, 10, 10]);
    // The next one is no better, and stays: it is compared three times, as the status tells.
    backends[1].change(Backend::labelled("b").status("500:1"));
    let seen = |proxy: &Proxy| {
        let upstream = upstream(proxy);
        let member = upstream
            .outlier
            .member(upstream.groups.identity(1))
            .unwrap();
        member.sample.failure_rate() > 0.99 && member.sample.ended() >= 5
    };
    until(&proxy, &mut client, seen).await;
    assert_eq!(served(&mut client, &LABELS, 20).await, [0, 10, 10]);
    let status = Client::h1(proxy.admin()).await.get("/api/v1/status").await;
    let status: Status = serde_json::from_slice(&status.body).unwrap();
    let pool = &status.upstreams[0];
    assert_eq!(pool.outlier.as_ref().unwrap().may_eject, 0);
    let first = &pool.endpoints[0];
    assert_eq!(first.out.as_deref(), Some("ejected"));
    let first = first.outlier.as_ref().unwrap();
    assert!(first.ejected && first.ejections == 1 && first.returns_in_seconds.unwrap() > 60.0);
    let metrics = Client::h1(proxy.admin()).await.get("/metrics").await;
    let line = format!(
        "plimsoll_endpoint_ejected{{upstream=\"pool\",endpoint=\"{}\"}} 1",
        backends[0].endpoint()
    );
    assert!(metrics.text().contains(&line));
}

#[tokio::test]
async fn a_slow_one_goes_where_latency_counts() {
    let backends = LABELS.map(Backend::start);
    backends[0].change(Backend::labelled("a").latency("30ms"));
    let keys = "{ latency: 3, interval: 500ms, min_samples: 5, eject_for: 1h, eject_for_max: 1h }";
    let proxy = Proxy::start(&yaml(&backends, keys)).await;
    let mut client = Client::h1(proxy.address()).await;
    until(&proxy, &mut client, |proxy| is_kept_out(proxy, 0)).await;
    let told = events(&proxy);
    assert!(
        told[0].contains("its answers take ") && told[0].ends_with(" of its peers'"),
        "{told:?}"
    );
    assert_eq!(served(&mut client, &LABELS, 20).await[0], 0);
}

#[tokio::test]
async fn who_is_out_stays_so_over_a_reload_until_it_is_switched_off() {
    let backends = LABELS.map(Backend::start);
    backends[0].change(Backend::labelled("a").status("500:1"));
    let keys = "{ interval: 100ms, min_samples: 5, eject_for: 1h, eject_for_max: 1h }";
    let proxy = Proxy::start(&yaml(&backends, keys)).await;
    let mut client = Client::h1(proxy.address()).await;
    until(&proxy, &mut client, |proxy| is_kept_out(proxy, 0)).await;
    let longer = keys.replace("100ms", "10s");
    within(proxy.reload(&yaml(&backends, &longer)))
        .await
        .unwrap();
    assert!(is_out(&proxy, 0));
    assert_eq!(served(&mut client, &LABELS, 20).await[0], 0);
    within(proxy.reload(&yaml(&backends, "off"))).await.unwrap();
    eventually(DEADLINE, || !is_out(&proxy, 0)).await;
}
