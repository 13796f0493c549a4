//! Whom a check must not hold up: other checks, requests, operators; and what a process that is late makes of failures.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::clock::Clock;
use plimsoll::config::read::from_text;
use plimsoll::lifecycle;
use plimsoll::upstream::health::{Health, Outcome, Verdict};

use super::{QUICK, checked, several, upstream, written, yaml};
use crate::harness::{Backend, Client, DEADLINE, Proxy, Scripted, Step, eventually, within};

/// Checks that take a minute each, of endpoints that never answer.
const PATIENT: &str = "timeout: 1m, interval: 1m, fast_interval: 10ms, at_once: 2";

#[tokio::test]
async fn checks_that_hang_delay_neither_other_checks_nor_requests_nor_operators() {
    let hanging = Scripted::play(vec![vec![Step::ReadToEnd]]).await;
    let stuck: Vec<String> = ["s1", "s2", "s3", "s4"]
        .map(|id| written(id, &hanging.address().to_string(), ""))
        .into();
    let backend = Backend::start("a");
    let sound = [written("a", &backend.endpoint(), "")];
    let proxy = Proxy::start(&several(&[
        ("pool", &sound, QUICK, ""),
        ("stuck", &stuck, PATIENT, ""),
    ]))
    .await;
    let running = || upstream(&proxy, "stuck").checks.as_ref().unwrap().running();
    eventually(DEADLINE, || running() == 2).await;
    // All of this within the minute of the two that hang.
    let begun = proxy.live().clock.now();
    checked(&proxy, "a", Outcome::Passed, 50).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
    let mut admin = Client::h1(proxy.admin()).await;
    for path in ["/live", "/api/v1/status", "/metrics"] {
        assert_eq!(within(admin.get(path)).await.status, 200);
    }
    // The others wait for a place, and no more than two ever have one.
    assert_eq!(running(), 2);
    let stuck = upstream(&proxy, "stuck");
    let ended = stuck.endpoints.iter().map(|one| {
        let health = one.health();
        health.as_ref().map_or(0, |health| health.history().len())
    });
    assert_eq!(ended.sum::<usize>(), 0);
    assert!(proxy.live().clock.now().since(begun) < Duration::from_secs(60));
    // A reload without them neither waits for them nor lets them go on.
    assert_eq!(hanging.ended(), 0);
    within(proxy.reload(&yaml(&sound, QUICK, "")))
        .await
        .unwrap();
    eventually(DEADLINE, || hanging.ended() == 2).await;
}

#[tokio::test]
async fn hundreds_of_endpoints_are_all_checked() {
    let backend = Backend::start("a");
    let dead = crate::harness::Closed::new();
    let all: Vec<String> = (0..300)
        .map(|number| {
            let address = match number % 3 {
                0 => dead.endpoint(),
                _ => backend.endpoint(),
            };
            written(&format!("e{number}"), &address, "")
        })
        .collect();
    let active = "timeout: 10s, interval: 100ms, fast_interval: 100ms, at_once: 8";
    let proxy = Proxy::start(&yaml(&all, active, "")).await;
    let known = upstream(&proxy, "pool");
    let found = |wanted: Verdict| {
        let all = known.endpoints.iter().enumerate();
        let found = all.filter(|(number, one)| {
            let is_dead = wanted == Verdict::Unhealthy;
            let health = one.health();
            (number % 3 == 0) == is_dead
                && health
                    .as_ref()
                    .is_some_and(|health| health.verdict() == wanted && health.history().len() > 2)
        });
        found.count()
    };
    eventually(DEADLINE, || found(Verdict::Unhealthy) == 100).await;
    eventually(DEADLINE, || found(Verdict::Healthy) == 200).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
}

/// The thread of the checks is kept from its work, each time for longer than a check may take: it cannot tell an endpoint
/// that hangs from an answer that it did not come to read.
#[tokio::test]
async fn a_process_that_stalls_blames_no_endpoint() {
    let backend = Backend::start("a");
    let endpoints = [written("a", &backend.endpoint(), "")];
    // An answer comes in time, with all the time in the world; unless nobody reads it.
    let active = "path: /delay/500, timeout: 3s, interval: 10ms, fast_interval: 10ms, fall: 1";
    let text = yaml(&endpoints, active, "");
    let parsed = move || {
        from_text("test.yaml", &text, &|_| None)
            .ok()
            .unwrap()
            .config
    };
    let config = parsed();
    let started = tokio::task::spawn_blocking(move || lifecycle::start(config, Clock::system()));
    let stall = |line: &str| {
        if line.contains("reloaded") {
            let clock = Clock::system();
            let begun = clock.now();
            while clock.now().since(begun) < Duration::from_secs(4) {
                std::hint::spin_loop();
            }
        }
    };
    let handle = started
        .await
        .unwrap()
        .unwrap()
        .spawn(Arc::new(stall))
        .unwrap();
    let known = || {
        let snapshot = handle.live.snapshot.load();
        let health = snapshot.upstreams[0].endpoints[0].health();
        health.as_ref().map(Health::clone).unwrap()
    };
    eventually(DEADLINE, || known().count(Outcome::Passed) > 0).await;
    // A check is under way nearly always; a stall between two of them meets none.
    for _ in 0..3 {
        let passed = known().count(Outcome::Passed);
        within(handle.reload(parsed())).await.unwrap();
        eventually(DEADLINE, || known().count(Outcome::Passed) > passed).await;
        if known().count(Outcome::Void) > 0 {
            break;
        }
    }
    let known = known();
    assert_eq!((known.count(Outcome::Failed), known.turns()), (0, 0));
    let mut void = known
        .history()
        .iter()
        .filter(|one| one.outcome == Outcome::Void);
    let reason = void.next().unwrap().reason.clone().unwrap();
    assert!(reason.starts_with("this process was late by "), "{reason}");
}
