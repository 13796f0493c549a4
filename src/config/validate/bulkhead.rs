//! What the keys of a bulkhead make of one another.

use super::{child, warn};
use crate::config::cursor::Reader;
use crate::config::schema::{Bulkhead, Protocol, QueueOrder, Upstream};
use crate::config::tree::Entry;

pub(super) fn warnings(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let Some(bulkhead) = &upstream.bulkhead else {
        return;
    };
    // Only what somebody wrote is worth a warning.
    let mut told = |key: &str, message: String, help: &str| {
        let keys: Vec<&str> = ["bulkhead"].into_iter().chain(key.split('.')).collect();
        if let Some(written) = child(&entry.node, &keys) {
            let path = format!("upstreams.{name}.bulkhead.{key}");
            warn(reader, written.node.mark, path, message, help);
        }
    };
    if bulkhead.queue_timeout > upstream.timeouts.total {
        let message = "longer than `timeouts.total`, which ends the request first, with 504".into();
        told("queue_timeout", message, "lower it or raise `total`");
    }
    if bulkhead.order != QueueOrder::Adaptive {
        let message = format!("without effect: the order is `{}`", bulkhead.order.name());
        told("standing", message, "remove it, or write `order: adaptive`");
    } else if bulkhead.standing.timeout > bulkhead.queue_timeout {
        let message = "longer than `queue_timeout`, which ends the wait first".into();
        told(
            "standing.timeout",
            message,
            "lower it or raise `queue_timeout`",
        );
    }
    shedding(bulkhead, &mut told);
    caps(entry, upstream, bulkhead, &mut told);
    adaptive(bulkhead, &mut told);
}

type Told<'a> = &'a mut dyn FnMut(&str, String, &str);

fn shedding(bulkhead: &Bulkhead, told: Told<'_>) {
    match (bulkhead.shed.low, bulkhead.shed.normal) {
        (Some(low), Some(normal)) if normal < low => {
            let message = "less than `low`: what matters more would be refused first".into();
            told("shed.normal", message, "raise it above `low`");
        }
        (None, Some(_)) => {
            let message = "what matters less is let in where `normal` is refused".into();
            told("shed.low", message, "remove it, or write `normal: off`");
        }
        _ => {}
    }
}

fn caps(entry: &Entry, upstream: &Upstream, bulkhead: &Bulkhead, told: Told<'_>) {
    let is_written = |keys: &[&str]| child(&entry.node, keys).is_some();
    let slots = bulkhead
        .per_endpoint
        .saturating_mul(upstream.endpoints.len());
    // The default is no wish.
    let is_default = bulkhead.max_in_flight == Bulkhead::default().max_in_flight;
    if !is_default && slots < bulkhead.max_in_flight && is_written(&["bulkhead", "per_endpoint"]) {
        let message = format!(
            "more than all endpoints together may have, which is {slots} by `per_endpoint`"
        );
        told("max_in_flight", message, "lower it or raise `per_endpoint`");
    }
    let connections = upstream.connections.max;
    if upstream.protocol == Protocol::H1
        && bulkhead.per_endpoint > connections
        && is_written(&["connections", "max"])
    {
        let message = format!(
            "more than `connections.max`, {connections}: what exceeds that is refused and does not wait"
        );
        told(
            "per_endpoint",
            message,
            "lower it or raise `connections.max`",
        );
    }
}

fn adaptive(bulkhead: &Bulkhead, told: Told<'_>) {
    let Some(limit) = &bulkhead.adaptive else {
        return;
    };
    if bulkhead.max_in_flight != limit.max {
        let message = "without effect: `adaptive` finds the limit, and `adaptive.max` bounds it";
        let help = "remove it, or write it as `adaptive.max`";
        told("max_in_flight", message.into(), help);
    }
    if limit.min > limit.max {
        let message = "more than `max`, which then is the limit, always".into();
        told("adaptive.min", message, "lower it or raise `max`");
    } else if !(limit.min..=limit.max).contains(&limit.initial) {
        let message = format!(
            "outside of `min` to `max`, {} to {}: the nearer end is taken",
            limit.min, limit.max
        );
        told("adaptive.initial", message, "write a number between them");
    }
}
