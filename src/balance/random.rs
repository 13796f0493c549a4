//! By chance, by weight.

use super::{Decision, Live, Note, Picked, Reason, View};
use crate::entropy::Random;

/// Draws that may hit a full or tried candidate before all are gone through: with half of them full
/// one pick in 256 scans.
const MISSES: usize = 8;

pub(super) fn pick<L: Live>(
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<Picked> {
    let mut picked = None;
    for _ in 0..MISSES {
        let endpoint = view.members.sample(random);
        if !view.free(endpoint) {
            continue;
        }
        if view.passes_over(endpoint, random) {
            if let Some(decision) = explain.as_deref_mut() {
                decision.noted(endpoint, Note::PassedOver, view);
            }
            continue;
        }
        let by = Reason::Policy;
        picked = Some(Picked { endpoint, by });
        break;
    }
    let scanned = || {
        let by = Reason::ScanAfterMisses;
        scan(view, random).map(|endpoint| Picked { endpoint, by })
    };
    let picked = picked.or_else(scanned);
    if let (Some(decision), Some(picked)) = (explain, picked) {
        decision.drawn(picked.endpoint, view);
    }
    picked
}

/// One pass in which each free candidate takes the place of the one held with a chance of its weight
/// over the weight met so far: in the end each is held with a chance proportional to its weight.
fn scan<L: Live>(view: &View<'_, L>, random: &mut Random) -> Option<usize> {
    let (mut held, mut met) = (None, 0.0);
    for &i in view.members.candidates() {
        let i = i as usize;
        if view.free(i) {
            let weight = view.weight_in_force(i);
            met += weight;
            if random.unit() * met < weight {
                held = Some(i);
            }
        }
    }
    held
}
