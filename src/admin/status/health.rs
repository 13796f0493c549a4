//! What active checks say of an endpoint, and their last results.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Instant};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::health::{Check, Outcome};

/// An endpoint by its checks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthStatus {
    /// `healthy`, `unhealthy`, or `unknown` until the first check where that is to decide.
    pub verdict: String,
    /// How long it has been that.
    pub since_seconds: f64,
    /// Results in a row that speak against the verdict.
    pub against: u32,
    /// How often the verdict has turned.
    pub turns: u64,
    /// Checks ended, by result.
    pub checks: BTreeMap<String, u64>,
    /// Until the next check; 0 while one is under way or waits for its place.
    pub next_in_seconds: f64,
    /// The last results, the oldest first.
    pub history: Vec<CheckStatus>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// When it began, in seconds since 1970, UTC.
    pub at: f64,
    pub took_seconds: f64,
    /// `passed`, `failed`, or `void` where this process was late itself.
    pub result: String,
    /// Why it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reads what is known of an endpoint; `None`: it is not checked.
pub(super) fn read(endpoint: &Endpoint, clock: &Clock, now: Instant) -> Option<HealthStatus> {
    let health = endpoint.health().clone()?;
    let wall = crate::clock::wall().duration_since(UNIX_EPOCH);
    let wall = wall.unwrap_or_default();
    let check = |check: &Check| CheckStatus {
        at: seconds_before(wall, clock.real(now.since(check.began))),
        took_seconds: check.took.as_secs_f64(),
        result: check.outcome.label().to_owned(),
        reason: check.reason.clone(),
    };
    let counts = Outcome::ALL.map(|outcome| (outcome.label().to_owned(), health.count(outcome)));
    Some(HealthStatus {
        verdict: health.verdict().label().to_owned(),
        since_seconds: now.since(health.since()).as_secs_f64(),
        against: health.against(),
        turns: health.turns(),
        checks: counts.into(),
        next_in_seconds: health.due().since(now).as_secs_f64(),
        history: health.history().iter().map(check).collect(),
    })
}

fn seconds_before(wall: Duration, ago: Duration) -> f64 {
    wall.as_secs_f64() - ago.as_secs_f64()
}
