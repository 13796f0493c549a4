//! The least loaded of a few candidates drawn by chance (power of two choices; Mitzenmacher 1996).
//!
//! Two choices turn the mean queue at load λ from `1 / (1 - λ)` to about `log 1 / (1 - λ)`, at two
//! reads, and, unlike "the best of all", they do not send every worker to the same endpoint.

use super::{Burden, Decision, Fallback, Load, View, least_connections};
use crate::entropy::Random;
use std::cmp::Ordering;

/// With so few candidates all are compared: two draws out of three miss the idle one every third
/// time, and a pass over eight costs little more than two draws.
const FEW: usize = 8;

/// Draws beyond `choices` that may hit a full or tried candidate, or the one held.
const MISSES: usize = 8;

pub(super) fn pick<L: Load>(
    choices: usize,
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<usize> {
    if view.members.candidates().len() <= FEW.max(choices) {
        note(explain.as_deref_mut(), Fallback::FewCandidates);
        return least_connections::pick(view, random, explain);
    }
    let mut least: Option<(usize, Burden)> = None;
    let mut compared = 0;
    for _ in 0..choices + MISSES {
        let i = view.members.sample(random);
        if least.is_some_and(|(held, _)| held == i) || !view.free(i) {
            continue;
        }
        let burden = view.burden(i);
        if let Some(decision) = explain.as_deref_mut() {
            decision.scored(i, burden);
        }
        // Of two equals the first one drawn stays: the draw was chance enough.
        if least.is_none_or(|(_, held)| burden.compare(held) == Ordering::Less) {
            least = Some((i, burden));
        }
        compared += 1;
        if compared == choices {
            break;
        }
    }
    if least.is_none() {
        note(explain.as_deref_mut(), Fallback::ScanAfterMisses);
        return least_connections::pick(view, random, explain);
    }
    least.map(|(i, _)| i)
}

fn note(explain: Option<&mut Decision>, fallback: Fallback) {
    if let Some(decision) = explain {
        decision.fallback = Some(fallback);
    }
}
