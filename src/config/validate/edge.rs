//! Who is let in at the door, and what the process as a whole may do: contradictions in it.

use std::collections::HashSet;

use super::{child, entries, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Problem;
use crate::config::schema::{Address, Addresses, Config, Listener, ProxyProtocolIn};
use crate::config::tree::{Entry, Node, Value};

pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    for entry in entries(root, "listeners") {
        if let Some(written) = config.listeners.get(&entry.key) {
            listener(entry, written, reader);
        }
    }
    routes(root, config, reader);
    for entry in entries(root, "upstreams") {
        let Some(upstream) = config.upstreams.get(&entry.key) else {
            continue;
        };
        let idle = child(&entry.node, &["connections", "idle"]);
        if let (Some(_), Some(idle)) = (upstream.proxy_protocol, idle) {
            let message = "without effect: with `proxy_protocol` no connection is used again";
            let path = format!("upstreams.{}.connections.idle", entry.key);
            warn(reader, idle.mark, path, message, "remove it");
        }
    }
    process(root, config, reader);
}

fn listener(entry: &Entry, written: &Listener, reader: &mut Reader<'_>) {
    let path = format!("listeners.{}", entry.key);
    if let Some(lists) = entry.node.child("addresses") {
        twice(
            lists,
            &written.addresses,
            &format!("{path}.addresses"),
            reader,
        );
    }
    let is_unix = matches!(written.address, Address::Unix(_));
    let is_off = written.proxy_protocol == ProxyProtocolIn::Off;
    let per_address = child(&entry.node, &["limits", "per_address"]);
    if let (true, true, Some(_), Some(at)) =
        (is_unix, is_off, written.limits.per_address, per_address)
    {
        let message = "without effect: clients of a Unix socket have no address";
        let help = "remove it, or have it told by `proxy_protocol`";
        warn(
            reader,
            at.mark,
            format!("{path}.limits.per_address"),
            message,
            help,
        );
    }
    let is_open = matches!(written.address, Address::Tcp(address) if !address.ip().is_loopback());
    if let (true, ProxyProtocolIn::Require, Some(at)) = (
        is_open,
        &written.proxy_protocol,
        entry.node.child("proxy_protocol"),
    ) {
        let message =
            "every peer is believed: whoever reaches the address can say that it is any client";
        let help =
            "write `{ from: [10.0.0.0/8], others: refuse }` with the networks of your proxies";
        warn(
            reader,
            at.node.mark,
            format!("{path}.proxy_protocol"),
            message,
            help,
        );
    }
}

fn routes(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    // With a faulty route the positions no longer agree; its error comes first.
    if items.len() != config.routes.len() {
        return;
    }
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        if let Some(lists) = item.child("addresses") {
            twice(
                lists,
                &route.addresses,
                &format!("routes[{index}].addresses"),
                reader,
            );
        }
    }
}

/// What is let in and kept out alike.
fn twice(lists: &Entry, written: &Addresses, path: &str, reader: &mut Reader<'_>) {
    let allowed: HashSet<_> = written.allow.iter().collect();
    let Some(Value::List(items)) = lists.node.child("deny").map(|entry| &entry.node.value) else {
        return;
    };
    if items.len() != written.deny.len() {
        return;
    }
    for (index, (denied, item)) in written.deny.iter().zip(items).enumerate() {
        if allowed.contains(denied) {
            let message = "`allow` has the same entry, so that neither of the two could decide";
            let problem = Problem::error(item.mark, format!("{path}.deny[{index}]"), message);
            reader.problems.push(problem.help("remove one of the two"));
        }
    }
}

fn process(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    if let (None, Some(_), Some(at)) = (&config.user, &config.group, root.child("group")) {
        let message = "without `user` the process would stay root, whatever its group is";
        let problem = Problem::error(at.mark, "group".to_owned(), message);
        reader
            .problems
            .push(problem.help("add `user`, or remove it"));
    }
    if let (Some(memory), Some(at)) = (&config.memory, root.child("memory"))
        && memory.resume_at > memory.shed_at
    {
        let mark = at
            .node
            .child("resume_at")
            .map_or(at.mark, |entry| entry.node.mark);
        let message = "above `shed_at`: it would shed and resume at the same time";
        let problem = Problem::error(mark, "memory.resume_at".to_owned(), message);
        reader
            .problems
            .push(problem.help("write a share below `shed_at`"));
    }
}
