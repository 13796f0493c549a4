//! Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): a table that all endpoints fill in turn,
//! each with the first free entry of its own permutation of the entries.
//!
//! A key costs one look into the table. Endpoints of equal weight have equally many entries, give or
//! take one; of weight `w` times as much, `w` times as many, rounded, and at least one. A changed
//! membership moves somewhat more keys than must move: with one endpoint of a thousand gone and
//! 65 537 entries 0.7 % change, where 0.1 % must.
//!
//! A key whose endpoint is refused goes on to entries that a hash of the key and the number of the
//! attempt points at, so that the keys of a lost endpoint spread over all others by weight and no
//! other key moves. The paper fills the table anew instead.

use super::rendezvous;
use super::table::{Offered, Places, mix};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Entries looked at before the order of rendezvous takes over, which offers every endpoint at the
/// cost of a hash for each. With half of the endpoints refused, one key in 2^32 gets there.
const ATTEMPTS: u64 = 32;

/// The largest table that is built: 20 MB; 5000 endpoints are even to a permille.
const MAX_SIZE: usize = 5_000_011;

/// An odd number near 2^64 divided by the golden ratio: its multiples lie far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The slot that each entry belongs to; no entries where there is no endpoint.
pub(super) struct Maglev(Entries);

enum Entries {
    /// Up to 65 535 endpoints: half the cache.
    Narrow(Box<[u16]>),
    Wide(Box<[u32]>),
}

impl Maglev {
    /// With `size` entries if that is a prime, else with the next prime above: only then does each
    /// permutation reach all entries. With more endpoints than entries the table grows until each has
    /// one.
    pub(super) fn compile(places: &Places, size: u32) -> Self {
        if places.len() == 0 {
            return Self(Entries::Narrow(Box::default()));
        }
        let size = (size as usize).min(MAX_SIZE).max(places.weighted());
        let owners = fill(places, prime_from(size));
        Self(if places.len() <= usize::from(u16::MAX) {
            Entries::Narrow(owners.iter().map(|&slot| slot as u16).collect())
        } else {
            Entries::Wide(owners.into_boxed_slice())
        })
    }

    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Entries::Narrow(entries) => entries.len(),
            Entries::Wide(entries) => entries.len(),
        }
    }

    /// The first slot in the order of `key` that `accept` takes; each is offered once.
    pub(super) fn find(
        &self,
        places: &Places,
        key: u64,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let slot = self.at(key)?;
        if accept(slot) {
            return Some(slot);
        }
        self.go_on(places, key, slot, accept)
    }

    /// Where a key goes whose own endpoint was refused.
    fn go_on(
        &self,
        places: &Places,
        key: u64,
        refused: usize,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut offered = Offered::none_of(places.len());
        offered.insert(refused);
        for attempt in 1..ATTEMPTS {
            if offered.count() == places.weighted() {
                break;
            }
            let slot = self.at(mix(key.wrapping_add(attempt.wrapping_mul(GOLDEN))))?;
            if offered.insert(slot) && accept(slot) {
                return Some(slot);
            }
        }
        rendezvous::find_rest(places, key, &offered, accept)
    }

    /// The slot of the entry that this hash points at.
    fn at(&self, hash: u64) -> Option<usize> {
        // Scales the hash to the entries without a division (Lemire 2019); off by less than 2^-41.
        let entry = ((u128::from(hash) * self.len() as u128) >> 64) as usize;
        match &self.0 {
            Entries::Narrow(entries) => entries.get(entry).map(|&slot| usize::from(slot)),
            Entries::Wide(entries) => entries.get(entry).map(|&slot| slot as usize),
        }
    }

    /// The part of the entries that each of `slots` slots has.
    pub(super) fn shares(&self, slots: usize) -> Vec<f64> {
        let mut counts = vec![0u32; slots];
        match &self.0 {
            Entries::Narrow(entries) => entries.iter().for_each(|&s| counts[usize::from(s)] += 1),
            Entries::Wide(entries) => entries.iter().for_each(|&s| counts[s as usize] += 1),
        }
        let share = |&count| f64::from(count) / self.len() as f64;
        counts.iter().map(share).collect()
    }
}

/// The slot of each of `size` entries, which is a prime and no less than there are weighted slots.
fn fill(places: &Places, size: usize) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let mut owners = vec![FREE; size];
    let mut permutations: Vec<Permutation> = places
        .identities()
        .iter()
        .map(|&identity| Permutation::of(identity, size))
        .collect();
    for slot in turns(places).take(size) {
        // Ends: a permutation reaches every entry, and one of them is free.
        let entry = loop {
            let entry = permutations[slot].next(size);
            if owners[entry] == FREE {
                break entry;
            }
        };
        // A slot is below `MAX_PLACES`.
        owners[entry] = slot as u32;
    }
    owners
}

/// Whose turn it is to take an entry, without end: in each round the heaviest endpoints, and one of
/// half their weight in each second, beginning with the first.
fn turns(places: &Places) -> impl Iterator<Item = usize> {
    let (weighted, _) = places.classes_by_right();
    let heaviest = weighted.first().map_or(1, |class| u64::from(class.weight));
    (0u64..).flat_map(move |round| {
        let due = move |weight: u32| {
            let through = |rounds: u64| (rounds * u64::from(weight)).div_ceil(heaviest);
            through(round + 1) > through(round)
        };
        let classes = weighted.iter().filter(move |class| due(class.weight));
        classes.flat_map(|class| class.slots.clone())
    })
}

/// The order in which one endpoint wants the entries: every `skip`th from an offset on.
struct Permutation {
    next: usize,
    skip: usize,
}

impl Permutation {
    fn of(identity: u64, size: usize) -> Self {
        let hash = |seed| xxh3_64_with_seed(&identity.to_le_bytes(), seed);
        Self {
            next: (hash(0) % size as u64) as usize,
            skip: (hash(1) % (size as u64 - 1) + 1) as usize,
        }
    }

    fn next(&mut self, size: usize) -> usize {
        let entry = self.next;
        self.next += self.skip;
        if self.next >= size {
            self.next -= size;
        }
        entry
    }
}

/// The least prime that is no less than `number`.
fn prime_from(number: usize) -> usize {
    let is_prime = |n: &usize| {
        (2..)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    (number.max(2)..).find(is_prime).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::table::{Algorithm, Place, Table};

    fn weighing(weights: &[u32]) -> Vec<Place> {
        let place = |(endpoint, &weight): (u32, &u32)| Place {
            endpoint,
            identity: mix(u64::from(endpoint) + 1),
            weight,
        };
        (0u32..).zip(weights).map(place).collect()
    }

    /// How many entries each endpoint has, of how many.
    fn entries(weights: &[u32], size: u32) -> (Vec<u64>, f64) {
        let table = Table::compile(Algorithm::Maglev { size }, &weighing(weights));
        let size = prime_from((size as usize).max(weights.len())) as f64;
        let count = |(_, share): (u32, f64)| (share * size).round() as u64;
        (table.shares().into_iter().map(count).collect(), size)
    }

    #[test]
    fn equal_endpoints_have_equally_many_entries_give_or_take_one() {
        for count in [1, 2, 3, 7, 100, 999] {
            let (entries, _) = entries(&vec![1; count], 65_537);
            let (least, most) = (entries.iter().min(), entries.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{count} endpoints");
        }
    }

    #[test]
    fn entries_are_as_the_weights_to_within_two() {
        for weights in [
            &[1, 2, 3, 4, 5][..],
            &[1000, 1, 1, 500],
            &[7, 0, 3],
            &[999, 1000],
        ] {
            let (entries, size) = entries(weights, 65_537);
            let total = f64::from(weights.iter().sum::<u32>());
            for (&entries, &weight) in entries.iter().zip(weights) {
                let due = size * f64::from(weight) / total;
                assert!((entries as f64 - due).abs() < 2.0, "{entries} for {due}");
            }
        }
    }

    #[test]
    fn the_lightest_endpoint_has_an_entry() {
        let mut weights = [1000; 200];
        weights[17] = 1;
        assert!(entries(&weights, 1009).0[17] >= 1);
    }

    #[test]
    fn no_size_hangs_or_leaves_an_endpoint_out() {
        for size in [0, 1, 2, 4, 100, 255, 256] {
            for count in [1, 2, 3, 100, 300] {
                let (entries, total) = entries(&vec![1; count], size);
                assert!(entries.iter().all(|&entries| entries >= 1));
                assert_eq!(entries.iter().sum::<u64>() as f64, total);
            }
        }
    }

    #[test]
    fn sizes_grow_to_the_next_prime() {
        let primes = [
            (0, 2),
            (2, 2),
            (9, 11),
            (65_536, 65_537),
            (655_373, 655_373),
        ];
        assert!(
            primes
                .iter()
                .all(|&(from, prime)| prime_from(from) == prime)
        );
        assert_eq!(prime_from(MAX_SIZE), MAX_SIZE);
    }

    #[test]
    fn more_endpoints_than_a_narrow_entry_counts_are_told_apart() {
        let places = weighing(&vec![1; 70_000]);
        let table = Table::compile(Algorithm::Maglev { size: 70_001 }, &places);
        let last = table.shares().into_iter().filter(|&(_, share)| share > 0.0);
        assert_eq!(last.count(), 70_000);
    }
}
