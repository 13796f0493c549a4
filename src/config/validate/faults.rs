//! Faults that are injected on purpose: each is warned of, and so is what cannot happen.

use std::time::Duration;

use super::{is_off, warn};
use crate::config::cursor::Reader;
use crate::config::schema::{Action, Config, Distribution, Fault, Route};
use crate::config::tree::{Entry, Node, Value};
use crate::config::units::format_duration;

pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    // With a faulty route the positions no longer agree; its error comes first.
    if items.len() != config.routes.len() {
        return;
    }
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        if let (Some(fault), Some(entry)) = (&route.fault, item.child("fault")) {
            one(index, route, fault, entry, config, reader);
        }
    }
}

fn one(
    index: usize,
    route: &Route,
    fault: &Fault,
    entry: &Entry,
    config: &Config,
    reader: &mut Reader<'_>,
) {
    let path = format!("routes[{index}].fault");
    let keys = ["delay", "abort", "bandwidth"];
    // A faulty one still counts as given: its own error says enough.
    let given = keys.into_iter().filter_map(|key| entry.node.child(key));
    if given.filter(|given| !is_off(&given.node)).count() == 0 {
        let message = "without effect: no fault is named";
        let help = "add `delay`, `abort` or `bandwidth`, or remove it";
        warn(reader, entry.mark, path, message, help);
        return;
    }
    let message = format!("faults are injected on purpose: {fault}");
    let help = "meant for staging; remove it where clients are not to meet faults";
    warn(reader, entry.mark, path.clone(), message, help);
    let direct = matches!(route.action, Action::Redirect(_) | Action::Respond(_));
    if let (true, Some(bandwidth)) = (direct, entry.node.child("bandwidth")) {
        let message = "without effect: the route answers itself, and at once";
        let path = format!("{path}.bandwidth");
        warn(reader, bandwidth.mark, path, message, "remove it");
    }
    let constant = fault.delay.as_ref().and_then(|delay| {
        let Distribution::Constant(span) = delay.distribution else {
            return None;
        };
        Some(span.min(delay.max))
    });
    let total = total(route, config);
    if let (Some(span), Some(total), Some(delay)) = (constant, total, entry.node.child("delay"))
        && span >= total
    {
        let message = format!(
            "not below the `total` of its upstream ({}): whoever waits is answered with 504 then",
            format_duration(total)
        );
        let help = "shorten it, unless that is the fault to see";
        warn(reader, delay.mark, format!("{path}.delay"), message, help);
    }
}

/// The longest `total` of the upstreams of a route.
fn total(route: &Route, config: &Config) -> Option<Duration> {
    let each = route.action.upstreams();
    let known = each.filter_map(|name| config.upstreams.get(name));
    known.map(|upstream| upstream.timeouts.total).max()
}
