//! Idempotency of routes that could not do what it is there for.

use super::{child, is_off, warn};
use crate::config::cursor::Reader;
use crate::config::schema::{Action, Auth, AuthWay, Config, Idempotency};
use crate::config::tree::{Entry, Node, Value};
use crate::config::units::format_size;

/// The `idempotency` of every route.
pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    // With a faulty route the positions no longer agree; its error comes first.
    if items.len() != config.routes.len() {
        return;
    }
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        let written = item
            .child("idempotency")
            .filter(|entry| !is_off(&entry.node));
        let (Some(rules), Some(entry)) = (&route.idempotency, written) else {
            continue;
        };
        let path = format!("routes[{index}].idempotency");
        if let Action::Redirect(_) | Action::Respond(_) = route.action {
            let message = "without effect: the route answers itself and executes nothing";
            warn(reader, entry.mark, path, message, "remove it");
        } else {
            of_route(&path, entry, rules, route.auth.as_ref(), reader);
            of_a_service(&path, entry, route.auth.as_ref(), reader);
        }
    }
}

/// A service that names nobody leaves only what it tells of them else, which may be another thing at each request.
fn of_a_service(path: &str, entry: &Entry, auth: Option<&Auth>, reader: &mut Reader<'_>) {
    let Some(AuthWay::Forward(forward)) = auth.map(|auth| &auth.way) else {
        return;
    };
    if forward.identity.is_some() {
        return;
    }
    let message = "the service of `auth.forward` names nobody: clients are told apart by `credentials` and the fields of `copy`, and where those change a repeat is executed";
    let help = "name the field of its answer that says who it is by `identity`";
    warn(reader, entry.mark, path.to_owned(), message, help);
}

fn of_route(
    path: &str,
    entry: &Entry,
    rules: &Idempotency,
    auth: Option<&Auth>,
    reader: &mut Reader<'_>,
) {
    let mark = |key: &str| child(&entry.node, &[key]).map_or(entry.mark, |entry| entry.node.mark);
    if rules.body_bytes > rules.bytes {
        let message = format!(
            "larger than `bytes`, {}: results above that are not kept, and their keys unknown",
            format_size(rules.bytes as u64)
        );
        let path = format!("{path}.body_bytes");
        warn(
            reader,
            mark("body_bytes"),
            path,
            message,
            "raise `bytes`, or lower this",
        );
    }
    if rules.credentials.is_empty() && auth.is_none() {
        let message = "clients are not told apart: whoever sends the key and the body of another is given the answer";
        let path = format!("{path}.credentials");
        let help = "name the fields by which clients say who they are";
        warn(reader, mark("credentials"), path, message, help);
    }
}
