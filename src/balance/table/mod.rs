//! Whose key is this? The tables of consistent hashing: `ring`, `maglev`, `rendezvous`.
//!
//! A table is compiled from the whole membership, whoever is healthy, and so changes only with the
//! configuration. Each key has an order of preference over all endpoints; who is unhealthy, full,
//! tried, or above its bound of load is refused by the caller, and the key goes on to the next. An
//! endpoint that drops out thus moves its own keys and no others, and gets the same ones back.
//!
//! | scheme | a key costs | shares of equal endpoints | a changed membership moves |
//! |---|---|---|---|
//! | ring | two cache lines | uneven by about 1/√points | only what must move |
//! | Maglev | one cache line | even to one entry | a little more than must move |
//! | rendezvous | a hash per endpoint | even, by chance | only what must move |
//!
//! Not here: which key a request has, and what the caller refuses.

mod offered;
mod places;

pub(super) use offered::Offered;
pub use places::Place;
pub(super) use places::{Class, MAX_PLACES, Places};

use super::maglev::Maglev;
use super::rendezvous;
use super::ring::Ring;
use std::fmt;

/// How keys are assigned to endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Points on a circle; a key belongs to the first point clockwise.
    Ring {
        /// Points per endpoint and unit of weight: the more, the more even and the larger.
        virtual_nodes: u32,
    },
    /// A table filled by each endpoint in turn.
    Maglev {
        /// Entries, a prime well above the number of endpoints.
        size: u32,
    },
    /// The best of all endpoints by a hash with each.
    Rendezvous,
}

/// A compiled assignment of keys to endpoints; immutable.
pub struct Table {
    places: Places,
    scheme: Scheme,
}

enum Scheme {
    Ring(Ring),
    Maglev(Maglev),
    Rendezvous,
}

impl Table {
    /// Of these endpoints, in whatever order they come. Not for the request path: it takes up to some
    /// hundred milliseconds where the table is large.
    pub fn compile(algorithm: Algorithm, places: &[Place]) -> Self {
        let places = Places::compile(places);
        let scheme = match algorithm {
            Algorithm::Ring { virtual_nodes } => {
                Scheme::Ring(Ring::compile(&places, virtual_nodes))
            }
            Algorithm::Maglev { size } => Scheme::Maglev(Maglev::compile(&places, size)),
            Algorithm::Rendezvous => Scheme::Rendezvous,
        };
        Self { places, scheme }
    }

    /// The endpoint of `key`, which is a hash of what a request is known by: the first in the key's
    /// order of preference that `accept` takes.
    ///
    /// `accept` is asked lazily, once per endpoint, and about every endpoint before the answer is
    /// `None`. Nothing is allocated before the eighth refusal.
    pub fn find(&self, key: u64, mut accept: impl FnMut(usize) -> bool) -> Option<usize> {
        let endpoint = |slot| self.places.endpoint(slot) as usize;
        let accept = |slot| accept(endpoint(slot));
        let slot = match &self.scheme {
            Scheme::Ring(ring) => ring.find(&self.places, key, accept),
            Scheme::Maglev(maglev) => maglev.find(&self.places, key, accept),
            Scheme::Rendezvous => {
                rendezvous::find(&self.places, self.places.classes(), key, accept)
            }
        };
        slot.map(endpoint)
    }

    /// The endpoint of `key` while nobody is refused.
    pub fn owner(&self, key: u64) -> Option<usize> {
        self.find(key, |_| true)
    }

    /// The part of all keys that each endpoint owns, by ascending endpoint: exact for ring and Maglev,
    /// what is to be expected for rendezvous.
    pub fn shares(&self) -> Vec<(u32, f64)> {
        let by_slot = match &self.scheme {
            Scheme::Ring(ring) => ring.shares(self.places.len()),
            Scheme::Maglev(maglev) => maglev.shares(self.places.len()),
            Scheme::Rendezvous => rendezvous::shares(&self.places),
        };
        let mut shares: Vec<(u32, f64)> = by_slot
            .into_iter()
            .enumerate()
            .map(|(slot, share)| (self.places.endpoint(slot), share))
            .collect();
        shares.sort_unstable_by_key(|&(endpoint, _)| endpoint);
        shares
    }
}

/// The size and not the content, which may be millions of points.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, size) = match &self.scheme {
            Scheme::Ring(ring) => ("ring", ring.len()),
            Scheme::Maglev(maglev) => ("maglev", maglev.len()),
            Scheme::Rendezvous => ("rendezvous", self.places.len()),
        };
        f.debug_struct("Table")
            .field("scheme", &scheme)
            .field("size", &size)
            .field("endpoints", &self.places.len())
            .finish_non_exhaustive()
    }
}

/// Makes of one hash another that seems independent of it: the finisher of SplitMix64 (Steele, Lea,
/// Flood 2014). No two inputs have the same output.
pub(super) fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
