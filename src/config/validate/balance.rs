//! Options of balancing that do nothing, or not what they seem to.

use super::{child, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Mark;
use crate::config::schema::{Balance, ConsistentHash, HashAlgorithm, Prequal, Upstream};
use crate::config::tree::{Entry, Value};
use crate::config::units::Target;

/// Entries of Maglev's table for each endpoint, so that shares differ by about a percent at most
/// (Eisenbud et al., NSDI 2016, 5.3).
const ENTRIES: usize = 100;

/// The options of the policy.
pub(super) fn options(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let path = format!("upstreams.{name}");
    match &upstream.balance {
        Balance::Prequal(options) => prequal(&path, entry, options, reader),
        Balance::ConsistentHash(options) => {
            hash(&path, entry, options, upstream.endpoints.len(), reader);
            if let (Some(_), Some(written)) =
                (upstream.random_subset, entry.node.child("random_subset"))
            {
                let message = "each process draws its own endpoints, so that proxies send a key to \
                    different ones, and so does one proxy after a restart";
                let help = "hash over all endpoints, or use another policy";
                warn(
                    reader,
                    written.mark,
                    format!("{path}.random_subset"),
                    message,
                    help,
                );
            }
        }
        _ => {}
    }
}

fn prequal(path: &str, entry: &Entry, options: &Prequal, reader: &mut Reader<'_>) {
    let written = ["probes", "pool"]
        .into_iter()
        .find_map(|key| Some((key, child(&entry.node, &["balance", "prequal", key])?)));
    if let (true, Some((key, written))) = (options.probes > options.pool, written) {
        let message = "more probes than `pool` holds, so that some are lost at once";
        let help = "lower `probes` or raise `pool`";
        warn(
            reader,
            written.node.mark,
            format!("{path}.balance.prequal.{key}"),
            message,
            help,
        );
    }
}

fn hash(
    path: &str,
    entry: &Entry,
    options: &ConsistentHash,
    endpoints: usize,
    reader: &mut Reader<'_>,
) {
    let path = format!("{path}.balance.consistent_hash");
    let written = |key| child(&entry.node, &["balance", "consistent_hash", key]);
    let default = ConsistentHash::default();
    let nodes = options.virtual_nodes != default.virtual_nodes;
    let size = options.table_size != default.table_size;
    let only = [
        ("virtual_nodes", HashAlgorithm::Ring, nodes),
        ("table_size", HashAlgorithm::Maglev, size),
    ];
    // What only repeats a default hurts nobody.
    for (key, algorithm, changed) in only {
        if let (true, Some(written)) = (changed && algorithm != options.algorithm, written(key)) {
            let message = format!("without effect: `{}` has none", options.algorithm.name());
            let help = format!("remove it, or write `algorithm: {}`", algorithm.name());
            warn(
                reader,
                written.mark,
                format!("{path}.{key}"),
                message,
                &help,
            );
        }
    }
    let needed = endpoints.saturating_mul(ENTRIES);
    if options.algorithm == HashAlgorithm::Maglev && (options.table_size as usize) < needed {
        let place = written("table_size").or_else(|| entry.node.child("balance"));
        let message = format!(
            "fewer than {ENTRIES} entries for each of {endpoints} endpoints: shares will be uneven"
        );
        let mark = place.map_or(entry.mark, |place| place.node.mark);
        warn(
            reader,
            mark,
            format!("{path}.table_size"),
            message,
            "655373 and 5000011 are prime",
        );
    }
}

/// The endpoints as far as balancing is concerned.
pub(super) fn endpoints(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let path = format!("upstreams.{name}");
    let all = &upstream.endpoints;
    let mut say = |mark: Mark, key: &str, message: &str, help: &str| {
        warn(reader, mark, format!("{path}.{key}"), message, help);
    };
    // With a faulty endpoint nothing can be said of all; its error comes first.
    let complete = |list: &&Entry| {
        upstream.endpoints_file.is_none()
            && matches!(&list.node.value, Value::List(items) if items.len() == all.len() && !all.is_empty())
    };
    if let Some(list) = entry.node.child("endpoints").filter(complete) {
        if all.iter().all(|endpoint| endpoint.backup) {
            let message = "every endpoint is a backup, so that all serve as if none were";
            say(
                list.node.mark,
                "endpoints",
                message,
                "leave one of them without `backup`",
            );
        }
        if all.iter().all(|endpoint| endpoint.draining) {
            let message =
                "every endpoint is draining: all but bound sessions would be answered with 503";
            say(
                list.node.mark,
                "endpoints",
                message,
                "leave one of them without `draining`",
            );
        }
    }
    // How many endpoints a name or a file stands for is not known yet.
    let exact = upstream.endpoints_file.is_none()
        && all
            .iter()
            .all(|endpoint| !matches!(endpoint.target(), Ok(Target::Name { .. } | Target::Srv(_))));
    if let (Some(size), Some(written)) = (upstream.random_subset, entry.node.child("random_subset"))
        && exact
        && size >= all.len()
    {
        let message = format!("has no effect: there are only {} endpoints", all.len());
        say(
            written.node.mark,
            "random_subset",
            &message,
            "lower it, or remove it",
        );
    }
}
