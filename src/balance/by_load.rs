//! How long an endpoint takes at a given load: the median of the latest latencies seen at about that load.
//!
//! From Prequal (Wydrowski et al., NSDI 2024, 4.1): latency grows with what is in flight, so that a latency says
//! something only beside the load at which it was measured.

use crate::clock::Instant;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

/// Steps of load: each of 0 to 3 is one, then there are two to a doubling; the last has no upper end.
const STEPS: usize = 16;
/// Latest latencies kept for each step.
const KEPT: usize = 9;

/// Latencies by load. The medians come first: see [`super::Signals`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct ByLoad {
    /// Median of each step in units of 1/16 microsecond; 0: none is known.
    medians: [AtomicU32; STEPS],
    /// Allocated where somebody asks. Never waited for by a worker: one that finds it taken leaves its latency out.
    samples: OnceLock<Mutex<Box<[Latest; STEPS]>>>,
}

#[derive(Debug, Default)]
struct Latest {
    ring: [u32; KEPT],
    /// How many of them are filled, and which is replaced next.
    len: usize,
    next: usize,
    at: Instant,
}

/// Nanoseconds to a unit of the medians: they reach up to four minutes.
const UNIT: f64 = 62.5;

impl ByLoad {
    /// Begins to keep latencies: until then none is, since most policies never ask.
    pub fn enable(&self) {
        self.samples.get_or_init(Mutex::default);
    }

    /// An answer took `nanos` with `load` other attempts under way when it was asked for.
    pub(super) fn record(&self, now: Instant, load: u32, nanos: f64) {
        let Some(samples) = self.samples.get() else {
            return;
        };
        let mut samples = match samples.try_lock() {
            Ok(samples) => samples,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let step = step(load);
        let latest = &mut samples[step];
        latest.ring[latest.next] = ((nanos / UNIT) as u32).max(1);
        latest.next = (latest.next + 1) % KEPT;
        latest.len = (latest.len + 1).min(KEPT);
        latest.at = now;
        self.medians[step].store(latest.median(), Relaxed);
    }

    /// The median in nanoseconds at about this load, or at the nearest one that any is known for; of two equally near
    /// ones the lower.
    #[inline]
    pub fn at(&self, load: u32) -> Option<f64> {
        let here = step(load);
        let median = self.medians[here].load(Relaxed);
        if median > 0 {
            return Some(f64::from(median) * UNIT);
        }
        self.near(here)
    }

    #[cold]
    fn near(&self, here: usize) -> Option<f64> {
        for away in 1..STEPS {
            let below = here.checked_sub(away);
            let above = (here + away < STEPS).then_some(here + away);
            for step in [below, above].into_iter().flatten() {
                let median = self.medians[step].load(Relaxed);
                if median > 0 {
                    return Some(f64::from(median) * UNIT);
                }
            }
        }
        None
    }

    /// Forgets the steps of load that no answer came from for longer than `age`, so that a slow endpoint which nobody
    /// asks any more is tried again.
    pub fn forget(&self, now: Instant, age: Duration) {
        let Some(samples) = self.samples.get() else {
            return;
        };
        let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
        for (latest, median) in samples.iter_mut().zip(&self.medians) {
            if latest.len > 0 && now.since(latest.at) > age {
                *latest = Latest::default();
                median.store(0, Relaxed);
            }
        }
    }
}

impl Latest {
    /// Of an even number the lower of the two in the middle.
    fn median(&self) -> u32 {
        let mut sorted = self.ring;
        let known = &mut sorted[..self.len];
        known.sort_unstable();
        known[(self.len - 1) / 2]
    }
}

#[inline]
fn step(load: u32) -> usize {
    // Looked up, since what is in flight changes from pick to pick, so that a branch on it is foreseen wrong every other time.
    usize::from(STEP_OF[(load as usize).min(STEP_OF.len() - 1)])
}

/// The step of each load below those that all belong to the last one.
const STEP_OF: [u8; 256] = {
    let mut steps = [0; 256];
    let mut load = 0;
    while load < 256 {
        steps[load] = computed_step(load as u32) as u8;
        load += 1;
    }
    steps
};

const fn computed_step(load: u32) -> usize {
    if load < 4 {
        return load as usize;
    }
    let octave = load.ilog2() as usize;
    let half = (load >> (octave - 1) & 1) as usize;
    let step = 2 * octave + half;
    if step < STEPS { step } else { STEPS - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_order_and_narrow() {
        let steps: Vec<usize> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16, 128, 192, 1000]
            .map(step)
            .into();
        assert_eq!(steps, [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 8, 14, 15, 15]);
    }

    #[test]
    fn gives_the_median_of_the_latest_at_the_nearest_load() {
        let by_load = ByLoad::default();
        by_load.record(Instant(0), 2, 5e6);
        assert_eq!(by_load.at(2), None, "nobody asked for it to be kept");
        by_load.enable();
        for nanos in [9e6, 1e6, 5e6] {
            by_load.record(Instant(0), 2, nanos);
        }
        by_load.record(Instant(0), 8, 20e6);
        assert_eq!(by_load.at(2), Some(5e6));
        assert_eq!(by_load.at(8), Some(20e6));
        assert_eq!(by_load.at(0), Some(5e6));
        assert_eq!(by_load.at(4), Some(5e6), "both are two steps away");
        assert_eq!(by_load.at(5), Some(5e6));
        assert_eq!(by_load.at(6), Some(20e6));
        assert_eq!(by_load.at(500), Some(20e6));
        // Nine later ones push the first out.
        (0..KEPT).for_each(|_| by_load.record(Instant(1), 2, 7e6));
        assert_eq!(by_load.at(2), Some(7e6));
    }

    #[test]
    fn forgets_what_is_old() {
        let by_load = ByLoad::default();
        by_load.enable();
        by_load.record(Instant(0), 0, 1e6);
        by_load.record(Instant(2_000_000_000), 9, 3e6);
        by_load.forget(Instant(2_000_000_000), Duration::from_secs(1));
        assert_eq!(by_load.at(0), Some(3e6));
        by_load.forget(Instant(4_000_000_000), Duration::from_secs(1));
        assert_eq!(by_load.at(0), None);
    }
}
