//! Limiters compiled from the configuration, and what is known of keys, kept under their names over reloads.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::attached::Attached;
use super::bandwidth::Bandwidth;
use super::key::Key;
use super::known::Known;
use super::limiter::{Exceptions, Limiter, Rule};
use super::rate::Rate;
use crate::clock::Instant;
use crate::config::{self, Config, KeyPart, MissingKey, Network};
use crate::observe::event::Events;

/// What is known, by the names of limiters. Limiters of another kind under a name that was used begin anew.
#[derive(Debug)]
pub struct Registry {
    seed: u64,
    workers: usize,
    /// Where it is told that limiters refuse.
    events: Arc<Events>,
    known: Mutex<HashMap<Identity, Vec<Weak<Known>>>>,
}

/// Kind and name: under one name one kind after the other may be known.
type Identity = (Kind, String);

/// The kinds of limiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Rate,
    Concurrency,
    Bandwidth,
}

/// The limiters of a configuration.
#[derive(Debug, Default)]
pub struct Limits {
    /// By kind and name.
    pub all: Vec<Arc<Limiter>>,
    /// Of the routes at the same places.
    pub routes: Vec<Option<Arc<Attached>>>,
    listeners: BTreeMap<String, Arc<Attached>>,
}

impl Registry {
    /// For so many workers. `seed` is chance, and a secret of the process.
    pub fn new(workers: usize, seed: u64, events: Arc<Events>) -> Self {
        Self {
            seed,
            workers,
            events,
            known: Mutex::default(),
        }
    }

    /// What is known under a name, as long as somebody uses it; else nothing. A configuration that is refused in the end
    /// leaves the one in force what it has.
    fn known(&self, kind: Kind, name: &str, most: usize) -> Arc<Known> {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, known| {
            known.retain(|one| one.strong_count() > 0);
            !known.is_empty()
        });
        let known = all.entry((kind, name.to_owned())).or_default();
        let latest = known.iter().rev().find_map(Weak::upgrade);
        if let Some(latest) = &latest
            && latest.room() >= most
        {
            return Arc::clone(latest);
        }
        let events = Arc::clone(&self.events);
        let new = Arc::new(Known::new(most, self.workers, events));
        if let (Some(latest), Kind::Rate | Kind::Bandwidth) = (latest, kind) {
            new.take_over_times(&latest, most);
        }
        known.push(Arc::downgrade(&new));
        new
    }
}

impl Limits {
    /// Compiles every limiter and attaches them.
    pub fn compile(config: &Config, registry: &Registry) -> Self {
        let mut named = BTreeMap::new();
        for (name, written) in &config.rate_limits {
            named.insert(name.as_str(), Arc::new(rate(name, written, registry)));
        }
        for (name, written) in &config.concurrency_limits {
            named.insert(
                name.as_str(),
                Arc::new(concurrency(name, written, registry)),
            );
        }
        for (name, written) in &config.bandwidth_limits {
            named.insert(name.as_str(), Arc::new(bandwidth(name, written, registry)));
        }
        let attach = |names: &[String]| {
            let limiters = names.iter().filter_map(|name| named.get(name.as_str()));
            Attached::new(limiters.cloned().collect()).map(Arc::new)
        };
        let listeners = config
            .listeners
            .iter()
            .filter_map(|(name, listener)| Some((name.clone(), attach(&listener.limits.apply)?)));
        Self {
            routes: config
                .routes
                .iter()
                .map(|route| attach(&route.limits))
                .collect(),
            listeners: listeners.collect(),
            all: named.into_values().collect(),
        }
    }

    /// Those of a listener.
    pub fn of_listener(&self, name: &str) -> Option<&Arc<Attached>> {
        self.listeners.get(name)
    }

    /// Forgets keys of which nothing is lost, a part of them at each call.
    pub fn sweep(&self, turn: usize, now: Instant) {
        for limiter in &self.all {
            limiter.sweep(turn, now);
        }
    }
}

impl Limiter {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match &self.rule {
            Rule::Rate(..) => Kind::Rate,
            Rule::Concurrency(..) => Kind::Concurrency,
            Rule::Bandwidth(..) => Kind::Bandwidth,
        }
    }
}

impl Kind {
    /// As it is called in the configuration, for one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Bandwidth => "bandwidth",
        }
    }
}

/// What is written of a limiter of any kind.
struct Written<'a> {
    name: &'a str,
    key: &'a [KeyPart],
    missing: MissingKey,
    most: usize,
    is_told: bool,
    dry_run: bool,
}

impl Written<'_> {
    fn limiter(self, kind: Kind, registry: &Registry, rule: impl FnOnce(&Key) -> Rule) -> Limiter {
        let key = Key::new(self.key, registry.seed);
        Limiter {
            rule: rule(&key),
            known: registry.known(kind, self.name, self.most),
            name: self.name.into(),
            key,
            missing: self.missing,
            most: self.most,
            is_told: self.is_told && !self.dry_run,
            dry_run: self.dry_run,
        }
    }
}

fn rate(name: &str, written: &config::RateLimit, registry: &Registry) -> Limiter {
    let allowed = |rate: config::units::Rate, burst: Option<u64>| {
        let burst = burst.unwrap_or_else(|| rate.in_a_second());
        Rate::new(rate.count, rate.period(), burst)
    };
    let of_any = Written {
        name,
        key: &written.key,
        missing: written.missing,
        most: written.keys,
        is_told: written.headers,
        dry_run: written.dry_run,
    };
    of_any.limiter(Kind::Rate, registry, |key| {
        let own = |own: &config::RateOverride| allowed(own.rate, own.burst);
        let exceptions = exceptions(key, &written.overrides, own);
        let all = allowed(written.rate, written.burst);
        let networks = exceptions.networks.iter().map(|(_, own)| own);
        let own = exceptions.keys.values().chain(networks).flatten();
        let slowest = own.copied().chain([all]).max_by_key(Rate::window);
        Rule::Rate(all, exceptions, slowest.unwrap_or(all))
    })
}

fn concurrency(name: &str, written: &config::ConcurrencyLimit, registry: &Registry) -> Limiter {
    let of_any = Written {
        name,
        key: &written.key,
        missing: written.missing,
        most: written.keys,
        is_told: false,
        dry_run: written.dry_run,
    };
    of_any.limiter(Kind::Concurrency, registry, |key| {
        let exceptions = exceptions(key, &written.overrides, |max| *max);
        Rule::Concurrency(written.max, exceptions)
    })
}

fn bandwidth(name: &str, written: &config::BandwidthLimit, registry: &Registry) -> Limiter {
    let of_any = Written {
        name,
        key: &written.key,
        missing: written.missing,
        most: written.keys,
        is_told: false,
        dry_run: false,
    };
    of_any.limiter(Kind::Bandwidth, registry, |_| {
        let burst = written.burst.unwrap_or(written.rate);
        let bandwidth = Bandwidth::new(written.rate, burst);
        Rule::Bandwidth(bandwidth, written.direction)
    })
}

/// What is allowed to those who are named. What names nobody was refused when the configuration was read.
fn exceptions<W, T>(
    key: &Key,
    written: &[(String, Option<W>)],
    allowed: impl Fn(&W) -> T,
) -> Exceptions<T> {
    let mut keys = HashMap::new();
    let mut networks: Vec<(Network, Option<T>)> = Vec::new();
    for (text, own) in written {
        let own = own.as_ref().map(&allowed);
        if let Some(hash) = key.of_text(text) {
            keys.insert(hash, own);
        } else if let (true, Ok(network)) = (key.is_of_address(), text.parse()) {
            networks.push((network, own));
        }
    }
    networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix));
    Exceptions {
        keys,
        networks: networks.into(),
    }
}
