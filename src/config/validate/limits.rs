//! Limits on clients that could not do what they are there for.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{child, entries, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::{Mark, Problem};
use crate::config::schema::{AuthWay, Config, KeyPart, Listener, MissingKey, Network, Route};
use crate::config::tree::{Node, Value};

/// Where limits are defined.
pub(crate) const LIMITERS: [&str; 3] = ["rate_limits", "concurrency_limits", "bandwidth_limits"];

/// All limits, and who is held to them.
pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    names(root, reader);
    for (name, limit) in &config.rate_limits {
        let texts = limit.overrides.iter().map(|(text, _)| text.as_str());
        overrides(root, (LIMITERS[0], name), &limit.key, texts, reader);
    }
    for (name, limit) in &config.concurrency_limits {
        let texts = limit.overrides.iter().map(|(text, _)| text.as_str());
        overrides(root, (LIMITERS[1], name), &limit.key, texts, reader);
    }
    for (name, limit) in &config.bandwidth_limits {
        if limit.key.contains(&KeyPart::Identity)
            && let Some(entry) = child(root, &[LIMITERS[2], name, "key"])
        {
            let message = "bytes are not counted by `identity`";
            let path = format!("{}.{name}.key", LIMITERS[2]);
            let problem = Problem::error(entry.node.mark, path, message);
            let help = "count by `client_ip`, or by the header that tells who it is";
            reader.problems.push(problem.help(help));
        }
    }
    for (name, limit) in &config.bandwidth_limits {
        if limit.missing == MissingKey::Refuse
            && let Some(entry) = child(root, &[LIMITERS[2], name, "missing"])
        {
            let message = "nobody is refused here: who exceeds a bandwidth is slowed down";
            let path = format!("{}.{name}.missing", LIMITERS[2]);
            let problem = Problem::error(entry.node.mark, path, message);
            let help = "write `shared`, so that leaving the key out is no way around it, or `pass`";
            reader.problems.push(problem.help(help));
        }
    }
    used(root, config, reader);
}

/// One name is one limit, of whatever kind: routes only tell the name.
fn names(root: &Node, reader: &mut Reader<'_>) {
    let mut known: HashMap<&str, &str> = HashMap::new();
    for kind in LIMITERS {
        for entry in entries(root, kind) {
            let Some(first) = known.insert(&entry.key, kind) else {
                continue;
            };
            let message = format!("`{first}` has a limit of this name already");
            let path = format!("{kind}.{}", entry.key);
            let problem = Problem::error(entry.mark, path, message);
            reader
                .problems
                .push(problem.help("routes and listeners refer to limits by their names alone"));
        }
    }
}

/// Values of the key that no request can have.
fn overrides<'t>(
    root: &Node,
    (kind, name): (&str, &str),
    key: &[KeyPart],
    texts: impl Iterator<Item = &'t str>,
    reader: &mut Reader<'_>,
) {
    for text in texts {
        let Err(help) = matches(key, text) else {
            continue;
        };
        let written = child(root, &[kind, name, "overrides", text]);
        let mark = written.map_or(root.mark, |entry| entry.mark);
        let path = format!("{kind}.{name}.overrides");
        let message = "no request has this key";
        reader
            .problems
            .push(Problem::error(mark, path, message).help(help));
    }
}

fn matches(key: &[KeyPart], text: &str) -> Result<(), String> {
    let address = "write the address of a client, such as `10.0.0.5`";
    if let [KeyPart::ClientIp { .. }] = key {
        let is_known = text.parse::<IpAddr>().is_ok() || text.parse::<Network>().is_ok();
        let help = format!("{address}, or a network, such as `10.0.0.0/8`");
        return if is_known { Ok(()) } else { Err(help) };
    }
    if let [_] = key {
        return Ok(());
    }
    let values: Vec<&str> = text.split(' ').collect();
    if values.len() != key.len() {
        let count = key.len();
        return Err(format!(
            "write one value for each of the {count} parts of the key, separated by a blank"
        ));
    }
    let is_address = |(part, value): (&KeyPart, &&str)| {
        !matches!(part, KeyPart::ClientIp { .. }) || value.parse::<IpAddr>().is_ok()
    };
    if key.iter().zip(&values).all(is_address) {
        Ok(())
    } else {
        Err(address.to_owned())
    }
}

/// Limits that nobody is held to, and those that are asked twice.
fn used(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let items: &[_] = match root.child("routes").map(|entry| &entry.node.value) {
        // With a faulty route the positions no longer agree; its error comes first.
        Some(Value::List(items)) if items.len() != config.routes.len() => return,
        Some(Value::List(items)) => items,
        _ => &[],
    };
    let mut named: Vec<&str> = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        let written = items.get(index).and_then(|item| item.child("limits"));
        let mark = written.map_or(root.mark, |entry| entry.node.mark);
        twice(
            mark,
            format!("routes[{index}].limits"),
            &route.limits,
            reader,
        );
        named.extend(route.limits.iter().map(String::as_str));
        if !knows_clients(route, config) {
            let path = format!("routes[{index}].limits");
            nameless(mark, &path, &route.limits, config, reader);
        }
    }
    for (name, listener) in &config.listeners {
        let apply = &listener.limits.apply;
        let written = child(root, &["listeners", name, "limits"]);
        let mark = written.map_or(root.mark, |entry| entry.node.mark);
        twice(
            mark,
            format!("listeners.{name}.limits.apply"),
            apply,
            reader,
        );
        named.extend(apply.iter().map(String::as_str));
        if !shows_certificates(listener) && !config.routes.iter().any(names_clients) {
            let path = format!("listeners.{name}.limits.apply");
            nameless(mark, &path, apply, config, reader);
        }
    }
    for kind in LIMITERS {
        for entry in entries(root, kind) {
            if !named.contains(&entry.key.as_str()) {
                let message = "without effect: no route and no listener names this limit";
                let help = "add it to the `limits` of a route or a listener, or remove it";
                let path = format!("{kind}.{}", entry.key);
                warn(reader, entry.mark, path, message, help);
            }
        }
    }
}

/// Limits that are kept for each identity, where no client has one.
fn nameless(mark: Mark, path: &str, names: &[String], config: &Config, reader: &mut Reader<'_>) {
    for name in names {
        let rate = config.rate_limits.get(name);
        let rate = rate.map(|limit| (&limit.key, limit.missing));
        let at_once = config.concurrency_limits.get(name);
        let at_once = at_once.map(|limit| (&limit.key, limit.missing));
        let Some((_, missing)) = rate
            .or(at_once)
            .filter(|(key, _)| key.contains(&KeyPart::Identity))
        else {
            continue;
        };
        let so = match missing {
            MissingKey::Pass => "so that it holds nobody",
            MissingKey::Shared => "so that all of them count as one",
            MissingKey::Refuse => "so that everybody is refused",
        };
        let message =
            format!("`{name}` counts by `identity`, and here it is known of no client, {so}");
        let help = "add `auth` to the route (with `forward` also its `identity`) or `tls.client` to the listener, or count by `client_ip`";
        warn(reader, mark, path.to_owned(), message, help);
    }
}

/// Whether it can be known of a client of this route who it is.
fn knows_clients(route: &Route, config: &Config) -> bool {
    let of = &route.matcher.listener;
    let mut listeners = config.listeners.iter();
    names_clients(route)
        || listeners.any(|(name, listener)| {
            (of.is_empty() || of.contains(name)) && shows_certificates(listener)
        })
}

/// Whether the route finds out who its clients are.
fn names_clients(route: &Route) -> bool {
    let way = route.auth.as_ref().map(|auth| &auth.way);
    way.is_some_and(|way| match way {
        AuthWay::Basic(_) | AuthWay::ApiKey(_) => true,
        AuthWay::Forward(forward) => forward.identity.is_some(),
    })
}

fn shows_certificates(listener: &Listener) -> bool {
    let tls = listener.tls.as_ref();
    tls.is_some_and(|tls| tls.client.is_some())
}

fn twice(mark: Mark, path: String, names: &[String], reader: &mut Reader<'_>) {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            let message = format!("`{name}` stands twice, so that each request counts twice");
            warn(reader, mark, path.clone(), message, "remove one of the two");
        }
    }
}
