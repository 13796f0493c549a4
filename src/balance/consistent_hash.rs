//! The same endpoint for the same key, as long as it can be picked, optionally with a bound on its load.
//!
//! The table knows all endpoints of the group, whoever is out: each key has an order of preference among them, and the
//! first that may be picked gets it. So an endpoint that is out moves no keys but its own, and gets them back.
//!
//! **Bounded load** (Mirrokni, Thorup, Zadimoghaddam 2018): an endpoint takes no attempt that would bring it above
//! `⌈c × (attempts in flight + 1) × its weight / all weights⌉`; the key goes on to the next. With `c > 1` somebody is always
//! below. In one thread that holds at every pick; of workers that pick at the same moment each may be one above.
//!
//! An endpoint of which only a part of the weight is in force keeps that part of its keys, always the same ones, and what is
//! held against it as load counts under the bound.

use super::table::{Algorithm, Place, Table};
use super::{Decision, Live, Note, Picked, Reason, View};
use crate::config;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The policy with its table.
#[derive(Debug, Clone)]
pub struct ConsistentHash {
    table: Arc<Table>,
    /// No endpoint gets more than this times the average in flight.
    bounded_load: Option<f64>,
}

impl ConsistentHash {
    /// Of these endpoints of one group.
    pub fn compile(options: &config::ConsistentHash, places: &[Place]) -> Self {
        let algorithm = match options.algorithm {
            config::HashAlgorithm::Ring => Algorithm::Ring {
                virtual_nodes: options.virtual_nodes,
            },
            config::HashAlgorithm::Maglev => Algorithm::Maglev {
                size: options.table_size,
            },
            config::HashAlgorithm::Rendezvous => Algorithm::Rendezvous,
        };
        Self {
            table: Arc::new(Table::compile(algorithm, places)),
            bounded_load: options.bounded_load.map(config::units::Decimal::value),
        }
    }

    /// Who owns which keys.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether the load of endpoints is bounded.
    pub fn is_bounded(&self) -> bool {
        self.bounded_load.is_some()
    }

    pub(super) fn pick<L: Live>(
        &self,
        view: &View<'_, L>,
        key: u64,
        mut explain: Option<&mut Decision>,
    ) -> Option<Picked> {
        let bound = self.bounded_load.map(|factor| Bound::of(factor, view));
        let mut by = Reason::Policy;
        let fits = |i: usize| {
            let refused = if !view.members.is_candidate(i) || !view.free(i) {
                // Why is told with the exclusions.
                None
            } else if !keeps(key, i, view) {
                Some(Note::PassedOver)
            } else if bound.as_ref().is_some_and(|bound| !bound.admits(i, view)) {
                Some(Note::AboveBound)
            } else {
                if let Some(decision) = explain.as_deref_mut() {
                    let owner = (by == Reason::Policy).then_some(Note::Owner);
                    decision.consider(i, view, |entry| entry.note = owner);
                }
                return true;
            };
            if let (Some(decision), Some(note)) = (explain.as_deref_mut(), refused) {
                decision.noted(i, note, view);
            }
            by = Reason::Spilled;
            false
        };
        let found = self.table.find(key, fits);
        if let Some(endpoint) = found {
            return Some(Picked { endpoint, by });
        }
        // All that are free are above their bound or passed over: better one of those than none.
        let is_free = |i: usize| view.members.is_candidate(i) && view.free(i);
        let endpoint = self.table.find(key, is_free)?;
        if let Some(decision) = explain {
            decision.drawn(endpoint, view);
        }
        let by = Reason::ScanAfterMisses;
        Some(Picked { endpoint, by })
    }
}

/// Two policies are the same when they would pick the same, which their options and endpoints decide.
impl PartialEq for ConsistentHash {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.bounded_load == other.bounded_load
    }
}

/// Whether an endpoint keeps this key, of whose keys it has only as many as of its weight is in force.
fn keeps<L: Live>(key: u64, i: usize, view: &View<'_, L>) -> bool {
    let factor = f64::from(view.charge(i).factor);
    if factor >= 1.0 {
        return true;
    }
    let hash = xxh3_64_with_seed(&key.to_le_bytes(), view.members.identities()[i]);
    hash as f64 / u64::MAX as f64 <= factor
}

/// How much each endpoint may have in flight now.
struct Bound {
    /// Attempts for each unit of weight.
    per_weight: f64,
}

impl Bound {
    fn of<L: Live>(factor: f64, view: &View<'_, L>) -> Self {
        let all = f64::from(view.live.totals().in_flight.load()) + 1.0;
        Self {
            per_weight: factor * all / view.members.total_weight() as f64,
        }
    }

    fn admits<L: Live>(&self, i: usize, view: &View<'_, L>) -> bool {
        let load = f64::from(view.load(i)) + f64::from(view.charge(i).ghosts);
        let cap = (self.per_weight * view.weight_in_force(i)).ceil();
        load + 1.0 <= cap
    }
}
