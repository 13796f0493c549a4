//! What the tick does: a limit that follows the latency, and a word where something has turned.

use std::time::Duration;

use super::adaptive::Limit;
use super::rules::Rules;
use super::samples;
use super::watch::Watch;
use crate::clock::Instant;
use crate::entropy::Random;

/// Looks that come sooner after another are none: a window of an adaptive limit is about a tick.
const LOOK: Duration = Duration::from_millis(50);

/// What nobody but the tick changes.
#[derive(Debug)]
pub(super) struct Tended {
    looked: Option<Instant>,
    pub(super) watch: Watch,
    /// `None`: it is fixed.
    pub(super) adaptive: Option<Limit>,
    pub(super) samples: samples::All,
    random: Random,
}

impl Tended {
    /// Never looked after yet.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            looked: None,
            watch: Watch::default(),
            adaptive: None,
            samples: samples::All::default(),
            random: Random::seeded(seed),
        }
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.looked.is_none_or(|last| now.since(last) >= LOOK);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// The limit in force, moved by what was measured since the last look.
    pub(super) fn limit(&mut self, rules: &Rules) -> u32 {
        let Some(rules) = &rules.adaptive else {
            self.adaptive = None;
            return rules.max_in_flight;
        };
        let random = &mut self.random;
        let kept = self
            .adaptive
            .take()
            .filter(|limit| limit.is_by(rules.algorithm));
        let mut limit = kept.unwrap_or_else(|| Limit::new(rules, random));
        if let Some(window) = self.samples.window() {
            limit.update(rules, &window, random);
        }
        let found = limit.limit(rules);
        self.adaptive = Some(limit);
        found
    }
}
