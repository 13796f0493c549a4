//! What operators are told of checks: status, metrics, events, and the table of the command line.

use plimsoll::admin::events::Latest;
use plimsoll::admin::status::Status;
use plimsoll::upstream::health::{Outcome, Verdict};

use super::{QUICK, checked, several, turns, written};
use crate::harness::{Backend, Client, Closed, Process, Proxy};

async fn proxy() -> (Backend, Closed, Proxy) {
    let (backend, closed) = (Backend::start("a"), Closed::new());
    let endpoints = [
        written("a", &backend.endpoint(), ""),
        written("b", &closed.endpoint(), ""),
    ];
    let active = format!("{QUICK}, history: 3");
    let plain = [written("c", &backend.endpoint(), "")];
    let proxy = Proxy::start(&several(&[
        ("pool", &endpoints, &active, ""),
        ("unchecked", &plain, "off", ""),
    ]))
    .await;
    turns(&proxy, "b", Verdict::Unhealthy).await;
    checked(&proxy, "a", Outcome::Passed, 4).await;
    checked(&proxy, "b", Outcome::Failed, 1).await;
    (backend, closed, proxy)
}

#[tokio::test]
async fn the_status_has_the_verdict_and_the_last_results_with_their_reasons() {
    let (_backend, _closed, proxy) = proxy().await;
    let answer = Client::h1(proxy.admin()).await.get("/api/v1/status").await;
    let status: Status = serde_json::from_slice(&answer.body).unwrap();
    let [pool, unchecked] = &status.upstreams[..] else {
        panic!("{status:?}");
    };
    assert!(unchecked.endpoints[0].health.is_none());
    let (a, b) = (&pool.endpoints[0], &pool.endpoints[1]);
    let (healthy, unhealthy) = (a.health.as_ref().unwrap(), b.health.as_ref().unwrap());
    assert_eq!((&*healthy.verdict, healthy.turns), ("healthy", 0));
    assert_eq!((&*unhealthy.verdict, unhealthy.turns), ("unhealthy", 1));
    assert_eq!((b.eligible, b.out.as_deref()), (false, Some("unhealthy")));
    assert!(healthy.checks["passed"] >= 4 && unhealthy.checks["failed"] >= 4);
    assert_eq!((healthy.history.len(), unhealthy.history.len()), (3, 3));
    let last = unhealthy.history.last().unwrap();
    assert_eq!(last.result, "failed");
    assert_eq!(
        last.reason.as_deref(),
        Some("the endpoint refused the connection")
    );
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    for check in healthy.history.iter().chain(&unhealthy.history) {
        assert!((0.0..60.0).contains(&(now - check.at)), "{check:?}");
        assert!(check.took_seconds < 5.0);
    }
    let times = healthy.history.iter().map(|check| check.at);
    assert!(times.is_sorted());
    // It is due in 20 ms at most from its end, which may be after the clock was read.
    assert!(unhealthy.since_seconds < 60.0 && unhealthy.next_in_seconds < 2.0);
}

#[tokio::test]
async fn metrics_count_checks_and_show_verdicts() {
    let (_backend, _closed, proxy) = proxy().await;
    let answer = Client::h1(proxy.admin()).await.get("/metrics").await;
    let sample = |name: &str| {
        let mut lines = answer.text().lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    let verdict = |id: &str| {
        sample(&format!(
            "plimsoll_health_verdict{{upstream=\"pool\",endpoint=\"{id}\"}}"
        ))
    };
    assert_eq!((verdict("a"), verdict("b")), (Some(1.0), Some(0.0)));
    let count = |id: &str, result: &str| {
        sample(&format!(
            "plimsoll_health_checks_total{{upstream=\"pool\",endpoint=\"{id}\",result=\"{result}\"}}"
        ))
        .unwrap()
    };
    assert!(count("a", "passed") >= 4.0 && count("b", "failed") >= 4.0);
    assert_eq!((count("a", "failed"), count("b", "passed")), (0.0, 0.0));
    assert!(sample("plimsoll_health_checks_running{upstream=\"pool\"}").is_some());
    assert_eq!(sample("plimsoll_events_total{kind=\"health\"}"), Some(1.0));
    assert!(!answer.text().contains("endpoint=\"c\",result=\"passed\""));
}

#[tokio::test]
async fn an_event_says_who_turned_and_why() {
    let (_backend, _closed, proxy) = proxy().await;
    let path = "/api/v1/events?upstream=pool";
    let answer = Client::h1(proxy.admin()).await.get(path).await;
    let latest: Latest = serde_json::from_slice(&answer.body).unwrap();
    let [event] = &latest.events[..] else {
        panic!("{latest:?}");
    };
    assert_eq!(event.endpoint.as_deref(), Some("b"));
    let reason = "is unhealthy: 3 checks failed in a row, the last because the endpoint refused the connection";
    assert_eq!(event.text, reason);
}

#[tokio::test]
async fn the_command_line_shows_a_table_of_checks() {
    let (_backend, _closed, proxy) = proxy().await;
    let admin = proxy.admin().to_string();
    let mut status = Process::start(&["status", "--admin", &admin]);
    assert_eq!(status.wait(), Some(0), "{}", status.stderr());
    let text = status.stdout();
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert!(line("CHECKED").contains("VERDICT"));
    assert!(line("pool/a").contains("healthy    passed"), "{text}");
    let failed = "unhealthy  failed: the endpoint refused the connection";
    assert!(line("pool/b").contains(failed), "{text}");
    assert!(!text.contains("unchecked/c"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 120),
        "{text}"
    );
}
