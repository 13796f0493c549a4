//! Candidates by host and path: the lookup that makes ten thousand routes cost as much as ten.
//!
//! Hosts are found by hashing: the exact one, each domain above it, any. Each leads to the root of a tree of path
//! segments, whose nodes hold the routes for this very path and those for all below it. Every list is in the order
//! of the routes and every node knows the first route below it, so that the search keeps only the best route so far
//! and turns away from all that comes after it: no list is merged, nothing is allocated.
//!
//! The keys are the operator's, never a client's, so that the hash needs no secret.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::host::HostPattern;
use super::path::PathPattern;

/// More than any route's number.
pub(super) const NONE: u32 = u32::MAX;

/// From this many children on a node hashes instead of comparing them one by one.
const HASHED_FROM: usize = 5;

type Map = HashMap<Box<[u8]>, u32, BuildHasherDefault<Xxh3>>;

/// A route that fits by host, and by path unless that is a regular expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) route: u32,
    /// Nothing is left to test.
    pub(super) sure: bool,
}

#[derive(Debug)]
pub(super) struct Index {
    /// Roots by host.
    exact: Map,
    /// Roots by the domain that one or more labels stand before.
    under: Map,
    /// Of the domains in `under`, ascending, each once: only where a dot stands so far from the end of a host is there
    /// anything to look for.
    lengths: Box<[usize]>,
    any: Option<u32>,
    nodes: Box<[Node]>,
}

/// The end of a run of whole segments.
#[derive(Debug)]
struct Node {
    /// The first route at or below this node, [`NONE`] when there is none.
    first: u32,
    /// Routes for this path and all below it.
    prefix: Box<[Candidate]>,
    /// Routes for this path alone.
    exact: Box<[Candidate]>,
    children: Children,
}

#[derive(Debug)]
enum Children {
    Few(Box<[(Box<[u8]>, u32)]>),
    Many(Map),
}

impl Index {
    /// The first route below `limit` that `holds` accepts among those that fit `host` (in normal form) and `path`.
    pub(super) fn first(
        &self,
        host: &[u8],
        path: &[u8],
        limit: u32,
        mut holds: impl FnMut(Candidate) -> bool,
    ) -> Option<u32> {
        let mut best = limit;
        if let Some(&root) = self.exact.get(host) {
            self.descend(root, path, &mut best, &mut holds);
        }
        for &length in &self.lengths {
            let Some(dot) = host.len().checked_sub(length + 1) else {
                break;
            };
            if dot > 0
                && host[dot] == b'.'
                && let Some(&root) = self.under.get(&host[dot + 1..])
            {
                self.descend(root, path, &mut best, &mut holds);
            }
        }
        if let Some(root) = self.any {
            self.descend(root, path, &mut best, &mut holds);
        }
        (best < limit).then_some(best)
    }

    /// Whether the host makes a difference at all.
    pub(super) fn asks_host(&self) -> bool {
        !self.under.is_empty() || !self.exact.is_empty()
    }

    /// Follows the segments of `path` from `root` on, lowering `best`.
    fn descend(
        &self,
        root: u32,
        path: &[u8],
        best: &mut u32,
        holds: &mut impl FnMut(Candidate) -> bool,
    ) {
        let mut node = &self.nodes[root as usize];
        let mut rest = path;
        while node.first < *best {
            improve(&node.prefix, best, holds);
            if node.first >= *best {
                return;
            }
            let Some((b'/', after)) = rest.split_first() else {
                // The path ends here; or it has no segments (`*`), which is only so at the root, without exact routes.
                return improve(&node.exact, best, holds);
            };
            // Segments are short: a call of memchr costs more than this loop.
            let end = after
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(after.len());
            let Some(child) = node.children.get(&after[..end]) else {
                return;
            };
            node = &self.nodes[child as usize];
            rest = &after[end..];
        }
    }
}

/// Lowers `best` to the first of `candidates` that holds, when it comes before.
fn improve(candidates: &[Candidate], best: &mut u32, holds: &mut impl FnMut(Candidate) -> bool) {
    for &candidate in candidates {
        if candidate.route >= *best {
            return;
        }
        if candidate.sure || holds(candidate) {
            *best = candidate.route;
            return;
        }
    }
}

impl Children {
    fn get(&self, segment: &[u8]) -> Option<u32> {
        match self {
            Self::Few(few) => few
                .iter()
                .find(|(key, _)| **key == *segment)
                .map(|&(_, node)| node),
            Self::Many(many) => many.get(segment).copied(),
        }
    }
}

/// An index to which routes are added, from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Draft {
    exact: Map,
    under: Map,
    any: Option<u32>,
    nodes: Vec<DraftNode>,
}

#[derive(Debug, Default)]
struct DraftNode {
    prefix: Vec<Candidate>,
    exact: Vec<Candidate>,
    children: Map,
}

impl Draft {
    pub(super) fn add(&mut self, host: &HostPattern, path: &PathPattern, candidate: Candidate) {
        let mut node = self.root(host);
        let under = path.under();
        let segments = under
            .strip_prefix(b"/")
            .map(|rest| rest.split(|&byte| byte == b'/'));
        for segment in segments.into_iter().flatten() {
            node = self.child(node, segment);
        }
        let node = &mut self.nodes[node as usize];
        let list = match path {
            PathPattern::Exact(_) => &mut node.exact,
            PathPattern::Prefix(_) | PathPattern::Regex(_) => &mut node.prefix,
        };
        // What follows a route that asks nothing more is never reached.
        if list
            .last()
            .is_none_or(|last| !last.sure && last.route < candidate.route)
        {
            list.push(candidate);
        }
    }

    fn root(&mut self, host: &HostPattern) -> u32 {
        let next = number(self.nodes.len());
        let root = match host {
            HostPattern::Any => *self.any.get_or_insert(next),
            HostPattern::Exact(name) => *self.exact.entry(name.clone()).or_insert(next),
            HostPattern::Under(name) => *self.under.entry(name.clone()).or_insert(next),
        };
        self.grown_to(root)
    }

    fn child(&mut self, node: u32, segment: &[u8]) -> u32 {
        let next = number(self.nodes.len());
        let children = &mut self.nodes[node as usize].children;
        let child = *children.entry(segment.into()).or_insert(next);
        self.grown_to(child)
    }

    /// `node`, which is one of those that exist or the next.
    fn grown_to(&mut self, node: u32) -> u32 {
        if node as usize == self.nodes.len() {
            self.nodes.push(DraftNode::default());
        }
        node
    }

    pub(super) fn finish(self) -> Index {
        let mut firsts = vec![NONE; self.nodes.len()];
        // A child has a higher number than its parent.
        for (number, node) in self.nodes.iter().enumerate().rev() {
            let own = node
                .prefix
                .iter()
                .chain(&node.exact)
                .map(|candidate| candidate.route);
            let below = node.children.values().map(|&child| firsts[child as usize]);
            firsts[number] = own.chain(below).min().unwrap_or(NONE);
        }
        let lengths: BTreeSet<usize> = self.under.keys().map(|name| name.len()).collect();
        Index {
            lengths: lengths.into_iter().collect(),
            exact: self.exact,
            under: self.under,
            any: self.any,
            nodes: self
                .nodes
                .into_iter()
                .zip(firsts)
                .map(|(node, first)| node.finish(first))
                .collect(),
        }
    }
}

impl DraftNode {
    fn finish(self, first: u32) -> Node {
        let children = if self.children.len() < HASHED_FROM {
            let mut few: Vec<_> = self.children.into_iter().collect();
            few.sort_unstable_by_key(|&(_, node)| node);
            Children::Few(few.into())
        } else {
            Children::Many(self.children)
        };
        Node {
            first,
            prefix: self.prefix.into(),
            exact: self.exact.into(),
            children,
        }
    }
}

fn number(nodes: usize) -> u32 {
    u32::try_from(nodes).expect("a table of so many nodes does not fit into memory")
}

/// XXH3 in one call per key: the streaming form would first set up its half a kilobyte of state.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length that goes before a slice.
    fn write_usize(&mut self, number: usize) {
        self.0 ^= number as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
