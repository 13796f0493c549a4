//! Cookies of sticky sessions that no browser keeps, or that are written over.

use std::collections::HashMap;

use super::{child, entries, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Problem;
use crate::config::schema::{Balance, Config, HashKey, Listener, SameSite, Upstream};
use crate::config::tree::{Entry, Node};

/// The sessions of one upstream.
pub(super) fn one(
    name: &str,
    entry: &Entry,
    upstream: &Upstream,
    config: &Config,
    reader: &mut Reader<'_>,
) {
    let Some(sticky) = &upstream.sticky else {
        return;
    };
    let path = format!("upstreams.{name}.sticky");
    let written = |key| child(&entry.node, &["sticky", key]).or_else(|| entry.node.child("sticky"));
    let hashed = match &upstream.balance {
        Balance::ConsistentHash(hash) => Some(&hash.key),
        _ => None,
    };
    if let (Some(HashKey::Cookie { name: hashed, .. }), Some(place)) = (hashed, written("cookie"))
        && *hashed == sticky.cookie
    {
        let message = "requests are hashed by this cookie, which the session would write over";
        let problem = Problem::error(place.node.mark, format!("{path}.cookie"), message);
        reader
            .problems
            .push(problem.help("give one of the two another name"));
    }
    // A proxy in front may speak TLS for this one.
    let is_secure =
        |listener: &Listener| listener.tls.is_some() || !listener.trusted_proxies.is_empty();
    let any_secure = config.listeners.values().any(is_secure);
    if let (SameSite::None, false, Some(place)) =
        (sticky.same_site, any_secure, written("same_site"))
    {
        let message = "browsers keep such a cookie only from TLS, which no listener speaks";
        let help = "write `lax` or `strict`, or add `tls` to a listener";
        warn(
            reader,
            place.node.mark,
            format!("{path}.same_site"),
            message,
            help,
        );
    }
}

/// Upstreams that serve one host with cookies of one name: each would replace those of the other,
/// so that no session lasts.
pub(super) fn all(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let mut owners: HashMap<(&str, &str), Hosts<'_>> = HashMap::new();
    let mut clashes: HashMap<&str, &str> = HashMap::new();
    for route in &config.routes {
        for name in route.action.upstreams() {
            let Some(sticky) = config
                .upstreams
                .get(name)
                .and_then(|upstream| upstream.sticky.as_ref())
            else {
                continue;
            };
            let hosts = owners.entry((&sticky.cookie, &sticky.path)).or_default();
            if let Some(other) = hosts.add(name, &route.matcher.host) {
                clashes.entry(name).or_insert(other);
            }
        }
    }
    for entry in entries(root, "upstreams") {
        let place =
            child(&entry.node, &["sticky", "cookie"]).or_else(|| entry.node.child("sticky"));
        if let (Some(other), Some(place)) = (clashes.get(&*entry.key), place) {
            let message = format!(
                "`{other}` serves the same host with a cookie of this name: each would replace that of the other"
            );
            let help = "give each its own `cookie`, or its own `path`";
            warn(
                reader,
                place.node.mark,
                format!("upstreams.{}.sticky.cookie", entry.key),
                message,
                help,
            );
        }
    }
}

/// Which upstreams set one cookie, by host as routes write it; the empty one stands for all hosts.
#[derive(Default)]
struct Hosts<'c> {
    owners: HashMap<&'c str, &'c str>,
}

impl<'c> Hosts<'c> {
    /// Notes that `name` serves `hosts`; gives back another upstream that serves one of them.
    fn add(&mut self, name: &'c str, hosts: &'c [String]) -> Option<&'c str> {
        let mut other = None;
        let mut note = |host| {
            let first = *self.owners.entry(host).or_insert(name);
            if first != name {
                other = Some(first);
            }
        };
        if hosts.is_empty() {
            note("");
        }
        hosts.iter().for_each(|host| note(host));
        other
    }
}
