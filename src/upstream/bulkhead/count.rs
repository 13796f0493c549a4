//! Permits taken and requests waiting, in one word: whoever gives a permit back sees in the same step whether somebody
//! waits, and whoever begins to wait sees whether a permit has come back meanwhile. No wake is lost between the two.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Taken in the lower half of the word, waiting in the upper.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

/// One that waits.
const WAITER: u64 = 1 << 32;

fn taken(word: u64) -> u32 {
    word as u32
}

fn waiting(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Count {
    /// Takes a permit if nobody waits and fewer than `limit` are taken; gives how many are taken with it.
    pub(super) fn take(&self, limit: u32) -> Option<u32> {
        self.take_if(|word| waiting(word) == 0 && taken(word) < limit)
    }

    /// The same for one that waits.
    pub(super) fn take_waiting(&self, limit: u32) -> Option<u32> {
        self.take_if(|word| taken(word) < limit)
    }

    fn take_if(&self, may: impl Fn(u64) -> bool) -> Option<u32> {
        let mut word = self.0.load(Relaxed);
        while may(word) {
            // Acquire: what was done under the permit that came back is seen, the slot of its endpoint above all.
            match self
                .0
                .compare_exchange_weak(word, word + 1, Acquire, Relaxed)
            {
                Ok(_) => return Some(taken(word) + 1),
                Err(found) => word = found,
            }
        }
        None
    }

    /// Gives a permit back, and says whether somebody waits.
    pub(super) fn give(&self) -> bool {
        waiting(self.0.fetch_sub(1, AcqRel)) > 0
    }

    /// One more waits. To be called with the queue locked, as [`Self::settle`].
    pub(super) fn wait(&self) {
        self.0.fetch_add(WAITER, AcqRel);
    }

    /// One has what it waited for, or waits no more.
    pub(super) fn settle(&self) {
        self.0.fetch_sub(WAITER, AcqRel);
    }

    /// Permits taken now.
    pub(super) fn taken(&self) -> u32 {
        taken(self.0.load(Relaxed))
    }

    /// How many wait now.
    pub(super) fn waiting(&self) -> u32 {
        waiting(self.0.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_does_not_pass_one_that_waits() {
        let count = Count::default();
        assert_eq!(
            (count.take(2), count.take(2), count.take(2)),
            (Some(1), Some(2), None)
        );
        count.wait();
        assert!(count.give());
        assert_eq!(count.take(2), None);
        assert_eq!(count.take_waiting(2), Some(2));
        count.settle();
        assert!(!count.give());
        assert_eq!((count.taken(), count.waiting()), (1, 0));
    }

    #[test]
    fn a_limit_that_fell_below_what_is_taken_lets_nobody_in() {
        let count = Count::default();
        (0..5).for_each(|_| assert!(count.take(5).is_some()));
        assert_eq!(count.take(3), None);
        (0..3).for_each(|_| assert!(!count.give()));
        assert_eq!(count.take(3), Some(3));
    }
}
