//! The least loaded of all candidates, by `(load + 1) / weight`; one of the equals by chance.
//!
//! A pass over all: the best mean of the policies on counters that workers share, at a cost that
//! grows with the upstream. Where that matters, `p2c` keeps most of the gain at two reads.

use super::{Burden, Decision, Load, View};
use crate::entropy::Random;
use std::cmp::Ordering;

pub(super) fn pick<L: Load>(
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<usize> {
    let mut least: Option<(usize, Burden)> = None;
    let mut equals = 0;
    for &i in view.members.candidates() {
        let i = i as usize;
        if !view.free(i) {
            continue;
        }
        let burden = view.burden(i);
        if let Some(decision) = explain.as_deref_mut() {
            decision.scored(i, burden);
        }
        let order = least.map_or(Ordering::Less, |(_, held)| burden.compare(held));
        if takes(order, &mut equals, random) {
            least = Some((i, burden));
        }
    }
    least.map(|(i, _)| i)
}

/// Whether a candidate takes the place of the one held. Each of `equals` candidates that share the
/// lowest score ends up held with the same chance; a first-come rule would send all of an idle
/// upstream's traffic to its first endpoint.
fn takes(order: Ordering, equals: &mut usize, random: &mut Random) -> bool {
    match order {
        Ordering::Less => {
            *equals = 1;
            true
        }
        Ordering::Equal => {
            *equals += 1;
            random.below(*equals) == 0
        }
        Ordering::Greater => false,
    }
}
