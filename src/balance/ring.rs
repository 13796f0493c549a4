//! A ring of points (Karger et al. 1997), many per endpoint as in ketama: a key belongs to the first
//! point clockwise of it, and when that endpoint is refused, to the next.
//!
//! An endpoint of weight `w` has `virtual_nodes * w / d` points, `d` being what all weights have in
//! common. The shares of equal endpoints differ by about one in the square root of their points: with
//! 160, the largest of ten has 1.1 times the average, the largest of a thousand 1.3 times. A changed
//! membership moves only the keys of who went or came, unless it changes `d`, or the number of points
//! beyond [`MAX_POINTS`]: then every endpoint gains or loses some.
//!
//! # Finding a point
//!
//! A point is one number: the upper 40 bits are its position on the circle, the lower 24 its slot.
//! Sorted, they are the ring; of two on one position, the heavier endpoint comes first, then the
//! lesser identity. A search would halve a million of them twenty times, each a miss of the cache, so
//! an index over the upper bits, about as long as the ring, tells where a key's neighbourhood begins:
//! one line of the index and one of the ring.

use super::rendezvous;
use super::table::{MAX_PLACES, Offered, Places};
use xxhash_rust::xxh3::xxh3_64;

/// Points in all, 32 MiB, and half as much of index. Where the configuration asks for more, each
/// endpoint gets fewer in proportion, and at least one.
const MAX_POINTS: u64 = 1 << 22;

/// Points that a search passes for each endpoint, or for each of [`FEW`], before those that it has not
/// met are offered in the order of rendezvous: else endpoints of little weight would be looked for
/// among millions of points of those that were refused. Of equal weights, one in ten million is not
/// met by then.
const PATIENCE: usize = 16;
const FEW: usize = 64;

/// The bits of a point that hold its slot.
const SLOT: u64 = MAX_PLACES as u64 - 1;

/// Positions on the circle.
const CIRCUMFERENCE: u64 = 1 << 40;

/// The points and the index into them.
pub(super) struct Ring {
    /// Ascending.
    points: Box<[u64]>,
    /// For each value of the upper bits, the first point that has them or higher ones.
    index: Box<[u32]>,
    /// How far the upper bits are to be shifted down.
    shift: u32,
}

impl Ring {
    pub(super) fn compile(places: &Places, virtual_nodes: u32) -> Self {
        let (classes, _) = places.classes_by_right();
        let parts: Vec<(u32, u64)> = classes
            .iter()
            .map(|class| (class.weight, class.slots.len() as u64))
            .collect();
        let mut points = Vec::new();
        for (class, count) in classes.iter().zip(points_each(&parts, virtual_nodes)) {
            for slot in class.slots.clone() {
                let identity = places.identities()[slot];
                points.extend((0..count).map(|replica| point(identity, replica, slot)));
            }
        }
        points.sort_unstable();
        Self::of(points.into_boxed_slice())
    }

    fn of(points: Box<[u64]>) -> Self {
        // One bit at least: a shift by all 64 is not defined.
        let bits = points.len().next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;
        let mut index = vec![0u32; 1 << bits];
        let mut before = 0;
        for (upper, first) in (0u64..).zip(&mut index) {
            let rest = &points[before..];
            before += rest.iter().take_while(|&&p| p >> shift < upper).count();
            // At most `MAX_POINTS` and one for each of `MAX_PLACES`.
            *first = before as u32;
        }
        Self {
            points,
            index: index.into_boxed_slice(),
            shift,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The first slot clockwise of `key` that `accept` takes; each is offered once.
    pub(super) fn find(
        &self,
        places: &Places,
        key: u64,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let first = self.first_from(key);
        let slot = slot(*self.points.get(first)?);
        if accept(slot) {
            return Some(slot);
        }
        self.walk(places, key, first, accept)
    }

    /// Where a key goes whose first point has a slot that was refused.
    fn walk(
        &self,
        places: &Places,
        key: u64,
        first: usize,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut offered = Offered::none_of(places.len());
        let (before, from) = self.points.split_at(first);
        let around = from.iter().chain(before).enumerate();
        for (passed, &point) in around.take(PATIENCE * places.weighted().max(FEW)) {
            let slot = slot(point);
            if offered.insert(slot) && passed > 0 && accept(slot) {
                return Some(slot);
            }
            if offered.count() == places.weighted() {
                break;
            }
        }
        rendezvous::find_rest(places, key, &offered, accept)
    }

    /// The point that `key` belongs to, by its index.
    fn first_from(&self, key: u64) -> usize {
        let position = key & !SLOT;
        let Some(&near) = self.index.get((key >> self.shift) as usize) else {
            return 0;
        };
        let mut at = near as usize;
        while self.points.get(at).is_some_and(|&point| point < position) {
            at += 1;
        }
        // Beyond the last point the circle closes.
        if at == self.points.len() { 0 } else { at }
    }

    /// The part of the circle that each of `slots` slots has: the arcs that end at its points.
    pub(super) fn shares(&self, slots: usize) -> Vec<f64> {
        let mut arcs = vec![0u64; slots];
        let position = |point: u64| point / MAX_PLACES as u64;
        if let Some(&last) = self.points.last() {
            let mut previous = position(last);
            let mut full_turn = CIRCUMFERENCE;
            for &point in &self.points {
                // The first arc is the one that runs through zero.
                arcs[slot(point)] += position(point) + full_turn - previous;
                previous = position(point);
                full_turn = 0;
            }
        }
        arcs.iter()
            .map(|&arc| arc as f64 / CIRCUMFERENCE as f64)
            .collect()
    }
}

/// How many points an endpoint of each class gets; classes come as weight and number of endpoints.
fn points_each(classes: &[(u32, u64)], virtual_nodes: u32) -> Vec<u64> {
    let common = classes.iter().fold(0, |d, &(weight, _)| gcd(d, weight));
    let wanted = |weight: u32| {
        let per_unit = u64::from(virtual_nodes).clamp(1, MAX_POINTS);
        per_unit * u64::from(weight / common.max(1))
    };
    let total: u64 = classes.iter().map(|&(w, len)| wanted(w) * len).sum();
    // Neither the sum nor the product can overflow: weights up to 1000, 2^24 places, 2^22 points.
    let granted = |points: u64| match total {
        ..=MAX_POINTS => points,
        _ => (points * MAX_POINTS / total).max(1),
    };
    classes.iter().map(|&(w, _)| granted(wanted(w))).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn point(identity: u64, replica: u64, slot: usize) -> u64 {
    let mut named = [0; 16];
    named[..8].copy_from_slice(&identity.to_le_bytes());
    named[8..].copy_from_slice(&replica.to_le_bytes());
    xxh3_64(&named) & !SLOT | slot as u64
}

fn slot(point: u64) -> usize {
    (point & SLOT) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Random;

    #[test]
    fn the_index_finds_what_a_search_finds() {
        let mut random = Random::seeded(5);
        for count in [1, 2, 3, 8, 9, 1000] {
            let mut points: Vec<u64> = (0..count).map(|_| random.next_u64()).collect();
            points.sort_unstable();
            let ring = Ring::of(points.clone().into_boxed_slice());
            let edges = points
                .iter()
                .flat_map(|&p| [p, p | SLOT, (p & !SLOT).wrapping_sub(1)]);
            let keys = edges.chain([0, u64::MAX]).collect::<Vec<_>>();
            let others = (0..500).map(|_| random.next_u64());
            for key in keys.into_iter().chain(others) {
                let found = points.partition_point(|&point| point < key & !SLOT);
                assert_eq!(ring.first_from(key), found % points.len());
            }
        }
    }

    #[test]
    fn points_crowded_into_one_corner_are_found() {
        let points: Vec<u64> = (0..100).map(|i| (i * 3) << 24).collect();
        let ring = Ring::of(points.into_boxed_slice());
        assert_eq!(ring.first_from(4 << 24), 2);
        assert_eq!(ring.first_from(297 << 24), 99);
        assert_eq!(ring.first_from(298 << 24), 0);
    }

    #[test]
    fn of_two_endpoints_on_one_position_the_first_has_the_arc() {
        let ring = Ring::of(Box::new([1 << 24, 1 << 24 | 1, (1 << 63) | 2]));
        assert_eq!(ring.first_from(1 << 24), 0);
        let shares = ring.shares(3);
        assert_eq!(shares[1], 0.0);
        assert!((shares[0] - 0.5).abs() < 1e-9 && (shares[2] - 0.5).abs() < 1e-9);
    }

    #[test]
    fn points_are_as_the_weights_without_what_they_have_in_common() {
        assert_eq!(
            points_each(&[(30, 1), (20, 4), (10, 2)], 160),
            [480, 320, 160]
        );
        assert_eq!(points_each(&[(7, 3)], 160), [160]);
        assert_eq!(points_each(&[(1, 1)], 0), [1]);
        assert!(points_each(&[], 160).is_empty());
    }

    #[test]
    fn points_are_bounded_in_proportion_and_each_endpoint_keeps_one() {
        let bounded = points_each(&[(1000, 100), (500, 100), (1, 5)], 160);
        let all = bounded[0] * 100 + bounded[1] * 100 + bounded[2] * 5;
        assert!(all <= MAX_POINTS && all > MAX_POINTS * 99 / 100, "{all}");
        assert_eq!(bounded[0] / 2, bounded[1]);
        let light = points_each(&[(1000, 10), (1, 3_000_000)], u32::MAX);
        assert_eq!(light[1], 1);
        let most = points_each(&[(1000, 1), (999, 1 << 24)], u32::MAX);
        assert_eq!(most, [1, 1]);
    }
}
