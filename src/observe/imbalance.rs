//! How evenly something is spread over endpoints that should not all have the same of it (pure).
//!
//! Each endpoint has a value (picks of a window, attempts in flight) and an expected share. What is
//! compared is `x = value / expected share`, which is the same for all where everybody has exactly
//! what it should: an endpoint of weight 3 may have three times as much without being out of line.
//! Over the `n` endpoints that should have something, with `mean(x)` as their plain mean:
//!
//! | index | definition | even | all at one of `n` | source |
//! |---|---|---|---|---|
//! | max over mean | `max(x) / mean(x)` | 1 | `n` | peak to average |
//! | coefficient of variation | `sqrt(mean((x - mean(x))²)) / mean(x)` | 0 | `sqrt(n - 1)` | standard deviation of the population over its mean |
//! | Jain's index | `(Σ x)² / (n Σ x²)` | 1 | `1 / n` | Jain, Chiu, Hawe: A Quantitative Measure of Fairness, DEC-TR-301, 1984 |
//!
//! The last two say the same in other words, `Jain = 1 / (1 + cv²)`; both are known by name, and the
//! first tells of a single hot endpoint among many, which the others hardly notice.
//!
//! **What chance alone does.** `N` picks drawn at random over `n` equal endpoints have a coefficient
//! of about `sqrt((n - 1) / N)`: 0.2 for 100 picks over 5 endpoints. Read the indices of little traffic
//! with that in mind; of none there are no indices.

use serde::{Deserialize, Serialize};

/// What one endpoint has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Not negative; of any unit, the same for all.
    pub value: f64,
    /// Its part of the whole, in any unit that is the same for all; 0: it should have nothing, and is left out.
    pub expected: f64,
}

/// How unevenly the parts are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Imbalance {
    /// How many times the mean the one has that has most.
    pub max_over_mean: f64,
    /// Standard deviation over mean.
    #[serde(rename = "cv")]
    pub coefficient_of_variation: f64,
    /// 1: all have what they should.
    pub jain: f64,
}

impl Imbalance {
    /// Of these parts; `None` where nobody should have anything, or nobody who should has.
    pub fn of(parts: impl IntoIterator<Item = Part>) -> Option<Self> {
        let parts = parts.into_iter().filter(|part| part.expected > 0.0);
        let mut normalised: Vec<f64> = parts.map(|part| part.value / part.expected).collect();
        let max = normalised.iter().copied().fold(0.0, f64::max);
        if max <= 0.0 {
            return None;
        }
        // Only ratios count, and these cannot overflow when they are squared.
        normalised.iter_mut().for_each(|x| *x /= max);
        let count = normalised.len() as f64;
        let mean = normalised.iter().sum::<f64>() / count;
        let variance = normalised.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let squares = normalised.iter().map(|x| x * x).sum::<f64>() / count;
        Some(Self {
            max_over_mean: mean.recip(),
            coefficient_of_variation: variance.sqrt() / mean,
            jain: mean * mean / squares,
        })
    }

    /// The indices with the words by which they are known in metrics.
    pub fn indices(&self) -> [(&'static str, f64); 3] {
        [
            ("max_over_mean", self.max_over_mean),
            ("cv", self.coefficient_of_variation),
            ("jain", self.jain),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(parts: &[(f64, f64)]) -> Option<Imbalance> {
        let part = |&(value, expected)| Part { value, expected };
        Imbalance::of(parts.iter().map(part))
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1.0)
    }

    /// By hand: x = 8, 4, 4, 0; mean 4; deviations 4, 0, 0, -4; squares 64 + 16 + 16.
    #[test]
    fn the_indices_are_those_of_their_definitions() {
        let imbalance = of(&[(8.0, 1.0), (4.0, 1.0), (4.0, 1.0), (0.0, 1.0)]).unwrap();
        assert!(near(imbalance.max_over_mean, 2.0));
        assert!(near(imbalance.coefficient_of_variation, 8f64.sqrt() / 4.0));
        assert!(near(imbalance.jain, 256.0 / (4.0 * 96.0)));
    }

    #[test]
    fn all_at_one_of_n_is_the_worst() {
        for n in 1..20 {
            let parts: Vec<_> = (0..n).map(|i| (f64::from(i == 0), 1.0)).collect();
            let (imbalance, n) = (of(&parts).unwrap(), n as f64);
            assert!(near(imbalance.max_over_mean, n));
            assert!(near(imbalance.coefficient_of_variation, (n - 1.0).sqrt()));
            assert!(near(imbalance.jain, 1.0 / n));
        }
    }

    #[test]
    fn who_should_have_nothing_does_not_count_and_of_nothing_there_is_no_index() {
        let with = of(&[(3.0, 0.75), (1.0, 0.25), (5.0, 0.0)]);
        assert_eq!(with, of(&[(3.0, 0.75), (1.0, 0.25)]));
        assert_eq!(with.unwrap().jain, 1.0);
        for nothing in [&[][..], &[(0.0, 1.0), (0.0, 2.0)], &[(7.0, 0.0)]] {
            assert_eq!(of(nothing), None);
        }
    }

    fn parts() -> impl Strategy<Value = Vec<(f64, f64)>> {
        prop::collection::vec((0.0..1e9f64, 1e-3..1e3f64), 1..40)
    }

    proptest! {
        #[test]
        fn the_indices_stay_within_their_bounds_and_agree(parts in parts()) {
            prop_assume!(parts.iter().any(|part| part.0 > 0.0));
            let imbalance = of(&parts).unwrap();
            let n = parts.len() as f64;
            prop_assert!(imbalance.jain >= 1.0 / n - 1e-9 && imbalance.jain <= 1.0 + 1e-9);
            prop_assert!(imbalance.max_over_mean >= 1.0 - 1e-9 && imbalance.max_over_mean <= n + 1e-9);
            let cv = imbalance.coefficient_of_variation;
            prop_assert!(cv >= 0.0 && cv <= (n - 1.0).sqrt() + 1e-6, "{cv}");
            prop_assert!(near(imbalance.jain, 1.0 / (1.0 + cv * cv)));
        }

        #[test]
        fn the_unit_of_neither_side_matters(
            parts in parts(),
            of_value in 1e-6..1e6f64,
            of_share in 1e-6..1e6f64,
        ) {
            prop_assume!(parts.iter().any(|part| part.0 > 0.0));
            let scaled: Vec<_> = parts.iter().map(|(v, e)| (v * of_value, e * of_share)).collect();
            let (before, after) = (of(&parts).unwrap(), of(&scaled).unwrap());
            for ((name, before), (_, after)) in before.indices().into_iter().zip(after.indices()) {
                prop_assert!(near(before, after), "{name}: {before} and {after}");
            }
        }

        #[test]
        fn whoever_has_what_it_should_is_even(shares in prop::collection::vec(1e-3..1e3f64, 1..40), unit in 1e-6..1e6f64) {
            let parts: Vec<_> = shares.iter().map(|share| (share * unit, *share)).collect();
            let imbalance = of(&parts).unwrap();
            prop_assert!(near(imbalance.jain, 1.0) && near(imbalance.max_over_mean, 1.0));
            prop_assert!(imbalance.coefficient_of_variation < 1e-7);
        }
    }
}
