//! The shortest time that an attempt would take after those under way, `latency × burden`, of a few candidates drawn by
//! chance, as in Finagle and linkerd.
//!
//! The latency is a peak-EWMA ([`super::Signals::latency`]): it follows a slow answer at once and forgets it over the
//! decay, also while nothing is sent there, so that a slow endpoint is tried again. A newcomer begins with the median of the
//! others. Failures do not look fast: they add no latency, and weigh as [`super::appraisal`] says.
//!
//! **Only the attempt to be placed counts with what the decay has left, those under way with what was measured**: that an
//! endpoint is worth another try does not make it any faster. Finagle counts all with the decayed latency, so that one which
//! had nothing to do for a minute, or only failed, gets hundreds before it can answer the first.

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
    let typical = view.live.totals().typical();
    let score = |i| {
        if typical == 0.0 {
            // Nobody has looked at the latencies yet. The load alone decides, else those that have not answered yet would
            // look like the fastest.
            return Score {
                value: view.burden(i),
                latency: None,
            };
        }
        let signals = view.live.signals(i);
        let another = signals.latency(now, decay).unwrap_or(typical);
        let under_way = signals.last_latency().unwrap_or(typical);
        Score {
            value: (another + under_way * view.held(i)) / view.weight_in_force(i),
            latency: Some(another),
        }
    };
    sampled::pick(choices, view, random, explain, score)
}
