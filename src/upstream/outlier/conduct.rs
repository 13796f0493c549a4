//! What one endpoint did, as far as outlier detection compares it: counted by workers, and only where it is on.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Running counts of one endpoint. All but the failures are a plain load and a plain store, so that two workers that end
/// an attempt at the same moment may count as one.
#[derive(Debug, Default)]
pub struct Conduct {
    answered: AtomicU32,
    failed: AtomicU32,
    in_row: AtomicU32,
    /// Of the latencies of answers, see [`log2`].
    logs: AtomicU64,
}

/// The counts at one moment; they wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub answered: u32,
    pub failed: u32,
    pub logs: u64,
}

impl Conduct {
    /// It answered after so long, and well.
    pub fn answered(&self, latency: Duration) {
        let answered = self.answered.load(Relaxed).wrapping_add(1);
        self.answered.store(answered, Relaxed);
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let logs = self.logs.load(Relaxed).wrapping_add(log2(nanos));
        self.logs.store(logs, Relaxed);
        self.served();
    }

    /// It failed; `is_gateway` tells failures that count in a row from errors of an application.
    pub fn failed(&self, is_gateway: bool) {
        self.failed.fetch_add(1, Relaxed);
        if is_gateway {
            self.in_row.fetch_add(1, Relaxed);
        } else {
            self.served();
        }
    }

    /// Begins to count failures in a row anew.
    pub fn forget_row(&self) {
        self.in_row.store(0, Relaxed);
    }

    pub fn in_row(&self) -> u32 {
        self.in_row.load(Relaxed)
    }

    pub fn totals(&self) -> Totals {
        Totals {
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            logs: self.logs.load(Relaxed),
        }
    }

    fn served(&self) {
        if self.in_row.load(Relaxed) > 0 {
            self.forget_row();
        }
    }
}

/// What one endpoint did between two comparisons.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    pub answered: u32,
    pub failed: u32,
    /// The geometric mean of the latencies in nanoseconds; of answers whose latencies are spread as they usually are it is
    /// their median.
    pub latency: Option<f64>,
}

impl Sample {
    /// What came between. Counts that went back, as of an endpoint that moved, are no sample.
    pub fn between(before: Totals, after: Totals) -> Self {
        let answered = ahead(before.answered, after.answered);
        let logs = after.logs.wrapping_sub(before.logs);
        let mean = logs as f64 / f64::from(answered) / f64::from(1u32 << POINT);
        Self {
            answered,
            failed: ahead(before.failed, after.failed),
            latency: (answered > 0 && mean <= 64.0).then(|| mean.exp2()),
        }
    }

    /// Attempts.
    pub fn ended(&self) -> u32 {
        self.answered.saturating_add(self.failed)
    }

    /// The share of failures, 0 to 1.
    pub fn failure_rate(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.ended().max(1))
    }
}

fn ahead(seen: u32, count: u32) -> u32 {
    let ahead = count.wrapping_sub(seen);
    if ahead > u32::MAX / 2 { 0 } else { ahead }
}

/// Binary places of a [`log2`].
const POINT: u32 = 16;

/// The logarithm in units of 2^-16, between two powers of two in a straight line: at most 0.09 too low, as 6% of the
/// latency, and for all endpoints alike.
fn log2(nanos: u64) -> u64 {
    let nanos = nanos.max(1);
    let whole = nanos.ilog2();
    let rest = nanos - (1 << whole);
    let part = if whole > POINT {
        rest >> (whole - POINT)
    } else {
        rest << (POINT - whole)
    };
    u64::from(whole) << POINT | part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_close() {
        for nanos in [
            1u64,
            2,
            3,
            1000,
            65_537,
            1_000_000,
            12_345_678_901,
            u64::MAX,
        ] {
            let exact = (nanos as f64).log2();
            let ours = log2(nanos) as f64 / 65_536.0;
            assert!((-1e-4..0.09).contains(&(exact - ours)), "{nanos}: {ours}");
        }
    }

    #[test]
    fn a_sample_is_what_came_between() {
        let conduct = Conduct::default();
        conduct.answered(Duration::from_secs(1));
        let before = conduct.totals();
        for _ in 0..9 {
            conduct.answered(Duration::from_nanos(1 << 20));
        }
        // One slow answer of ten moves the mean by its tenth root.
        conduct.answered(Duration::from_nanos(1 << 30));
        conduct.failed(true);
        conduct.failed(false);
        let sample = Sample::between(before, conduct.totals());
        assert_eq!(
            (sample.answered, sample.failed, sample.ended()),
            (10, 2, 12)
        );
        assert_eq!(sample.latency, Some(2f64.powi(21)));
        // A comparison with what has gone back is none.
        let back = Sample::between(conduct.totals(), Totals::default());
        assert_eq!((back.answered, back.failed), (0, 0));
        assert_eq!(back.latency, None);
    }

    #[test]
    fn an_answer_ends_a_row_of_failures_whatever_it_says() {
        let conduct = Conduct::default();
        conduct.failed(true);
        conduct.failed(true);
        assert_eq!(conduct.in_row(), 2);
        conduct.failed(false);
        assert_eq!(conduct.in_row(), 0);
    }
}
