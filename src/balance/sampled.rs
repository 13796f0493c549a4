//! The lowest score among a few candidates drawn by weight: what `p2c` and `peak_ewma` share.

use super::best::Best;
use super::{Decision, Live, Picked, Reason, View};
use crate::entropy::Random;

/// With so few candidates all are compared: two draws out of three miss the idle one every third time, and a pass over
/// eight costs little more than two draws.
const FEW: usize = 8;

/// Draws beyond `choices` that may hit a full or tried candidate, or the one held.
const MISSES: usize = 8;

/// `score`: the lowest wins; of equals the one with the fewest attempts of the last second for its weight, so that a few
/// requests spread evenly over idle endpoints (as HAProxy's `random` breaks its ties); then the first one drawn, which was
/// chance enough. `fill` adds to the record what the score was made of.
pub(super) fn pick<L: Live>(
    choices: usize,
    view: &View<'_, L>,
    random: &mut Random,
    explain: Option<&mut Decision>,
    score: impl Fn(usize) -> Score,
) -> Option<Picked> {
    let mut race = Race {
        view,
        explain,
        score,
        best: Best::default(),
    };
    let candidates = view.members.candidates();
    if candidates.len() <= FEW.max(choices) {
        race.all(random);
        return race.won(Reason::FewCandidates);
    }
    let mut compared = 0;
    for _ in 0..choices + MISSES {
        let i = view.members.sample(random);
        if race.best.held.is_some_and(|(held, _)| held == i) || !view.free(i) {
            continue;
        }
        race.enter(i, None);
        compared += 1;
        if compared == choices {
            break;
        }
    }
    if race.best.held.is_some() {
        return race.won(Reason::Policy);
    }
    race.all(random);
    race.won(Reason::ScanAfterMisses)
}

/// What a policy compares.
pub(super) struct Score {
    pub(super) value: f64,
    /// The latency that went into it, in nanoseconds.
    pub(super) latency: Option<f64>,
}

struct Race<'a, 'v, L, S> {
    view: &'a View<'v, L>,
    explain: Option<&'a mut Decision>,
    score: S,
    best: Best,
}

impl<L: Live, S: Fn(usize) -> Score> Race<'_, '_, L, S> {
    fn all(&mut self, random: &mut Random) {
        for &i in self.view.members.candidates() {
            if self.view.free(i as usize) {
                self.enter(i as usize, Some(random));
            }
        }
    }

    /// With `random` one of equals is held by chance, else the first.
    fn enter(&mut self, i: usize, random: Option<&mut Random>) {
        let view = self.view;
        let Score { value, latency } = (self.score)(i);
        if let Some(decision) = self.explain.as_deref_mut() {
            decision.consider(i, view, |entry| {
                entry.score = Some(value);
                entry.latency = latency;
            });
        }
        self.best.takes(i, value, true, view, random);
    }

    fn won(&self, by: Reason) -> Option<Picked> {
        self.best.held.map(|(endpoint, _)| Picked { endpoint, by })
    }
}
