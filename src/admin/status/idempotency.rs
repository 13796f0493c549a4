//! The idempotency keys of a route: how many are in which state, and what keyed requests met.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attempt::idempotency::Guard;
use crate::clock::Instant;

/// The keys of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyStatus {
    pub keys: KeysStatus,
    /// Memory that results take, and may take.
    pub stored_bytes: usize,
    pub stored_bytes_max: usize,
    /// Memory that bodies of requests take whose outcome is not known yet, and may take.
    pub held_bytes: usize,
    pub held_bytes_max: usize,
    /// What keyed requests met since the start.
    pub requests: BTreeMap<String, u64>,
    /// How executions ended since the start.
    pub executions: BTreeMap<String, u64>,
    /// Results and keys that made room for others before their time.
    pub lost_results: u64,
    pub lost_keys: u64,
}

/// Keys by state, and how many there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysStatus {
    pub running: usize,
    pub stored: usize,
    pub unknown: usize,
    pub max: usize,
}

pub(super) fn read(guard: &Guard, now: Instant) -> IdempotencyStatus {
    let counts = &guard.store.counts;
    let reading = guard.store.read(now, &guard.limits);
    let met = counts.all_met().into_iter();
    let ended = counts.all_ended().into_iter();
    let lost = counts.all_lost();
    IdempotencyStatus {
        keys: KeysStatus {
            running: reading.running,
            stored: reading.stored,
            unknown: reading.unknown,
            max: guard.limits.entries,
        },
        stored_bytes: reading.bytes,
        stored_bytes_max: guard.limits.bytes,
        held_bytes: reading.held,
        held_bytes_max: guard.room(),
        requests: met
            .map(|(met, count)| (met.label().to_owned(), count))
            .collect(),
        executions: ended
            .map(|(end, count)| (end.label().to_owned(), count))
            .collect(),
        lost_results: lost.results,
        lost_keys: lost.keys,
    }
}
