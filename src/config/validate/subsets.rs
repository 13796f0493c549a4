//! Subsets that no upstream has, or no endpoint.

use super::{child, entries, is_off, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Problem;
use crate::config::schema::{Config, Endpoint, Otherwise};
use crate::config::tree::{Entry, Node, Value};

/// The subsets of upstreams, and those that routes ask for.
pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    for entry in entries(root, "upstreams") {
        of_upstream(entry, config, reader);
    }
    let Some(Value::List(items)) = root.child("routes").map(|entry| &entry.node.value) else {
        return;
    };
    // With a faulty route the positions no longer agree; its error comes first.
    if items.len() != config.routes.len() {
        return;
    }
    for (index, (route, item)) in config.routes.iter().zip(items).enumerate() {
        if let (Some(value), Some(written)) = (&route.subset, item.child("subset")) {
            for name in route.action.upstreams() {
                of_route(root, config, (index, written), (name, value), reader);
            }
        }
    }
}

fn of_upstream(entry: &Entry, config: &Config, reader: &mut Reader<'_>) {
    let Some(upstream) = config.upstreams.get(&entry.key) else {
        return;
    };
    let written = child(&entry.node, &["subset", "metadata"]);
    let (Some(subset), Some(written)) = (&upstream.subset, written) else {
        return;
    };
    let mut endpoints = upstream.endpoints.iter();
    if upstream.endpoints_file.is_none()
        && !endpoints.any(|endpoint| endpoint.metadata.contains_key(&subset.metadata))
    {
        let path = format!("upstreams.{}.subset.metadata", entry.key);
        let message = "no endpoint has this in its `metadata`, so that every subset is empty";
        warn(
            reader,
            written.node.mark,
            path,
            message,
            "write `metadata: { … }` at endpoints",
        );
    }
}

/// What the route `index` asks of one of its upstreams.
fn of_route(
    root: &Node,
    config: &Config,
    (index, written): (usize, &Entry),
    (name, value): (&str, &str),
    reader: &mut Reader<'_>,
) {
    let Some(upstream) = config.upstreams.get(name) else {
        return;
    };
    let path = format!("routes[{index}].subset");
    match &upstream.subset {
        None => {
            let block = child(root, &["upstreams", name, "subset"]);
            // One with an error in it is there all the same.
            if block.is_none_or(|block| is_off(&block.node)) {
                let message = format!("the upstream `{name}` has no `subset`");
                let help =
                    format!("say by which metadata: `upstreams.{name}.subset: {{ metadata: … }}`");
                reader
                    .problems
                    .push(Problem::error(written.node.mark, path, message).help(help));
            }
        }
        Some(subset) => {
            let fits = |endpoint: &Endpoint| {
                endpoint
                    .metadata
                    .get(&subset.metadata)
                    .is_some_and(|own| own == value)
            };
            if upstream.endpoints_file.is_some() || upstream.endpoints.iter().any(fits) {
                return;
            }
            let message = format!("no endpoint of `{name}` has this value");
            let help = match subset.otherwise {
                Otherwise::Any => "the requests go to any endpoint, as `otherwise` says",
                Otherwise::None => "the requests are answered with 503, as `otherwise` says",
            };
            warn(reader, written.node.mark, path, message, help);
        }
    }
}
