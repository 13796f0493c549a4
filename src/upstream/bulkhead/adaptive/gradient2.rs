//! Gradient2 of Netflix's concurrency-limits: the limit shrinks by as much as the latency of now exceeds that of the long run,
//! and else grows by a small queue.
//!
//! With one change. As published the long mean follows every window, so that of an overload that lasts it takes the latency for
//! the usual one: under 1.4 times the capacity (`tests/simulation.rs`) the limit of 20 was 156 after 100 s and the whole 1024 after
//! 260 s. Here a window in which the limit was made use of raises the mean only where the limit cannot be lower: what is slow
//! then is not slow because of it.

/// How many may queue at the upstream: what the limit grows by while latency is as it was.
const QUEUE: f64 = 4.0;
/// How far a step goes to where the gradient points.
const SMOOTHING: f64 = 0.2;
/// Windows that the long mean remembers.
const LONG: f64 = 600.0;
/// The first windows, of which the long mean is the plain mean.
const WARM_UP: u32 = 10;
/// The long mean follows faster once it is more than so many times the latency of now.
const STALE: f64 = 2.0;
const STALE_DECAY: f64 = 0.95;

/// What is configured of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many times the long mean a latency may be before the limit shrinks.
    pub(super) tolerance: f64,
    /// The least limit.
    pub(super) min: f64,
}

/// What it remembers of the latency.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Gradient2 {
    windows: u32,
    sum: f64,
    /// The long mean in nanoseconds.
    pub(super) long: f64,
    pub(super) gradient: f64,
}

impl Gradient2 {
    /// The limit after a window of this mean latency, in nanoseconds, in which at most `in_flight` were under way.
    pub(super) fn step(
        &mut self,
        limit: f64,
        latency: f64,
        in_flight: f64,
        Bounds { tolerance, min }: Bounds,
    ) -> f64 {
        let is_used = in_flight >= limit / 2.0;
        self.observe(latency, is_used && limit > min);
        self.gradient = (tolerance * self.long / latency).clamp(0.5, 1.0);
        if self.long / latency > STALE {
            self.long *= STALE_DECAY;
        }
        if !is_used {
            return limit;
        }
        limit * (1.0 - SMOOTHING) + (limit * self.gradient + QUEUE) * SMOOTHING
    }

    fn observe(&mut self, latency: f64, may_be_ours: bool) {
        if self.windows < WARM_UP {
            self.windows += 1;
            self.sum += latency;
            self.long = self.sum / f64::from(self.windows);
        } else if latency <= self.long || !may_be_ours {
            let weight = 2.0 / (LONG + 1.0);
            self.long = self.long * (1.0 - weight) + latency * weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: f64 = 1e6;
    /// At the least limit every window counts, as published.
    const AT_LEAST: Bounds = Bounds {
        tolerance: 1.5,
        min: 100.0,
    };

    fn near(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() < 1e-9,
            "{value} instead of {expected}"
        );
    }

    #[test]
    fn it_grows_by_a_queue_while_latency_is_as_it_was() {
        let mut rule = Gradient2::default();
        // 0.8 · 20 + 0.2 · (1 · 20 + 4) = 20.8
        near(rule.step(20.0, 10.0 * MILLI, 20.0, AT_LEAST), 20.8);
        near(rule.long, 10.0 * MILLI);
        near(rule.gradient, 1.0);
    }

    #[test]
    fn it_shrinks_by_as_much_as_latency_exceeds_the_tolerance() {
        let mut rule = Gradient2::default();
        (0..9).for_each(|_| {
            rule.step(100.0, 10.0 * MILLI, 100.0, AT_LEAST);
        });
        // The tenth window: the plain mean of nine times 10 and once 40 is 13; 1.5 · 13 / 40 = 0.4875, but no less than 0.5.
        // 0.8 · 100 + 0.2 · (0.5 · 100 + 4) = 90.8
        near(rule.step(100.0, 40.0 * MILLI, 100.0, AT_LEAST), 90.8);
        near(rule.long, 13.0 * MILLI);
        // From then on exponential: 13 + 2/601 · (26 - 13); 1.5 · long / 26 = 0.7524958…
        let long = 13.0 + 2.0 / 601.0 * 13.0;
        let limit = rule.step(100.0, 26.0 * MILLI, 100.0, AT_LEAST);
        near(rule.long / MILLI, long);
        near(limit, 80.0 + 0.2 * (100.0 * 1.5 * long / 26.0 + 4.0));
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut rule = Gradient2::default();
        near(rule.step(20.0, 10.0 * MILLI, 9.0, AT_LEAST), 20.0);
        near(rule.step(20.0, 10.0 * MILLI, 10.0, AT_LEAST), 20.8);
    }

    #[test]
    fn what_the_limit_may_have_made_slow_does_not_raise_the_mean() {
        let mut rule = Gradient2::default();
        let above = Bounds {
            min: 5.0,
            ..AT_LEAST
        };
        (0..10).for_each(|_| {
            rule.step(20.0, 10.0 * MILLI, 20.0, above);
        });
        rule.step(20.0, 40.0 * MILLI, 20.0, above);
        near(rule.long / MILLI, 10.0);
        // A lower one counts, and so does one that the limit had no part in.
        rule.step(20.0, 4.0 * MILLI, 20.0, above);
        let lower = (10.0 - 6.0 * 2.0 / 601.0) * 0.95;
        near(rule.long / MILLI, lower);
        rule.step(20.0, 16.0 * MILLI, 9.0, above);
        near(rule.long / MILLI, lower + (16.0 - lower) * 2.0 / 601.0);
    }

    /// 5 % less with every window until it is less than twice the latency of now.
    #[test]
    fn a_long_mean_of_worse_times_is_forgotten_fast() {
        let mut rule = Gradient2::default();
        rule.step(20.0, 100.0 * MILLI, 20.0, AT_LEAST);
        (0..9).for_each(|_| {
            rule.step(20.0, 100.0 * MILLI, 20.0, AT_LEAST);
        });
        rule.step(20.0, 10.0 * MILLI, 20.0, AT_LEAST);
        let long = (100.0 * (1.0 - 2.0 / 601.0) + 10.0 * 2.0 / 601.0) * 0.95;
        near(rule.long / MILLI, long);
        for _ in 0..100 {
            rule.step(20.0, 10.0 * MILLI, 20.0, AT_LEAST);
        }
        assert!(rule.long < 20.0 * MILLI, "{}", rule.long);
    }
}
