//! What the question is asked of: the routes of a configuration, the upstreams that the request meets, and their load.
//!
//! Compiled as `run` would, but only as far as the question goes: no certificate is read, and no other upstream resolved,
//! so that the file of one machine can be asked about on another.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::ask::Admin;
use super::{Stop, ask_api};
use crate::admin::signals::{EndpointReading, Readings};
use crate::admin::status::address;
use crate::balance::{self, Charge, Exclusion, Signals, Totals};
use crate::cli::{UNAVAILABLE, USAGE, config_path, serve};
use crate::clock::{Clock, Instant};
use crate::config::{self, Address, Config, Places, read};
use crate::discovery::supply::Means;
use crate::lifecycle::findings;
use crate::route::Table;
use crate::snapshot::CompileError;
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
    pub(super) config: Config,
    pub(super) places: Places,
    /// Names of the listeners, in their order.
    pub(super) listeners: Vec<String>,
    pub(super) routes: Table,
    /// Names of the upstreams, in the order that routes refer to.
    pub(super) upstreams: Vec<String>,
    /// Where the load is from; `None`: everybody is idle and healthy.
    pub(super) against: Option<Against>,
}

/// A running process and what it told.
pub(super) struct Against {
    pub(super) admin: Address,
    readings: Readings,
}

/// An upstream under its load.
pub(super) struct Loaded {
    pub(super) upstream: Upstream,
    /// Ids of the endpoints that do not run where the load is from.
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
    /// Compiles the routes.
    pub(super) fn new(config: Config, places: Places) -> Result<Self, Stop> {
        let listeners: Vec<String> = config.listeners.keys().cloned().collect();
        let upstreams: Vec<String> = config.upstreams.keys().cloned().collect();
        let routes = Table::compile(&config.routes, &listeners, &upstreams);
        let routes = routes.map_err(|errors| Stop {
            code: USAGE,
            text: findings::refusal(&errors, &places).to_string(),
        })?;
        Ok(Self {
            config,
            places,
            listeners,
            routes,
            upstreams,
            against: None,
        })
    }

    /// From now on the load is that of this running process.
    pub(super) fn ask(&mut self, admin: &Admin) -> anyhow::Result<()> {
        self.against = Some(Against {
            admin: admin.address.clone(),
            readings: ask_api(admin, "/api/v1/signals")?,
        });
        Ok(())
    }

    /// Compiles an upstream and gives it its load. Blocks on name servers.
    pub(super) fn upstream(&self, name: &str) -> Result<Loaded, Stop> {
        let Some(written) = self.config.upstreams.get(name) else {
            return Err(Stop::usage(format!("there is no upstream `{name}`")));
        };
        // How endpoints are spoken to makes no difference to who gets the request.
        let written = config::Upstream {
            tls: None,
            ..written.clone()
        };
        let shared = Shared::new().map_err(|error| Stop {
            code: serve::tls_code(&error),
            text: format!("plimsoll: {error}"),
        })?;
        let zone = self.config.zone.as_deref();
        let registry = Registry::default();
        ask(&registry, name, &written)?;
        let compiled = Upstream::compile(name, &written, zone, &registry, &shared);
        let upstream = compiled.map_err(|error| {
            let text = format!("plimsoll: {error}");
            let code = serve::compile_code(&CompileError::Upstream(error));
            Stop { code, text }
        })?;
        upstream.look(NOW);
        let newcomers = match &self.against {
            Some(against) => lay(&upstream, &against.readings),
            None => Vec::new(),
        };
        Ok(Loaded {
            upstream,
            newcomers,
        })
    }
}

/// Asks for the names and the file of an upstream. Without one of their lists nobody could say who gets a request.
fn ask(registry: &Registry, name: &str, written: &config::Upstream) -> Result<(), Stop> {
    let means = Means {
        supply: Arc::clone(registry.supply()),
        clock: Clock::system(),
        events: registry.events(),
    };
    let unknown = |what: &str, reason: &str| Stop {
        code: UNAVAILABLE,
        text: format!("plimsoll: upstreams.{name}: {what}: {reason}"),
    };
    let asked =
        means.ask_missing_and_wait(vec![(name.to_owned(), written.clone())], &HashSet::new());
    asked.map_err(|error| unknown("cannot ask for names", &error.to_string()))?;
    let feeds = registry.supply().wanted(name, written);
    match feeds.iter().find_map(|feed| Some((feed, feed.error()?))) {
        Some((feed, error)) => Err(unknown(&feed.source.to_string(), &error)),
        None => Ok(()),
    }
}

/// Makes an upstream's endpoints look as they do there. Those that do not run there begin their slow start, as they would
/// after a reload; their names are given back.
fn lay(upstream: &Upstream, readings: &Readings) -> Vec<String> {
    let mut known = readings.upstreams.iter();
    let known = known.find(|known| known.name == upstream.name);
    let reading = |endpoint: &Endpoint| {
        let mut all = known?.endpoints.iter();
        all.find(|reading| reading.id == endpoint.id)
    };
    let mut newcomers = Vec::new();
    for endpoint in &upstream.endpoints {
        match reading(endpoint) {
            Some(reading) => lay_on(endpoint, reading, upstream),
            None => {
                newcomers.push(endpoint.id.clone());
                endpoint.signals.ramp(NOW);
            }
        }
    }
    // At the groups alone: the detections of this process know nothing of what is held against an endpoint there.
    upstream.groups.look(&upstream.endpoints, NOW);
    // The look has found out what slow start makes of whoever is new. What failures cost the others, the process there
    // knows.
    for endpoint in &upstream.endpoints {
        if let Some(reading) = reading(endpoint) {
            let begins = endpoint.signals.ramping_since() == Some(NOW);
            let factor = match begins {
                true => endpoint.signals.charge().factor,
                false => reading.factor.clamp(f32::MIN_POSITIVE, 1.0),
            };
            let ghosts = reading.failures_as_load.max(0.0);
            endpoint.signals.charge_with(Charge { factor, ghosts });
        }
    }
    newcomers
}

fn lay_on(endpoint: &Endpoint, reading: &EndpointReading, upstream: &Upstream) {
    let signals = &endpoint.signals;
    for _ in 0..reading.in_flight.min(MOST) {
        signals.in_flight.reserve(u32::MAX);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::signals::UpstreamReading;
    use crate::config::read::from_text;

    const YAML: &str = "listeners: { web: { address: '127.0.0.1:80' } }
routes: [ { upstream: pool } ]
upstreams:
  pool:
    endpoints:
      - { id: busy, address: '127.0.0.1:1' }
      - { id: sick, address: '127.0.0.1:2' }
      - { id: moved, address: '127.0.0.1:3' }
      - { id: new, address: '127.0.0.1:4' }
    slow_start: { window: 10s, min_weight: 10% }
    connections: { max: 100 }
";

    fn reading(id: &str, address: &str) -> EndpointReading {
        EndpointReading {
            id: id.to_owned(),
            address: address.to_owned(),
            factor: 1.0,
            ..EndpointReading::default()
        }
    }

    fn loaded(endpoints: Vec<EndpointReading>) -> Loaded {
        let written = from_text("t.yaml", YAML, &|_| None).unwrap();
        let mut present = Present::new(written.config, written.places).unwrap();
        let upstream = UpstreamReading {
            name: "pool".to_owned(),
            balance: "p2c".to_owned(),
            endpoints,
        };
        present.against = Some(Against {
            admin: "127.0.0.1:9900".parse().unwrap(),
            readings: Readings {
                upstreams: vec![upstream],
            },
        });
        present.upstream("pool").unwrap()
    }

    #[test]
    fn endpoints_look_as_they_do_there_and_newcomers_begin_slowly() {
        let busy = EndpointReading {
            in_flight: 100,
            load: 120,
            connections_open: 100,
            picks_per_second: 7.9,
            latency_seconds: Some(0.25),
            factor: 0.5,
            failures_as_load: 2.0,
            ..reading("busy", "127.0.0.1:1")
        };
        let sick = EndpointReading {
            out: Some("ejected".to_owned()),
            ramping_seconds: Some(5.0),
            ..reading("sick", "127.0.0.1:2")
        };
        let moved = EndpointReading {
            in_flight: 3,
            load: 3,
            connections_open: 100,
            ..reading("moved", "127.0.0.1:99")
        };
        let Loaded {
            upstream,
            newcomers,
        } = loaded(vec![moved, sick, busy]);
        assert_eq!(newcomers, ["new"]);
        let [busy, sick, moved, new] = &upstream.endpoints[..] else {
            panic!("four are configured");
        };
        let signals = &busy.signals;
        let latency = signals.latency(NOW, upstream.groups.rules.latency_decay);
        assert_eq!((signals.in_flight.load(), signals.load(NOW)), (100, 120));
        assert_eq!((latency, signals.rate(NOW)), (Some(250e6), 7.0));
        let charge = Charge {
            factor: 0.5,
            ghosts: 2.0,
        };
        assert_eq!(signals.charge(), charge);
        assert_eq!(sick.out(), Some(Exclusion::Ejected));
        assert_eq!(upstream.groups.in_force(sick, NOW), 0.5);
        for beginner in [moved, new] {
            assert_eq!(
                upstream.groups.in_force(beginner, NOW),
                0.1,
                "{}",
                beginner.id
            );
            assert!((beginner.signals.charge().factor - 0.1).abs() < 1e-6);
        }
        assert_eq!((moved.signals.in_flight.load(), pool::open(moved)), (3, 0));
        let live = Live(&upstream);
        let full = (0..4).filter(|i| balance::Live::full(&live, *i));
        assert_eq!(full.collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn what_does_not_run_there_at_all_is_new_as_a_whole() {
        let Loaded { newcomers, .. } = loaded(Vec::new());
        assert_eq!(newcomers, ["busy", "sick", "moved", "new"]);
    }
}
