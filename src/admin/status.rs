//! `/api/v1/status`: every listener, route, upstream and endpoint with its live numbers and its percentiles.
//!
//! The types are also what `plimsoll status` reads back. Times are in seconds.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::live::Live;
use crate::observe::{Metric, Reading, Report, Summary, Window};
use crate::snapshot::Snapshot;
use crate::upstream::{Upstream, connect, pool};

/// The whole answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub uptime_seconds: f64,
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    pub config: ConfigStatus,
    pub workers: Vec<WorkerStatus>,
    /// Connections of clients that are open.
    pub connections_open: usize,
    /// All requests.
    pub requests: Windows,
    pub listeners: Vec<ListenerStatus>,
    pub routes: Vec<RouteStatus>,
    pub upstreams: Vec<UpstreamStatus>,
}

/// The configuration in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Counts up with each configuration that was put in force.
    pub generation: u64,
    /// Seconds since 1970, UTC.
    pub in_force_since: f64,
    pub last_reload: Option<ReloadStatus>,
}

/// How the last reload went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// Seconds since 1970, UTC.
    pub at: f64,
    pub applied: bool,
    /// What changed, or why nothing did.
    pub text: String,
}

/// One thread that carries traffic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub index: usize,
    pub connections_open: usize,
}

/// One listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub name: String,
    /// As bound.
    pub address: String,
    pub tls: bool,
    pub connections_open: usize,
    pub requests: Windows,
}

/// One route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteStatus {
    pub name: String,
    pub requests: Windows,
}

/// One upstream; its numbers are those of its endpoints together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamStatus {
    pub name: String,
    /// The policy that picks.
    pub balance: String,
    /// Attempts under way.
    pub in_flight: u64,
    pub attempts: Windows,
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointStatus {
    pub id: String,
    /// The address behind the one that was written.
    pub address: String,
    /// Whether it may be picked.
    pub eligible: bool,
    pub in_flight: u64,
    /// Connections to it, idle ones included.
    pub connections_open: usize,
    pub attempts: Windows,
}

/// Numbers over the last minute, and since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Windows {
    #[serde(rename = "1m")]
    pub minute: Figures,
    pub lifetime: Figures,
}

/// Numbers over one window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The time covered.
    pub span_seconds: f64,
    /// Requests or attempts that ended.
    pub count: u64,
    pub per_second: f64,
    /// How many of them had a status of this class; `none` when no status was sent.
    pub classes: BTreeMap<String, u64>,
    /// How many of them met an error, by its label.
    pub errors: BTreeMap<String, u64>,
    /// Of those that were tried to their end.
    pub duration_seconds: Percentiles,
}

/// Percentiles; `null` where too few samples lie beyond one for it to mean anything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// Samples.
    pub count: u64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub max: Option<f64>,
}

impl From<Summary> for Percentiles {
    fn from(summary: Summary) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            count: summary.count,
            p50: seconds(summary.p50),
            p95: seconds(summary.p95),
            p99: seconds(summary.p99),
            p999: seconds(summary.p999),
            max: seconds(summary.max),
        }
    }
}

/// Reads everything. Takes microseconds for each object in use: not for a worker's thread.
pub fn read(live: &Live) -> Status {
    let now = live.clock.now();
    let snapshot = live.snapshot.load_full();
    let reports = Reports {
        minute: live.metrics.read(Window::Minute, now),
        lifetime: live.metrics.read(Window::Lifetime, now),
    };
    let reasons: Vec<String> = live.reasons().iter().map(ToString::to_string).collect();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: now.since(live.started).as_secs_f64(),
        ready: reasons.is_empty(),
        reasons,
        config: config(live, &snapshot),
        workers: workers(live),
        connections_open: live.connections(),
        requests: reports.windows(
            LISTENER,
            |report| std::slice::from_ref(&report.process),
            &[],
        ),
        listeners: listeners(live, &reports),
        routes: routes(&snapshot, &reports),
        upstreams: snapshot
            .upstreams
            .iter()
            .map(|upstream| upstream_status(upstream, &snapshot, &reports))
            .collect(),
    }
}

fn config(live: &Live, snapshot: &Snapshot) -> ConfigStatus {
    let unix = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs_f64()
    };
    let reloads = live.reloads();
    ConfigStatus {
        generation: snapshot.generation,
        in_force_since: unix(reloads.in_force_since),
        last_reload: reloads.last.map(|last| ReloadStatus {
            at: unix(last.at),
            applied: last.applied,
            text: last.text,
        }),
    }
}

fn workers(live: &Live) -> Vec<WorkerStatus> {
    let each = live.mailboxes.iter().enumerate();
    each.map(|(index, mailbox)| WorkerStatus {
        index,
        connections_open: mailbox
            .connections
            .load(std::sync::atomic::Ordering::Relaxed),
    })
    .collect()
}

fn listeners(live: &Live, reports: &Reports) -> Vec<ListenerStatus> {
    let each = live.listeners.iter();
    each.map(|bound| ListenerStatus {
        name: bound.name.clone(),
        address: bound.address.to_string(),
        tls: bound.tls,
        connections_open: bound.gate.open(),
        requests: reports.windows(LISTENER, |report| &report.listeners, &[&bound.name]),
    })
    .collect()
}

fn routes(snapshot: &Snapshot, reports: &Reports) -> Vec<RouteStatus> {
    let each = snapshot.routes.routes().iter();
    each.map(|route| RouteStatus {
        name: route.name.to_string(),
        requests: reports.windows(ROUTE, |report| &report.routes, &[&route.name]),
    })
    .collect()
}

fn upstream_status(upstream: &Upstream, snapshot: &Snapshot, reports: &Reports) -> UpstreamStatus {
    let endpoints: Vec<EndpointStatus> = upstream
        .endpoints
        .iter()
        .enumerate()
        .map(|(place, endpoint)| EndpointStatus {
            id: endpoint.id.clone(),
            address: address(&endpoint.target.address),
            eligible: upstream.groups.standing(endpoint, place).is_none(),
            in_flight: u64::from(endpoint.signals.in_flight.load()),
            connections_open: pool::open(endpoint),
            attempts: reports.windows(
                ATTEMPT,
                |report| &report.endpoints,
                &[&upstream.name, &endpoint.id],
            ),
        })
        .collect();
    let written = snapshot.config.upstreams.get(&upstream.name);
    UpstreamStatus {
        name: upstream.name.clone(),
        balance: written
            .map_or("", |written| written.balance.name())
            .to_owned(),
        in_flight: endpoints.iter().map(|endpoint| endpoint.in_flight).sum(),
        attempts: reports.windows(ATTEMPT, |report| &report.upstreams, &[&upstream.name]),
        endpoints,
    }
}

/// An address as it is written.
pub fn address(address: &connect::Address) -> String {
    match address {
        connect::Address::Tcp(address) => address.to_string(),
        connect::Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Where the counts of a kind of object stand: by class of status, and by error.
type Counts = (Metric, Option<Metric>);
const LISTENER: Counts = (Metric::ListenerRequests, None);
const ROUTE: Counts = (Metric::Requests, Some(Metric::RequestErrors));
const ATTEMPT: Counts = (Metric::AttemptResponses, Some(Metric::AttemptErrors));

struct Reports {
    minute: Report,
    lifetime: Report,
}

impl Reports {
    /// The numbers of the object with this identity; zeros when nothing was counted for it yet.
    fn windows(
        &self,
        counts: Counts,
        table: impl Fn(&Report) -> &[Reading],
        identity: &[&str],
    ) -> Windows {
        let of = |report: &Report| {
            let reading = table(report)
                .iter()
                .find(|reading| reading.identity.iter().eq(identity.iter()));
            figures(counts, report.span, reading)
        };
        Windows {
            minute: of(&self.minute),
            lifetime: of(&self.lifetime),
        }
    }
}

fn figures((classes, errors): Counts, span: Duration, reading: Option<&Reading>) -> Figures {
    let span_seconds = span.as_secs_f64();
    let Some(reading) = reading else {
        return Figures {
            span_seconds,
            ..Figures::default()
        };
    };
    let count = reading.sum(classes);
    let named = |metric: Metric| {
        let counts = reading.counts(metric).filter(|(_, count)| *count > 0);
        counts
            .map(|(word, count)| (word.to_owned(), count))
            .collect()
    };
    Figures {
        span_seconds,
        count,
        per_second: if span_seconds > 0.0 {
            count as f64 / span_seconds
        } else {
            0.0
        },
        classes: named(classes),
        errors: errors.map(named).unwrap_or_default(),
        duration_seconds: reading.total.into(),
    }
}
