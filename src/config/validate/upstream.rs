//! What one upstream shows only as a whole.

use std::collections::HashMap;
use std::rc::Rc;

use super::{child, fields, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Problem;
use crate::config::schema::{Endpoint, Upstream};
use crate::config::tree::{Entry, Node, Value};

pub(super) fn endpoints(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let has_file = upstream.endpoints_file.is_some();
    let Some(list) = entry.node.child("endpoints") else {
        if !has_file {
            let message = "the key `endpoints` is missing";
            let help = "write `endpoints: [\"127.0.0.1:9001\"]`, or name an `endpoints_file`";
            let path = format!("upstreams.{name}");
            reader
                .problems
                .push(Problem::error(entry.node.mark, path, message).help(help));
        }
        return;
    };
    let Value::List(items) = &list.node.value else {
        return;
    };
    let path = format!("upstreams.{name}.endpoints");
    if items.is_empty() {
        if has_file {
            return;
        }
        let message = "the upstream has no endpoints: every request would be answered with 503";
        reader
            .problems
            .push(Problem::error(list.node.mark, path, message));
        return;
    }
    // With a faulty endpoint the positions no longer agree; its error comes first.
    if items.len() != upstream.endpoints.len() {
        return;
    }
    duplicates(&path, &upstream.endpoints, items, reader);
    if !has_file
        && upstream
            .endpoints
            .iter()
            .all(|endpoint| endpoint.weight == 0)
    {
        let message = "every endpoint has weight 0, so that all serve as if it were 1";
        warn(
            reader,
            list.node.mark,
            path,
            message,
            "give one of them a weight of 1 or more",
        );
    }
}

/// Endpoints of the list at `path` that share an identity.
pub(super) fn duplicates(
    path: &str,
    endpoints: &[Endpoint],
    items: &[Rc<Node>],
    reader: &mut Reader<'_>,
) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, (endpoint, item)) in endpoints.iter().zip(items).enumerate() {
        let identity = endpoint.identity();
        let Some(first) = seen.get(identity) else {
            seen.insert(identity, index);
            continue;
        };
        let by_id = endpoint.id.is_some();
        let mark = item
            .child("id")
            .filter(|_| by_id)
            .map_or(item.mark, |entry| entry.node.mark);
        let what = if by_id { "id" } else { "address" };
        let message =
            format!("{path}[{first}] has the same {what}; their numbers could not be told apart");
        let help = if by_id {
            "ids are unique within an upstream"
        } else {
            "remove one, raise its `weight`, or give one an `id`"
        };
        reader
            .problems
            .push(Problem::error(mark, format!("{path}[{index}]"), message).help(help));
    }
}

pub(super) fn warnings(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    if upstream.tls.as_ref().is_some_and(|tls| !tls.verify)
        && let Some(verify) = child(&entry.node, &["tls", "verify"])
    {
        let message =
            "any certificate is accepted: anybody on the way can read and change the traffic";
        let help = "for a certificate of your own, name its root in `ca` instead";
        warn(
            reader,
            verify.node.mark,
            format!("upstreams.{name}.tls.verify"),
            message,
            help,
        );
    }
    told(name, entry, upstream, reader);
    let timeouts = &upstream.timeouts;
    for (key, value) in [
        ("connect", timeouts.connect),
        ("first_byte", timeouts.first_byte),
    ] {
        // Only what somebody wrote is worth a warning.
        if value > timeouts.total
            && let Some(written) = child(&entry.node, &["timeouts", key])
        {
            let message = "longer than `total`, which ends the request first";
            warn(
                reader,
                written.node.mark,
                format!("upstreams.{name}.timeouts.{key}"),
                message,
                "raise `total` or lower this",
            );
        }
    }
    if upstream.connections.idle > upstream.connections.max
        && let Some(idle) = child(&entry.node, &["connections", "idle"])
    {
        let message = "more idle connections than `max` allows to be open";
        warn(
            reader,
            idle.node.mark,
            format!("upstreams.{name}.connections.idle"),
            message,
            "lower it or raise `max`",
        );
    }
}

/// The fields by which endpoints are told of an attempt.
fn told(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let retry = upstream.retry.as_ref();
    for (block, key, header) in [
        (
            "retry",
            "attempt_header",
            retry.and_then(|retry| retry.attempt_header.as_ref()),
        ),
        (
            "timeouts",
            "deadline_header",
            upstream.timeouts.deadline_header.as_ref(),
        ),
    ] {
        if let (Some(header), Some(written)) = (header, child(&entry.node, &[block, key])) {
            let path = format!("upstreams.{name}.{block}.{key}");
            let help = "choose a name of your own, such as `X-Attempt` or `X-Deadline-Ms`";
            fields::own(header, &[], (written.node.mark, path, help), reader);
        }
    }
}
