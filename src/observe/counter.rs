//! A number that one thread adds to and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Grows on its owner's thread only: a relaxed load and a relaxed store, never a locked instruction.
///
/// Two threads that add to the same counter would lose additions; that is why every worker has counters of its own and
/// a reader sums over workers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`; only for the thread that owns this counter.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Raises the value to `amount` when that is more; only for the thread that owns this counter.
    #[inline]
    pub fn raise(&self, amount: u64) {
        if amount > self.0.load(Relaxed) {
            self.0.store(amount, Relaxed);
        }
    }

    /// What it stands at.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One counter per word of a list that is fixed at the start, such as the labels of errors.
#[derive(Debug)]
pub struct Tally {
    words: &'static [&'static str],
    /// One longer than `words`: the last counts words that are not on the list.
    counts: Box<[Counter]>,
}

/// The word under which a [`Tally`] counts what is not on its list.
pub const OTHER: &str = "other";

impl Tally {
    /// All zero.
    pub fn new(words: &'static [&'static str]) -> Self {
        Self {
            words,
            counts: (0..=words.len()).map(|_| Counter::default()).collect(),
        }
    }

    /// Adds one for `word`; only for the thread that owns it. A scan: meant for what is rare.
    pub fn add(&self, word: &str) {
        let place = self
            .words
            .iter()
            .position(|known| *known == word)
            .unwrap_or(self.words.len());
        self.counts[place].add(1);
    }

    /// Every word with its count, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let words = self.words.iter().copied().chain([OTHER]);
        words.zip(self.counts.iter().map(Counter::value))
    }
}

/// How many words these lists have together.
pub const fn total(lists: &[&[&str]]) -> usize {
    let mut total = 0;
    let mut list = 0;
    while list < lists.len() {
        total += lists[list].len();
        list += 1;
    }
    total
}

/// Several lists of words as one, made when compiling. `N` is their [`total`].
pub const fn joined<const N: usize>(lists: &[&[&'static str]]) -> [&'static str; N] {
    let mut all = [""; N];
    let (mut list, mut word, mut i) = (0, 0, 0);
    while i < N {
        if word == lists[list].len() {
            (list, word) = (list + 1, 0);
        } else {
            all[i] = lists[list][word];
            (word, i) = (word + 1, i + 1);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{OTHER, Tally, joined, total};

    #[test]
    fn lists_of_words_are_joined_in_order() {
        const LISTS: &[&[&str]] = &[&[], &["a", "b"], &[], &["c"]];
        const ALL: [&str; total(LISTS)] = joined(LISTS);
        assert_eq!(ALL, ["a", "b", "c"]);
    }

    #[test]
    fn a_word_that_is_not_on_the_list_is_counted_as_other() {
        let tally = Tally::new(&["timeout", "reset"]);
        for word in ["reset", "reset", "unheard_of"] {
            tally.add(word);
        }
        let counts: Vec<_> = tally.iter().collect();
        assert_eq!(counts, [("timeout", 0), ("reset", 2), (OTHER, 1)]);
    }
}
