//! The samples of about the last ten seconds, of all workers together: for what is decided by them, once a second.

use std::collections::VecDeque;
use std::time::Duration;

use super::distribution::{Counts, Distribution};

/// Moments kept: one more than seconds, since a second lies between two of them.
const MOMENTS: usize = 11;

/// A window that is moved on from outside.
#[derive(Debug, Default)]
pub struct Recent {
    /// All samples at these moments, the oldest first.
    moments: VecDeque<Counts>,
}

impl Recent {
    /// A second is over; `total` are all samples until now.
    pub fn turn(&mut self, total: &Distribution) {
        if self.moments.len() == MOMENTS {
            self.moments.pop_front();
        }
        self.moments.push_back(total.counts());
    }

    /// The samples of the whole window.
    pub fn window(&self) -> Distribution {
        self.since(0)
    }

    /// Those of the last second.
    pub fn last(&self) -> Distribution {
        self.since(self.moments.len().saturating_sub(2))
    }

    fn since(&self, place: usize) -> Distribution {
        let mut all = Distribution::default();
        if let (Some(earlier), Some(now)) = (self.moments.get(place), self.moments.back()) {
            all.add(now);
            all.subtract(earlier);
        }
        all
    }
}

impl Distribution {
    /// The sample at a quantile, however few there are; zero where there is none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.hdr().value_at_quantile(quantile))
    }

    /// How many samples are longer than this, to the width of a cell.
    pub fn above(&self, span: Duration) -> u64 {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 1000);
        let below = self.cumulative(&[micros.min(u64::MAX / 1000)]).next();
        self.count() - below.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_forgotten_after_ten_seconds() {
        let (mut recent, mut total) = (Recent::default(), Distribution::default());
        recent.turn(&total);
        for second in 1..=30u64 {
            (0..second).for_each(|_| total.record(second * 1_000_000));
            recent.turn(&total);
            assert_eq!(recent.last().count(), second);
            let first = second.saturating_sub(9).max(1);
            assert_eq!(recent.window().count(), (first..=second).sum::<u64>());
        }
        let window = recent.window();
        // Of 255 samples of 21 to 30 ms 204 are at most 28 ms long.
        let median = window.quantile(0.5).as_micros();
        assert!((25_500..26_500).contains(&median), "{median}");
        assert_eq!(window.above(Duration::from_millis(28)), 59);
        assert_eq!(window.above(Duration::ZERO), 255);
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        let recent = Recent::default();
        assert_eq!((recent.window().count(), recent.last().count()), (0, 0));
        assert_eq!(recent.window().quantile(0.5), Duration::ZERO);
    }
}
