//! Which keys move when an endpoint goes: counted (pure), and tried in both ways in which it can go.

use std::net::IpAddr;

use serde::Serialize;

use super::Stop;
use super::key_file::Key;
use super::keys::owners;
use super::present::{NOW, Present};
use crate::balance::Exclusion;
use crate::upstream::Upstream;

/// Owners of keys, in the order of the keys.
pub(super) type Owners = Vec<Option<String>>;

/// What happens when an endpoint goes.
#[derive(Debug, Serialize)]
pub(super) struct Removal {
    /// The endpoints that are meant: one, or all addresses of a host name.
    pub(super) endpoints: Vec<String>,
    /// They are taken out of the file, and the table is made anew. None where the file cannot be without them.
    pub(super) removed: Option<Moves>,
    /// They can no longer be picked, and the table stays.
    pub(super) out_of_service: Moves,
}

/// Keys that move.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Moves {
    /// All that were asked about.
    pub(super) keys: usize,
    /// Those that belonged to the endpoints that go: they have to move.
    pub(super) of_gone: usize,
    pub(super) moved: usize,
    /// Those that moved though their endpoint stays.
    pub(super) between_survivors: usize,
    pub(super) moves: Vec<Move>,
}

/// One key that moves.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Move {
    /// Of the key, among all.
    #[serde(skip)]
    pub(super) place: usize,
    pub(super) key: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

impl Moves {
    fn between(keys: &[Key], before: &Owners, after: &Owners, gone: &[String]) -> Self {
        let is_gone = |owner: &Option<String>| owner.as_ref().is_some_and(|id| gone.contains(id));
        let all = keys.iter().enumerate().zip(before.iter().zip(after));
        let moved: Vec<_> = all.filter(|(_, (from, to))| from != to).collect();
        Self {
            keys: keys.len(),
            of_gone: before.iter().filter(|owner| is_gone(owner)).count(),
            moved: moved.len(),
            between_survivors: moved.iter().filter(|(_, (from, _))| !is_gone(from)).count(),
            moves: moved
                .into_iter()
                .map(|((place, key), (from, to))| Move {
                    place,
                    key: key.text.clone(),
                    from: from.clone(),
                    to: to.clone(),
                })
                .collect(),
        }
    }
}

impl Removal {
    /// Takes the endpoint of this id, or those of the host name of this id, away from an upstream whose keys have the
    /// owners `before`. Leaves it out of service.
    pub(super) fn of(
        id: &str,
        keys: &[Key],
        before: &Owners,
        upstream: &Upstream,
        present: Present,
    ) -> Result<Self, Stop> {
        let ids = upstream.endpoints.iter().map(|endpoint| &endpoint.id);
        let gone: Vec<String> = ids.filter(|known| is_of(known, id)).cloned().collect();
        if gone.is_empty() {
            let known: Vec<&str> = upstream.endpoints.iter().map(|known| &*known.id).collect();
            let text = format!(
                "upstream `{}` has no endpoint `{id}`; it has {}",
                upstream.name,
                known.join(", ")
            );
            return Err(Stop::usage(text));
        }
        let removed = match without(id, &upstream.name, present) {
            None => None,
            Some(present) => {
                let after = owners(&present.upstream(&upstream.name)?.upstream, keys);
                Some(Moves::between(keys, before, &after, &gone))
            }
        };
        let leaving = upstream.endpoints.iter();
        for endpoint in leaving.filter(|endpoint| gone.contains(&endpoint.id)) {
            endpoint.hold(Exclusion::Unhealthy, true, NOW);
        }
        upstream.groups.look(&upstream.endpoints, NOW);
        let after = owners(upstream, keys);
        Ok(Self {
            removed,
            out_of_service: Moves::between(keys, before, &after, &gone),
            endpoints: gone,
        })
    }
}

impl Removal {
    /// What moves, and in which way.
    pub(super) fn ways(&self) -> impl Iterator<Item = (&Moves, &'static str)> {
        let removed = self.removed.iter().map(|moves| (moves, "removed"));
        removed.chain([(&self.out_of_service, "out of service")])
    }
}

/// Whether an endpoint is the one of this id, or an address of the host name of this id.
fn is_of(endpoint: &str, id: &str) -> bool {
    let address = endpoint.strip_prefix(id).map(|rest| rest.strip_prefix('/'));
    endpoint == id
        || address
            .flatten()
            .is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// The configuration without the endpoint; `None` when the file has no such line, or it is the last of its upstream.
fn without(id: &str, upstream: &str, mut present: Present) -> Option<Present> {
    let endpoints = &mut present.config.upstreams.get_mut(upstream)?.endpoints;
    let before = endpoints.len();
    endpoints.retain(|endpoint| endpoint.identity() != id);
    let is_less = endpoints.len() < before && !endpoints.is_empty();
    is_less.then_some(present)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_an_endpoint_or_all_addresses_of_a_name() {
        assert!(is_of("a", "a") && is_of("a:80/10.0.0.1", "a:80") && is_of("a/::1", "a"));
        assert!(!is_of("ab", "a") && !is_of("a/b", "a") && !is_of("a", "a/10.0.0.1"));
    }

    #[test]
    fn moves_of_the_gone_are_told_from_those_between_survivors() {
        let keys = ["k", "l", "m", "n"].map(Key::named);
        let owners = |ids: [&str; 4]| -> Owners { ids.map(|id| Some(id.to_owned())).into() };
        let (before, after) = (owners(["a", "b", "c", "a"]), owners(["b", "b", "b", "c"]));
        let moves = Moves::between(&keys, &before, &after, &["a".to_owned()]);
        assert_eq!((moves.keys, moves.of_gone), (4, 2));
        assert_eq!((moves.moved, moves.between_survivors), (3, 1));
        let moved: Vec<&str> = moves.moves.iter().map(|one| &*one.key).collect();
        assert_eq!(moved, ["k", "m", "n"]);
    }
}
