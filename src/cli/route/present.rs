//! What the question is asked of: a configuration compiled as `run` would, and the load that it is to meet.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;

use super::{Stop, ask_api};
use crate::admin::signals::{EndpointReading, Readings};
use crate::admin::status::address;
use crate::balance::{self, Charge, Exclusion, Signals, Totals};
use crate::cli::{UNAVAILABLE, USAGE, config_path, serve};
use crate::clock::Instant;
use crate::config::{Address, Config, Places, read};
use crate::lifecycle::findings;
use crate::snapshot::{CompileError, Snapshot};
use crate::tls::Shared;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::registry::Registry;
use crate::upstream::{Upstream, pool};

/// The moment for which everything is asked: late enough that slow starts lie before it.
pub(super) const NOW: Instant = Instant(365 * 24 * 3600 * 1_000_000_000);

/// Attempts in flight, and picks of a second, that are laid onto an endpoint; no more change any choice.
const MOST: u32 = 1_000_000;

/// A configuration and its load.
pub(super) struct Present {
    pub(super) snapshot: Snapshot,
    /// Names of the listeners, in their order.
    pub(super) listeners: Vec<String>,
    pub(super) places: Places,
    /// Where the load is from; `None`: everybody is idle and healthy.
    pub(super) against: Option<Against>,
}

/// A running process whose load was laid onto the endpoints.
pub(super) struct Against {
    pub(super) admin: Address,
    /// Endpoints that do not run there, as `upstream/id`.
    pub(super) newcomers: Vec<String>,
}

/// Reads a configuration.
pub(super) fn load(named: Option<&Path>) -> Result<(Config, Places), Stop> {
    let path = config_path(named);
    match read::load(&path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => Ok((loaded.config, loaded.places)),
        Err(refusal) => Err(Stop {
            code: if refusal.unreadable {
                UNAVAILABLE
            } else {
                USAGE
            },
            text: refusal.to_string(),
        }),
    }
}

impl Present {
    /// Compiles a configuration whose endpoints are idle and healthy. Blocks on the resolver and on files.
    pub(super) fn compile(config: Config, places: Places) -> Result<Self, Stop> {
        let registry = Registry::default();
        let shared = Shared::new().map_err(|error| Stop {
            code: serve::tls_code(&error),
            text: format!("plimsoll: {error}"),
        })?;
        let config = Arc::new(config);
        let snapshot = Snapshot::compile(&config, 1, &registry, &shared);
        let snapshot = snapshot.map_err(|error| Stop {
            code: serve::compile_code(&error),
            text: match &error {
                CompileError::Routes(errors) => findings::refusal(errors, &places).to_string(),
                error => format!("plimsoll: {error}"),
            },
        })?;
        snapshot
            .upstreams
            .iter()
            .for_each(|upstream| upstream.look(NOW));
        Ok(Self {
            listeners: config.listeners.keys().cloned().collect(),
            snapshot,
            places,
            against: None,
        })
    }

    /// The upstream of this name, which the file has.
    pub(super) fn upstream(&self, name: &str) -> anyhow::Result<&Upstream> {
        let mut all = self.snapshot.upstreams.iter();
        let found = all.find(|upstream| upstream.name == name);
        found
            .map(|upstream| &**upstream)
            .with_context(|| format!("there is no upstream `{name}`"))
    }

    /// Asks a running process for its load and lays it onto the endpoints.
    pub(super) fn lay(&mut self, admin: &Address) -> anyhow::Result<()> {
        let readings: Readings = ask_api(admin, "/api/v1/signals")?;
        let mut newcomers = Vec::new();
        for upstream in &self.snapshot.upstreams {
            newcomers.extend(lay(upstream, &readings));
        }
        self.against = Some(Against {
            admin: admin.clone(),
            newcomers,
        });
        Ok(())
    }
}

/// Makes an upstream's endpoints look as they do there. Those that do not run there begin their slow start, as they would
/// after a reload; their names are given back.
fn lay(upstream: &Upstream, readings: &Readings) -> Vec<String> {
    let known = readings.upstreams.iter();
    let known = known.clone().find(|known| known.name == upstream.name);
    let reading = |endpoint: &Endpoint| {
        let mut all = known?.endpoints.iter();
        all.find(|reading| reading.id == endpoint.id)
    };
    let mut newcomers = Vec::new();
    for endpoint in &upstream.endpoints {
        match reading(endpoint) {
            Some(reading) => lay_on(endpoint, reading, upstream),
            None => {
                newcomers.push(format!("{}/{}", upstream.name, endpoint.id));
                endpoint.signals.ramp(NOW);
            }
        }
    }
    upstream.look(NOW);
    // The look has found out what slow start makes of newcomers. What failures cost the others, the process there knows.
    for endpoint in &upstream.endpoints {
        if let Some(reading) = reading(endpoint) {
            endpoint.signals.charge_with(Charge {
                factor: reading.factor.clamp(f32::MIN_POSITIVE, 1.0),
                ghosts: reading.failures_as_load.max(0.0),
            });
        }
    }
    newcomers
}

fn lay_on(endpoint: &Endpoint, reading: &EndpointReading, upstream: &Upstream) {
    let signals = &endpoint.signals;
    for _ in 0..reading.in_flight.min(MOST) {
        signals.in_flight.reserve(u32::MAX);
        upstream.groups.totals.in_flight.reserve(u32::MAX);
    }
    let rules = &upstream.groups.rules;
    let latency = match &upstream.balance {
        &"prequal" => reading.latency_at_load_seconds.or(reading.latency_seconds),
        _ => reading.latency_seconds,
    };
    if let Some(latency) = latency.and_then(duration) {
        signals.answered(NOW, latency, reading.load, rules.latency_decay);
    }
    if reading.load != reading.in_flight {
        signals.reported(NOW, reading.load);
    }
    for _ in 0..(reading.picks_per_second as u32).min(MOST) {
        signals.picked(NOW);
    }
    if let Some(ramping) = reading.ramping_seconds.and_then(duration) {
        let nanos = u64::try_from(ramping.as_nanos()).unwrap_or(u64::MAX);
        signals.ramp(Instant(NOW.0.saturating_sub(nanos)));
    }
    let held = [
        Exclusion::Unhealthy,
        Exclusion::Ejected,
        Exclusion::BreakerOpen,
    ];
    let out = held
        .into_iter()
        .find(|reason| Some(reason.label()) == reading.out.as_deref());
    if let Some(reason) = out {
        endpoint.hold(reason, true, NOW);
    }
    if reading.address == address(&endpoint.target.address) {
        endpoint.open.store(reading.connections_open, Relaxed);
    } else {
        // Its numbers go with its id, but what listens there now has to warm up, and nothing is connected to it.
        signals.ramp(NOW);
    }
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// The endpoints of an upstream as a policy reads them.
pub(super) struct Live<'a>(pub(super) &'a Upstream);

impl balance::Live for Live<'_> {
    fn now(&self) -> Instant {
        NOW
    }

    fn signals(&self, i: usize) -> &Signals {
        &self.0.endpoints[i].signals
    }

    fn totals(&self) -> &Totals {
        &self.0.groups.totals
    }

    /// All connections that it may have are open, and as many attempts are under way: none can be idle.
    fn full(&self, i: usize) -> bool {
        let endpoint = &self.0.endpoints[i];
        let open = pool::open(endpoint);
        let busy = usize::try_from(endpoint.signals.in_flight.load()).unwrap_or(usize::MAX);
        open >= self.0.connection_cap(endpoint, NOW) && busy >= open
    }

    fn tried(&self, _: usize) -> bool {
        false
    }
}
