//! An upstream and its endpoints: how they fare, and who may be picked.

use serde::{Deserialize, Serialize};

use super::balancing::{self, BalancingStatus, EndpointBalancing};
use super::breaker::{self, BreakerStatus, EndpointOutlier, OutlierStatus};
use super::bulkhead::{self, BulkheadStatus};
use super::certificates::{self, CertificatesStatus};
use super::discovery::{self, SourceStatus};
use super::figures::{ATTEMPT, Reports, Windows};
use super::health::{self, HealthStatus};
use super::retries::{self, HedgeStatus, RetryStatus};
use crate::clock::{Clock, Instant};
use crate::observe::Picks;
use crate::upstream::outlook::Outlook;
use crate::upstream::{Upstream, connect, pool};

/// One upstream; its numbers are those of its endpoints together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamStatus {
    pub name: String,
    /// The policy that picks.
    pub balance: String,
    /// Attempts under way.
    pub in_flight: u64,
    pub attempts: Windows,
    /// `null` where it is off.
    pub bulkhead: Option<BulkheadStatus>,
    pub balancing: BalancingStatus,
    pub retries: RetryStatus,
    /// `null` where requests are not hedged.
    pub hedges: Option<HedgeStatus>,
    /// Where endpoints come from that come and go.
    pub sources: Vec<SourceStatus>,
    /// Where all endpoints have one together.
    pub breaker: Option<BreakerStatus>,
    /// Where it is on.
    pub outlier: Option<OutlierStatus>,
    /// Where it speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatesStatus>,
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
    /// What is held against it, also where a panic overrides that; or why else it may not be picked.
    pub out: Option<String>,
    pub in_flight: u64,
    /// Connections to it, idle ones included.
    pub connections_open: usize,
    pub attempts: Windows,
    /// What active checks say; `null` where there are none.
    pub health: Option<HealthStatus>,
    pub balancing: EndpointBalancing,
    /// Where each endpoint has its own.
    pub breaker: Option<BreakerStatus>,
    /// Where outlier detection is on.
    pub outlier: Option<EndpointOutlier>,
}

/// Reads one upstream. `picks` are those of the last minute.
pub(super) fn read(
    upstream: &Upstream,
    reports: &Reports,
    picks: &Picks,
    clock: &Clock,
    now: Instant,
) -> UpstreamStatus {
    let outlook = Outlook::of(upstream);
    let measured = balancing::measure(upstream, &outlook, picks, now);
    let balancing = balancing::read(upstream, &outlook, &measured, &reports.minute);
    let endpoints: Vec<EndpointStatus> = upstream
        .endpoints
        .iter()
        .zip(measured.endpoints)
        .enumerate()
        .map(|(place, (endpoint, balancing))| EndpointStatus {
            id: endpoint.id.clone(),
            address: address(&endpoint.target.address),
            eligible: outlook.is_candidate(place),
            out: outlook.out(place).map(|reason| reason.label().to_owned()),
            in_flight: u64::from(endpoint.signals.in_flight.load()),
            connections_open: pool::open(endpoint),
            attempts: reports.windows(
                ATTEMPT,
                |report| &report.endpoints,
                &[&upstream.name, &endpoint.id],
            ),
            health: health::read(endpoint, clock, now),
            balancing,
            breaker: breaker::of_endpoint(upstream, endpoint, now),
            outlier: breaker::endpoint_outlier(upstream, place, now),
        })
        .collect();
    UpstreamStatus {
        name: upstream.name.clone(),
        balance: upstream.balance.to_owned(),
        in_flight: endpoints.iter().map(|endpoint| endpoint.in_flight).sum(),
        attempts: reports.windows(ATTEMPT, |report| &report.upstreams, &[&upstream.name]),
        bulkhead: bulkhead::read(upstream, now),
        balancing,
        retries: retries::read(upstream, reports),
        hedges: retries::read_hedges(upstream, reports),
        sources: discovery::read(upstream, now),
        breaker: breaker::of_upstream(upstream, now),
        outlier: breaker::outlier(upstream, now),
        certificates: upstream.tls.as_ref().map(certificates::of_upstream),
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
