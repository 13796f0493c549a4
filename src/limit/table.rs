//! Keys and one number for each, shared by all workers: found and changed without a lock, which only a new key takes.
//!
//! A key has its place in one of two sets of `WAYS` slots, so that a search looks at a few neighbours and no more, and
//! what is made room for never moves. There are twice as many slots as keys, with which both sets are hardly ever full.
//!
//! Why no change goes to the wrong key, though slots change hands: a slot is taken from a key only when its number is
//! idle, by first setting the number to `NOBODY` in one compare-and-swap. Whoever changes a number has read it, then the
//! key, and swaps only if the number is still the same. Numbers of a slot do not repeat from one owner to the next (each
//! owner begins behind all numbers that were cleared before), so the key that was read was still the owner.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Slots of a set.
const WAYS: usize = 8;
/// Keys that a set may hold before the other one is preferred.
const CROWDED: usize = WAYS / 2;
/// Slots that are looked through for an idle one to make room for a new key.
const SEARCHED: usize = 64;
/// The most parts of a table that are locked apart from each other.
const SHARDS: usize = 64;
/// The number of a slot without a key.
const NOBODY: u64 = u64::MAX;

/// Keys with their numbers.
#[derive(Debug)]
pub struct Table {
    shards: Box<[Shard]>,
    /// Sets of each shard: a power of two.
    sets: usize,
    /// Slots that have a key.
    used: AtomicUsize,
    /// For all keys that there is no room for.
    overflow: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    slots: OnceLock<Box<[Slot]>>,
    /// Held while keys come or go.
    hand: Mutex<Hand>,
}

#[derive(Debug, Default)]
struct Hand {
    /// Where the search for an idle slot goes on.
    at: usize,
    /// The largest number that was cleared.
    last: u64,
}

#[derive(Debug)]
struct Slot {
    high: AtomicU64,
    low: AtomicU64,
    number: AtomicU64,
}

/// Where a number stands that was changed, for as long as the key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    key: u128,
    /// `None`: in the one that is shared.
    slot: Option<(usize, usize)>,
}

/// What became of a change.
#[derive(Debug)]
pub struct Changed<R> {
    pub result: R,
    pub place: Place,
    /// An idle key was forgotten to make room.
    pub evicted: bool,
}

impl Place {
    /// Whether there was no room for the key, so that it shares with others.
    pub fn is_shared(&self) -> bool {
        self.slot.is_none()
    }
}

/// How numbers are made and when they may be forgotten.
pub trait Numbers {
    /// Of a key that was not known; it becomes larger than `last` with its first change.
    fn fresh(&self, last: u64) -> u64;
    /// Whether nothing is lost by forgetting it.
    fn is_idle(&self, number: u64) -> bool;
}

impl Table {
    /// With room for `keys`, of which the memory is taken as they come.
    pub fn new(keys: usize) -> Self {
        let slots = keys.saturating_mul(2).next_power_of_two().max(2 * WAYS);
        let shards = (slots / (8 * WAYS)).clamp(1, SHARDS);
        Self {
            sets: slots / shards / WAYS,
            shards: (0..shards).map(|_| Shard::default()).collect(),
            used: AtomicUsize::new(0),
            overflow: AtomicU64::new(0),
        }
    }

    /// Keys that it has room for.
    pub fn room(&self) -> usize {
        self.shards.len() * self.sets * WAYS / 2
    }

    /// Keys that are known, idle ones too.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Changes the number of a key as `step` says: it is told the number and whether others share it, and gives the new one, if
    /// it changes, and what comes of it. May call `step` again when others were faster. A key that is not known is made room for, up to `most` keys.
    pub fn change<R>(
        &self,
        key: u128,
        most: usize,
        numbers: &impl Numbers,
        mut step: impl FnMut(u64, bool) -> (Option<u64>, R),
    ) -> Changed<R> {
        let shard = self.shard(key);
        let mut own = |number| step(number, false);
        if let Some(changed) = self.change_known(key, shard, &mut own) {
            return changed;
        }
        let mut hand = self.shards[shard].lock();
        // Another may have brought it while the lock was waited for.
        if let Some(changed) = self.change_known(key, shard, &mut own) {
            return changed;
        }
        let Some((slot, evicted)) = self.make_room(key, shard, most, numbers, &mut hand) else {
            drop(hand);
            let result = swap(&self.overflow, &mut |number| step(number, true));
            let place = Place { key, slot: None };
            return Changed {
                result,
                place,
                evicted: false,
            };
        };
        let place = Place {
            key,
            slot: Some((shard, slot)),
        };
        let fresh = numbers.fresh(hand.last);
        let (new, result) = step(fresh, false);
        let slot = &self.slots(shard)[slot];
        slot.high.store((key >> 64) as u64, Ordering::Relaxed);
        slot.low.store(key as u64, Ordering::Relaxed);
        slot.number.store(new.unwrap_or(fresh), Ordering::Release);
        Changed {
            result,
            place,
            evicted,
        }
    }

    /// Changes a number that was changed before, unless its key was forgotten meanwhile.
    pub fn change_back(&self, place: Place, mut back: impl FnMut(u64) -> u64) {
        let mut step = |number| (Some(back(number)), ());
        match place.slot {
            None => swap(&self.overflow, &mut step),
            Some((shard, slot)) => {
                let _ = self.slots(shard)[slot].change(place.key, &mut step);
            }
        }
    }

    /// Forgets the idle keys of one part of the table, of which `turn` says which: a little of the work at a time.
    pub fn sweep(&self, turn: usize, numbers: &impl Numbers) {
        let shard = &self.shards[turn % self.shards.len()];
        let Some(slots) = shard.slots.get() else {
            return;
        };
        let mut hand = shard.lock();
        for slot in slots {
            if slot.clear(numbers, &mut hand.last) {
                self.used.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Every number.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        let slots = self.shards.iter().filter_map(|shard| shard.slots.get());
        let slots = slots.flat_map(|slots| slots.iter());
        let numbers = slots.map(|slot| slot.number.load(Ordering::Relaxed));
        numbers
            .filter(|number| *number != NOBODY)
            .chain(std::iter::once(self.overflow.load(Ordering::Relaxed)))
    }

    /// Takes over what another table knows, as far as there is room.
    pub fn take_over(&self, other: &Self, most: usize, numbers: &impl Numbers) {
        let slots = other.shards.iter().filter_map(|shard| shard.slots.get());
        for slot in slots.flat_map(|slots| slots.iter()) {
            let number = slot.number.load(Ordering::Acquire);
            if number != NOBODY && !numbers.is_idle(number) {
                let key = slot.key();
                self.change(key, most, numbers, |_, _| (Some(number), ()));
            }
        }
    }

    fn change_known<R>(
        &self,
        key: u128,
        shard: usize,
        step: &mut impl FnMut(u64) -> (Option<u64>, R),
    ) -> Option<Changed<R>> {
        let slots = self.shards[shard].slots.get()?;
        for set in self.sets_of(key) {
            for (way, slot) in slots[set * WAYS..][..WAYS].iter().enumerate() {
                if let Some(result) = slot.change(key, step) {
                    let place = Place {
                        key,
                        slot: Some((shard, set * WAYS + way)),
                    };
                    return Some(Changed {
                        result,
                        place,
                        evicted: false,
                    });
                }
            }
        }
        None
    }

    /// A slot without a key for this one, and whether another key had to go. The lock of the shard is held.
    fn make_room(
        &self,
        key: u128,
        shard: usize,
        most: usize,
        numbers: &impl Numbers,
        hand: &mut Hand,
    ) -> Option<(usize, bool)> {
        let slots = self.slots(shard);
        let own = self.ways_of(key);
        let mut evicted = false;
        if !self.reserve(most) {
            let near = (0..SEARCHED).map(|step| (hand.at + step) % slots.len());
            let oldest = oldest_idle(slots, near.chain(own), numbers);
            hand.at = (hand.at + SEARCHED) % slots.len();
            if !slots[oldest?].clear(numbers, &mut hand.last) {
                return None;
            }
            evicted = true;
        }
        let free = |set: usize| {
            let ways = (set * WAYS..).zip(&slots[set * WAYS..][..WAYS]);
            let free = ways.filter(|(_, slot)| slot.is_free());
            (free.clone().count(), free.map(|(slot, _)| slot).next())
        };
        let [first, second] = self.sets_of(key).map(free);
        let roomier = if first.0 > CROWDED || first.0 >= second.0 {
            first.1
        } else {
            second.1
        };
        if let Some(slot) = roomier {
            return Some((slot, evicted));
        }
        // Both sets are full, whatever room there is elsewhere.
        self.used.fetch_sub(1, Ordering::Relaxed);
        let oldest = oldest_idle(slots, own, numbers)?;
        let is_cleared = slots[oldest].clear(numbers, &mut hand.last);
        is_cleared.then_some((oldest, true))
    }

    /// Counts one key more, unless there are as many as may be.
    fn reserve(&self, most: usize) -> bool {
        let more = |used| (used < most).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn shard(&self, key: u128) -> usize {
        key as usize & (self.shards.len() - 1)
    }

    /// The two sets of a key within its shard.
    fn sets_of(&self, key: u128) -> [usize; 2] {
        let first = (key >> 64) as usize & (self.sets - 1);
        let second = (key >> 96) as usize & (self.sets - 1);
        // Two different ones, where there are two.
        let second = if second == first {
            second ^ (1 & (self.sets - 1))
        } else {
            second
        };
        [first, second]
    }

    fn ways_of(&self, key: u128) -> [usize; 2 * WAYS] {
        let [first, second] = self.sets_of(key);
        std::array::from_fn(|way| match way.checked_sub(WAYS) {
            None => first * WAYS + way,
            Some(way) => second * WAYS + way,
        })
    }

    fn slots(&self, shard: usize) -> &[Slot] {
        let make = || (0..self.sets * WAYS).map(|_| Slot::free()).collect();
        self.shards[shard].slots.get_or_init(make)
    }
}

impl Slot {
    const fn free() -> Self {
        Self {
            high: AtomicU64::new(0),
            low: AtomicU64::new(0),
            number: AtomicU64::new(NOBODY),
        }
    }

    fn key(&self) -> u128 {
        let high = self.high.load(Ordering::Relaxed);
        let low = self.low.load(Ordering::Relaxed);
        u128::from(high) << 64 | u128::from(low)
    }

    fn is_free(&self) -> bool {
        self.number.load(Ordering::Relaxed) == NOBODY
    }

    /// `None` when it belongs to another key, or to none.
    fn change<R>(&self, key: u128, step: &mut impl FnMut(u64) -> (Option<u64>, R)) -> Option<R> {
        if self.low.load(Ordering::Relaxed) != key as u64 {
            return None;
        }
        loop {
            // The number before the key: see the top.
            let number = self.number.load(Ordering::Acquire);
            if number == NOBODY || self.key() != key {
                return None;
            }
            let (new, result) = step(number);
            let Some(new) = new else {
                return Some(result);
            };
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            if self
                .number
                .compare_exchange_weak(number, new, order.0, order.1)
                .is_ok()
            {
                return Some(result);
            }
        }
    }

    /// The number of a key that may be forgotten.
    fn idle(&self, numbers: &impl Numbers) -> Option<u64> {
        let number = self.number.load(Ordering::Relaxed);
        (number != NOBODY && numbers.is_idle(number)).then_some(number)
    }

    /// Takes an idle key out, unless it is asked for at this moment. The lock of the shard is held.
    fn clear(&self, numbers: &impl Numbers, last: &mut u64) -> bool {
        let Some(number) = self.idle(numbers) else {
            return false;
        };
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let is_cleared = self
            .number
            .compare_exchange(number, NOBODY, order.0, order.1)
            .is_ok();
        if is_cleared {
            *last = number.max(*last);
        }
        is_cleared
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot whose key was not asked for the longest, of those that may be forgotten.
fn oldest_idle(
    slots: &[Slot],
    some: impl IntoIterator<Item = usize>,
    numbers: &impl Numbers,
) -> Option<usize> {
    let idle = some
        .into_iter()
        .filter_map(|slot| Some((slots[slot].idle(numbers)?, slot)));
    idle.min().map(|(_, slot)| slot)
}

/// Changes a number that is always there.
fn swap<R>(number: &AtomicU64, step: &mut impl FnMut(u64) -> (Option<u64>, R)) -> R {
    let mut known = number.load(Ordering::Acquire);
    loop {
        let (new, result) = step(known);
        let Some(new) = new else { return result };
        match number.compare_exchange_weak(known, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return result,
            Err(other) => known = other,
        }
    }
}
