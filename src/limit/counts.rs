//! What became of the requests that a limiter judged, counted by each worker for itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It may go on.
    Passed,
    /// It was refused.
    Limited,
    /// It would have been refused, were the limiter not on trial.
    WouldLimit,
    /// There was no room for its key, so that it was judged together with others.
    Overflow,
    /// Another key was forgotten to make room for its own.
    Evicted,
    /// A permit for the time that it takes.
    Entered,
    /// That permit was given back.
    Left,
}

/// One line of a cache for each worker.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    events: [AtomicU64; 7],
    delayed_nanos: AtomicU64,
}

/// Counters of one limiter.
#[derive(Debug)]
pub struct Counts {
    lanes: Box<[Lane]>,
}

impl Counts {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            lanes: (0..workers.max(1)).map(|_| Lane::default()).collect(),
        }
    }

    /// Counts one. Only the worker of the lane does, so that no other has to be waited for.
    pub fn note(&self, lane: usize, event: Event) {
        if let Some(lane) = self.lanes.get(lane) {
            add(&lane.events[event as usize], 1);
        }
    }

    /// Somebody waits so long.
    pub fn delayed(&self, lane: usize, span: Duration) {
        if let Some(lane) = self.lanes.get(lane) {
            let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
            add(&lane.delayed_nanos, nanos);
        }
    }

    /// How many there were, over all workers.
    pub fn of(&self, event: Event) -> u64 {
        let each = self.lanes.iter().map(|lane| &lane.events[event as usize]);
        each.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How long exchanges were held back in all.
    pub fn delay(&self) -> Duration {
        let each = self.lanes.iter().map(|lane| &lane.delayed_nanos);
        Duration::from_nanos(each.map(|nanos| nanos.load(Ordering::Relaxed)).sum())
    }

    /// Permits that were not given back yet. What is given back while they are counted may be missed.
    pub fn under_way(&self) -> u64 {
        let left = self.of(Event::Left);
        self.of(Event::Entered).saturating_sub(left)
    }
}

fn add(count: &AtomicU64, more: u64) {
    let known = count.load(Ordering::Relaxed);
    count.store(known.wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_workers_add_up() {
        let counts = Counts::new(2);
        for lane in [0, 1, 1, 7] {
            counts.note(lane, Event::Entered);
        }
        counts.note(0, Event::Left);
        counts.delayed(1, Duration::from_millis(3));
        assert_eq!((counts.of(Event::Entered), counts.under_way()), (3, 2));
        assert_eq!(counts.delay(), Duration::from_millis(3));
    }
}
