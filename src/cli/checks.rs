//! The table of active checks in `plimsoll status`: what they say of each endpoint, and why (pure).
//!
//! 120 columns are enough where ids are addresses.

use super::status::{latency, span};
use super::table::Table;
use crate::admin::status::{HealthStatus, UpstreamStatus};

/// Letters of a reason that are shown; the admin API has all of them.
const REASON: usize = 44;

/// The endpoints that are checked; `None` where there are none.
pub(super) fn render(upstreams: &[UpstreamStatus]) -> Option<String> {
    let mut table = Table::new(
        3,
        &[
            "CHECKED", "VERDICT", "LAST", "TOOK", "FOR", "PASSED", "FAILED", "VOID", "NEXT IN",
        ],
    );
    let mut is_empty = true;
    for upstream in upstreams {
        for endpoint in &upstream.endpoints {
            if let Some(health) = &endpoint.health {
                is_empty = false;
                table.row(row(format!("{}/{}", upstream.name, endpoint.id), health));
            }
        }
    }
    (!is_empty).then(|| table.render())
}

fn row(name: String, health: &HealthStatus) -> Vec<String> {
    let count = |result: &str| {
        let count = health.checks.get(result);
        count.copied().unwrap_or_default().to_string()
    };
    let last = health.history.last();
    let result = last.map_or_else(
        || "none yet".to_owned(),
        |last| match &last.reason {
            Some(reason) => format!("{}: {}", last.result, clipped(reason)),
            None => last.result.clone(),
        },
    );
    vec![
        name,
        health.verdict.clone(),
        result,
        latency(last.map(|last| last.took_seconds)),
        span(health.since_seconds),
        count("passed"),
        count("failed"),
        count("void"),
        format!("{:.1} s", health.next_in_seconds),
    ]
}

fn clipped(reason: &str) -> String {
    let mut letters = reason.chars();
    let mut shown: String = letters.by_ref().take(REASON).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_is_known_and_why() {
        let health = |reason: &str| -> HealthStatus {
            let json = serde_json::json!({
                "verdict": "unhealthy", "since_seconds": 65.0, "against": 0, "turns": 1,
                "checks": { "passed": 7, "failed": 3, "void": 0 }, "next_in_seconds": 4.25,
                "history": [
                    { "at": 1.0, "took_seconds": 0.002, "result": "passed" },
                    { "at": 2.0, "took_seconds": 0.0005, "result": "failed", "reason": reason },
                ],
            });
            serde_json::from_value(json).unwrap()
        };
        let row = row("api/a".to_owned(), &health("it answered 503"));
        assert_eq!(
            row.join(" | "),
            "api/a | unhealthy | failed: it answered 503 | 500 µs | 1 min 5 s | 7 | 3 | 0 | 4.2 s"
        );
        let long = clipped(&"é".repeat(100));
        assert_eq!(long.chars().count(), REASON + 1);
    }
}
