//! Configurations one after the other: each is compiled over what the ones before left, and gives the same tables as one
//! that starts with nothing; what did not change keeps its state.

use std::fmt::Write as _;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use plimsoll::attempt::idempotency::Stores;
use plimsoll::clock::Instant;
use plimsoll::config::Config;
use plimsoll::config::read::from_text;
use plimsoll::limit;
use plimsoll::limit::auth::Ledger;
use plimsoll::snapshot::{Snapshot, State};
use plimsoll::tls::Shared;
use plimsoll::upstream::registry::Registry;

#[derive(Debug, Arbitrary)]
struct Drawn {
    upstreams: Vec<Upstream>,
    routes: Vec<Route>,
    listeners: u8,
}

#[derive(Debug, Arbitrary)]
struct Upstream {
    name: u8,
    endpoints: Vec<(u8, u8, u8)>,
    balance: u8,
    options: u8,
}

#[derive(Debug, Arbitrary)]
struct Route {
    path: u8,
    upstream: u8,
    options: u8,
}

/// What a process keeps.
struct Kept {
    registry: Registry,
    stores: Stores,
    ledger: Ledger,
    shared: Shared,
    limiters: limit::Registry,
}

impl Kept {
    fn new() -> Self {
        let registry = Registry::default();
        Self {
            stores: Stores::new(registry.events()),
            registry,
            ledger: Ledger::default(),
            shared: Shared::new().expect("a provider"),
            limiters: limit::Registry::new(2, 7, Arc::default()),
        }
    }

    fn compile(&self, config: &Arc<Config>, generation: u64) -> Option<Snapshot> {
        let names = config.listeners.keys().cloned();
        let numbers = names.zip(0..).collect();
        let state = State {
            endpoints: &self.registry,
            keys: &self.stores,
            ledger: &self.ledger,
            tls: &self.shared,
            limiters: &self.limiters,
        };
        Snapshot::compile(config, generation, &numbers, state).ok()
    }
}

pub fn run(data: &[u8]) {
    let Ok(all) = Vec::<Drawn>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let kept = Kept::new();
    let mut before: Option<Snapshot> = None;
    for (generation, drawn) in (1..).zip(all.iter().take(6)) {
        let text = yaml(drawn);
        let Ok(loaded) = from_text("fuzz.yaml", &text, &|_| None) else {
            continue;
        };
        let config = Arc::new(loaded.config);
        let now = Instant(generation * 1_000_000_000);
        let (new, fresh) = (
            kept.compile(&config, generation),
            Kept::new().compile(&config, 1),
        );
        // Two routes of one name, for example, which only compiling finds.
        assert_eq!(new.is_some(), fresh.is_some(), "{text}");
        let (Some(new), Some(fresh)) = (new, fresh) else {
            continue;
        };
        assert_eq!(tables(&new), tables(&fresh), "{text}");
        if let Some(before) = &before {
            kept_state(before, &new);
        }
        kept.registry.put_in_force(new.endpoints(), Some(now));
        new.look(now);
        before = Some(new);
    }
}

/// What a configuration means, without what it lives through.
fn tables(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for upstream in &snapshot.upstreams {
        let _ = write!(text, "{}:", upstream.name);
        for endpoint in &upstream.endpoints {
            let _ = write!(text, " {}={}", endpoint.id, endpoint.authority);
        }
        text.push('\n');
    }
    for route in snapshot.routes.routes() {
        let _ = writeln!(text, "{} {:?}", route.name, route.action);
    }
    text
}

/// An endpoint that is there before and after is the same one.
fn kept_state(before: &Snapshot, after: &Snapshot) {
    for new in after.endpoints() {
        let old = before
            .endpoints()
            .find(|old| (&old.upstream, &old.id) == (&new.upstream, &new.id));
        if let Some(old) = old.filter(|old| old.authority == new.authority) {
            assert!(
                Arc::ptr_eq(&old.signals, &new.signals),
                "{} of {}",
                new.id,
                new.upstream
            );
        }
    }
}

fn yaml(drawn: &Drawn) -> String {
    const BALANCES: [&str; 7] = [
        "p2c",
        "round_robin",
        "random",
        "least_connections",
        "peak_ewma",
        "prequal",
        "{ consistent_hash: { key: client_ip } }",
    ];
    let mut text = String::from("listeners:\n");
    for place in 0..1 + drawn.listeners % 3 {
        let _ = writeln!(text, "  l{place}: {{ address: \"127.0.0.1:0\" }}");
    }
    text.push_str("rate_limits: { few: { key: client_ip, rate: 10/s } }\n");
    text.push_str("upstreams:\n  u0: { endpoints: [\"127.0.0.1:1\"] }\n");
    let mut named = vec![0];
    for upstream in drawn.upstreams.iter().take(4) {
        let name = 1 + upstream.name % 4;
        if named.contains(&name) {
            continue;
        }
        named.push(name);
        let endpoints = upstream.endpoints.iter().take(5);
        let endpoints = endpoints.map(|(port, weight, id)| {
            let id = match id % 4 {
                0 => String::new(),
                id => format!(", id: e{id}"),
            };
            format!(
                "{{ address: \"127.0.0.1:{}\", weight: {}{id} }}",
                1 + port % 9,
                weight % 4
            )
        });
        let endpoints: Vec<String> = endpoints.collect();
        let balance = BALANCES[usize::from(upstream.balance) % BALANCES.len()];
        let mut options = String::new();
        for (bit, option) in [
            (1, ", breaker: off"),
            (2, ", bulkhead: { max_in_flight: 5 }"),
            (4, ", health: { active: { path: / } }"),
            (8, ", hedge: {}"),
            (16, ", outlier: {}"),
        ] {
            if upstream.options & bit != 0 {
                options.push_str(option);
            }
        }
        let _ = writeln!(
            text,
            "  u{name}: {{ endpoints: [{}], balance: {balance}{options} }}",
            endpoints.join(", ")
        );
    }
    text.push_str("routes:\n");
    for (place, route) in drawn.routes.iter().take(6).enumerate() {
        let upstream = named[usize::from(route.upstream) % named.len()];
        let mut options = String::new();
        for (bit, option) in [
            (1, ", idempotency: {}"),
            (2, ", breaker: {}"),
            (
                4,
                ", auth: { forward: { upstream: u0 }, identity_header: X-User }",
            ),
            (8, ", priority: high"),
            (16, ", limits: [few]"),
        ] {
            if route.options & bit != 0 {
                options.push_str(option);
            }
        }
        let _ = writeln!(
            text,
            "- {{ name: r{}, match: {{ path: /{place} }}, upstream: u{upstream}{options} }}",
            route.path % 8
        );
    }
    text.push_str("- { name: last, upstream: u0 }\n");
    text
}
