//! Host names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll::clock::Clock;
use plimsoll::lifecycle::ReloadError;
use plimsoll::observe::Metric;

use super::{endpoints_become, pool, proxy, source_when, tells, told, yaml};
use crate::harness::{Backend, Client, DEADLINE, NameServer, Trouble, eventually, within};

/// Backends at the same port of 127.0.0.1, 127.0.0.2, ...
fn backends(count: u8) -> (u16, Vec<Backend>) {
    let first = Backend::start("1");
    let port = first.address().port();
    let others = (2..=count).map(|number| {
        let address = SocketAddr::new(IpAddr::from([127, 0, 0, number]), port);
        Backend::labelled(&number.to_string()).at(address).start()
    });
    (
        port,
        std::iter::once(first)
            .chain(others.collect::<Vec<_>>())
            .collect(),
    )
}

fn ids(port: u16, numbers: &[u8]) -> Vec<String> {
    let numbers = numbers.iter();
    numbers
        .map(|number| format!("app.test:{port}/127.0.0.{number}"))
        .collect()
}

/// Requests one after the other until it is dropped.
struct Asking {
    ended: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Asking {
    fn start(address: SocketAddr) -> Self {
        let (ended, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (told, counted) = (Arc::clone(&ended), Arc::clone(&failed));
        let task = tokio::spawn(async move {
            let mut client = Client::h1(address).await;
            while !told.load(Ordering::Relaxed) {
                if client.get("/").await.status != 200 {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            ended,
            failed,
            task,
        }
    }

    /// How many of its requests failed.
    async fn finish(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.failed.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn what_dns_adds_gets_traffic_and_what_it_removes_drains_without_an_error() {
    let server = NameServer::start();
    let (port, backends) = backends(3);
    server.addresses("app.test", 0, &["127.0.0.1", "127.0.0.2"]);
    let keys = format!("endpoints: [\"app.test:{port}\"]");
    let proxy = proxy(&server, &keys, "").await;
    endpoints_become(&proxy, &ids(port, &[1, 2])).await;
    let asking = Asking::start(proxy.address());
    for backend in &backends[..2] {
        eventually(DEADLINE, || backend.counters().requests() > 20).await;
    }

    server.addresses("app.test", 0, &["127.0.0.2", "127.0.0.3"]);
    eventually(DEADLINE, || backends[2].counters().requests() > 20).await;
    endpoints_become(&proxy, &ids(port, &[2, 3])).await;
    // The one that is gone gets nothing any more, and its idle connections are closed.
    eventually(DEADLINE, || backends[0].counters().open() == 0).await;
    assert_eq!(asking.finish().await, 0);
    let parts = ["added 127.0.0.3", "removed 127.0.0.1", "1 kept"];
    tells(&proxy, &parts).await;

    // What stayed has all of its numbers and its connection, and no configuration was put in force.
    let kept = &ids(port, &[2])[0];
    let answered = || {
        let report = proxy.report();
        let mut all = report.endpoints.iter();
        let reading = all.find(|reading| reading.identity[1] == *kept);
        reading.map(|reading| reading.sum(Metric::AttemptResponses))
    };
    let requests = backends[1].counters().requests();
    eventually(DEADLINE, || answered() == Some(requests)).await;
    assert_eq!(backends[1].counters().accepted(), 1);
    assert_eq!(proxy.live().snapshot.load().generation, 1);
    let reloads = proxy.live().reloads();
    assert_eq!((reloads.applied, reloads.refused), (0, 0));
}

#[tokio::test]
async fn while_dns_fails_the_last_list_serves_and_everybody_can_see_it() {
    let server = NameServer::start();
    let (port, backends) = backends(1);
    let keys = format!("endpoints: [\"app.test:{port}\"]");
    server.addresses("app.test", 0, &["127.0.0.1"]);
    let proxy = proxy(&server, &keys, "timeout: 200ms").await;
    let troubles = [
        (Trouble::Fails, "Server Failure"),
        (Trouble::Refuses, "Refused"),
        (Trouble::NoName, "NXDOMAIN"),
        (Trouble::Nothing, "no address"),
        (Trouble::Silent, "no answer in time"),
    ];
    for (trouble, reason) in troubles {
        server.trouble("app.test", trouble);
        let failing = |error: &Option<String>| {
            let error = error.as_deref().unwrap_or_default();
            error
                .to_ascii_lowercase()
                .contains(&reason.to_ascii_lowercase())
        };
        let source = source_when(&proxy, |source| failing(&source.error)).await;
        assert_eq!((&*source.kind, source.entries), ("host", 1), "{source:?}");
        let older = source.age_seconds.unwrap() + 0.05;
        source_when(&proxy, |source| source.age_seconds.unwrap() > older).await;
        let answer = Client::h1(proxy.address()).await.get("/").await;
        assert_eq!(answer.backend(), Some("1"), "{trouble:?}");

        server.addresses("app.test", 0, &["127.0.0.1"]);
        source_when(&proxy, |source| source.error.is_none()).await;
    }
    // One event for each time it began to fail, and one for each time that it ended, however often it was asked. It may
    // have failed once more, where this machine was too slow for an answer in time.
    eventually(DEADLINE, || told(&proxy).len() >= 2 * troubles.len()).await;
    let events = told(&proxy);
    for (number, event) in events.iter().enumerate() {
        let is_as_it_should = match number % 2 {
            0 => event.contains("the last one, of 1, stays in force"),
            _ => event == "gets lists from app.test again",
        };
        assert!(is_as_it_should, "{number} of {events:#?}");
    }
    let failures = pool(&proxy).await.sources[0].failures;
    assert!(failures >= troubles.len() as u64);
    assert!(backends[0].counters().requests() >= 5);

    let metrics = Client::h1(proxy.admin()).await.get("/metrics").await;
    for name in ["age_seconds", "failures_total", "failing", "entries"] {
        let sample = format!("plimsoll_discovery_{name}{{upstream=\"pool\",source=\"app.test\"}} ");
        assert!(metrics.text().contains(&sample), "no {sample}");
    }
}

#[tokio::test]
async fn a_list_is_emptied_only_where_that_is_allowed() {
    let server = NameServer::start();
    let (port, _backends) = backends(1);
    server.addresses("app.test", 0, &["127.0.0.1"]);
    let keys = format!("endpoints: [\"app.test:{port}\"]");
    let proxy = proxy(&server, &keys, "allow_empty: true").await;
    endpoints_become(&proxy, &ids(port, &[1])).await;
    server.trouble("app.test", Trouble::NoName);
    endpoints_become(&proxy, &[]).await;
    let mut client = Client::h1(proxy.address()).await;
    // The worker learns of it a moment later.
    answers(&mut client, 503).await;
    assert!(pool(&proxy).await.sources[0].error.is_none());

    server.addresses("app.test", 0, &["127.0.0.1"]);
    endpoints_become(&proxy, &ids(port, &[1])).await;
    answers(&mut client, 200).await;
}

/// Asks until this is the status.
async fn answers(client: &mut Client, status: u16) {
    within(async { while client.get("/").await.status != status {} }).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_keeps_nobody_from_starting() {
    let server = NameServer::start();
    let (port, _backends) = backends(2);
    let keys = format!("endpoints: [\"app.test:{port}\"]");
    let proxy = proxy(&server, &keys, "").await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/").await.status, 503);
    tells(&proxy, &["app.test", "NXDOMAIN", "it has none yet"]).await;
    assert_eq!(pool(&proxy).await.sources[0].age_seconds, None);

    server.addresses("app.test", 0, &["127.0.0.2"]);
    endpoints_become(&proxy, &ids(port, &[2])).await;
    answers(&mut client, 200).await;
    tells(&proxy, &["again", "added 127.0.0.2"]).await;
}

#[tokio::test]
async fn a_reload_that_would_leave_an_upstream_without_endpoints_is_refused() {
    let server = NameServer::start();
    let (port, _backends) = backends(1);
    server.addresses("app.test", 0, &["127.0.0.1"]);
    let keys = format!("endpoints: [\"app.test:{port}\"]");
    let proxy = proxy(&server, &keys, "").await;
    let wrong = yaml(&server, "endpoints: [\"ap.test:80\"]", "");
    let refused = proxy.reload(&wrong).await;
    let Err(ReloadError::NoEndpoint { upstream, reasons }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(upstream, "pool");
    assert!(
        reasons.contains("ap.test: there is no such name"),
        "{reasons}"
    );
    endpoints_become(&proxy, &ids(port, &[1])).await;

    // Beside one that serves, a name may be of no use yet; what is known of a kept name is not asked for again.
    server.trouble("app.test", Trouble::Fails);
    let both = format!("endpoints: [\"app.test:{port}\", \"late.test:80\"]");
    let changes = proxy.reload(&yaml(&server, &both, "")).await.unwrap();
    let kept: Vec<String> = ids(port, &[1])
        .iter()
        .map(|id| format!("pool/{id}"))
        .collect();
    assert_eq!(changes.endpoints.kept, kept);
    assert_eq!(changes.generation, 2);
    server.addresses("late.test", 0, &["127.0.0.9"]);
    let mut all = ids(port, &[1]);
    all.push("late.test:80/127.0.0.9".to_owned());
    endpoints_become(&proxy, &all).await;
    assert_eq!(proxy.live().snapshot.load().generation, 2);
}

#[tokio::test]
async fn a_long_ttl_is_asked_for_again_at_the_ceiling_and_not_before() {
    let server = NameServer::start();
    server.addresses("long.test", 86_400, &["127.0.0.1"]);
    server.addresses("short.test", 0, &["127.0.0.1"]);
    let keys = "endpoints: [\"long.test:80\", \"short.test:80\"]";
    let _proxy = proxy(&server, keys, "family: ipv4").await;
    // The short one is asked for ten times and more while the long one rests: of its addresses none is asked for twice.
    eventually(DEADLINE, || server.questions() > 12).await;
    assert_eq!(server.asked("long.test"), 1);
    assert!(server.asked("short.test") > 10);
}

#[tokio::test]
async fn names_that_nobody_answers_for_delay_a_start_by_one_timeout_and_a_reload_not_at_all() {
    let server = NameServer::start();
    let names: Vec<String> = (0..300).map(|one| format!("dead-{one}.test")).collect();
    names
        .iter()
        .for_each(|name| server.trouble(name, Trouble::Silent));
    let endpoints = names.iter().map(|name| format!("\"{name}:80\""));
    let endpoints = endpoints.collect::<Vec<_>>().join(", ");
    let (port, _backends) = backends(1);
    let keys = format!("endpoints: [{endpoints}, \"127.0.0.1:{port}\"]");
    let clock = Clock::system();
    let begun = clock.now();
    // 64 are asked at a time.
    let proxy = proxy(&server, &keys, "timeout: 2s").await;
    let took = clock.now().since(begun);
    assert!(took < Duration::from_secs(5), "{took:?}");
    tells(&proxy, &["dead-299.test", "no answer in time"]).await;

    let asked = yaml(&server, &keys, "timeout: 2s") + "drain_timeout: 9s\n";
    let begun = clock.now();
    proxy.reload(&asked).await.unwrap();
    let took = clock.now().since(begun);
    assert!(took < Duration::from_millis(1500), "{took:?}");
}
