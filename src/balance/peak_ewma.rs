//! The lowest `latency × burden` of a few candidates drawn by chance, as in Finagle and linkerd.
//!
//! The latency is a peak-EWMA ([`super::Signals::latency`]): it follows a slow answer at once and forgets it over the
//! decay, also while nothing is sent there, so that a slow endpoint is tried again. A newcomer begins
//! with the median of the others. Failures do not look fast: they add no latency, and weigh as [`super::appraisal`] says.

use super::sampled::{self, Score};
use super::{Decision, Live, Picked, View};
use crate::entropy::Random;
use std::time::Duration;

pub(super) fn pick<L: Live>(
    choices: usize,
    decay: Duration,
    view: &View<'_, L>,
    random: &mut Random,
    explain: Option<&mut Decision>,
) -> Option<Picked> {
    let now = view.live.now();
    let score = |i| {
        let known = view.live.signals(i).latency(now, decay);
        // 1 before anything is known of any: then the load alone decides.
        let latency = known.unwrap_or_else(|| view.live.totals().typical().max(1.0));
        Score {
            value: latency * view.burden(i),
            latency: Some(latency),
        }
    };
    sampled::pick(choices, view, random, explain, score)
}
