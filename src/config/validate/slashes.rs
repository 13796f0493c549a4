//! Listeners that pass on what an endpoint may read as the way to a route that guards something.

use super::{entries, warn};
use crate::config::cursor::Reader;
use crate::config::schema::{Config, EscapedSlashes, PathMatch, Route, Slashes};
use crate::config::tree::Node;

/// The `slashes` and `escaped_slashes` of every listener.
pub(super) fn check(root: &Node, config: &Config, reader: &mut Reader<'_>) {
    let Some((guarded, open)) = way_around(config) else {
        return;
    };
    let path = match &config.routes[guarded].matcher.path {
        Some(PathMatch::Prefix(path) | PathMatch::Exact(path) | PathMatch::Regex(path)) => path,
        None => "/",
    };
    for entry in entries(root, "listeners") {
        let Some(listener) = config.listeners.get(&entry.key) else {
            continue;
        };
        for (key, is_passed, example) in [
            ("slashes", listener.slashes == Slashes::Pass, "//"),
            (
                "escaped_slashes",
                listener.escaped_slashes == EscapedSlashes::Pass,
                "/%2F",
            ),
        ] {
            let Some(written) = entry.node.child(key).filter(|_| is_passed) else {
                continue;
            };
            let message = format!(
                "an endpoint that takes `{example}` for `/` answers what routes[{guarded}] guards at `{path}`: routes[{open}] leads to the same upstream and asks nothing"
            );
            let path = format!("listeners.{}.{key}", entry.key);
            let help = "leave it at `guard`, unless the endpoints are known to tell them apart";
            warn(reader, written.node.mark, path, message, help);
        }
    }
}

/// The places of a route that guards a path, and of one that leads to the same upstream and guards nothing.
fn way_around(config: &Config) -> Option<(usize, usize)> {
    let is_path = |route: &Route| match &route.matcher.path {
        None => false,
        Some(PathMatch::Prefix(path)) => path != "/",
        Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => true,
    };
    let routes = || config.routes.iter().enumerate();
    routes()
        .filter(|(_, route)| route.is_guarded() && is_path(route))
        .find_map(|(guarded, route)| {
            let leads_there = |open: &Route| {
                let mut names = open.action.upstreams();
                names.any(|name| route.action.upstreams().any(|own| own == name))
            };
            let (open, _) = routes().find(|(_, open)| !open.is_guarded() && leads_there(open))?;
            Some((guarded, open))
        })
}
