//! `/api/v1/signals`: what the policies know of every endpoint at this moment, for whoever wants to ask them what they
//! would do under another configuration (`plimsoll route --against`).
//!
//! Not here: how endpoints fared over time ([`super::status`]).

use serde::{Deserialize, Serialize};

use super::live::Live;
use super::status::address;
use crate::clock::Instant;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::{Upstream, pool};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    pub upstreams: Vec<UpstreamReading>,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamReading {
    pub name: String,
    /// The policy that picks.
    pub balance: String,
    pub endpoints: Vec<EndpointReading>,
}

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointReading {
    pub id: String,
    /// The address behind the one that was written.
    pub address: String,
    /// Why its health keeps it from being picked; none: it does not.
    pub out: Option<String>,
    /// Attempts under way from here.
    pub in_flight: u32,
    /// What it says of itself to have under way, where it says so, or else the same.
    pub load: u32,
    /// Connections to it, idle ones included.
    pub connections_open: usize,
    /// Attempts placed in the last second.
    pub picks_per_second: f64,
    /// Peak-EWMA of the latency; none before the first answer.
    pub latency_seconds: Option<f64>,
    /// The median latency at about this load, where the policy asks for such.
    pub latency_at_load_seconds: Option<f64>,
    /// The part of the weight that slow start and failures leave.
    pub factor: f32,
    /// Failures of late, as load.
    pub failures_as_load: f32,
    /// For how long it has been in its slow start; none: it is in none.
    pub ramping_seconds: Option<f64>,
}

/// As it is now.
pub fn read(live: &Live) -> Readings {
    let now = live.clock.now();
    let upstreams = &live.snapshot.load().upstreams;
    Readings {
        upstreams: upstreams
            .iter()
            .map(|upstream| UpstreamReading {
                name: upstream.name.clone(),
                balance: upstream.balance.to_owned(),
                endpoints: upstream
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint_reading(endpoint, upstream, now))
                    .collect(),
            })
            .collect(),
    }
}

fn endpoint_reading(endpoint: &Endpoint, upstream: &Upstream, now: Instant) -> EndpointReading {
    let signals = &endpoint.signals;
    let (load, charge) = (signals.load(now), signals.charge());
    let latency = signals.latency(now, upstream.groups.rules.latency_decay);
    let seconds = |nanos: f64| nanos / 1e9;
    EndpointReading {
        id: endpoint.id.clone(),
        address: address(&endpoint.target.address),
        out: endpoint.out().map(|reason| reason.label().to_owned()),
        in_flight: signals.in_flight.load(),
        load,
        connections_open: pool::open(endpoint),
        picks_per_second: signals.rate(now),
        latency_seconds: latency.map(seconds),
        latency_at_load_seconds: signals.by_load.at(load).map(seconds),
        factor: charge.factor,
        failures_as_load: charge.ghosts,
        ramping_seconds: signals
            .ramping_since()
            .map(|since| now.since(since).as_secs_f64()),
    }
}
