//! Whose turn is it among weights? The order of a smooth weighted round robin, by whole numbers.
//!
//! Two laws hold for any weights from any starting point, over any window of as many turns as the
//! weights sum up to:
//!
//! 1. each part gets exactly its weight;
//! 2. no part of weight `w` out of `W` has more than `ceil(w / (W - w))` turns in a row, which no
//!    order can better: one at a time for every part that has no more than half of the weight.
//!
//! How: a [`Beat`] divides turns between two sides as a straight line is drawn on a grid, so a side
//! with at most half of them never has two in a row. A tree of beats divides them among all parts,
//! each fork visited as often as the parts beneath it weigh, which gives law 1. For law 2 it is enough
//! that the root never repeats a side, and if no part has half of the weight, three such sides exist.
//! nginx's rule of credits costs a pass over all parts for each turn and does not hold law 2 (weights
//! 4, 3, 1 give `a b a b c a b a`, and again); a queue of deadlines bursts where they coincide.

use crate::entropy::Random;

/// Divides turns among parts, in time that grows with the logarithm of their number.
#[derive(Debug)]
pub(super) struct Turns {
    root: Root,
    forks: Vec<Fork>,
}

#[derive(Debug)]
enum Root {
    /// One part, or two sides of which one has half of the weight or more.
    Plain(Side),
    Triad(Triad),
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Part(usize),
    Fork(usize),
}

#[derive(Debug)]
struct Fork {
    sides: [Side; 2],
    /// Strikes for the first side.
    beat: Beat,
}

/// Three sides of which none outweighs the other two, `a >= b >= c`: each turn of `a` is followed by
/// one of `b`, of `c`, or of both. With both after `b + c - a` of them, only `c` after `a - b` and only
/// `b` after `a - c`, every side gets its weight and none comes twice in a row.
#[derive(Debug)]
struct Triad {
    sides: [Side; 3],
    /// Strikes where both `b` and `c` follow.
    both: Beat,
    /// Strikes, where only one follows, for `b`.
    second: Beat,
    /// Turns of `b` and `c` that are to follow before `a` comes again.
    owed: [bool; 2],
}

/// Strikes `share` times in any `whole` steps, as evenly as whole numbers allow (Bresenham 1965).
#[derive(Debug)]
struct Beat {
    share: u64,
    whole: u64,
    /// Below `whole`, or 0 if that is 0.
    phase: u64,
}

impl Turns {
    /// Of parts with these weights, each above 0 and at least one, from a point drawn by chance: else
    /// all workers, and all proxies of a fleet, would begin with the same endpoint.
    pub(super) fn compile(weights: &[u64], random: &mut Random) -> Self {
        let mut turns = Self::at_zero(weights);
        for beat in turns.beats() {
            beat.phase = random.below(beat.whole as usize) as u64;
        }
        // A triad has up to three turns between two looks at its beats.
        for _ in 0..random.below(3) {
            turns.next();
        }
        turns
    }

    /// Takes over how far `before` has come, if it was of the same shape, so that a change of one
    /// weight does not begin anew.
    pub(super) fn resume(mut self, before: &mut Self) -> Self {
        let same = self.beats().count() == before.beats().count();
        if let Root::Triad(triad) = &mut self.root {
            // What it owed belongs to the course that is left here.
            triad.owed = [false, false];
        }
        for (beat, before) in self.beats().zip(before.beats()).filter(|_| same) {
            let scaled = u128::from(before.phase) * u128::from(beat.whole);
            // Below `whole`, as `before.phase` is below `before.whole`.
            beat.phase = scaled.checked_div(u128::from(before.whole)).unwrap_or(0) as u64;
        }
        self
    }

    /// The part whose turn it is.
    pub(super) fn next(&mut self) -> usize {
        let mut side = match &mut self.root {
            Root::Plain(side) => *side,
            Root::Triad(triad) => triad.next(),
        };
        loop {
            match side {
                Side::Part(part) => return part,
                Side::Fork(fork) => side = self.forks[fork].next(),
            }
        }
    }

    fn at_zero(weights: &[u64]) -> Self {
        let mut heaviest_first: Vec<usize> = (0..weights.len()).collect();
        heaviest_first.sort_by_key(|&part| std::cmp::Reverse(weights[part]));
        let total: u64 = weights.iter().sum();
        let mut forks = Vec::new();
        let (first, rest) = heaviest_first.split_at(1);
        let root = if rest.is_empty() {
            Root::Plain(Side::Part(first[0]))
        } else if weights[first[0]] >= total - weights[first[0]] {
            Root::Plain(fork(first, rest, weights, &mut forks))
        } else {
            Root::Triad(Triad::of(&heaviest_first, weights, &mut forks))
        };
        Self { root, forks }
    }

    fn beats(&mut self) -> impl Iterator<Item = &mut Beat> {
        let of_triad = match &mut self.root {
            Root::Plain(_) => None,
            Root::Triad(triad) => Some([&mut triad.both, &mut triad.second]),
        };
        let of_forks = self.forks.iter_mut().map(|fork| &mut fork.beat);
        of_triad.into_iter().flatten().chain(of_forks)
    }
}

impl Fork {
    fn next(&mut self) -> Side {
        self.sides[usize::from(!self.beat.strikes())]
    }
}

impl Triad {
    /// Deals the parts, heaviest first, each to the lightest side. As long as no part has half of the
    /// weight, no side ends up with more: before its last part such a side was the lightest of three
    /// and weighed at least as much as that part.
    fn of(heaviest_first: &[usize], weights: &[u64], forks: &mut Vec<Fork>) -> Self {
        let mut hands = [(0, Vec::new()), (0, Vec::new()), (0, Vec::new())];
        for &part in heaviest_first {
            if let Some(lightest) = hands.iter_mut().min_by_key(|(weight, _)| *weight) {
                lightest.0 += weights[part];
                lightest.1.push(part);
            }
        }
        hands.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let [a, b, c] = [hands[0].0, hands[1].0, hands[2].0];
        Self {
            sides: hands.map(|(_, parts)| tree(&parts, weights, forks)),
            both: Beat::new(b + c - a, a),
            second: Beat::new(a - c, (a - c) + (a - b)),
            owed: [false, false],
        }
    }

    fn next(&mut self) -> Side {
        if std::mem::take(&mut self.owed[0]) {
            return self.sides[1];
        }
        if std::mem::take(&mut self.owed[1]) {
            return self.sides[2];
        }
        self.owed = if self.both.strikes() {
            [true, true]
        } else {
            let second = self.second.strikes();
            [second, !second]
        };
        self.sides[0]
    }
}

impl Beat {
    fn new(share: u64, whole: u64) -> Self {
        Self {
            share,
            whole,
            phase: 0,
        }
    }

    fn strikes(&mut self) -> bool {
        self.phase += self.share;
        let strikes = self.phase >= self.whole;
        if strikes {
            self.phase -= self.whole;
        }
        strikes
    }
}

/// Divides parts, heaviest first, into halves of about the same weight, over and over.
fn tree(parts: &[usize], weights: &[u64], forks: &mut Vec<Fork>) -> Side {
    if let [part] = *parts {
        return Side::Part(part);
    }
    let total = sum(parts, weights);
    let mut met = 0;
    let heavy = parts.iter().take_while(|&&part| {
        met += weights[part];
        met * 2 <= total
    });
    let cut = heavy.count().clamp(1, parts.len() - 1);
    fork(&parts[..cut], &parts[cut..], weights, forks)
}

fn fork(first: &[usize], second: &[usize], weights: &[u64], forks: &mut Vec<Fork>) -> Side {
    let share = sum(first, weights);
    let sides = [tree(first, weights, forks), tree(second, weights, forks)];
    forks.push(Fork {
        sides,
        beat: Beat::new(share, share + sum(second, weights)),
    });
    Side::Fork(forks.len() - 1)
}

fn sum(parts: &[usize], weights: &[u64]) -> u64 {
    parts.iter().map(|&part| weights[part]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gives_exact_shares_in_every_window_and_no_needless_runs(
            weights in prop::collection::vec(1u64..40, 1..12),
            seed: u64,
        ) {
            let total: u64 = weights.iter().sum();
            let mut turns = Turns::compile(&weights, &mut Random::seeded(seed));
            let order: Vec<usize> = (0..2 * total).map(|_| turns.next()).collect();
            for window in order.windows(total as usize) {
                for (part, &weight) in weights.iter().enumerate() {
                    prop_assert_eq!(window.iter().filter(|&&p| p == part).count() as u64, weight);
                }
            }
            for run in order.chunk_by(|a, b| a == b).filter(|_| weights.len() > 1) {
                let weight = weights[run[0]];
                prop_assert!(run.len() as u64 <= weight.div_ceil(total - weight), "{:?}", order);
            }
        }

        #[test]
        fn resuming_keeps_the_laws(
            before in prop::collection::vec(1u64..40, 1..8),
            after in prop::collection::vec(1u64..40, 1..8),
            seed: u64,
        ) {
            let mut random = Random::seeded(seed);
            let mut old = Turns::compile(&before, &mut random);
            old.next();
            let mut turns = Turns::compile(&after, &mut random).resume(&mut old);
            let total: u64 = after.iter().sum();
            let order: Vec<usize> = (0..total).map(|_| turns.next()).collect();
            for (part, &weight) in after.iter().enumerate() {
                prop_assert_eq!(order.iter().filter(|&&p| p == part).count() as u64, weight);
            }
        }
    }

    #[test]
    fn five_to_one_to_one_is_spread_out() {
        let mut turns = Turns::at_zero(&[5, 1, 1]);
        let order: Vec<usize> = (0..7).map(|_| turns.next()).collect();
        assert_eq!(order.iter().filter(|&&part| part == 0).count(), 5);
        assert!(order.chunk_by(|a, b| a == b).all(|run| run.len() <= 3));
    }
}
