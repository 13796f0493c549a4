//! What is odd about how endpoints are followed.

use super::{child, warn};
use crate::config::cursor::Reader;
use crate::config::diagnostic::Problem;
use crate::config::schema::Upstream;
use crate::config::tree::Entry;
use crate::config::units::Target;

/// Keys that contradict each other, and keys that nothing uses.
pub(super) fn check(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let written = &upstream.discovery;
    let path = format!("upstreams.{name}.discovery");
    let find = |key: &str| child(&entry.node, &["discovery", key]);
    if written.refresh_min > written.refresh_max
        && let Some(key) = find("refresh_max").or_else(|| find("refresh_min"))
    {
        let message = "`refresh_min` is longer than `refresh_max`, so that neither could hold";
        let problem = Problem::error(key.node.mark, path.clone(), message);
        reader
            .problems
            .push(problem.help("lower `refresh_min`, or raise `refresh_max`"));
    }
    let has_file = upstream.endpoints_file.is_some();
    let has_name = upstream
        .endpoints
        .iter()
        .any(|endpoint| matches!(endpoint.target(), Ok(Target::Name { .. } | Target::Srv(_))));
    // A file may hold names, too.
    let unused = |key: &str| !has_file && (key == "poll" || !has_name);
    let written = child(&entry.node, &["discovery"]).map_or(&[][..], |block| block.node.entries());
    for key in written.iter().filter(|key| unused(&key.key)) {
        let message = match &*key.key {
            "poll" => "without effect: there is no `endpoints_file`",
            _ => {
                "without effect: no endpoint is written as a name, and there is no `endpoints_file`"
            }
        };
        let path = format!("{path}.{}", key.key);
        warn(reader, key.mark, path, message, "remove it");
    }
}
