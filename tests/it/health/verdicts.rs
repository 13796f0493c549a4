//! What comes of checks: who gets requests at first, who loses them and gets them back, and what a reload keeps.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::upstream::health::{Outcome, Verdict};
use tokio::sync::Notify;

use super::{
    QUICK, checked, endpoint, events, events_when, first, health, several, turns, upstream,
    written, yaml,
};
use crate::harness::{
    Backend, Client, Closed, DEADLINE, Proxy, Scripted, Step, eventually, within,
};

const TURNS: &str = "balance: round_robin";

/// Who answers eight requests.
async fn answers(proxy: &Proxy) -> String {
    let mut client = Client::h1(proxy.address()).await;
    let mut labels = Vec::new();
    for _ in 0..8 {
        let answer = client.get("/").await;
        labels.push(answer.backend().unwrap_or("none").to_owned());
    }
    labels.sort();
    labels.dedup();
    labels.join("+")
}

/// Waits until these answer and nobody else.
async fn answered_by(proxy: &Proxy, labels: &str) {
    within(async { while answers(proxy).await != labels {} }).await;
}

#[tokio::test]
async fn who_fails_its_checks_gets_nothing_until_they_pass_again() {
    for protocol in ["h1", "h2"] {
        let (a, b) = (Backend::start("a"), Backend::start("b"));
        let endpoints = [
            written("a", &a.endpoint(), ""),
            written("b", &b.endpoint(), ""),
        ];
        let upstream = format!("protocol: {protocol}, {TURNS}");
        let proxy = Proxy::start(&yaml(&endpoints, QUICK, &upstream)).await;
        assert_eq!(answers(&proxy).await, "a+b");
        b.change(Backend::labelled("b").health(503));
        turns(&proxy, "b", Verdict::Unhealthy).await;
        // It is out with the verdict, not with the next tick.
        answered_by(&proxy, "a").await;
        assert_eq!(health(&proxy, "a").verdict(), Verdict::Healthy);
        b.change(Backend::labelled("b"));
        answered_by(&proxy, "a+b").await;
        let texts = [
            "health: upstream pool, endpoint b is unhealthy: 3 checks failed in a row, the last because it answered 503",
            "health: upstream pool, endpoint b is healthy: 2 checks passed in a row",
        ];
        assert_eq!(events_when(&proxy, texts.len()).await, texts);
    }
}

#[tokio::test]
async fn a_blip_takes_nobody_out() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let bad = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec();
    let answers = [&ok, &bad, &bad, &ok, &bad, &ok].map(Clone::clone);
    let server = Scripted::start(answers.into()).await;
    let endpoints = [written("a", &server.address().to_string(), "")];
    let proxy = Proxy::start(&yaml(&endpoints, QUICK, "")).await;
    checked(&proxy, "a", Outcome::Passed, 5).await;
    let health = health(&proxy, "a");
    assert_eq!((health.count(Outcome::Failed), health.turns()), (3, 0));
    assert!(events(&proxy).is_empty());
}

#[tokio::test]
async fn an_endpoint_begins_as_it_is_written() {
    let backend = Backend::labelled("a").health(503).start();
    let endpoints = [written("a", &backend.endpoint(), "")];
    let quick = |initial: &str| format!("{QUICK}, initial: {initial}");
    // Healthy: at once, whatever the checks will say.
    let slow = "fast_interval: 1h, interval: 1h, jitter: 90%";
    let proxy = Proxy::start(&yaml(&endpoints, slow, "")).await;
    assert_eq!(answers(&proxy).await, "a");

    let proxy = Proxy::start(&yaml(&endpoints, &quick("unhealthy"), "")).await;
    assert_eq!(answers(&proxy).await, "none");
    checked(&proxy, "a", Outcome::Failed, 3).await;
    assert_eq!(answers(&proxy).await, "none");
    backend.change(Backend::labelled("a"));
    answered_by(&proxy, "a").await;
    assert!(health(&proxy, "a").count(Outcome::Passed) >= 2);
}

#[tokio::test]
async fn a_first_check_decides_alone() {
    let told = Arc::new(Notify::new());
    let script = |status: &str| {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        vec![
            Step::ReadHead,
            Step::Wait(Arc::clone(&told)),
            Step::write(answer),
        ]
    };
    for (status, label) in [("200", "a"), ("503", "none")] {
        let server = Scripted::play(vec![script(status)]).await;
        let backend = Backend::start("a");
        let endpoints = [written("a", &backend.endpoint(), "")];
        // Both take many to turn, and one to begin with.
        let active = format!(
            "port: {}, initial: first_check, rise: 100, fall: 100, timeout: 1h, interval: 1h",
            server.address().port()
        );
        let proxy = Proxy::start(&yaml(&endpoints, &active, "")).await;
        eventually(DEADLINE, || !server.heads().is_empty()).await;
        assert_eq!(answers(&proxy).await, "none");
        assert_eq!(health(&proxy, "a").verdict(), Verdict::Unknown);
        told.notify_one();
        let verdict = if status == "200" {
            Verdict::Healthy
        } else {
            Verdict::Unhealthy
        };
        turns(&proxy, "a", verdict).await;
        answered_by(&proxy, label).await;
        match status {
            "200" => assert_eq!(events(&proxy), [""; 0]),
            _ => {
                let said = events_when(&proxy, 1).await;
                let expected = "its first check failed, because it answered 503";
                assert!(said[0].contains(expected), "{said:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_reload_keeps_verdict_and_history_and_ends_what_is_no_longer_asked_for() {
    let (a, b) = (
        Backend::start("a"),
        Backend::labelled("b").health(503).start(),
    );
    let endpoints = [
        written("a", &a.endpoint(), ""),
        written("b", &b.endpoint(), ""),
    ];
    let proxy = Proxy::start(&yaml(&endpoints, QUICK, TURNS)).await;
    turns(&proxy, "b", Verdict::Unhealthy).await;
    let failed = health(&proxy, "b").count(Outcome::Failed);
    // Other rules, another weight: the same endpoint, which is known.
    let heavier = [
        endpoints[0].clone(),
        written("b", &b.endpoint(), "weight: 3"),
    ];
    let other = format!("{QUICK}, fall: 5, history: 2");
    within(proxy.reload(&yaml(&heavier, &other, TURNS)))
        .await
        .unwrap();
    assert_eq!(health(&proxy, "b").verdict(), Verdict::Unhealthy);
    assert!(health(&proxy, "b").count(Outcome::Failed) >= failed);
    checked(&proxy, "b", Outcome::Failed, 2).await;
    assert_eq!(health(&proxy, "b").history().len(), 2);
    assert_eq!(answers(&proxy).await, "a");
    assert_eq!(events_when(&proxy, 1).await.len(), 1);
    // Without checks nothing is held against it.
    within(proxy.reload(&yaml(&heavier, "off", TURNS)))
        .await
        .unwrap();
    answered_by(&proxy, "a+b").await;
    assert!(endpoint(&proxy, "b").health().is_none());
    // With them again it begins anew.
    within(proxy.reload(&yaml(&heavier, &other, TURNS)))
        .await
        .unwrap();
    turns(&proxy, "b", Verdict::Unhealthy).await;
    answered_by(&proxy, "a").await;
}

#[tokio::test]
async fn a_removed_endpoint_is_checked_no_more_and_a_draining_one_is() {
    let pool = ["a", "b", "c"].map(Backend::start);
    let all = [
        written("a", &pool[0].endpoint(), ""),
        written("b", &pool[1].endpoint(), "draining: true"),
        written("c", &pool[2].endpoint(), ""),
    ];
    let proxy = Proxy::start(&yaml(&all, QUICK, TURNS)).await;
    for id in ["a", "b", "c"] {
        checked(&proxy, id, Outcome::Passed, 3).await;
    }
    within(proxy.reload(&yaml(&all[..2], QUICK, TURNS)))
        .await
        .unwrap();
    // One that was under way may still have arrived.
    checked(&proxy, "a", Outcome::Passed, 3).await;
    let seen = pool[2].counters().accepted();
    checked(&proxy, "a", Outcome::Passed, 20).await;
    checked(&proxy, "b", Outcome::Passed, 3).await;
    assert_eq!(pool[2].counters().accepted(), seen);
}

#[tokio::test]
async fn at_another_address_an_endpoint_is_what_it_was_until_it_was_checked_there_soon() {
    let closed = Closed::new();
    let backend = Backend::start("a");
    // All but the first checks of an address would take an hour to come.
    let active =
        "initial: first_check, fast_interval: 10ms, interval: 1h, timeout: 10s, jitter: 0%";
    let at = |address: &str| yaml(&[written("a", address, "")], active, "");
    let proxy = Proxy::start(&at(&closed.endpoint())).await;
    turns(&proxy, "a", Verdict::Unhealthy).await;
    within(proxy.reload(&at(&backend.endpoint())))
        .await
        .unwrap();
    answered_by(&proxy, "a").await;
    let known = health(&proxy, "a");
    let results = known.history().iter().map(|check| check.outcome);
    assert_eq!(
        results.collect::<Vec<_>>(),
        [Outcome::Failed, Outcome::Passed, Outcome::Passed]
    );
    assert_eq!(known.turns(), 2);
}

#[tokio::test]
async fn a_shorter_interval_is_in_force_with_the_reload() {
    let backend = Backend::start("a");
    let endpoints = [written("a", &backend.endpoint(), "")];
    let proxy = Proxy::start(&yaml(&endpoints, "interval: 1h, timeout: 10s", "")).await;
    first(&endpoint(&proxy, "a")).await;
    within(proxy.reload(&yaml(&endpoints, QUICK, "")))
        .await
        .unwrap();
    checked(&proxy, "a", Outcome::Passed, 5).await;
}

#[tokio::test]
async fn one_address_in_two_upstreams_is_checked_for_each() {
    let backend = Backend::start("a");
    let endpoints = [written("a", &backend.endpoint(), "")];
    let refused = format!("{QUICK}, path: /status/500");
    let proxy = Proxy::start(&several(&[
        ("pool", &endpoints, QUICK, ""),
        ("other", &endpoints, &refused, ""),
    ]))
    .await;
    let other = Arc::clone(&upstream(&proxy, "other").endpoints[0]);
    eventually(DEADLINE, || {
        other
            .health()
            .as_ref()
            .is_some_and(|health| health.is_held())
    })
    .await;
    checked(&proxy, "a", Outcome::Passed, 3).await;
    assert_eq!(health(&proxy, "a").verdict(), Verdict::Healthy);
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/pool/").await.status, 200);
    assert_eq!(client.get("/other/").await.status, 503);
}

#[tokio::test]
async fn those_outside_a_random_subset_are_not_checked() {
    let pool = ["a", "b", "c", "d"].map(Backend::start);
    let all: Vec<String> = pool
        .iter()
        .zip(["a", "b", "c", "d"])
        .map(|(backend, id)| written(id, &backend.endpoint(), ""))
        .collect();
    let proxy = Proxy::start(&yaml(&all, QUICK, "random_subset: 2")).await;
    let known = upstream(&proxy, "pool");
    let checked = || {
        let all = known.endpoints.iter();
        let checks = all.map(|one| {
            let health = one.health();
            health.as_ref().map(|health| health.count(Outcome::Passed))
        });
        checks.collect::<Vec<_>>()
    };
    eventually(DEADLINE, || {
        checked().iter().flatten().all(|count| *count > 2)
    })
    .await;
    assert_eq!(checked().iter().flatten().count(), 2);
    let reached = pool.iter().filter(|one| one.counters().accepted() > 0);
    assert_eq!(reached.count(), 2);
}

/// A ramp begins with the first good check, not when the endpoint was added.
#[tokio::test]
async fn slow_start_begins_when_the_verdict_turns() {
    let (a, b) = (
        Backend::start("a"),
        Backend::labelled("b").health(503).start(),
    );
    let endpoints = [
        written("a", &a.endpoint(), ""),
        written("b", &b.endpoint(), ""),
    ];
    let active = format!("{QUICK}, initial: unhealthy");
    let proxy = Proxy::start(&yaml(&endpoints, &active, "slow_start: { window: 1h }")).await;
    turns(&proxy, "a", Verdict::Healthy).await;
    checked(&proxy, "b", Outcome::Failed, 3).await;
    let before = proxy.live().clock.now();
    b.change(Backend::labelled("b"));
    turns(&proxy, "b", Verdict::Healthy).await;
    let ramping = || endpoint(&proxy, "b").signals.ramping_since();
    eventually(DEADLINE, || ramping().is_some_and(|since| since >= before)).await;
    assert!(ramping().unwrap().since(before) < Duration::from_secs(60));
}
