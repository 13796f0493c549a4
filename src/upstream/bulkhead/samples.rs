//! What workers measure for an adaptive limit: each adds to numbers of its own with plain stores, and the tick takes the
//! difference to what it saw before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::adaptive::{LEAST_SAMPLES, Window};

/// What one worker measured. Only that worker writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Samples {
    count: AtomicU32,
    nanos: AtomicU64,
    dropped: AtomicU32,
    /// The most under way since the tick looked last; it sets this back, and may lose a number that is written just then.
    in_flight: AtomicU32,
}

impl Samples {
    /// An attempt was answered after `latency`, when its permit was number `in_flight`.
    pub fn answered(&self, latency: Duration, in_flight: u32) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.nanos
            .store(self.nanos.load(Relaxed).wrapping_add(nanos), Relaxed);
        if in_flight > self.in_flight.load(Relaxed) {
            self.in_flight.store(in_flight, Relaxed);
        }
        self.count
            .store(self.count.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// An attempt was given up after so long.
    pub fn timed_out(&self, spent: Duration, in_flight: u32) {
        self.dropped
            .store(self.dropped.load(Relaxed).wrapping_add(1), Relaxed);
        self.answered(spent, in_flight);
    }
}

/// The samples of all workers, and what was seen of them.
#[derive(Debug, Default)]
pub(super) struct All {
    workers: Vec<(Arc<Samples>, Seen)>,
    window: Window,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    count: u32,
    nanos: u64,
    dropped: u32,
}

impl All {
    /// Those of this worker, the same at every call.
    pub(super) fn of_worker(&mut self, index: usize) -> Arc<Samples> {
        if self.workers.len() <= index {
            self.workers.resize_with(index + 1, Default::default);
        }
        Arc::clone(&self.workers[index].0)
    }

    /// What came since the last window, once it is enough for one.
    pub(super) fn window(&mut self) -> Option<Window> {
        for (samples, seen) in &mut self.workers {
            let now = Seen {
                count: samples.count.load(Relaxed),
                nanos: samples.nanos.load(Relaxed),
                dropped: samples.dropped.load(Relaxed),
            };
            let window = &mut self.window;
            window.samples += now.count.wrapping_sub(seen.count);
            window.nanos = window
                .nanos
                .saturating_add(now.nanos.wrapping_sub(seen.nanos));
            window.dropped |= now.dropped != seen.dropped;
            let in_flight = samples.in_flight.load(Relaxed);
            if in_flight > 0 {
                samples.in_flight.store(0, Relaxed);
            }
            window.in_flight = window.in_flight.max(in_flight);
            *seen = now;
        }
        (self.window.samples >= LEAST_SAMPLES).then(|| std::mem::take(&mut self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_what_all_workers_measured_since_the_last() {
        let mut all = All::default();
        let (one, two) = (all.of_worker(0), all.of_worker(3));
        let milli = Duration::from_millis(1);
        (0..9).for_each(|i| one.answered(milli, i));
        assert_eq!(all.window(), None);
        two.timed_out(11 * milli, 30);
        let window = all.window().expect("ten came");
        assert_eq!((window.samples, window.nanos), (10, 20_000_000));
        assert_eq!((window.in_flight, window.dropped), (30, true));
        (0..10).for_each(|_| two.answered(milli, 4));
        let window = all.window().expect("ten more came");
        assert_eq!((window.samples, window.nanos), (10, 10_000_000));
        assert_eq!((window.in_flight, window.dropped), (4, false));
    }
}
