//! The least loaded of all candidates, by [`View::burden`]; of equals the one with the fewest attempts of the last second
//! for its weight, and of equals in that too one by chance.
//!
//! A pass over all: the best mean of the policies on counters that workers share, at a cost that grows with the upstream.
//! Where that matters, `p2c` keeps most of the gain at two reads. Among many candidates the pass begins anywhere and ends
//! at the first idle one, since nothing can be better: it is long only where all are busy.

use super::best::Best;
use super::{Decision, Live, Picked, Reason, View};
use crate::entropy::Random;

/// Up to so many candidates all are compared, so that the rate of the last second decides among idle ones: where there are
/// few requests for each endpoint, that spreads them more evenly than chance.
const COMPARE_ALL: usize = 32;

pub(super) fn pick<L: Live>(
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<Picked> {
    let by = Reason::Policy;
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
            let takes = best.takes(i, burden, is_short, view, Some(random));
            if takes && !is_short && burden <= idle {
                return Some(Picked { endpoint: i, by });
            }
        }
    }
    best.held.map(|(endpoint, _)| Picked { endpoint, by })
}
