//! A rate as GCRA, the virtual scheduling form of the token bucket (ITU-T I.371): all that is known of a key is one
//! time, from which on its bucket is full.
//!
//! Each request moves that time on by the span between two requests of the rate; a request that would move it further
//! into the future than the burst allows is refused and moves nothing. So a bucket that nobody asks fills by itself, and
//! forgetting a time that has passed forgets nothing.

use std::time::Duration;

use crate::clock::Instant;

/// So many requests in a period, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds between two requests, rounded up, so that no more come through than was written.
    emission: u64,
    /// How far into the future the time may lie for a request to pass.
    tolerance: u64,
    /// Requests of a full bucket.
    burst: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub passes: bool,
    /// Requests that could follow at once.
    pub remaining: u64,
    /// When `remaining` is none, until the next may pass; else until the bucket is full.
    pub after: Duration,
}

/// The longest time into the future, a century: beyond it nobody waits, and sums stay far from the end of a `u64`.
const LONGEST: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;

/// By how much the workers' times may differ: each asks the clock when a request begins.
const SKEW: u64 = 60 * 1_000_000_000;

impl Rate {
    /// `count` requests in each `period`, `burst` of them at once. Both are at least one.
    pub fn new(count: u64, period: Duration, burst: u64) -> Self {
        let (count, burst) = (count.max(1), burst.max(1));
        let emission = period.as_nanos().div_ceil(u128::from(count));
        let emission = u64::try_from(emission).unwrap_or(u64::MAX);
        let emission = emission.clamp(1, LONGEST);
        let tolerance = emission.saturating_mul(burst - 1).min(LONGEST);
        Self {
            emission,
            tolerance,
            burst,
        }
    }

    /// What becomes of a request, and the new time where it changes. `full` is the time from which on the bucket is full;
    /// `slowest` is the rate with the longest window of those who share the bucket: this one, where nobody else does.
    pub fn take(&self, full: u64, now: Instant, slowest: &Self) -> (Option<u64>, Verdict) {
        let now = now.0;
        let empty = now
            .saturating_add(slowest.tolerance)
            .saturating_add(slowest.emission);
        // No request can have moved it so far: it was another rate, before a reload. To pull it back sooner would give those
        // who share it with this rate bursts that they have had.
        let is_foreign = full > empty.saturating_add(SKEW);
        let full = if is_foreign { empty } else { full.max(now) };
        if full - now <= self.tolerance {
            let full = full.saturating_add(self.emission);
            return (Some(full), self.standing(full, now, true));
        }
        let verdict = self.standing(full, now, false);
        (is_foreign.then_some(full), verdict)
    }

    /// Takes a request back that had passed.
    pub fn give_back(&self, full: u64) -> u64 {
        full.saturating_sub(self.emission)
    }

    /// Whether nothing is lost by forgetting this time.
    pub fn is_idle(full: u64, now: Instant) -> bool {
        full < now.0
    }

    fn standing(&self, full: u64, now: u64, passes: bool) -> Verdict {
        let ahead = full - now;
        let remaining = if ahead > self.tolerance {
            0
        } else {
            (self.tolerance - ahead) / self.emission + 1
        };
        let after = match remaining {
            0 => ahead - self.tolerance,
            _ => ahead,
        };
        Verdict {
            passes,
            remaining,
            after: Duration::from_nanos(after),
        }
    }

    /// Requests of a full bucket.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Until an empty bucket is full.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.tolerance.saturating_add(self.emission))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u64, seconds: u64, burst: u64) -> Rate {
        Rate::new(count, Duration::from_secs(seconds), burst)
    }

    /// Lets a request come at `now` and keeps the time.
    fn take(rate: Rate, full: &mut u64, now: u64) -> Verdict {
        let (new, verdict) = rate.take(*full, Instant(now), &rate);
        *full = new.unwrap_or(*full);
        verdict
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let rate = rate(10, 1, 3);
        let mut full = 0;
        let start = 5 * SECOND;
        let passed: Vec<_> = (0..5).map(|_| take(rate, &mut full, start)).collect();
        let told: Vec<_> = passed
            .iter()
            .map(|one| (one.passes, one.remaining))
            .collect();
        assert_eq!(
            told,
            [(true, 2), (true, 1), (true, 0), (false, 0), (false, 0)]
        );
        assert_eq!(passed[0].after, Duration::from_millis(100));
        assert_eq!(passed[2].after, Duration::from_millis(100));
        assert_eq!(passed[4].after, Duration::from_millis(100));
        assert!(!take(rate, &mut full, start + SECOND / 10 - 1).passes);
        assert!(take(rate, &mut full, start + SECOND / 10).passes);
        assert!(!take(rate, &mut full, start + SECOND / 10).passes);
        assert_eq!(rate.window(), Duration::from_millis(300));
    }

    #[test]
    fn a_request_that_was_given_back_was_never_taken() {
        let rate = rate(1, 60, 1);
        let mut full = 0;
        assert!(take(rate, &mut full, SECOND).passes);
        full = rate.give_back(full);
        assert!(take(rate, &mut full, SECOND).passes);
        assert!(!take(rate, &mut full, SECOND).passes);
    }

    #[test]
    fn a_time_of_a_slower_rate_does_not_lock_a_key_out() {
        let (slow, fast) = (rate(1, 3600, 100), rate(100, 1, 10));
        let mut full = 0;
        for _ in 0..100 {
            assert!(take(slow, &mut full, SECOND).passes);
        }
        let refused = take(fast, &mut full, SECOND);
        assert_eq!(
            (refused.passes, refused.after),
            (false, Duration::from_millis(10))
        );
        assert!(take(fast, &mut full, SECOND + SECOND / 100).passes);
    }

    #[test]
    fn no_numbers_overflow() {
        let rate = Rate::new(1, Duration::MAX, u64::MAX);
        let mut full = u64::MAX - 1;
        for now in [0, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            take(rate, &mut full, now);
        }
        assert_eq!(Rate::new(u64::MAX, Duration::ZERO, 0).burst(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The law: whatever the arrivals, in any window of time no more pass than `rate * t + burst`.
        #[test]
        fn no_window_lets_more_pass_than_its_share(
            count in 1_u64..2_000,
            seconds in prop_oneof![Just(1_u64), Just(60), Just(3600)],
            burst in 1_u64..50,
            gaps in proptest::collection::vec(prop_oneof![Just(0_u64), 0_u64..1_000, 0_u64..2 * SECOND, 0_u64..100 * SECOND], 1..200),
        ) {
            let rate = rate(count, seconds, burst);
            let (mut now, mut full, mut passed) = (SECOND, 0, Vec::new());
            for gap in gaps {
                now += gap;
                if take(rate, &mut full, now).passes {
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    // In whole numbers: count * t / period + burst.
                    let most = u128::from(count) * u128::from(to - from) / (u128::from(seconds) * u128::from(SECOND)) + u128::from(burst);
                    prop_assert!((last - first + 1) as u128 <= most, "{} in {} ns", last - first + 1, to - from);
                }
            }
        }

        /// The law holds for each of those that share a bucket, whatever the others may.
        #[test]
        fn no_share_of_a_bucket_lets_more_pass_than_its_own(
            rates in proptest::collection::vec((1_u64..100, prop_oneof![Just(1_u64), Just(60), Just(3600)], 1_u64..50), 2..4),
            asked in proptest::collection::vec((0_usize..4, prop_oneof![Just(0_u64), 0_u64..2 * SECOND, 0_u64..100 * SECOND]), 1..300),
        ) {
            let rates: Vec<_> = rates.into_iter().map(|(count, seconds, burst)| (count, seconds, burst, rate(count, seconds, burst))).collect();
            let slowest = rates.iter().map(|one| one.3).max_by_key(Rate::window).unwrap();
            let (mut now, mut full) = (SECOND, 0);
            let mut passed = vec![Vec::new(); rates.len()];
            for (who, gap) in asked {
                let who = who % rates.len();
                now += gap;
                let (new, verdict) = rates[who].3.take(full, Instant(now), &slowest);
                full = new.unwrap_or(full);
                if verdict.passes {
                    passed[who].push(now);
                }
            }
            for ((count, seconds, burst, _), passed) in rates.iter().zip(passed) {
                for (first, from) in passed.iter().enumerate() {
                    for (last, to) in passed.iter().enumerate().skip(first) {
                        let most = u128::from(*count) * u128::from(to - from) / (u128::from(*seconds) * u128::from(SECOND)) + u128::from(*burst);
                        prop_assert!((last - first + 1) as u128 <= most, "{} in {} ns", last - first + 1, to - from);
                    }
                }
            }
        }

        /// And no fewer: beside a bucket that is counted in fractions it lets as many pass, but for what rounding up to a
        /// nanosecond takes.
        #[test]
        fn a_bucket_counted_in_fractions_lets_as_many_pass(
            count in prop_oneof![Just(3_u64), Just(7), 1_u64..1_000],
            seconds in prop_oneof![Just(1_u64), Just(60)],
            burst in 1_u64..20,
            gaps in proptest::collection::vec(prop_oneof![Just(0_u64), 0_u64..SECOND], 1..300),
        ) {
            let rate = rate(count, seconds, burst);
            let period = u128::from(seconds) * u128::from(SECOND);
            let whole = u128::from(burst) * period;
            // Tokens times the period, so that nothing is rounded.
            let (mut tokens, mut now, mut full) = (whole, SECOND, 0);
            let (mut passed, mut expected) = (0_u64, 0_u64);
            for gap in gaps {
                now += gap;
                tokens = (tokens + u128::from(gap) * u128::from(count)).min(whole);
                if tokens >= period {
                    tokens -= period;
                    expected += 1;
                }
                passed += u64::from(take(rate, &mut full, now).passes);
            }
            prop_assert!(passed <= expected && expected - passed <= 1, "{passed} of {expected}");
        }

        /// What is told is what then happens.
        #[test]
        fn what_remains_and_when_is_told_as_it_is(count in 1_u64..100, burst in 1_u64..20, gaps in proptest::collection::vec(0_u64..SECOND, 1..50)) {
            let rate = rate(count, 1, burst);
            let (mut now, mut full) = (SECOND, 0);
            for gap in gaps {
                now += gap;
                let told = take(rate, &mut full, now);
                let (mut later, mut more) = (full, 0);
                while take(rate, &mut later, now).passes {
                    more += 1;
                }
                prop_assert_eq!(told.remaining, more);
                if more == 0 {
                    let after = told.after.as_nanos() as u64;
                    prop_assert!(!rate.take(full, Instant(now + after - 1), &rate).1.passes);
                    prop_assert!(rate.take(full, Instant(now + after), &rate).1.passes);
                } else {
                    let filled = Instant(now + told.after.as_nanos() as u64);
                    prop_assert_eq!(rate.take(full, filled, &rate).1.remaining + 1, burst);
                }
            }
        }
    }
}
