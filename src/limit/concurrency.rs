//! So many at once: the number of a key counts the requests that are under way.
//!
//! The upper half of the number says whose turn in the slot it is, so that the count of one key is never taken for that
//! of the next.

use super::table::Numbers;

/// Counts of what is under way.
#[derive(Debug, Clone, Copy)]
pub struct UnderWay;

const COUNT: u64 = u32::MAX as u64;

impl Numbers for UnderWay {
    fn fresh(&self, last: u64) -> u64 {
        (last | COUNT).wrapping_add(1)
    }

    fn is_idle(&self, number: u64) -> bool {
        number & COUNT == 0
    }
}

/// One more, if there are not `max` already: the new number where it changes, and how many there are now.
pub fn enter(number: u64, max: u64) -> (Option<u64>, Result<u64, u64>) {
    let count = number & COUNT;
    if count >= max.min(COUNT - 1) {
        (None, Err(count))
    } else {
        (Some(number + 1), Ok(count + 1))
    }
}

/// One less.
pub fn leave(number: u64) -> u64 {
    if number & COUNT == 0 {
        number
    } else {
        number - 1
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;

    #[test]
    fn no_more_than_may_are_under_way() {
        let table = Table::new(4);
        let come = |key| table.change(key, 4, &UnderWay, |number, _| enter(number, 2));
        let first = come(1);
        assert_eq!(
            (first.result, come(1).result, come(1).result),
            (Ok(1), Ok(2), Err(2))
        );
        assert_eq!(come(2).result, Ok(1));
        table.change_back(first.place, leave);
        assert_eq!((come(1).result, come(1).result), (Ok(2), Err(2)));
    }

    #[test]
    fn a_key_that_is_under_way_is_never_forgotten() {
        let table = Table::new(1);
        let come = |key| table.change(key, 1, &UnderWay, |number, _| enter(number, 9));
        let first = come(1);
        let other = come(2);
        assert!(other.place.is_shared());
        table.change_back(first.place, leave);
        let third = come(3);
        assert!(third.evicted);
        // What is given back a second time is nobody's.
        table.change_back(first.place, leave);
        assert_eq!(come(3).result, Ok(2));
        table.change_back(other.place, leave);
        assert_eq!(table.numbers().map(|number| number & COUNT).sum::<u64>(), 2);
    }

    #[test]
    fn no_number_repeats_in_a_slot() {
        let last = UnderWay.fresh(UnderWay.fresh(0));
        assert_eq!(last, 2 << 32);
        assert!(UnderWay.is_idle(last) && !UnderWay.is_idle(last + 1));
    }
}
