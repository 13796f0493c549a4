//! Breakers and outlier detection whose keys work against each other, or have nothing to work on.

use std::time::Duration;

use super::{child, warn};
use crate::config::cursor::Reader;
use crate::config::schema::{
    Action, Breaker, BreakerScope, Config, Protocol, RouteBreaker, Upstream,
};
use crate::config::tree::{Entry, Node, Value};
use crate::config::units::Share;

/// What both blocks of a breaker have.
struct Keys {
    opens: bool,
    slow_call: Option<Duration>,
    slow_rate: Share,
    open_for: Duration,
    open_for_max: Duration,
}

macro_rules! keys {
    ($breaker:expr) => {{
        let breaker = $breaker;
        Keys {
            opens: breaker.consecutive_failures.is_some()
                || breaker.failure_rate.is_some()
                || breaker.slow_call.is_some(),
            slow_call: breaker.slow_call,
            slow_rate: breaker.slow_rate,
            open_for: breaker.open_for,
            open_for_max: breaker.open_for_max,
        }
    }};
}

/// Warns at the first of these keys below `block` that somebody wrote.
fn at(reader: &mut Reader<'_>, block: &Node, path: &str, keys: &[&str], message: &str, help: &str) {
    let mut written = keys
        .iter()
        .filter_map(|key| Some((*key, block.child(key)?)));
    if let Some((key, entry)) = written.next() {
        let path = format!("{path}.{key}");
        warn(reader, entry.node.mark, path, message, help);
    }
}

fn breaker(reader: &mut Reader<'_>, block: &Node, path: &str, keys: &Keys) {
    if !keys.opens {
        let message = "it never opens: neither failures in a row nor a rate do it";
        let help = "write `off` instead of the block, or give one of the three";
        let all = ["consecutive_failures", "failure_rate", "slow_call"];
        at(reader, block, path, &all, message, help);
    }
    if keys.slow_call.is_none() && keys.slow_rate != Breaker::default().slow_rate {
        let message = "without effect: no attempt counts as slow";
        at(
            reader,
            block,
            path,
            &["slow_rate"],
            message,
            "give `slow_call`",
        );
    }
    if keys.open_for > keys.open_for_max {
        let message = "longer than `open_for_max`, so that it stays the same each time";
        let help = "raise `open_for_max` or lower this";
        at(
            reader,
            block,
            path,
            &["open_for", "open_for_max"],
            message,
            help,
        );
    }
}

/// What is to be said of the two blocks of one upstream.
pub(super) fn upstream(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    if let (Some(written), Some(block)) = (&upstream.breaker, entry.node.child("breaker")) {
        let (block, path) = (&block.node, format!("upstreams.{name}.breaker"));
        breaker(reader, block, &path, &keys!(written));
        if written.scope == BreakerScope::Endpoint
            && let Some(message) = too_many(written.probes, upstream)
        {
            at(reader, block, &path, &["probes"], message, "lower it");
        }
        if written
            .slow_call
            .is_some_and(|slow| slow >= upstream.timeouts.first_byte)
        {
            let message = "an attempt is ended by `timeouts.first_byte` before it is slow";
            let help = "lower it, or leave it out: what is ended counts as a failure";
            at(reader, block, &path, &["slow_call"], message, help);
        }
    }
    if let Some(block) = entry.node.child("outlier") {
        outlier(
            &block.node,
            &format!("upstreams.{name}.outlier"),
            upstream,
            reader,
        );
    }
}

/// Why not so many probes can be under way at one endpoint.
fn too_many(probes: u32, upstream: &Upstream) -> Option<&'static str> {
    let probes = usize::try_from(probes).unwrap_or(usize::MAX);
    let slots = upstream.bulkhead.as_ref();
    if slots.is_some_and(|bulkhead| probes > bulkhead.per_endpoint) {
        Some(
            "more probes than attempts at once that the endpoint may have by `bulkhead.per_endpoint`",
        )
    } else if upstream.protocol == Protocol::H1 && probes > upstream.connections.max {
        Some("more probes than connections that the endpoint may have by `connections.max`")
    } else {
        None
    }
}

fn outlier(block: &Node, path: &str, upstream: &Upstream, reader: &mut Reader<'_>) {
    let Some(outlier) = &upstream.outlier else {
        return;
    };
    let in_row = outlier.consecutive_gateway_failures;
    if in_row.is_none() && outlier.failure_rate.is_none() && outlier.latency.is_none() {
        let message = "nothing makes an endpoint an outlier";
        let help = "write `off` instead of the block, or give one of the three";
        let all = ["failure_rate", "latency", "consecutive_gateway_failures"];
        at(reader, block, path, &all, message, help);
    }
    let breaker = upstream.breaker.as_ref();
    let by_breaker = breaker.filter(|breaker| breaker.scope == BreakerScope::Endpoint);
    if let (Some(own), Some(other)) = (in_row, by_breaker.and_then(|b| b.consecutive_failures))
        && own >= other
    {
        let message =
            "without effect: the breaker of the endpoint opens on the same failures before";
        let help = "remove it, or write `consecutive_failures: off` in `breaker`";
        at(
            reader,
            block,
            path,
            &["consecutive_gateway_failures"],
            message,
            help,
        );
    }
    if outlier.eject_for > outlier.eject_for_max {
        let message = "longer than `eject_for_max`, so that it stays the same each time";
        let help = "raise `eject_for_max` or lower this";
        at(
            reader,
            block,
            path,
            &["eject_for", "eject_for_max"],
            message,
            help,
        );
    }
    // A name may stand for many.
    let is_one =
        |address: &str| address.starts_with("unix:") || !address.contains(char::is_alphabetic);
    let count = upstream.endpoints.len();
    if !upstream
        .endpoints
        .iter()
        .all(|endpoint| is_one(&endpoint.address))
    {
        return;
    }
    if outlier.keep >= count {
        let message = format!("so many stay that none of the {count} can ever be taken out");
        at(
            reader,
            block,
            path,
            &["keep"],
            &message,
            "lower it, or write `outlier: off`",
        );
    }
    if outlier.min_endpoints > count {
        let message = format!("more than the {count} that there are: they are never compared");
        at(
            reader,
            block,
            path,
            &["min_endpoints"],
            &message,
            "lower it",
        );
    }
}

/// What is to be said of the breakers of routes.
pub(super) fn routes(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    // With a faulty route the positions no longer agree; its error comes first.
    if items.len() != config.routes.len() {
        return;
    }
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        let written: Option<&RouteBreaker> = route.breaker.as_ref();
        let (Some(written), Some(entry)) = (written, child(item, &["breaker"])) else {
            continue;
        };
        let path = format!("routes[{index}].breaker");
        if matches!(route.action, Action::Redirect(_) | Action::Respond(_)) {
            let message = "without effect: the route answers itself and forwards nothing";
            warn(reader, entry.mark, path, message, "remove it");
        } else {
            breaker(reader, &entry.node, &path, &keys!(written));
        }
    }
}
