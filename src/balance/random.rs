//! By chance, by weight.

use super::{Decision, Fallback, Load, View};
use crate::entropy::Random;

/// Draws that may hit a full or tried candidate before all are gone through: with half of them full
/// one pick in 256 scans.
const MISSES: usize = 8;

pub(super) fn pick<L: Load>(
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<usize> {
    let drawn = (0..MISSES)
        .map(|_| view.members.sample(random))
        .find(|&i| view.free(i));
    let picked = drawn.or_else(|| {
        if let Some(decision) = explain.as_deref_mut() {
            decision.fallback = Some(Fallback::ScanAfterMisses);
        }
        scan(view, random)
    });
    if let (Some(decision), Some(i)) = (explain, picked) {
        decision.drawn(i, view);
    }
    picked
}

/// One pass in which each free candidate takes the place of the one held with a chance of its weight
/// over the weight met so far: in the end each is held with a chance proportional to its weight.
fn scan<L: Load>(view: &View<'_, L>, random: &mut Random) -> Option<usize> {
    let (mut held, mut met) = (None, 0usize);
    for &i in view.members.candidates() {
        let i = i as usize;
        if view.free(i) {
            let weight = view.members.weight(i) as usize;
            met += weight;
            if random.below(met) < weight {
                held = Some(i);
            }
        }
    }
    held
}
