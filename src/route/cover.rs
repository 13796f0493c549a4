//! Routes that can never match, since earlier ones take all of their requests.

use std::collections::BTreeSet;

use super::host::HostPattern;
use super::index::Candidate;
use super::path::PathPattern;
use super::table::Table;

/// Stands in a host or path for whatever no pattern names: `?` is in neither.
const UNNAMED: &[u8] = b"?";

/// A route that can never match, by its place from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    pub route: usize,
    /// Earlier routes that take all of its requests, ascending: several where it has several hosts.
    pub by: Vec<usize>,
}

impl Table {
    /// Each route that can never match, with the earlier ones that cover it. Only certain cases: those hidden by several
    /// routes for the same host together, or by what a regular expression means, are not told.
    pub fn unreachable(&self) -> Vec<Covered> {
        let routes = (0..).zip(&self.matchers);
        routes
            .filter_map(|(route, matcher)| {
                let path = example_path(&matcher.path);
                let covers = |candidate: Candidate| {
                    self.matchers[candidate.route as usize].rest_covers(matcher)
                };
                // Every host must be covered.
                let by_host = matcher.hosts.iter().map(|host| {
                    let first = self.index.first(&example_host(host), &path, route, covers);
                    first.map(|first| first as usize)
                });
                let by = by_host.collect::<Option<BTreeSet<usize>>>()?;
                Some(Covered {
                    route: route as usize,
                    by: by.into_iter().collect(),
                })
            })
            .collect()
    }
}

/// A host that is taken by exactly the patterns that take all hosts of `pattern`.
fn example_host(pattern: &HostPattern) -> Vec<u8> {
    match pattern {
        HostPattern::Any => Vec::new(),
        HostPattern::Exact(name) => name.to_vec(),
        HostPattern::Under(name) => [UNNAMED, b".", &**name].concat(),
    }
}

/// A path that is looked up along exactly the patterns that may take all paths of `pattern`.
fn example_path(pattern: &PathPattern) -> Vec<u8> {
    match pattern {
        PathPattern::Exact(path) => path.to_vec(),
        PathPattern::Prefix(_) | PathPattern::Regex(_) => [pattern.under(), b"/", UNNAMED].concat(),
    }
}
