//! What a reload changed: added, changed, removed, kept (pure).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::admin::live::OlderGeneration;
use crate::config::{BandwidthLimit, ConcurrencyLimit, Config, RateLimit};
use crate::route::Table;
use crate::snapshot::Snapshot;
use crate::upstream::connect::Address;

/// Names that are written out in a text; of more only the number is.
const SHOWN: usize = 8;

/// The difference between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Of the configuration that is now in force.
    pub generation: u64,
    pub listeners: Parts,
    /// Of listeners, as `listener/file`: changed where the chain in the file is another one than when the configuration
    /// before was put in force, also if it was exchanged since then.
    #[serde(default)]
    pub certificates: Parts,
    pub routes: Parts,
    /// Routes that were kept stand in another order, which may send requests elsewhere.
    pub reordered: bool,
    pub upstreams: Parts,
    /// As `upstream/id`.
    pub endpoints: Parts,
    /// On clients, of all kinds.
    pub limits: Parts,
    /// Keys at the top of the file that changed.
    pub settings: Vec<String>,
    /// What still runs on configurations that were replaced.
    pub older: Vec<OlderGeneration>,
}

/// The difference between two sets of named objects, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub kept: Vec<String>,
}

impl Changes {
    /// Compares what was in force with what is to be.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let (before, now) = ((&*old.config, &*old.routes), (&*new.config, &*new.routes));
        Self {
            endpoints: Parts::between(endpoints(old), endpoints(new)),
            certificates: Parts::between(certificates(old), certificates(new)),
            ..Self::of(before, now, new.generation)
        }
    }

    /// The same of configurations with their routes, which says nothing of endpoints and certificates.
    pub fn of(old: (&Config, &Table), new: (&Config, &Table), generation: u64) -> Self {
        let routes = Parts::between(routes(old), routes(new));
        let order = |table: &Table| -> Vec<String> {
            let names = table.routes().iter().map(|route| &*route.name);
            let kept = names.filter(|name| {
                let known =
                    |names: &[String]| names.binary_search_by(|one| (**one).cmp(*name)).is_ok();
                known(&routes.kept) || known(&routes.changed)
            });
            kept.map(str::to_owned).collect()
        };
        let (before, now) = (old.0, new.0);
        let settings = settings(before, now);
        Self {
            generation,
            listeners: Parts::between(named(&before.listeners), named(&now.listeners)),
            reordered: order(old.1) != order(new.1),
            routes,
            upstreams: Parts::between(named(&before.upstreams), named(&now.upstreams)),
            endpoints: Parts::default(),
            certificates: Parts::default(),
            limits: Parts::between(limits(before), limits(now)),
            settings,
            older: Vec::new(),
        }
    }
}

/// The keys at the top of the file that changed, but for those whose objects are told one by one.
fn settings(before: &Config, now: &Config) -> Vec<String> {
    // Each key is named, so that the next one cannot be forgotten.
    let Config {
        listeners: _,
        routes: _,
        upstreams: _,
        rate_limits: _,
        concurrency_limits: _,
        bandwidth_limits: _,
        zone,
        admin,
        watch,
        workers,
        access_log,
        drain_delay,
        drain_timeout,
        upgrade,
        idle_connections,
        user,
        group,
        memory,
    } = now;
    let settings = [
        ("access_log", before.access_log != *access_log),
        ("admin", before.admin != *admin),
        ("drain_delay", before.drain_delay != *drain_delay),
        ("drain_timeout", before.drain_timeout != *drain_timeout),
        ("group", before.group != *group),
        (
            "idle_connections",
            before.idle_connections != *idle_connections,
        ),
        ("memory", before.memory != *memory),
        ("upgrade", before.upgrade != *upgrade),
        ("user", before.user != *user),
        ("watch", before.watch != *watch),
        ("workers", before.workers != *workers),
        ("zone", before.zone != *zone),
    ];
    let changed = settings.iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| (*name).to_owned()).collect()
}

/// Objects by name.
pub(super) type Named<T> = BTreeMap<String, T>;

fn named<T>(map: &Named<T>) -> Named<&T> {
    map.iter().map(|(name, one)| (name.clone(), one)).collect()
}

fn routes<'a>((config, table): (&'a Config, &Table)) -> Named<&'a crate::config::Route> {
    let compiled = table.routes().iter();
    compiled
        .filter_map(|route| Some((route.name.to_string(), config.routes.get(route.index)?)))
        .collect()
}

/// As written: a name is one limit, of whatever kind.
fn limits(config: &Config) -> Named<Limit<'_>> {
    let rates = config.rate_limits.iter();
    let rates = rates.map(|(name, one)| (name.clone(), Limit::Rate(one)));
    let permits = config.concurrency_limits.iter();
    let permits = permits.map(|(name, one)| (name.clone(), Limit::Concurrency(one)));
    let bytes = config.bandwidth_limits.iter();
    let bytes = bytes.map(|(name, one)| (name.clone(), Limit::Bandwidth(one)));
    rates.chain(permits).chain(bytes).collect()
}

#[derive(PartialEq)]
enum Limit<'a> {
    Rate(&'a RateLimit),
    Concurrency(&'a ConcurrencyLimit),
    Bandwidth(&'a BandwidthLimit),
}

/// By address and weight; what else changes for an endpoint is a change of its upstream.
fn endpoints(snapshot: &Snapshot) -> Named<(Address, u32)> {
    let mut all = BTreeMap::new();
    for upstream in &snapshot.upstreams {
        let places = upstream.groups.layout().places();
        for (endpoint, place) in upstream.endpoints.iter().zip(places) {
            let name = format!("{}/{}", upstream.name, endpoint.id);
            let address = endpoint.target.address.clone();
            all.insert(name, (address, place.weight));
        }
    }
    all
}

/// By what stands for the chains that the files held when the configuration was compiled.
fn certificates(snapshot: &Snapshot) -> Named<u64> {
    let listeners = snapshot.listeners.iter();
    let tls = listeners.filter_map(|one| Some((&one.name, one.tls.as_ref()?)));
    let files = tls.flat_map(|(name, tls)| {
        let files = tls.begun();
        files.map(move |(file, print)| (certificate(name, file), print))
    });
    files.collect()
}

/// How a certificate of a listener is called.
pub(super) fn certificate(listener: &str, file: &Path) -> String {
    format!("{listener}/{}", file.display())
}

impl Parts {
    pub(super) fn between<T: PartialEq>(old: Named<T>, new: Named<T>) -> Self {
        let mut parts = Self::default();
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            parts.removed.push(name.clone());
        }
        for (name, now) in new {
            let list = match old.get(&name) {
                None => &mut parts.added,
                Some(before) if *before == now => &mut parts.kept,
                Some(_) => &mut parts.changed,
            };
            list.push(name);
        }
        parts
    }

    fn is_unchanged(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Parts {
    /// `added a, b; removed c; 3 kept`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ];
        for (word, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
            let shown = names.iter().take(SHOWN).map(String::as_str);
            write!(f, "{word} {}", shown.collect::<Vec<_>>().join(", "))?;
            if names.len() > SHOWN {
                write!(f, " and {} more", names.len() - SHOWN)?;
            }
            f.write_str("; ")?;
        }
        write!(f, "{} kept", self.kept.len())
    }
}

impl Changes {
    fn kinds(&self) -> [(&'static str, &Parts); 6] {
        [
            ("listeners", &self.listeners),
            ("certificates", &self.certificates),
            ("routes", &self.routes),
            ("upstreams", &self.upstreams),
            ("endpoints", &self.endpoints),
            ("limits", &self.limits),
        ]
    }

    /// Whether all is as it was.
    pub fn is_nothing(&self) -> bool {
        let kinds = self.kinds();
        kinds.iter().all(|(_, parts)| parts.is_unchanged())
            && !self.reordered
            && self.settings.is_empty()
    }

    /// A line for each kind of object in which something changed.
    pub fn lines(&self) -> Vec<String> {
        let kinds = self.kinds().into_iter();
        let changed = kinds.filter(|(_, parts)| !parts.is_unchanged());
        let mut lines: Vec<String> = changed
            .map(|(kind, parts)| format!("{kind}: {parts}"))
            .collect();
        if self.reordered {
            lines.push("routes: their order changed".to_owned());
        }
        if !self.settings.is_empty() {
            lines.push(format!("settings: changed {}", self.settings.join(", ")));
        }
        lines
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} is in force", self.generation)?;
        for line in self.lines() {
            write!(f, "\n  {line}")?;
        }
        if self.is_nothing() {
            f.write_str("; nothing changed")?;
        }
        for older in &self.older {
            write!(f, "\n  {older}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[(&str, u32)]) -> Named<u32> {
        names
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn names_are_told_apart_by_what_became_of_them() {
        let old = set(&[("a", 1), ("b", 1), ("c", 1)]);
        let new = set(&[("b", 1), ("c", 2), ("d", 1)]);
        let parts = Parts::between(old, new);
        assert_eq!(parts.to_string(), "added d; changed c; removed a; 1 kept");
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..20).map(|number| format!("e{number:02}")).collect();
        let new = names.iter().map(|name| (name.clone(), 1)).collect();
        let text = Parts::between(Named::new(), new).to_string();
        assert!(text.starts_with("added e00, e01, "), "{text}");
        assert!(text.ends_with("e07 and 12 more; 0 kept"), "{text}");
    }

    #[test]
    fn keys_at_the_top_that_changed_are_named() {
        let before = Config::default();
        let now = Config {
            memory: None,
            drain_delay: std::time::Duration::from_secs(1),
            ..Config::default()
        };
        assert_eq!(settings(&before, &now), ["drain_delay", "memory"]);
        assert!(settings(&before, &before).is_empty());
    }

    #[test]
    fn that_nothing_changed_is_said() {
        let changes = Changes {
            generation: 4,
            ..Changes::default()
        };
        assert_eq!(
            changes.to_string(),
            "generation 4 is in force; nothing changed"
        );
    }
}
