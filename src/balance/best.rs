//! The best candidate met so far, by its score; of equals the one with the fewest attempts of the last second for its weight.

use super::{Live, View};
use crate::entropy::Random;
use std::cmp::Ordering;

/// Who is held, with its score, and how many are as good in everything.
#[derive(Default)]
pub(super) struct Best {
    pub(super) held: Option<(usize, f64)>,
    equals: usize,
}

impl Best {
    /// Whether a candidate takes the place of the one held: the lowest score wins; `by_rate`, of equals the lower rate. With
    /// `random` each of those that are equal in everything ends up held with the same chance, since a first-come rule would
    /// send all of an idle upstream's traffic to its first endpoint; without it the first one stays.
    pub(super) fn takes<L: Live>(
        &mut self,
        i: usize,
        score: f64,
        by_rate: bool,
        view: &View<'_, L>,
        random: Option<&mut Random>,
    ) -> bool {
        let order = self.held.map_or(Ordering::Less, |(held, least)| {
            let rates = || view.rate(i).total_cmp(&view.rate(held));
            let order = score.total_cmp(&least);
            if by_rate {
                order.then_with(rates)
            } else {
                order
            }
        });
        let takes = match order {
            Ordering::Less => {
                self.equals = 1;
                true
            }
            Ordering::Equal => {
                self.equals += 1;
                random.is_some_and(|random| random.below(self.equals) == 0)
            }
            Ordering::Greater => false,
        };
        if takes {
            self.held = Some((i, score));
        }
        takes
    }
}
