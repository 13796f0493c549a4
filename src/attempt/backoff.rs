//! After what pause a request is tried again: exponential, with full jitter.
//!
//! Before retry `n`, counted from 0, it is drawn evenly from zero to `min(max, base * 2^n)`. Of the ways to spread retries
//! it makes the fewest calls in the least time (Brooker, "Exponential Backoff And Jitter", 2015): what failed together
//! does not come back together.

use std::time::Duration;

/// The pauses of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The longest pause before retry `n`, counted from 0.
    pub fn ceiling(&self, n: u32) -> Duration {
        let factor = 1u32.checked_shl(n).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }

    /// The pause before retry `n` by an even draw from all of `u64`.
    pub fn pause(&self, n: u32, draw: u64) -> Duration {
        let ceiling = self.ceiling(n).as_nanos().min(u64::MAX.into());
        // Below 2^64, as the ceiling is.
        Duration::from_nanos(((ceiling * u128::from(draw)) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn ceilings_double_up_to_the_longest() {
        let backoff = Backoff {
            base: millis(25),
            max: millis(250),
        };
        let ceilings = [0, 1, 2, 3, 4, 31, 32, u32::MAX].map(|n| backoff.ceiling(n));
        assert_eq!(ceilings, [25, 50, 100, 200, 250, 250, 250, 250].map(millis));
        assert_eq!(backoff.pause(1, 0), millis(0));
        assert_eq!(backoff.pause(1, 1 << 63), millis(25), "the middle of it");
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_its_ceiling(base: u64, max: u64, n: u32, draw: u64) {
            let backoff = Backoff { base: Duration::from_nanos(base), max: Duration::from_nanos(max) };
            prop_assert!(backoff.pause(n, draw) <= backoff.ceiling(n));
            prop_assert!(backoff.ceiling(n) <= backoff.max);
        }
    }
}
