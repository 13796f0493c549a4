//! A limit that follows the latency of the upstream (pure).
//!
//! A window is what was answered between two ticks. Both rules are Netflix's, one of them with a change, and neither ever lowers the
//! limit in order to measure. What times out counts with the time that it took, a lower bound; what fails fast does not count, since it says
//! nothing of how long an answer takes.

mod gradient2;
mod vegas;

use std::time::Duration;

use crate::config::{self, LimitAlgorithm};
use crate::entropy::Random;
use gradient2::{Bounds, Gradient2};
use vegas::Vegas;

/// With fewer answers a window goes on: a mean of a few says little.
pub const LEAST_SAMPLES: u32 = 10;

/// How the limit is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub algorithm: LimitAlgorithm,
    pub min: u32,
    pub max: u32,
    pub initial: u32,
    pub tolerance: f64,
}

impl From<&config::AdaptiveLimit> for Rules {
    fn from(written: &config::AdaptiveLimit) -> Self {
        let max = count(written.max);
        let min = count(written.min).min(max);
        Self {
            algorithm: written.algorithm,
            min,
            max,
            initial: count(written.initial).clamp(min, max),
            tolerance: written.tolerance.value(),
        }
    }
}

/// A number of attempts as it is counted.
pub(super) fn count(written: usize) -> u32 {
    u32::try_from(written).unwrap_or(u32::MAX)
}

/// What was answered in one window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Window {
    pub samples: u32,
    /// All latencies together, in nanoseconds.
    pub nanos: u64,
    /// The most that were under way at once.
    pub in_flight: u32,
    /// An attempt timed out.
    pub dropped: bool,
}

impl Window {
    fn mean(&self) -> f64 {
        self.nanos as f64 / f64::from(self.samples)
    }
}

/// What the limit was found by last.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Inputs {
    /// Windows that counted so far.
    pub windows: u64,
    /// The mean latency of the last one.
    pub latency: Duration,
    /// What it is compared with: the long mean of Gradient2, the least latency of Vegas.
    pub baseline: Duration,
    /// What Gradient2 multiplied the limit by.
    pub gradient: Option<f64>,
    /// How many Vegas takes to queue at the upstream.
    pub queue: Option<f64>,
}

/// The limit and what it remembers.
#[derive(Debug)]
pub struct Limit {
    estimate: f64,
    rule: Rule,
    windows: u64,
    latency: f64,
}

#[derive(Debug)]
enum Rule {
    Gradient2(Gradient2),
    Vegas(Vegas),
}

impl Limit {
    /// Begins to look for it.
    pub fn new(rules: &Rules, random: &mut Random) -> Self {
        Self {
            estimate: f64::from(rules.initial),
            rule: match rules.algorithm {
                LimitAlgorithm::Gradient2 => Rule::Gradient2(Gradient2::default()),
                LimitAlgorithm::Vegas => Rule::Vegas(Vegas::new(random)),
            },
            windows: 0,
            latency: 0.0,
        }
    }

    /// Whether it is found by this algorithm.
    pub fn is_by(&self, algorithm: LimitAlgorithm) -> bool {
        match self.rule {
            Rule::Gradient2(_) => algorithm == LimitAlgorithm::Gradient2,
            Rule::Vegas(_) => algorithm == LimitAlgorithm::Vegas,
        }
    }

    /// A window ended.
    pub fn update(&mut self, rules: &Rules, window: &Window, random: &mut Random) {
        if window.samples == 0 {
            return;
        }
        let (latency, in_flight) = (window.mean().max(1.0), f64::from(window.in_flight));
        let limit = self.estimate;
        let bounds = Bounds {
            tolerance: rules.tolerance,
            min: f64::from(rules.min),
        };
        let next = match &mut self.rule {
            Rule::Gradient2(rule) => rule.step(limit, latency, in_flight, bounds),
            Rule::Vegas(rule) => rule.step(limit, latency, in_flight, window.dropped, random),
        };
        self.estimate = next.clamp(f64::from(rules.min), f64::from(rules.max));
        self.windows += 1;
        self.latency = latency;
    }

    /// How many may be under way at once.
    pub fn limit(&self, rules: &Rules) -> u32 {
        (self.estimate as u32).clamp(rules.min, rules.max)
    }

    /// What it was found by.
    pub fn inputs(&self) -> Inputs {
        let span = |nanos: f64| Duration::from_nanos(nanos as u64);
        let (baseline, gradient, queue) = match &self.rule {
            Rule::Gradient2(rule) => (rule.long, Some(rule.gradient), None),
            Rule::Vegas(rule) => (rule.least, None, Some(rule.queue)),
        };
        Inputs {
            windows: self.windows,
            latency: span(self.latency),
            baseline: span(baseline),
            gradient: gradient.filter(|_| self.windows > 0),
            queue,
        }
    }
}
