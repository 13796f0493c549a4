//! The endpoints that a request has been to: a bit set that allocates nothing below 64 endpoints.

/// A set of endpoints by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// Endpoints 0 to 63.
    first: u64,
    /// The others, 64 to a word; empty until one of them is tried.
    beyond: Vec<u64>,
}

impl Tried {
    /// Whether the request has been to this endpoint.
    pub fn contains(&self, i: usize) -> bool {
        let word = match i / 64 {
            0 => Some(&self.first),
            word => self.beyond.get(word - 1),
        };
        word.is_some_and(|bits| bits >> (i % 64) & 1 == 1)
    }

    /// Whether the request has been to none.
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.beyond.iter().all(|bits| *bits == 0)
    }

    pub(super) fn insert(&mut self, i: usize) {
        let word = match i / 64 {
            0 => &mut self.first,
            word => {
                self.beyond.resize(self.beyond.len().max(word), 0);
                &mut self.beyond[word - 1]
            }
        };
        *word |= 1 << (i % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::Tried;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set(entries in prop::collection::vec(0usize..300, 0..20)) {
            let mut tried = Tried::default();
            entries.iter().for_each(|&i| tried.insert(i));
            prop_assert_eq!(tried.is_empty(), entries.is_empty());
            let model: BTreeSet<usize> = entries.into_iter().collect();
            for i in 0..400 {
                prop_assert_eq!(tried.contains(i), model.contains(&i));
            }
        }
    }
}
