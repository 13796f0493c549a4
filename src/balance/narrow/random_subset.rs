//! The few endpoints that this proxy uses of a large group.
//!
//! With thousands of proxies before thousands of endpoints, each endpoint would hold a connection of
//! every proxy, and no proxy would see enough of any endpoint to judge it (SRE book, chapter 20). Each
//! proxy draws its own: endpoints are ranked by a hash of the seed and their identity, and the first
//! ones are used (rendezvous; gRFC A68). Who comes or goes changes one place of the draw at most. The
//! price is an uneven load: with 300 proxies that use 30 of 300 endpoints each, the least used gets
//! half of the mean, the most used one and a half times the mean.

use super::Place;
use xxhash_rust::xxh3::xxh3_64;

/// How many endpoints are used, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomSubset {
    /// How many of each group, at least 1; all where there are fewer.
    pub size: usize,
    /// Another for each proxy; the same after a reload, since a new one draws anew.
    pub seed: u64,
}

/// Takes those out of `endpoints` that are not used, and returns them.
pub(super) fn leave_out(
    rule: RandomSubset,
    endpoints: &mut Vec<u32>,
    places: &[Place],
) -> Vec<u32> {
    let size = rule.size.max(1);
    if endpoints.len() <= size {
        return Vec::new();
    }
    endpoints.select_nth_unstable_by_key(size, |&i| rank(rule.seed, &places[i as usize]));
    let unused = endpoints.split_off(size);
    endpoints.sort_unstable();
    unused
}

/// The lowest are used. Who is to get nothing fills only the places that are left, so that a draw of
/// few does not fall on endpoints of weight 0 alone.
fn rank(seed: u64, place: &Place) -> (bool, u64, u64) {
    let idle = place.draining || place.weight == 0;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&place.identity.to_le_bytes());
    (idle, xxh3_64(&bytes), place.identity)
}
