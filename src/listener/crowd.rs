//! How many connections each address has open: a count that comes with the first and goes with the last of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// So that workers that accept at the same time seldom wait for each other.
const SHARDS: usize = 16;

/// Counts connections by address. Holds no more addresses than there are connections.
#[derive(Debug, Default)]
pub struct Crowd {
    /// Seeded by chance, so that nobody can choose addresses that meet in one place.
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

impl Crowd {
    /// A place for one more connection of `address`, unless it has `cap`.
    pub fn enter(self: &Arc<Self>, address: IpAddr, cap: usize) -> Option<Place> {
        let mut counts = self.shard(&address);
        let count = counts.entry(address).or_insert(0);
        if *count >= cap {
            if *count == 0 {
                counts.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(Place {
            crowd: Arc::clone(self),
            address,
        })
    }

    /// Addresses that have connections now.
    pub fn addresses(&self) -> usize {
        let each = self.shards.iter();
        each.map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    fn shard(&self, address: &IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        let index = self.hasher.hash_one(address) as usize % SHARDS;
        // Nothing in a critical section can panic half way.
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection of an address while it is held.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.shard(&self.address);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
                // What a flood of addresses made of it is not kept for ever.
                if counts.capacity() > 64 && counts.len() < counts.capacity() / 8 {
                    counts.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_address_has_as_many_places_as_the_cap_says() {
        let crowd = Arc::<Crowd>::default();
        let first = crowd.enter(address(1), 2);
        let _second = crowd.enter(address(1), 2).unwrap();
        assert!(crowd.enter(address(1), 2).is_none());
        let _other = crowd.enter(address(2), 2).unwrap();
        assert_eq!(crowd.addresses(), 2);
        drop(first);
        let _third = crowd.enter(address(1), 2).unwrap();
        assert!(crowd.enter(address(1), 2).is_none());
    }

    proptest! {
        #[test]
        fn counts_are_exact_and_return_to_zero(steps in proptest::collection::vec((any::<bool>(), 0_u8..6, 1_usize..4), 0..200)) {
            let crowd = Arc::<Crowd>::default();
            let mut held: Vec<Place> = Vec::new();
            for (enters, last, cap) in steps {
                let of = |held: &[Place]| held.iter().filter(|place| place.address == address(last)).count();
                if enters {
                    let before = of(&held);
                    let place = crowd.enter(address(last), cap);
                    prop_assert_eq!(place.is_some(), before < cap);
                    held.extend(place);
                } else if !held.is_empty() {
                    let at = usize::from(last) % held.len();
                    held.swap_remove(at);
                }
                let known: std::collections::HashSet<_> = held.iter().map(|place| place.address).collect();
                prop_assert_eq!(crowd.addresses(), known.len());
            }
            held.clear();
            prop_assert_eq!(crowd.addresses(), 0);
        }
    }

    #[test]
    fn several_threads_leave_nothing_behind() {
        let crowd = Arc::<Crowd>::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let crowd = &crowd;
                scope.spawn(move || {
                    for round in 0..2000_u32 {
                        let own = address(thread.wrapping_add(round as u8 % 3));
                        let places = [crowd.enter(own, 3), crowd.enter(own, 3)];
                        drop(places);
                    }
                });
            }
        });
        assert_eq!(crowd.addresses(), 0);
    }
}
