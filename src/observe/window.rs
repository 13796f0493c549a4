//! What was counted lately: a ring of ten-second slots per series, folded from cells that only grow.

use std::collections::VecDeque;
use std::time::Duration;

use super::distribution::{Counts, Distribution};
use super::histogram::Histogram;
use super::metrics::Cells;
use super::names::{Kind, Metric};
use super::record::{AttemptOutcome, Outcome};
use crate::clock::Instant;

/// A slot is closed by the first fold this long after the one before.
pub const SLOT: Duration = Duration::from_secs(10);

/// Slots are kept this long: the longest window. A longer one costs the cells in use of every slot, 16 bytes each.
const HORIZON: Duration = Duration::from_secs(60);

/// Over what time something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    TenSeconds,
    Minute,
    /// Since the process started, or since the object first appeared.
    Lifetime,
}

impl Window {
    /// The word in texts and in the admin API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TenSeconds => "10s",
            Self::Minute => "1m",
            Self::Lifetime => "lifetime",
        }
    }

    /// How far it reaches back; `None`: to the beginning. It reads whole slots and the one being filled, so it covers
    /// at least this (once that long has passed) and at most one slot more.
    pub const fn length(self) -> Option<Duration> {
        match self {
            Self::TenSeconds => Some(SLOT),
            Self::Minute => Some(HORIZON),
            Self::Lifetime => None,
        }
    }

    /// Whether a slot that ended then belongs to the window at `now`.
    pub(super) fn holds(self, end: Instant, now: Instant) -> bool {
        self.length().is_none_or(|length| end + length > now)
    }
}

/// All that one series counts, summed over workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Merged {
    pub(super) counters: Vec<(Metric, &'static str, u64)>,
    pub(super) histograms: Vec<(Metric, &'static str, Distribution)>,
}

impl Merged {
    /// Adds the cells of one worker.
    pub(super) fn add_cells(&mut self, cells: &impl Cells) {
        let first = self.histograms.is_empty();
        self.add_counters(cells);
        let mut place = 0;
        cells.histograms(&mut |metric, word, histogram| {
            if first {
                self.histograms
                    .push((metric, word, Distribution::default()));
            }
            self.histograms[place].2.add_histogram(histogram);
            place += 1;
        });
    }

    /// Adds its counters alone, for who asks for no percentile; such a sum has no histograms.
    pub(super) fn add_counters(&mut self, cells: &impl Cells) {
        let first = self.counters.is_empty();
        let mut place = 0;
        cells.counters(&mut |metric, word, count| {
            if first {
                self.counters.push((metric, word, 0));
            }
            self.counters[place].2 = self.counters[place].2.wrapping_add(count);
            place += 1;
        });
    }

    /// Adds another series of the same kind.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.counters.is_empty() && self.histograms.is_empty() {
            self.clone_from(other);
            return;
        }
        for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
            mine.2 = mine.2.wrapping_add(theirs.2);
        }
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            mine.2.merge(&theirs.2);
        }
    }

    /// The durations that percentiles are shown of: those of all that was tried to its end. Refusals take microseconds
    /// and would flatter them; clients that left and cancelled attempts only tell a lower bound.
    pub(super) fn total(&self) -> Distribution {
        let left_out = [
            Outcome::Refused.label(),
            Outcome::ClientGone.label(),
            AttemptOutcome::Cancelled.label(),
        ];
        let mut total = Distribution::default();
        for (word, distribution) in self.durations() {
            if !left_out.contains(&word) {
                total.merge(distribution);
            }
        }
        total
    }

    /// The time that all of them took together, whatever became of them.
    pub(super) fn spent(&self) -> Duration {
        self.durations().map(|(_, all)| all.sum()).sum()
    }

    /// Durations by outcome.
    fn durations(&self) -> impl Iterator<Item = (&'static str, &Distribution)> {
        let whole = |metric: &Metric| {
            matches!(
                metric,
                Metric::RequestDuration | Metric::AttemptDuration | Metric::ListenerDuration
            )
        };
        let histograms = self.histograms.iter();
        histograms
            .filter(move |(metric, ..)| whole(metric))
            .map(|(_, word, distribution)| (*word, distribution))
    }
}

/// Changes with everything that a window would show; gauges are left out, since they are read as they stand.
fn pulse<'a, C: Cells + 'a>(workers: impl Iterator<Item = &'a C>) -> u64 {
    let mut sum = 0u64;
    for cells in workers {
        cells.counters(&mut |metric, _, count| {
            if metric.family().kind != Kind::Gauge {
                sum = sum.wrapping_add(count);
            }
        });
        cells.histograms(&mut |_, _, histogram: &Histogram| {
            sum = sum.wrapping_add(histogram.recorded())
        });
    }
    sum
}

/// What happened between two folds.
#[derive(Debug)]
struct Slot {
    end: Instant,
    counters: Vec<u64>,
    histograms: Vec<Counts>,
}

/// The memory of one series: its counts at the last fold, and the slots before.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pulse: u64,
    counters: Vec<u64>,
    histograms: Vec<Counts>,
    /// Oldest first; where nothing happened there is no slot.
    slots: VecDeque<Slot>,
}

impl Fold {
    /// Closes a slot at `now`, and forgets those beyond the horizon.
    pub(super) fn close<'a, C: Cells + 'a>(
        &mut self,
        workers: impl Iterator<Item = &'a C> + Clone,
        now: Instant,
    ) {
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.end + HORIZON <= now)
        {
            self.slots.pop_front();
        }
        // Read before the cells: what is recorded in between is seen now, and looked at once more next time.
        let pulse = pulse(workers.clone());
        if pulse == self.pulse {
            return;
        }
        self.pulse = pulse;
        let mut live = Merged::default();
        workers.for_each(|cells| live.add_cells(cells));
        let counters = live.counters.iter().map(|counter| counter.2).collect();
        let histograms = live
            .histograms
            .iter()
            .map(|histogram| histogram.2.counts())
            .collect();
        self.since_close(&mut live);
        self.slots.push_back(Slot {
            end: now,
            counters: live.counters.iter().map(|counter| counter.2).collect(),
            histograms: live
                .histograms
                .iter()
                .map(|histogram| histogram.2.counts())
                .collect(),
        });
        (self.counters, self.histograms) = (counters, histograms);
    }

    /// Turns the counts of all time into those of a window.
    pub(super) fn narrow(&self, live: &mut Merged, window: Window, now: Instant) {
        if window == Window::Lifetime {
            return;
        }
        let standing: Vec<u64> = live.counters.iter().map(|counter| counter.2).collect();
        self.since_close(live);
        for slot in self.slots.iter().filter(|slot| window.holds(slot.end, now)) {
            for (counter, add) in live.counters.iter_mut().zip(&slot.counters) {
                counter.2 = counter.2.wrapping_add(*add);
            }
            for (histogram, add) in live.histograms.iter_mut().zip(&slot.histograms) {
                histogram.2.add(add);
            }
        }
        for (counter, standing) in live.counters.iter_mut().zip(standing) {
            if counter.0.family().kind == Kind::Gauge {
                counter.2 = standing;
            }
        }
    }

    /// Takes away what was there at the last fold.
    fn since_close(&self, live: &mut Merged) {
        for (counter, before) in live.counters.iter_mut().zip(&self.counters) {
            counter.2 = counter.2.wrapping_sub(*before);
        }
        for (histogram, before) in live.histograms.iter_mut().zip(&self.histograms) {
            histogram.2.subtract(before);
        }
    }
}
