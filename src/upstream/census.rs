//! Which keys an upstream is asked for most: each worker counts its own, and whoever looks adds them up.
//!
//! Counted are picks, so that a request which is tried again counts once more. The past counts half as
//! much with every minute, so that shares are those of about the last two.
//!
//! What a pick pays is one try at a lock that is the worker's own, and [`HotKeys::note`]: 8 ns for a key that has its
//! slot at the front, 25 to 40 ns for keys of a Zipf distribution over 100 000, beside the 11 to 22 ns of the pick itself
//! (`cargo bench --bench balance -- keyed_pick`, 100 endpoints, two cores shared with others). A request takes about
//! 16 µs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::balance::{HotKeys, Key};
use crate::clock::Instant;

/// How often the past is halved.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// The keys of one upstream, as State: a reload that hashes by the same goes on with it.
#[derive(Debug, Default)]
pub struct Census(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// By the index of the worker; `None`: it has not begun.
    workers: Vec<Option<Arc<Mutex<HotKeys>>>>,
    /// When the past was last halved.
    aged: Option<Instant>,
}

impl Census {
    /// What this worker counts in, the same one at every call. To be asked for on the worker's own thread, so that the
    /// memory lies with its own.
    pub fn of_worker(&self, index: usize) -> Arc<Mutex<HotKeys>> {
        let mut counted = locked(&self.0);
        if counted.workers.len() <= index {
            counted.workers.resize(index + 1, None);
        }
        Arc::clone(counted.workers[index].get_or_insert_default())
    }

    /// Halves the past when a minute is over; to be called from the control thread's tick.
    pub fn tick(&self, now: Instant) {
        let mut counted = locked(&self.0);
        let since = *counted.aged.get_or_insert(now);
        if now.since(since) >= HALF_LIFE {
            counted.aged = Some(now);
            for worker in counted.workers.iter().flatten() {
                locked(worker).age();
            }
        }
    }

    /// What all workers counted.
    pub fn total(&self) -> HotKeys {
        let counted = locked(&self.0);
        let mut total = HotKeys::default();
        for worker in counted.workers.iter().flatten() {
            let own = locked(worker).clone();
            total.merge(&own);
        }
        total
    }
}

/// Counts a pick by this key. A worker waits for nobody: what comes while somebody reads, for some microseconds, is left
/// out.
#[inline]
pub fn note(hot_keys: &Mutex<HotKeys>, key: &Key, spilled: bool) {
    match hot_keys.try_lock() {
        Ok(mut hot_keys) => hot_keys.note(key, spilled),
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().note(key, spilled),
        Err(TryLockError::WouldBlock) => {}
    }
}

/// A poisoned lock is taken all the same: nothing is kept half done under it that a reader could stumble over.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u64) -> Key {
        Key { hash, text: None }
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn counts(census: &Census) -> Vec<(u64, u64, u64)> {
        let hot = census.total().top(usize::MAX).into_iter();
        hot.map(|hot| (hot.hash, hot.count, hot.spilled)).collect()
    }

    #[test]
    fn workers_are_summed_and_each_finds_its_own_again() {
        let census = Census::default();
        assert!(counts(&census).is_empty());
        let (first, third) = (census.of_worker(0), census.of_worker(2));
        (0..5).for_each(|_| note(&first, &key(1), false));
        (0..3).for_each(|_| note(&third, &key(1), true));
        note(&third, &key(2), false);
        note(&census.of_worker(2), &key(2), false);
        assert_eq!(counts(&census), [(1, 8, 3), (2, 2, 0)]);
        assert_eq!(census.total().noted(), 10);
    }

    #[test]
    fn the_past_is_halved_once_a_minute() {
        let census = Census::default();
        let own = census.of_worker(0);
        census.tick(at(1000));
        (0..8).for_each(|_| note(&own, &key(1), false));
        census.tick(at(1059));
        assert_eq!(counts(&census), [(1, 8, 0)]);
        census.tick(at(1060));
        census.tick(at(1061));
        assert_eq!(counts(&census), [(1, 4, 0)]);
        census.tick(at(1120));
        assert_eq!(counts(&census), [(1, 2, 0)]);
    }

    #[test]
    fn a_worker_does_not_wait_for_a_reader() {
        let census = Census::default();
        let own = census.of_worker(0);
        let reading = own.lock().unwrap();
        note(&own, &key(1), false);
        drop(reading);
        note(&own, &key(2), false);
        assert_eq!(counts(&census), [(2, 1, 0)]);
    }
}
