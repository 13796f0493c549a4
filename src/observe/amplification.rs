//! How many attempts requests cost: what retries and hedges add to the load of an upstream.

use std::collections::BTreeMap;

use super::names::Metric;
use super::record::AttemptKind;
use super::registry::Registry;
use super::window::Window;
use crate::clock::Instant;

/// Attempts of each upstream over a window.
#[derive(Debug, Default)]
pub struct Amplification(BTreeMap<String, Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    first: u64,
    all: u64,
}

impl Amplification {
    /// Attempts for each first one; `None` where there were none.
    pub fn of(&self, upstream: &str) -> Option<f64> {
        let attempts = self.0.get(upstream)?;
        (attempts.first > 0).then(|| attempts.all as f64 / attempts.first as f64)
    }
}

impl Registry {
    /// Reads how many attempts there were for each first one, and no histogram.
    pub fn amplification(&self, window: Window, now: Instant) -> Amplification {
        let mut amplification = Amplification::default();
        for series in self.endpoints.all() {
            let upstream = amplification.0.entry(series.identity[0].clone());
            let attempts = upstream.or_default();
            for (kind, count) in series.counts(Metric::AttemptKinds, window, now) {
                attempts.all += count;
                if kind == AttemptKind::First.label() {
                    attempts.first += count;
                }
            }
        }
        amplification
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Attempt, AttemptOutcome, Labels, Times};

    #[test]
    fn attempts_of_all_endpoints_are_set_against_the_first_ones() {
        let registry = Registry::new(1, Labels::default(), Instant(0));
        let door = registry.worker(0);
        let attempt = |kind| Attempt {
            kind,
            outcome: AttemptOutcome::Failed,
            status: 0,
            reused: false,
            bytes_sent: 0,
            bytes_received: 0,
            times: Times::default(),
            error: None,
        };
        let none = registry.amplification(Window::Minute, Instant(0));
        assert_eq!(none.of("a"), None);
        for endpoint in ["1", "2"] {
            let cells = door.endpoint("a", endpoint);
            cells.record(&attempt(AttemptKind::First));
            cells.record(&attempt(AttemptKind::Retry));
        }
        door.endpoint("a", "2").record(&attempt(AttemptKind::Hedge));
        door.endpoint("b", "1").record(&attempt(AttemptKind::First));
        let read = registry.amplification(Window::Minute, Instant(0));
        assert_eq!((read.of("a"), read.of("b")), (Some(2.5), Some(1.0)));
    }
}
