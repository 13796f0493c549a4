//! How an upstream balances: what its policy goes by, what comes of it, and how far that is from what should.
//!
//! [`measure`] is what `/metrics` shows, too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hot_keys::{self, HotKeysStatus};
use crate::clock::Instant;
use crate::observe::{Imbalance, Metric, Part, Picks, Report};
use crate::upstream::Upstream;
use crate::upstream::outlook::{GroupOutlook, Outlook};

/// How an upstream balances.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BalancingStatus {
    /// Too few endpoints are healthy, so that the panic rule decides who serves.
    pub panicking: bool,
    pub imbalance: ImbalanceStatus,
    /// Picks of the last minute, by how they came about.
    pub picks: BTreeMap<String, u64>,
    /// In the order in which they serve; empty where all endpoints form one group.
    pub groups: Vec<GroupStatus>,
    /// Where requests are hashed.
    pub hot_keys: Option<HotKeysStatus>,
}

/// How unevenly endpoints are used beside the shares expected of them now; `null` where nothing was to be seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImbalanceStatus {
    /// Of the last minute. A change of weights or health takes as long to show.
    pub picks: Option<Imbalance>,
    /// Of about the last ten seconds.
    pub in_flight: Option<Imbalance>,
}

/// One group of endpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupStatus {
    pub name: String,
    /// Its part of the traffic, 0 to 1.
    pub share: f64,
    pub endpoints: usize,
    /// How many of them may be picked.
    pub candidates: usize,
}

/// What a policy goes by at one endpoint, and what the endpoint gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointBalancing {
    /// As configured.
    pub weight: u32,
    /// The part of the weight that slow start and failures leave in force.
    pub factor: f32,
    /// Failures of late, as the attempts under way that they count for.
    pub failures_as_load: f32,
    /// Attempts under way, or requests where the endpoint itself has just said so.
    pub load: u32,
    /// A slower answer counts at once and is forgotten over the decay; `null` where none is
    /// known.
    pub latency_seconds: Option<f64>,
    /// Its part of the picks of the last minute; `null` where the upstream had none.
    pub share: Option<f64>,
    /// Its part as things stand, by its group's share and its weight in force.
    pub share_expected: f64,
    /// Attempts under way in the mean of about the last ten seconds; `null` before it was looked at.
    pub in_flight_mean: Option<f64>,
}

/// What was measured of an upstream.
pub(in crate::admin) struct Measured {
    pub(in crate::admin) imbalance: ImbalanceStatus,
    pub(in crate::admin) endpoints: Vec<EndpointBalancing>,
}

/// With less in flight in the mean, over all endpoints, an index would be of a single attempt or none: one that is seen by
/// one tick of the hundred in ten seconds is as much.
const LEAST_IN_FLIGHT: f64 = 0.01;

/// Measures an upstream, of whose picks those of the last minute are given.
pub(in crate::admin) fn measure(
    upstream: &Upstream,
    outlook: &Outlook<'_>,
    picks: &Picks,
    now: Instant,
) -> Measured {
    let groups = &upstream.groups;
    let expected = outlook.expected_shares();
    let means = groups.totals.mean_in_flight();
    let picked = |id: &str| picks.of(&upstream.name, id) as f64;
    let counts: Vec<f64> = upstream.endpoints.iter().map(|e| picked(&e.id)).collect();
    let all: f64 = counts.iter().sum();
    let measured = upstream.endpoints.iter().enumerate().map(|(i, endpoint)| {
        let signals = &endpoint.signals;
        let charge = signals.charge();
        let latency = signals.latency(now, groups.rules.latency_decay);
        EndpointBalancing {
            weight: groups.layout().places()[i].weight,
            factor: charge.factor,
            failures_as_load: charge.ghosts,
            load: signals.load(now),
            latency_seconds: latency.map(|nanos| nanos / 1e9),
            share: (all > 0.0).then(|| counts[i] / all),
            share_expected: expected[i],
            in_flight_mean: means.get(&groups.identity(i)).copied(),
        }
    });
    let endpoints: Vec<EndpointBalancing> = measured.collect();
    let part = |endpoint: &EndpointBalancing, value: Option<f64>| {
        let expected = endpoint.share_expected;
        value.map(|value| Part { value, expected })
    };
    let of_picks = endpoints.iter().filter_map(|e| part(e, e.share));
    let of_means = endpoints.iter().filter_map(|e| part(e, e.in_flight_mean));
    let in_flight: f64 = endpoints.iter().filter_map(|e| e.in_flight_mean).sum();
    let imbalance = ImbalanceStatus {
        picks: Imbalance::of(of_picks),
        in_flight: Imbalance::of(of_means).filter(|_| in_flight >= LEAST_IN_FLIGHT),
    };
    Measured {
        imbalance,
        endpoints,
    }
}

/// Joins what was measured with what is to be told besides.
pub(super) fn read(
    upstream: &Upstream,
    outlook: &Outlook<'_>,
    measured: &Measured,
    minute: &Report,
) -> BalancingStatus {
    let mut readings = minute.picks.iter();
    let reading = readings.find(|reading| reading.identity[0] == upstream.name);
    let reasons = reading
        .into_iter()
        .flat_map(|reading| reading.counts(Metric::UpstreamPicks));
    let groups = outlook.groups();
    let groups = if groups.len() > 1 { groups } else { Vec::new() };
    BalancingStatus {
        panicking: outlook.is_panicking(),
        imbalance: measured.imbalance.clone(),
        picks: reasons
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect(),
        groups: groups.into_iter().map(GroupStatus::from).collect(),
        hot_keys: hot_keys::read(upstream, outlook),
    }
}

impl From<GroupOutlook> for GroupStatus {
    fn from(group: GroupOutlook) -> Self {
        Self {
            name: group.name,
            share: group.share,
            endpoints: group.endpoints,
            candidates: group.candidates,
        }
    }
}
