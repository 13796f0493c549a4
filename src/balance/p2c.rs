//! The least loaded of a few candidates drawn by chance (power of two choices; Mitzenmacher 1996).
//!
//! Two choices turn the mean queue at load λ from `1 / (1 - λ)` to about `log 1 / (1 - λ)`, at two
//! reads, and, unlike "the best of all", they do not send every worker to the same endpoint.

use super::sampled::{self, Score};
use super::{Decision, Live, Picked, View};
use crate::entropy::Random;

pub(super) fn pick<L: Live>(
    choices: usize,
    view: &View<'_, L>,
    random: &mut Random,
    explain: Option<&mut Decision>,
) -> Option<Picked> {
    let score = |i| Score {
        value: view.burden(i),
        latency: None,
    };
    sampled::pick(choices, view, random, explain, score)
}
