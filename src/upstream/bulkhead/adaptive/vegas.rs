//! Vegas of Netflix's concurrency-limits, to the letter: the queue at the upstream is told from the least latency that was
//! seen, and kept between two bounds that rise with the logarithm of the limit.

use crate::entropy::Random;

/// The least latency is measured anew after about so many windows for each one that the limit allows.
const PROBE: f64 = 30.0;

/// What it remembers of the latency.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vegas {
    /// The least latency, of an upstream without a queue, in nanoseconds; 0: none is known.
    pub(super) least: f64,
    /// How many of what is under way queue at the upstream.
    pub(super) queue: f64,
    /// Windows since the least latency was measured anew.
    windows: f64,
    /// Drawn each time, from 0.5 to 1, so that many proxies do not measure at once.
    jitter: f64,
}

impl Vegas {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            least: 0.0,
            queue: 0.0,
            windows: 0.0,
            jitter: jitter(random),
        }
    }

    /// The limit after a window of this mean latency, in nanoseconds, in which at most `in_flight` were under way. `dropped`
    /// says that an attempt timed out.
    pub(super) fn step(
        &mut self,
        limit: f64,
        latency: f64,
        in_flight: f64,
        dropped: bool,
        random: &mut Random,
    ) -> f64 {
        self.windows += 1.0;
        let is_probe = self.jitter * PROBE * limit <= self.windows;
        if is_probe {
            self.windows = 0.0;
            self.jitter = jitter(random);
        }
        if is_probe || self.least == 0.0 || latency < self.least {
            self.least = latency;
            self.queue = 0.0;
            return limit;
        }
        self.queue = (limit * (1.0 - self.least / latency)).ceil();
        let unit = limit.log10().floor().max(1.0);
        let (alpha, beta) = (3.0 * unit, 6.0 * unit);
        if dropped {
            limit - unit
        } else if in_flight * 2.0 < limit {
            limit
        } else if self.queue <= unit {
            limit + beta
        } else if self.queue < alpha {
            limit + unit
        } else if self.queue > beta {
            limit - unit
        } else {
            limit
        }
    }
}

fn jitter(random: &mut Random) -> f64 {
    0.5 + random.unit() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: f64 = 1e6;

    /// With a least latency of 10 ms.
    fn rule(random: &mut Random) -> Vegas {
        let mut rule = Vegas::new(random);
        assert_eq!(rule.step(20.0, 10.0 * MILLI, 20.0, false, random), 20.0);
        rule
    }

    /// At a limit of 20 the unit is 1: it grows by 6 up to a queue of 1, by 1 up to 2, stays from 3 to 6, and shrinks by 1
    /// above. The queue is ⌈20 · (1 - 10 ms / latency)⌉.
    #[test]
    fn it_keeps_the_queue_between_its_bounds() {
        let mut random = Random::seeded(1);
        for (latency, queue, limit) in [
            (10.4, 1.0, 26.0),
            (11.0, 2.0, 21.0),
            (11.5, 3.0, 20.0),
            (14.0, 6.0, 20.0),
            (14.5, 7.0, 19.0),
            (40.0, 15.0, 19.0),
        ] {
            let mut rule = rule(&mut random);
            let next = rule.step(20.0, latency * MILLI, 20.0, false, &mut random);
            assert_eq!((rule.queue, next), (queue, limit), "{latency} ms");
        }
        // At 200 the unit is 2, the bounds 6 and 12.
        let mut rule = rule(&mut random);
        assert_eq!(
            rule.step(200.0, 10.1 * MILLI, 200.0, false, &mut random),
            212.0
        );
        assert_eq!(
            rule.step(200.0, 20.0 * MILLI, 200.0, false, &mut random),
            198.0
        );
    }

    #[test]
    fn a_timeout_shrinks_it_whatever_the_queue() {
        let mut random = Random::seeded(1);
        let mut rule = rule(&mut random);
        assert_eq!(rule.step(20.0, 10.0 * MILLI, 1.0, true, &mut random), 19.0);
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut random = Random::seeded(1);
        let mut rule = rule(&mut random);
        assert_eq!(rule.step(20.0, 10.0 * MILLI, 9.0, false, &mut random), 20.0);
        assert_eq!(
            rule.step(20.0, 10.0 * MILLI, 10.0, false, &mut random),
            26.0
        );
    }

    /// From 0.5 · 30 · 20 windows on, and after 30 · 20 for certain; the limit stays what it is meanwhile.
    #[test]
    fn the_least_latency_is_measured_anew_without_a_pause() {
        let mut random = Random::seeded(1);
        let mut rule = rule(&mut random);
        let mut windows = 1;
        while rule.least < 11.5 * MILLI {
            assert_eq!(
                rule.step(20.0, 11.5 * MILLI, 20.0, false, &mut random),
                20.0
            );
            windows += 1;
        }
        assert!((300..=600).contains(&windows), "{windows}");
    }
}
