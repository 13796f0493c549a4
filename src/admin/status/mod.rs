//! `/api/v1/status`: every listener, route, upstream and endpoint with its live numbers and its percentiles.
//!
//! The types are also what `plimsoll status` reads back. Times are in seconds.

mod access_log;
mod auth;
mod balancing;
mod breaker;
mod bulkhead;
mod certificates;
mod discovery;
mod draining;
mod faults;
mod figures;
mod health;
mod hot_keys;
mod idempotency;
mod limits;
mod memory;
mod retries;
mod upstream;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::credentials;
use super::live::{Live, OlderGeneration};
use crate::clock::Instant;
use crate::observe::Window;
use crate::snapshot::Snapshot;
use figures::{LISTENER, ROUTE, Reports};

pub use super::credentials::CredentialsStatus;
pub use access_log::AccessLogStatus;
pub use auth::AuthStatus;
pub use balancing::{BalancingStatus, EndpointBalancing, GroupStatus, ImbalanceStatus};
pub use breaker::{BreakerStatus, BreakerWindow, EndpointOutlier, OutlierStatus};
pub use bulkhead::{AdaptiveStatus, BulkheadStatus, QueueStatus};
pub use certificates::{CertificateStatus, CertificatesStatus};
pub use discovery::SourceStatus;
pub use draining::DrainingStatus;
pub use faults::FaultStatus;
pub use figures::{Figures, Percentiles, Windows};
pub use health::{CheckStatus, HealthStatus};
pub use hot_keys::{HotKeyStatus, HotKeysStatus};
pub use idempotency::{IdempotencyStatus, KeysStatus};
pub use limits::{LimitStatus, allows};
pub use memory::MemoryStatus;
pub use retries::{HedgeStatus, RetryStatus};
pub use upstream::{EndpointStatus, UpstreamStatus, address};

pub(super) use balancing::measure;
pub(super) use hot_keys::hottest_share;

/// The whole answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub uptime_seconds: f64,
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// Where it is about to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingStatus>,
    pub config: ConfigStatus,
    pub workers: Vec<WorkerStatus>,
    /// Connections of clients that are open.
    pub connections_open: usize,
    /// Where memory is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStatus>,
    /// Where requests are logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLogStatus>,
    /// All requests.
    pub requests: Windows,
    pub listeners: Vec<ListenerStatus>,
    pub routes: Vec<RouteStatus>,
    pub upstreams: Vec<UpstreamStatus>,
    /// On clients, by name.
    #[serde(default)]
    pub limits: Vec<LimitStatus>,
    /// Files of those who may enter, and of what sessions are sealed with.
    #[serde(default)]
    pub credentials: Vec<CredentialsStatus>,
}

/// The configuration in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Counts up with each configuration that was put in force.
    pub generation: u64,
    /// Seconds since 1970, UTC.
    pub in_force_since: f64,
    pub last_reload: Option<ReloadStatus>,
    /// Reloads since the start.
    pub applied: u64,
    pub refused: u64,
    /// What still runs on configurations that were replaced, the oldest first; as of the last second.
    pub older: Vec<OlderGeneration>,
    /// Listeners that are gone from the configuration and had connections left at the last reload.
    pub departed: Vec<String>,
}

/// How the last reload went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// Seconds since 1970, UTC.
    pub at: f64,
    /// Who asked for it: `signal`, `api`, `watch` or `program`.
    pub by: String,
    pub took_seconds: f64,
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
    /// Where it speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesStatus>,
    pub connections_open: usize,
    pub requests: Windows,
}

/// One route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteStatus {
    pub name: String,
    /// `null`: it injects none.
    pub fault: Option<FaultStatus>,
    /// Where the route has one.
    pub breaker: Option<BreakerStatus>,
    pub requests: Windows,
    /// Where the route asks for keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<IdempotencyStatus>,
    /// What it asks of who wants to enter.
    pub auth: Option<AuthStatus>,
}

/// Reads everything. Takes microseconds for each object in use: not for a worker's thread.
pub fn read(live: &Live) -> Status {
    let now = live.clock.now();
    let snapshot = live.snapshot.load_full();
    let reports = Reports {
        minute: live.metrics.read(Window::Minute, now),
        lifetime: live.metrics.read(Window::Lifetime, now),
    };
    let picks = live.metrics.picks(Window::Minute, now);
    let reasons: Vec<String> = live.reasons().iter().map(ToString::to_string).collect();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: now.since(live.started).as_secs_f64(),
        ready: reasons.is_empty(),
        reasons,
        draining: draining::read(live, now),
        config: config(live, &snapshot),
        workers: workers(live),
        connections_open: live.connections(),
        memory: memory::read(live),
        access_log: access_log::read(live),
        requests: reports.windows(
            LISTENER,
            |report| std::slice::from_ref(&report.process),
            &[],
        ),
        listeners: listeners(live, &snapshot, &reports),
        routes: routes(&snapshot, &reports, now),
        upstreams: snapshot
            .upstreams
            .iter()
            .map(|one| upstream::read(one, &reports, &picks, &live.clock, now))
            .collect(),
        limits: limits::read(&snapshot),
        credentials: credentials::read(live, &snapshot),
    }
}

fn config(live: &Live, snapshot: &Snapshot) -> ConfigStatus {
    let unix = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs_f64()
    };
    let reloads = live.reloads();
    let departed = snapshot.departed.iter();
    ConfigStatus {
        generation: snapshot.generation,
        in_force_since: unix(reloads.in_force_since),
        last_reload: reloads.last.map(|last| ReloadStatus {
            at: unix(last.at),
            by: last.cause.label().to_owned(),
            took_seconds: last.took.as_secs_f64(),
            applied: last.applied,
            text: last.text,
        }),
        applied: reloads.applied,
        refused: reloads.refused,
        older: live.older(),
        departed: departed.map(|one| one.name.clone()).collect(),
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

fn listeners(live: &Live, snapshot: &Snapshot, reports: &Reports) -> Vec<ListenerStatus> {
    let certificates = |name: &str| {
        let listener = snapshot.listeners.iter().find(|one| one.name == name)?;
        listener.tls.as_deref().map(certificates::of_listener)
    };
    let all = live.listeners.load();
    let each = all.iter();
    each.map(|bound| ListenerStatus {
        name: bound.name.clone(),
        address: bound.address.to_string(),
        tls: bound.tls,
        certificates: certificates(&bound.name),
        connections_open: bound.gate.open(),
        requests: reports.windows(LISTENER, |report| &report.listeners, &[&bound.name]),
    })
    .collect()
}

fn routes(snapshot: &Snapshot, reports: &Reports, now: Instant) -> Vec<RouteStatus> {
    let each = snapshot
        .routes
        .routes()
        .iter()
        .zip(snapshot.guards.iter().zip(&snapshot.gates))
        .enumerate();
    each.map(|(place, (route, (guard, gate)))| RouteStatus {
        breaker: breaker::of_route(snapshot, place, now),
        name: route.name.to_string(),
        fault: faults::read(route, reports),
        requests: reports.windows(ROUTE, |report| &report.routes, &[&route.name]),
        idempotency: guard.as_ref().map(|guard| idempotency::read(guard, now)),
        auth: gate.as_ref().and_then(|gate| auth::read(gate)),
    })
    .collect()
}
