//! Traffic divided by weight, for canaries.

use super::error::Fault;
use crate::entropy::Random;

/// Upstreams with a share of the requests of a route each.
#[derive(Debug)]
pub struct Split {
    /// Upstream, and the sum of the weights up to and with its own; ascending, without weights of 0.
    arms: Box<[(usize, u64)]>,
    /// The sum of all weights; above 0.
    total: u64,
}

impl Split {
    /// `index` finds an upstream by name.
    pub(super) fn compile(
        written: &[(String, u32)],
        index: impl Fn(&str) -> Result<usize, Fault>,
    ) -> Result<Self, Vec<Fault>> {
        let (mut arms, mut faults, mut total) = (Vec::new(), Vec::new(), 0);
        for (name, weight) in written {
            match index(name) {
                Ok(upstream) if *weight > 0 => {
                    total += u64::from(*weight);
                    arms.push((upstream, total));
                }
                Ok(_) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if total == 0 && faults.is_empty() {
            faults.push(Fault::EmptySplit);
        }
        if faults.is_empty() {
            let arms = arms.into();
            Ok(Self { arms, total })
        } else {
            Err(faults)
        }
    }

    /// The upstream for one request, by chance in proportion to the weights.
    pub fn pick(&self, random: &mut Random) -> usize {
        let bound = usize::try_from(self.total).unwrap_or(usize::MAX);
        let drawn = random.below(bound) as u64;
        let arm = self.arms.partition_point(|&(_, sum)| sum <= drawn);
        self.arms[arm].0
    }

    /// Each upstream that gets traffic with its share, in `0.0..=1.0`.
    pub fn shares(&self) -> impl Iterator<Item = (usize, f64)> {
        let mut below = 0;
        self.arms.iter().map(move |&(upstream, sum)| {
            let weight = sum - below;
            below = sum;
            (upstream, weight as f64 / self.total as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(weights: &[(&str, u32)]) -> Result<Split, Vec<Fault>> {
        let written: Vec<_> = weights
            .iter()
            .map(|&(name, w)| (name.to_owned(), w))
            .collect();
        Split::compile(&written, |name| match name.parse() {
            Ok(index) => Ok(index),
            Err(_) => Err(Fault::UnknownUpstream(name.to_owned())),
        })
    }

    #[test]
    fn picks_in_proportion_and_never_a_weight_of_zero() {
        let split = compile(&[("4", 95), ("7", 0), ("2", 5)]).unwrap();
        let mut random = Random::seeded(1);
        let mut counts = [0; 8];
        for _ in 0..100_000 {
            counts[split.pick(&mut random)] += 1;
        }
        assert_eq!(counts[4] + counts[2], 100_000);
        // Four standard deviations of a binomial of 100 000 at 5 %.
        assert!((4725..=5275).contains(&counts[2]), "{counts:?}");
        assert_eq!(split.shares().collect::<Vec<_>>(), [(4, 0.95), (2, 0.05)]);
    }

    #[test]
    fn weights_as_large_as_they_can_be_do_not_overflow() {
        let split = compile(&[("0", u32::MAX), ("1", u32::MAX)]).unwrap();
        let mut random = Random::seeded(2);
        let ones = (0..1000).filter(|_| split.pick(&mut random) == 1).count();
        assert!((400..600).contains(&ones), "{ones}");
    }

    #[test]
    fn a_split_without_weight_or_with_strangers_is_refused() {
        assert_eq!(compile(&[]).unwrap_err(), [Fault::EmptySplit]);
        assert_eq!(compile(&[("1", 0)]).unwrap_err(), [Fault::EmptySplit]);
        let strangers = ["a", "b"].map(|name| Fault::UnknownUpstream(name.to_owned()));
        assert_eq!(
            compile(&[("a", 1), ("1", 1), ("b", 0)]).unwrap_err(),
            strangers
        );
    }
}
