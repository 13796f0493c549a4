//! When requests to an upstream are hedged: State, found out once a second from what its answers took.
//!
//! An attempt that lost to its hedge counts with the time until it was ended. That is less than it would have taken, but more
//! than the percentile that it was hedged after, whose rank so stays what it is; left out, it would fall with each hedge.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::retries::Retries;
use crate::attempt::hedge::{Rules, Seen, Verdict};
use crate::clock::Instant;
use crate::observe::distribution::Distribution;
use crate::observe::histogram::Histogram;
use crate::observe::recent::Recent;

/// How often it is found out.
const TURN: Duration = Duration::from_secs(1);
/// There is no such time.
const NEVER: u64 = u64::MAX;

/// The hedges of one upstream.
#[derive(Debug)]
pub struct Hedging {
    after_nanos: AtomicU64,
    /// What successes pay for of them.
    pub fund: Retries,
    /// Taken by the tick, and when a worker's view is made.
    measured: Mutex<Measured>,
}

#[derive(Debug)]
struct Measured {
    workers: Vec<Option<Arc<Histogram>>>,
    recent: Recent,
    turned: Option<Instant>,
    samples: u64,
    verdict: Verdict,
}

impl Default for Hedging {
    fn default() -> Self {
        Self {
            after_nanos: AtomicU64::new(NEVER),
            fund: Retries::default(),
            measured: Mutex::new(Measured {
                workers: Vec::new(),
                recent: Recent::default(),
                turned: None,
                samples: 0,
                verdict: Verdict::TooFewSamples,
            }),
        }
    }
}

impl Hedging {
    /// What this worker records in, the same at every call. To be asked for on its own thread.
    pub fn of_worker(&self, index: usize) -> Arc<Histogram> {
        let mut measured = self.measured();
        if measured.workers.len() <= index {
            measured.workers.resize(index + 1, None);
        }
        Arc::clone(measured.workers[index].get_or_insert_default())
    }

    /// After what time a request is hedged now; `None`: not at all.
    pub fn after(&self) -> Option<Duration> {
        let nanos = self.after_nanos.load(Relaxed);
        (nanos != NEVER).then(|| Duration::from_nanos(nanos))
    }

    /// Finds it out anew, when a second is over; to be called from a tick.
    pub fn tick(&self, now: Instant, rules: Rules) {
        let mut measured = self.measured();
        if measured
            .turned
            .is_some_and(|turned| now.since(turned) < TURN)
        {
            return;
        }
        measured.turned = Some(now);
        let mut total = Distribution::default();
        for worker in measured.workers.iter().flatten() {
            total.add_histogram(worker);
        }
        measured.recent.turn(&total);
        let (window, last) = (measured.recent.window(), measured.recent.last());
        let threshold = window.quantile(rules.quantile);
        let seen = Seen {
            samples: window.count(),
            threshold,
            last: last.count(),
            last_above: last.above(threshold),
        };
        measured.samples = seen.samples;
        measured.verdict = rules.judge(&seen);
        let nanos = match measured.verdict {
            Verdict::After(after) => u64::try_from(after.as_nanos()).unwrap_or(NEVER),
            Verdict::TooFewSamples | Verdict::AllSlow => NEVER,
        };
        self.after_nanos.store(nanos, Relaxed);
    }

    /// Answers within the window, and what follows from them.
    pub fn verdict(&self) -> (u64, Verdict) {
        let measured = self.measured();
        (measured.samples, measured.verdict)
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        quantile: 0.95,
        min_samples: 100,
    };

    fn second(hedging: &Hedging, second: u64, nanos: impl Fn(u64) -> u64) {
        let own = hedging.of_worker(0);
        (0..100).for_each(|sample| own.record(nanos(sample)));
        hedging.tick(Instant(second * 1_000_000_000), RULES);
    }

    #[test]
    fn it_follows_the_percentile_and_pauses_when_all_turns_slow() {
        const MILLI: u64 = 1_000_000;
        let hedging = Hedging::default();
        hedging.tick(Instant(0), RULES);
        assert_eq!(hedging.after(), None);
        let like_always = |sample| if sample < 94 { 10 * MILLI } else { 80 * MILLI };
        (1..=10).for_each(|at| second(&hedging, at, like_always));
        let after = hedging.after().unwrap();
        assert!(after.as_millis().abs_diff(80) <= 1, "{after:?}");
        second(&hedging, 11, |sample| (500 + sample) * MILLI);
        assert_eq!(hedging.after(), None);
        assert_eq!(hedging.verdict(), (1000, Verdict::AllSlow));
        (12..=22).for_each(|at| second(&hedging, at, |sample| (500 + sample) * MILLI));
        let after = hedging.after().unwrap();
        assert!(
            after.as_millis().abs_diff(595) <= 8,
            "it is the new measure: {after:?}"
        );
        for at in 23..=33 {
            hedging.tick(Instant(at * 1_000_000_000), RULES);
        }
        assert_eq!(hedging.verdict(), (0, Verdict::TooFewSamples));
    }
}
