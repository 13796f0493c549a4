//! Failures in a row, in one word with what the last success put an end to.
//!
//! A success is a response head, and what it heads may still break off. Then it was none, and the row goes on from where it had
//! ended; unless another success came since, which ended it all the same.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// 20 bits of failures in a row, 20 of the row that ended last, and above them the number of the success that ended it.
#[derive(Debug, Default)]
pub(super) struct Row(AtomicU64);

const BITS: u32 = 20;
/// What a row is counted up to: more than the longest that can be asked for.
const MOST: u64 = (1 << BITS) - 1;
const NUMBERS: u64 = (1 << (64 - 2 * BITS)) - 1;

/// The parts of the word.
#[derive(Clone, Copy)]
struct Parts {
    failures: u64,
    ended: u64,
    number: u64,
}

impl Parts {
    fn of(word: u64) -> Self {
        Self {
            failures: word & MOST,
            ended: word >> BITS & MOST,
            number: word >> (2 * BITS),
        }
    }

    fn word(self) -> u64 {
        self.number << (2 * BITS) | self.ended << BITS | self.failures
    }
}

impl Row {
    /// Whether a success would change anything: that nothing failed costs a load.
    pub(super) fn is_begun(&self) -> bool {
        let Parts {
            failures, ended, ..
        } = Parts::of(self.0.load(Relaxed));
        failures | ended > 0
    }

    /// A success: ends the row. Gives the number by which it can be taken back; 0: nothing would come back with it.
    pub(super) fn end(&self) -> u32 {
        let mut given = 0;
        self.change(|row| {
            let is_row = row.failures > 0;
            let number = if is_row {
                (row.number % NUMBERS) + 1
            } else {
                row.number
            };
            given = if is_row { number } else { 0 };
            Parts {
                failures: 0,
                ended: row.failures,
                number,
            }
        });
        u32::try_from(given).unwrap_or_default()
    }

    /// A failure; with the number of the success that it turned out not to be, or 0. Gives how many there are in a row.
    pub(super) fn add(&self, taken_back: u32) -> u32 {
        let row = self.change(|row| {
            let is_back = taken_back > 0 && row.number == u64::from(taken_back);
            let before = if is_back { row.ended } else { 0 };
            Parts {
                failures: (row.failures + before + 1).min(MOST),
                ended: row.ended - before,
                number: row.number,
            }
        });
        u32::try_from(row.failures).unwrap_or(u32::MAX)
    }

    /// Forgets all of it.
    pub(super) fn clear(&self) {
        self.change(|row| Parts {
            failures: 0,
            ended: 0,
            ..row
        });
    }

    /// Failures in a row so far.
    pub(super) fn failures(&self) -> u32 {
        u32::try_from(Parts::of(self.0.load(Relaxed)).failures).unwrap_or(u32::MAX)
    }

    fn change(&self, mut step: impl FnMut(Parts) -> Parts) -> Parts {
        let mut word = self.0.load(Relaxed);
        loop {
            let next = step(Parts::of(word));
            match self
                .0
                .compare_exchange_weak(word, next.word(), Relaxed, Relaxed)
            {
                Ok(_) => return next,
                Err(found) => word = found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(row: &Row, times: u32) -> u32 {
        (0..times).fold(0, |_, _| row.add(0))
    }

    #[test]
    fn a_success_that_was_none_gives_the_row_back() {
        let row = Row::default();
        assert!(!row.is_begun());
        failing(&row, 4);
        let number = row.end();
        assert_eq!((row.failures(), row.is_begun()), (0, true));
        // What failed meanwhile is of the same row.
        failing(&row, 2);
        assert_eq!(row.add(number), 7);
        assert_eq!(row.add(number), 8, "it comes back once");
    }

    #[test]
    fn another_success_since_ends_the_row_for_good() {
        let row = Row::default();
        failing(&row, 4);
        let number = row.end();
        assert_eq!(row.end(), 0);
        assert!(!row.is_begun());
        assert_eq!(row.add(number), 1);
        // Nor does it take back what ended another row.
        let other = row.end();
        assert_eq!(row.add(number), 1);
        assert_eq!(row.add(other), 3);
    }

    #[test]
    fn a_row_is_counted_up_to_its_bound_and_numbers_begin_anew() {
        let row = Row(AtomicU64::new(
            Parts {
                failures: MOST - 1,
                ended: 0,
                number: NUMBERS,
            }
            .word(),
        ));
        assert_eq!(u64::from(failing(&row, 3)), MOST);
        assert_eq!(row.end(), 1);
        assert_eq!(u64::from(row.add(1)), MOST);
        row.clear();
        assert!(!row.is_begun());
    }
}
