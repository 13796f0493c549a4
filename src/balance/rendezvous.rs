//! Rendezvous hashing (Thaler and Ravishankar 1998): each key draws a number for each endpoint, and
//! the best draw has it.
//!
//! With weights (Schindelhauer and Schomaker 2005): of a draw `u`, uniform in (0, 1], the endpoint
//! with the greatest `-w / ln(u)` wins. Turned over, `-ln(u) / w` is the moment at which a clock rings
//! that rings at the rate `w`, and the first to ring has the key; each is first with the chance that
//! its weight is of all.
//!
//! A key costs a hash per endpoint. What one endpoint draws does not depend on the others, so a
//! change moves no key between two that stay. The logarithm may differ in its last bit from platform
//! to platform; it matters for one key in about 2^45, and not at all where weights are equal.

use super::table::{Class, Offered, Places, mix};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Passes over all endpoints, each for the best that is left, before all that are left are put in
/// order at once. Measured: that costs about as much as eight passes. It is also the only step that
/// allocates.
const PASSES: usize = 8;

/// Where an endpoint stands in the order of a key; the least is the best.
#[derive(Debug, Clone, Copy)]
struct Rank {
    rings_at: f64,
    /// Decides between clocks that ring together, so that equal weights are compared exactly.
    draw: u64,
    slot: usize,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = self.rings_at.total_cmp(&other.rings_at);
        by_time.then_with(|| (self.draw, self.slot).cmp(&(other.draw, other.slot)))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// The first slot of `classes`, in the order of `key`, that `accept` takes; each is offered once.
pub(super) fn find(
    places: &Places,
    classes: &[Class],
    key: u64,
    mut accept: impl FnMut(usize) -> bool,
) -> Option<usize> {
    let order = Order {
        places,
        classes,
        // Identities may be as regular as keys are; without this step `key ^ identity` would repeat.
        key: mix(key),
    };
    let mut last = None;
    for _ in 0..PASSES {
        let best = order.best_after(last)?;
        if accept(best.slot) {
            return Some(best.slot);
        }
        last = Some(best);
    }
    let mut rest = order.all_after(last);
    while let Some(Reverse(rank)) = rest.pop() {
        if accept(rank.slot) {
            return Some(rank.slot);
        }
    }
    None
}

/// The end of a search by another scheme: the same for the slots that it has not offered.
pub(super) fn find_rest(
    places: &Places,
    key: u64,
    offered: &Offered,
    mut accept: impl FnMut(usize) -> bool,
) -> Option<usize> {
    let classes = if offered.count() == places.weighted() {
        // Schemes offer only what has a weight.
        places.classes_by_right().1
    } else {
        places.classes()
    };
    find(places, classes, key, |slot| {
        !offered.contains(slot) && accept(slot)
    })
}

/// The part of all keys that each slot may expect.
pub(super) fn shares(places: &Places) -> Vec<f64> {
    let weights = || {
        let classes = places.classes().iter();
        classes.flat_map(|class| class.slots.clone().map(|_| f64::from(class.weight)))
    };
    let total: f64 = weights().sum();
    weights().map(|weight| weight / total).collect()
}

/// The order of one key over some classes of endpoints.
struct Order<'a> {
    places: &'a Places,
    classes: &'a [Class],
    key: u64,
}

impl Order<'_> {
    fn draw(&self, slot: usize) -> u64 {
        mix(self.key ^ self.places.identities()[slot])
    }

    fn rank(&self, draw: u64, class: &Class, slot: usize) -> Rank {
        let rings_at = if self.classes.len() == 1 {
            // Where all weigh the same the draw alone decides.
            0.0
        } else if class.weight == 0 {
            f64::INFINITY
        } else {
            // `1 - u`, in [0, 1): the upper 53 bits are exact in a float.
            let past = (draw >> 11) as f64 / (1u64 << 53) as f64;
            -(-past).ln_1p() / f64::from(class.weight)
        };
        Rank {
            rings_at,
            draw,
            slot,
        }
    }

    /// The best of those behind `last`, or of all.
    fn best_after(&self, last: Option<Rank>) -> Option<Rank> {
        let best_of_each = self.classes.iter().filter_map(|class| match last {
            None => self.best_of(class),
            Some(last) => self.best_of_after(class, last),
        });
        best_of_each.min()
    }

    /// Within a class the least draw is the best, whatever the weight: no logarithm but one.
    fn best_of(&self, class: &Class) -> Option<Rank> {
        let draws = class.slots.clone().map(|slot| (self.draw(slot), slot));
        let (draw, slot) = draws.min()?;
        Some(self.rank(draw, class, slot))
    }

    /// The rank is computed only of what beats the best so far: the few that were offered before, and
    /// about as many as the logarithm of the class.
    fn best_of_after(&self, class: &Class, last: Rank) -> Option<Rank> {
        let mut best: Option<Rank> = None;
        for slot in class.slots.clone() {
            let draw = self.draw(slot);
            if best.is_none_or(|best| draw < best.draw) {
                let rank = self.rank(draw, class, slot);
                if rank > last {
                    best = Some(rank);
                }
            }
        }
        best
    }

    fn all_after(&self, last: Option<Rank>) -> BinaryHeap<Reverse<Rank>> {
        let ranks = self.classes.iter().flat_map(|class| {
            let slots = class.slots.clone();
            slots.map(|slot| self.rank(self.draw(slot), class, slot))
        });
        let behind = |rank: &Rank| last.is_none_or(|last| *rank > last);
        ranks.filter(behind).map(Reverse).collect()
    }
}
