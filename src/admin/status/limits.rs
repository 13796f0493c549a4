//! Limits on clients: what is allowed, to whom, and what came of it.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::units::format_size;
use crate::limit::{Event, Limiter};
use crate::snapshot::Snapshot;

/// One limit, with what was counted since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitStatus {
    pub name: String,
    /// `rate`, `concurrency` or `bandwidth`.
    pub kind: String,
    /// What is allowed to one client: `100/s, 200 at once`.
    pub allows: String,
    /// It refuses nobody and only counts.
    pub dry_run: bool,
    /// Who is held to it: `listener web`, `route api`.
    pub holds: Vec<String>,
    /// Requests that it let in.
    pub passed: u64,
    /// Requests that it refused.
    pub limited: u64,
    /// Requests that it would have refused, were it not on trial.
    pub would_limit: u64,
    /// Clients that it knows, idle ones too, and that it may know.
    pub keys: usize,
    pub keys_max: usize,
    /// Idle clients that it forgot to make room.
    pub evicted: u64,
    /// Requests for whose client there was no room.
    pub overflowed: u64,
    /// Requests under way, where those are counted.
    pub in_use: u64,
    /// Time for which bodies were held back.
    pub delayed_seconds: f64,
}

pub(super) fn read(snapshot: &Snapshot) -> Vec<LimitStatus> {
    let all = snapshot.limits.all.iter();
    all.map(|limiter| one(limiter, snapshot)).collect()
}

fn one(limiter: &Limiter, snapshot: &Snapshot) -> LimitStatus {
    let counts = limiter.counts();
    LimitStatus {
        name: limiter.name.to_string(),
        kind: limiter.kind().name().to_owned(),
        allows: allows(&snapshot.config, &limiter.name),
        dry_run: limiter.dry_run,
        holds: holds(snapshot, &limiter.name),
        passed: counts.of(Event::Passed),
        limited: counts.of(Event::Limited),
        would_limit: counts.of(Event::WouldLimit),
        keys: limiter.keys(),
        keys_max: limiter.most(),
        evicted: counts.of(Event::Evicted),
        overflowed: counts.of(Event::Overflow),
        in_use: counts.under_way(),
        delayed_seconds: counts.delay().as_secs_f64(),
    }
}

/// As it is written, for people.
pub fn allows(config: &Config, name: &str) -> String {
    if let Some(limit) = config.rate_limits.get(name) {
        let burst = limit.burst.unwrap_or_else(|| limit.rate.in_a_second());
        return format!("{}, {burst} at once", limit.rate);
    }
    if let Some(limit) = config.concurrency_limits.get(name) {
        return format!("{} at once", limit.max);
    }
    let limit = config.bandwidth_limits.get(name);
    limit.map_or_else(String::new, |limit| {
        let way = limit.direction.name();
        format!("{}/s {way}", format_size(limit.rate))
    })
}

fn holds(snapshot: &Snapshot, name: &str) -> Vec<String> {
    let config = &snapshot.config;
    let named = |names: &[String]| names.iter().any(|one| one == name);
    let listeners = config.listeners.iter();
    let listeners = listeners.filter(|(_, listener)| named(&listener.limits.apply));
    let listeners = listeners.map(|(listener, _)| format!("listener {listener}"));
    let routes = snapshot.routes.routes().iter().zip(&config.routes);
    let routes = routes.filter(|(_, written)| named(&written.limits));
    let routes = routes.map(|(route, _)| format!("route {}", route.name));
    listeners.chain(routes).collect()
}
