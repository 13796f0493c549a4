//! Each in turn, by weight: exact shares in each cycle of a worker, evenly spread.
//!
//! Candidates of equal weight form a ring that is walked around; [`Turns`] says which ring is next. So
//! a pick costs the same for ten thousand endpoints as for three, and nothing is shared with another
//! worker. A full or tried candidate loses its turn to the next in line, and so does by chance
//! one of which less than its whole weight is in force.

use super::turns::Turns;
use super::{Decision, Live, Members, Note, Picked, Reason, View};
use crate::entropy::Random;
use std::collections::HashMap;

/// Turns that may fall to a full or tried candidate before the rings are gone through.
const MISSES: usize = 8;

/// Where a worker stands in the rounds of one upstream.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// Of the membership that this was laid out for.
    fingerprint: Option<u64>,
    /// The identity of each endpoint of that membership.
    identities: Vec<u64>,
    /// Indices of the candidates, ring by ring.
    order: Vec<u32>,
    rings: Vec<Ring>,
    /// `None` where there is one ring.
    turns: Option<Turns>,
}

/// Candidates of equal weight, and who of them is next.
#[derive(Debug)]
struct Ring {
    start: usize,
    len: usize,
    /// Below `len`.
    next: usize,
}

pub(super) fn pick<L: Live>(
    rotation: &mut Rotation,
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<Picked> {
    rotation.align(view.members, random);
    let mut turn = None;
    for _ in 0..MISSES {
        let Some(endpoint) = rotation.turn().filter(|&i| view.free(i)) else {
            continue;
        };
        if view.passes_over(endpoint, random) {
            if let Some(decision) = explain.as_deref_mut() {
                decision.noted(endpoint, Note::PassedOver, view);
            }
            continue;
        }
        let by = Reason::Policy;
        turn = Some(Picked { endpoint, by });
        break;
    }
    let scanned = || {
        let by = Reason::ScanAfterMisses;
        rotation.scan(view).map(|endpoint| Picked { endpoint, by })
    };
    let picked = turn.or_else(scanned);
    if let (Some(decision), Some(picked)) = (explain, picked) {
        decision.drawn(picked.endpoint, view);
    }
    picked
}

impl Rotation {
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.identities.len().max(self.order.len())
    }

    fn align(&mut self, members: &Members, random: &mut Random) {
        if self.fingerprint != Some(members.fingerprint()) {
            self.lay_out(members, random);
        }
    }

    /// The candidate whose turn it is.
    fn turn(&mut self) -> Option<usize> {
        let ring = self.turns.as_mut().map_or(0, Turns::next);
        let ring = self.rings.get_mut(ring)?;
        Some(self.order[ring.step()] as usize)
    }

    /// The first free candidate on any ring, from where each stands.
    fn scan<L: Live>(&mut self, view: &View<'_, L>) -> Option<usize> {
        let order = &self.order;
        self.rings.iter_mut().find_map(|ring| {
            (0..ring.len)
                .map(|_| order[ring.step()] as usize)
                .find(|&i| view.free(i))
        })
    }

    /// Makes the rings of a new membership. Who was on a ring keeps its distance from its turn, as a
    /// share of the round, whatever ring it is on now; who is new joins anywhere.
    #[cold]
    fn lay_out(&mut self, members: &Members, random: &mut Random) {
        let due = self.due(members);
        let resumed = due.iter().any(Option::is_some);
        let mut order = members.candidates().to_vec();
        let mut rings = Vec::with_capacity(members.classes().len());
        for class in members.classes() {
            let ring = &mut order[class.start..class.start + class.len];
            let next = if resumed {
                ring.sort_by_cached_key(|&i| match due[i as usize] {
                    Some(due) => due,
                    None => random.next_u64() as u32,
                });
                0
            } else {
                random.below(class.len)
            };
            rings.push(Ring {
                start: class.start,
                len: class.len,
                next,
            });
        }
        let weights: Vec<u64> = members
            .classes()
            .iter()
            .map(|c| u64::from(c.weight) * c.len as u64)
            .collect();
        let turns = (weights.len() > 1).then(|| Turns::compile(&weights, random));
        self.turns = match (turns, &mut self.turns) {
            (Some(turns), Some(before)) => Some(turns.resume(before)),
            (turns, _) => turns,
        };
        self.order = order;
        self.rings = rings;
        self.identities = members.identities().to_vec();
        self.fingerprint = Some(members.fingerprint());
    }

    /// For each of `members` how far off its turn is, as a share of a round in units of 2^-32; `None`
    /// for those who were on no ring.
    fn due(&self, members: &Members) -> Vec<Option<u32>> {
        let mut before: Vec<Option<u32>> = vec![None; self.identities.len()];
        for ring in &self.rings {
            for place in 0..ring.len {
                let ahead = (place + ring.len - ring.next) % ring.len;
                let share = ((ahead as u64 * 2 + 1) << 31) / ring.len as u64;
                before[self.order[ring.start + place] as usize] = Some(share as u32);
            }
        }
        // Mostly the same endpoints in the same order: only health or a weight has changed.
        if self.identities == members.identities() {
            return before;
        }
        let of: HashMap<u64, Option<u32>> = self.identities.iter().copied().zip(before).collect();
        members
            .identities()
            .iter()
            .map(|identity| of.get(identity).copied().flatten())
            .collect()
    }
}

impl Ring {
    /// Where the next one stands in the order; the one after it is next then.
    fn step(&mut self) -> usize {
        let at = self.next;
        self.next = if at + 1 == self.len { 0 } else { at + 1 };
        self.start + at
    }
}
