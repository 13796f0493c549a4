//! Breakers and outlier detection: how they stand, why, and when that changes next.

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
use crate::upstream::breaker::{Breaker, Phase, Switch};
use crate::upstream::endpoint::Endpoint;

/// One breaker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// `closed`, `half_open` or `open`.
    pub state: String,
    /// Why it opened last; `null` where it never did.
    pub reason: Option<String>,
    /// How long it has been like this.
    pub since_seconds: f64,
    pub failures_in_row: u32,
    /// What it counts: attempts of the window, since it closed.
    pub window: BreakerWindow,
    /// Openings without a rest between them: each doubles how long it stays open.
    pub openings: u32,
    /// When it is open: in how long probes go through.
    pub next_probe_seconds: Option<f64>,
    /// When it is half-open.
    pub probes_under_way: u32,
    pub probes_succeeded: u32,
    /// The share of its traffic that goes through when it is closed: less than 1 in its ramp.
    pub share: f64,
    /// How often it opened since the process began.
    pub opened_total: u64,
}

/// What a breaker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerWindow {
    pub attempts: u32,
    pub failed: u32,
    pub slow: u32,
}

/// The outlier detection of an upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutlierStatus {
    pub next_comparison_seconds: f64,
    /// How many more endpoints could be taken out now, by `keep`.
    pub may_eject: usize,
}

/// An endpoint beside its peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointOutlier {
    pub ejected: bool,
    /// Why it is out.
    pub reason: Option<String>,
    pub returns_in_seconds: Option<f64>,
    /// How often it was taken out, less the times that it has made good since.
    pub ejections: u32,
    pub ejected_total: u64,
    /// What it did between the last two comparisons; its typical latency is a geometric mean.
    pub attempts: u32,
    pub failure_rate: f64,
    pub latency_seconds: Option<f64>,
}

/// The breaker of an upstream as a whole, where it has one.
pub(super) fn of_upstream(upstream: &Upstream, now: Instant) -> Option<BreakerStatus> {
    let switch = upstream.breaker.as_ref()?.shared.as_ref()?;
    Some(read(switch, now))
}

/// That of an endpoint, where each has one.
pub(super) fn of_endpoint(
    upstream: &Upstream,
    endpoint: &Endpoint,
    now: Instant,
) -> Option<BreakerStatus> {
    let breaker: &Breaker = upstream.breaker.as_ref()?;
    let is_own = breaker.shared.is_none();
    is_own.then(|| read(&endpoint.breaker, now))
}

/// That of a route, by its place in the table.
pub(super) fn of_route(snapshot: &Snapshot, place: usize, now: Instant) -> Option<BreakerStatus> {
    let breaker = snapshot.breakers.get(place)?.as_ref()?;
    Some(read(breaker.shared.as_ref()?, now))
}

fn read(switch: &Switch, now: Instant) -> BreakerStatus {
    let facts = switch.facts(now);
    BreakerStatus {
        state: facts.phase.label().to_owned(),
        reason: facts.opened_for.map(|why| why.to_string()),
        since_seconds: now.since(facts.since).as_secs_f64(),
        failures_in_row: switch.in_row(),
        window: BreakerWindow {
            attempts: facts.window.ended,
            failed: facts.window.failed,
            slow: facts.window.slow,
        },
        openings: facts.openings,
        next_probe_seconds: facts.next_probe.map(|span| span.as_secs_f64()),
        probes_under_way: facts.probes.0,
        probes_succeeded: facts.probes.1,
        share: facts.share,
        opened_total: switch.changes()[Phase::Open as usize],
    }
}

/// The outlier detection of an upstream, where it is on.
pub(super) fn outlier(upstream: &Upstream, now: Instant) -> Option<OutlierStatus> {
    let outlook = upstream
        .outlier
        .outlook(&upstream.endpoints, &upstream.groups, now);
    let (next_comparison_seconds, may_eject) = outlook?;
    Some(OutlierStatus {
        next_comparison_seconds,
        may_eject,
    })
}

/// What it knows of the endpoint at this place.
pub(super) fn endpoint_outlier(
    upstream: &Upstream,
    place: usize,
    now: Instant,
) -> Option<EndpointOutlier> {
    upstream.outlier.rules.as_ref()?;
    let identity = upstream.groups.identity(place);
    let member = upstream.outlier.member(identity)?;
    let until = member.ejected.map(|(_, until)| until);
    Some(EndpointOutlier {
        ejected: member.ejected.is_some(),
        reason: member.ejected.map(|(why, _)| why.to_string()),
        returns_in_seconds: until.map(|until| until.since(now).as_secs_f64()),
        ejections: member.ejections,
        ejected_total: member.ejected_in_all,
        attempts: member.sample.ended(),
        failure_rate: member.sample.failure_rate(),
        latency_seconds: member.sample.latency.map(|nanos| nanos / 1e9),
    })
}
