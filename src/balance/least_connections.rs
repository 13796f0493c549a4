//! The least loaded of all candidates, by [`View::burden`]; of equals the one with the fewest attempts of the last second
//! for its weight, and of equals in that too one by chance.
//!
//! A pass over all: the best mean of the policies on counters that workers share, at a cost that grows with the upstream.
//! Where that matters, `p2c` keeps most of the gain at two reads. Among many candidates the pass begins anywhere and ends
//! at the first idle one, since nothing can be better: it is long only where all are busy.

use super::{Decision, Live, Picked, Reason, View};
use crate::entropy::Random;
use std::cmp::Ordering;

/// Up to so many candidates all are compared, so that the rate of the last second decides among idle ones: where there are
/// few requests for each endpoint, that spreads them more evenly than chance.
const COMPARE_ALL: usize = 32;

pub(super) fn pick<L: Live>(
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<usize> {
    let is_short = view.members.candidates().len() <= COMPARE_ALL;
    let mut best = Best::default();
    for class in view.members.classes() {
        let candidates = &view.members.candidates()[class.start..class.start + class.len];
        let begin = if is_short { 0 } else { random.below(class.len) };
        let (before, from) = candidates.split_at(begin);
        // No other of this weight, nor of the smaller ones that follow, can be below it.
        let idle = f64::from(class.weight).recip();
        for &i in from.iter().chain(before) {
            let i = i as usize;
            if !view.free(i) {
                continue;
            }
            let burden = view.burden(i);
            if let Some(decision) = explain.as_deref_mut() {
                decision.scored(i, burden, view);
            }
            if best.takes(i, burden, is_short, view, random) && !is_short && burden <= idle {
                return Some(i);
            }
        }
    }
    best.held.map(|(i, _)| i)
}

/// The same as a whole pick.
pub(super) fn picked<L: Live>(
    view: &View<'_, L>,
    random: &mut Random,
    explain: Option<&mut Decision>,
    by: Reason,
) -> Option<Picked> {
    pick(view, random, explain).map(|endpoint| Picked { endpoint, by })
}

/// The best one met so far, and how many are as good in everything.
#[derive(Default)]
struct Best {
    held: Option<(usize, f64)>,
    equals: usize,
}

impl Best {
    /// Whether a candidate takes the place of the one held. Each of those that are equal in everything ends up held with
    /// the same chance; a first-come rule would send all of an idle upstream's traffic to its first endpoint.
    fn takes<L: Live>(
        &mut self,
        i: usize,
        burden: f64,
        by_rate: bool,
        view: &View<'_, L>,
        random: &mut Random,
    ) -> bool {
        let order = self.held.map_or(Ordering::Less, |(held, least)| {
            let rates = || view.rate(i).total_cmp(&view.rate(held));
            let order = burden.total_cmp(&least);
            if by_rate {
                order.then_with(rates)
            } else {
                order
            }
        });
        let takes = match order {
            Ordering::Less => {
                self.equals = 1;
                true
            }
            Ordering::Equal => {
                self.equals += 1;
                random.below(self.equals) == 0
            }
            Ordering::Greater => false,
        };
        if takes {
            self.held = Some((i, burden));
        }
        takes
    }
}
