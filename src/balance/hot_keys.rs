//! Which keys are asked for most: the heaviest of a stream in constant space, by space-saving
//! (Metwally, Agrawal, El Abbadi 2005).
//!
//! So many slots count keys exactly as there are. A key that has none takes that of the least count and
//! goes on from there, since it may have been noted as often before; by how much it may be too high is
//! kept as its error. Of `n` keys noted over `k` slots holds, whatever their order:
//!
//! 1. what a key was noted is at most its count, and at least its count less its error;
//! 2. no error is above `n / k`;
//! 3. every key noted more than `n / k` times has a slot.
//!
//! [`HotKeys::merge`] keeps all three for the sum of two workers' keys. What it cannot know is added on
//! the safe side: a key that one of them has no slot for may have been noted there as often as its least
//! count (Agarwal et al., Mergeable Summaries, 2012; Cafaro et al. 2016). [`HotKeys::age`] keeps 1 and 3
//! for a past of which each key counts half, rounded down; the rounding can lift an error above 2, by no
//! more than two for each sketch that went in.
//!
//! Not here: which endpoint a key belongs to, and when a minute is over.

use super::key::{Key, Text};

/// A sketch of one worker and upstream, or of several.
#[derive(Debug, Clone)]
pub struct HotKeys {
    slots: usize,
    /// The three go together, slot by slot; apart, because most notes scan hashes alone.
    hashes: Vec<u64>,
    counts: Vec<u64>,
    details: Vec<Detail>,
    noted: u64,
    /// No count is below it, and none of a slot before `hand` equals it. So the slot to be taken next
    /// is found in one or two steps from where the last was, instead of a scan of all.
    least: u64,
    hand: usize,
}

#[derive(Debug, Clone, Copy)]
struct Detail {
    text: Option<Text>,
    error: u64,
    spilled: u64,
}

/// A key that is asked for often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hot {
    /// As in [`Key::hash`].
    pub hash: u64,
    /// As in [`Key::text`]: `None` where the value may be a secret.
    pub text: Option<Text>,
    /// How often it was noted, or up to `error` less.
    pub count: u64,
    /// How far the count may be too high.
    pub error: u64,
    /// How often bounded load moved it to another endpoint than its own, since it has its slot.
    pub spilled: u64,
}

impl Default for HotKeys {
    fn default() -> Self {
        Self::new(64)
    }
}

impl HotKeys {
    /// For this many keys, at least one.
    pub fn new(slots: usize) -> Self {
        let slots = slots.max(1);
        Self {
            slots,
            hashes: Vec::with_capacity(slots),
            counts: Vec::with_capacity(slots),
            details: Vec::with_capacity(slots),
            noted: 0,
            least: 0,
            hand: 0,
        }
    }

    /// A request came with this key; `spilled`: bounded load moved it away from the key's endpoint.
    pub fn note(&mut self, key: &Key, spilled: bool) {
        self.noted += 1;
        let slot = match place(&self.hashes, key.hash) {
            Some(slot) => slot,
            None => self.make_room(key),
        };
        self.counts[slot] += 1;
        self.details[slot].spilled += u64::from(spilled);
    }

    /// How many keys were noted, those included that have no slot; what shares are of.
    pub fn noted(&self) -> u64 {
        self.noted
    }

    /// The `most` keys of the highest counts, the highest first.
    pub fn top(&self, most: usize) -> Vec<Hot> {
        let mut all: Vec<Hot> = self.all().collect();
        sort(&mut all);
        all.truncate(most);
        all
    }

    /// Adds what another worker noted. With unequal numbers of slots the smaller is left, and its `k`
    /// counts for the bounds.
    pub fn merge(&mut self, other: &Self) {
        let (unseen_here, unseen_there) = (self.unseen(), other.unseen());
        let mut all: Vec<Hot> = self.all().collect();
        for hot in &mut all {
            let there = place(&other.hashes, hot.hash).map(|slot| other.hot(slot));
            hot.count += there.map_or(unseen_there, |there| there.count);
            hot.error += there.map_or(unseen_there, |there| there.error);
            hot.spilled += there.map_or(0, |there| there.spilled);
        }
        let only_there = other
            .all()
            .filter(|hot| place(&self.hashes, hot.hash).is_none());
        all.extend(only_there.map(|hot| Hot {
            count: hot.count + unseen_here,
            error: hot.error + unseen_here,
            ..hot
        }));
        sort(&mut all);
        self.slots = self.slots.min(other.slots);
        self.noted += other.noted;
        self.replace(all.into_iter().take(self.slots));
    }

    /// Halves all that was noted so far, each key rounded down, so that what is hot now comes up; a key
    /// of which nothing is left gives its slot back.
    pub fn age(&mut self) {
        let half = |hot: Hot| {
            let count = hot.count / 2;
            let surely = (hot.count - hot.error) / 2;
            Hot {
                count,
                error: count - surely,
                spilled: hot.spilled / 2,
                ..hot
            }
        };
        let halves: Vec<Hot> = self.all().map(half).filter(|hot| hot.count > 0).collect();
        self.noted /= 2;
        self.replace(halves.into_iter());
    }

    /// A slot for a key that has none, which counts what the key may have been noted before.
    fn make_room(&mut self, key: &Key) -> usize {
        let (hash, text) = (key.hash, key.text);
        if self.hashes.len() < self.slots {
            self.hashes.push(hash);
            self.counts.push(0);
            self.details.push(Detail {
                text,
                error: 0,
                spilled: 0,
            });
            // A count below those that `least` is of.
            (self.least, self.hand) = (0, 0);
            return self.hashes.len() - 1;
        }
        let slot = self.least_slot();
        self.hashes[slot] = hash;
        self.details[slot] = Detail {
            text,
            error: self.least,
            spilled: 0,
        };
        slot
    }

    /// A slot of the least count. Counts only grow between two calls, so a turn of the hand serves as
    /// many calls as there are slots of that count, and each call costs a step or two on average.
    fn least_slot(&mut self) -> usize {
        loop {
            while let Some(&count) = self.counts.get(self.hand) {
                if count == self.least {
                    return self.hand;
                }
                self.hand += 1;
            }
            self.least = self.counts.iter().copied().min().unwrap_or(0);
            self.hand = 0;
        }
    }

    /// How often a key without a slot may have been noted.
    fn unseen(&self) -> u64 {
        if self.hashes.len() < self.slots {
            0
        } else {
            self.counts.iter().copied().min().unwrap_or(0)
        }
    }

    fn hot(&self, slot: usize) -> Hot {
        let Detail {
            text,
            error,
            spilled,
        } = self.details[slot];
        Hot {
            hash: self.hashes[slot],
            text,
            count: self.counts[slot],
            error,
            spilled,
        }
    }

    fn all(&self) -> impl Iterator<Item = Hot> {
        (0..self.hashes.len()).map(|slot| self.hot(slot))
    }

    fn replace(&mut self, all: impl Iterator<Item = Hot>) {
        self.hashes.clear();
        self.counts.clear();
        self.details.clear();
        for hot in all {
            self.hashes.push(hot.hash);
            self.counts.push(hot.count);
            self.details.push(Detail {
                text: hot.text,
                error: hot.error,
                spilled: hot.spilled,
            });
        }
        (self.least, self.hand) = (0, 0);
    }
}

/// The highest count first; of equal ones that which is surer, then by hash, so that the order is the
/// same at every look.
fn sort(all: &mut [Hot]) {
    all.sort_unstable_by_key(|hot| (std::cmp::Reverse(hot.count), hot.error, hot.hash));
}

/// Where a hash stands. Chunks of a fixed size are compared at once, which a search that ends at the
/// first match is not.
fn place(hashes: &[u64], hash: u64) -> Option<usize> {
    let (chunks, rest) = hashes.as_chunks::<16>();
    for (number, chunk) in chunks.iter().enumerate() {
        if chunk
            .iter()
            .fold(false, |found, &other| found | (other == hash))
        {
            let within = chunk.iter().position(|&other| other == hash)?;
            return Some(number * 16 + within);
        }
    }
    let within = rest.iter().position(|&other| other == hash)?;
    Some(chunks.len() * 16 + within)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;
    use crate::entropy::Random;

    fn key(hash: u64) -> Key {
        Key { hash, text: None }
    }

    /// A sketch and what is true of it.
    struct Watched {
        sketch: HotKeys,
        truth: HashMap<u64, u64>,
    }

    impl Watched {
        fn new(slots: usize) -> Self {
            let (sketch, truth) = (HotKeys::new(slots), HashMap::new());
            Self { sketch, truth }
        }

        fn of(slots: usize, keys: impl IntoIterator<Item = u64>) -> Self {
            let mut watched = Self::new(slots);
            for hash in keys {
                watched.note(hash);
            }
            watched
        }

        fn note(&mut self, hash: u64) {
            self.sketch.note(&key(hash), false);
            *self.truth.entry(hash).or_default() += 1;
        }

        fn age(&mut self) {
            self.sketch.age();
            self.truth.values_mut().for_each(|count| *count /= 2);
        }

        fn merge(&mut self, other: &Self) {
            self.sketch.merge(&other.sketch);
            for (&hash, count) in &other.truth {
                *self.truth.entry(hash).or_default() += count;
            }
        }

        /// The guarantees of the module, with `slack` for rounding in the second.
        fn check(&self, slack: u64) {
            let (noted, slots) = (self.sketch.noted(), self.sketch.slots as u64);
            let top = self.sketch.top(usize::MAX);
            assert!(top.len() <= self.sketch.slots);
            assert!(top.is_sorted_by(|a, b| a.count >= b.count));
            for hot in &top {
                let truth = self.truth.get(&hot.hash).copied().unwrap_or(0);
                assert!(hot.count - hot.error <= truth, "{hot:?} of {truth}");
                assert!(truth <= hot.count, "{hot:?} of {truth}");
                assert!(hot.error <= noted / slots + slack, "{hot:?} of {noted}");
            }
            for (hash, &truth) in &self.truth {
                let is_there = top.iter().any(|hot| hot.hash == *hash);
                assert!(is_there || truth * slots <= noted, "{hash} of {truth}");
            }
        }
    }

    /// Ranks from 0, the first most often: rank `r` in proportion to `1 / (r + 1)`.
    fn zipf(keys: usize, length: usize, seed: u64) -> Vec<u64> {
        let mut through = 0.0;
        let shares: Vec<f64> = (1..=keys)
            .map(|rank| {
                through += 1.0 / rank as f64;
                through
            })
            .collect();
        let mut random = Random::seeded(seed);
        (0..length)
            .map(|_| {
                let ticket = random.unit() * through;
                shares.partition_point(|&share| share <= ticket) as u64
            })
            .collect()
    }

    #[test]
    fn counts_exactly_while_there_are_slots() {
        let mut sketch = HotKeys::new(20);
        for hash in 0..20 {
            for turn in 0..=hash {
                sketch.note(&key(hash), turn % 2 == 1);
            }
        }
        let expected = (0..20).rev().map(|hash| Hot {
            hash,
            text: None,
            count: hash + 1,
            error: 0,
            spilled: hash.div_ceil(2),
        });
        assert_eq!(sketch.top(64), expected.collect::<Vec<_>>());
        assert_eq!(sketch.top(2).len(), 2);
        assert_eq!(sketch.noted(), 210);
    }

    #[test]
    fn a_newcomer_takes_the_least_slot_with_its_count_as_error() {
        let mut sketch = Watched::of(2, [1, 1, 2, 2, 2]).sketch;
        sketch.note(&key(1), true);
        sketch.note(&key(1), true);
        sketch.note(&key(3), true);
        let hot = |hash, count, error, spilled| Hot {
            hash,
            text: None,
            count,
            error,
            spilled,
        };
        assert_eq!(sketch.top(2), [hot(1, 4, 0, 2), hot(3, 4, 3, 1)]);
    }

    #[test]
    fn keeps_its_guarantees_on_skewed_keys() {
        let mut watched = Watched::of(64, zipf(2_000, 10_000, 1));
        watched.check(0);
        // The heaviest of a Zipf law stand out enough to be in order.
        let top: Vec<u64> = watched.sketch.top(4).iter().map(|hot| hot.hash).collect();
        assert_eq!(top, [0, 1, 2, 3]);
        watched.age();
        watched.check(2);
        let other = Watched::of(64, zipf(2_000, 10_000, 2).iter().map(|rank| rank * 7));
        watched.merge(&other);
        watched.check(2);
    }

    #[test]
    fn keeps_its_guarantees_on_streams_made_to_break_it() {
        // One key more than there are slots, in turn: each is thrown out before it comes again.
        Watched::of(8, (0..900).map(|i| i % 9)).check(0);
        // A heavy key, then a flood of keys that come once; and the flood first.
        Watched::of(8, (0..900).map(|i| if i < 101 { 0 } else { i })).check(0);
        Watched::of(8, (0..900).map(|i| if i >= 799 { 0 } else { i + 1 })).check(0);
        // As many keys as slots by turns with newcomers.
        Watched::of(8, (0..900).map(|i| if i % 9 < 8 { i % 9 } else { i })).check(0);
    }

    #[test]
    fn what_is_hot_now_comes_up_and_what_was_goes() {
        let mut sketch = Watched::of(4, [1; 64]).sketch;
        for minute in 0..8 {
            sketch.age();
            for _ in 0..10 {
                sketch.note(&key(2), false);
            }
            let hottest = sketch.top(1)[0].hash;
            assert_eq!(hottest, if minute < 2 { 1 } else { 2 }, "{minute}");
        }
        assert_eq!(sketch.top(4).len(), 1);
        assert_eq!(sketch.top(1)[0].count, 19);
    }

    #[test]
    fn text_follows_its_key() {
        struct Path(&'static [u8]);
        impl crate::asked::Asked for Path {
            fn client_ip(&self) -> Option<std::net::IpAddr> {
                None
            }
            fn host(&self) -> Option<&[u8]> {
                None
            }
            fn path(&self) -> &[u8] {
                self.0
            }
            fn query(&self) -> Option<&[u8]> {
                None
            }
            fn each_header(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
        }
        let by_path = |path| super::super::HashKey::Path.of(&Path(path)).unwrap();
        let (mut one, mut other) = (HotKeys::new(1), HotKeys::default());
        one.note(&by_path(b"/a"), false);
        one.note(&by_path(b"/b"), false);
        other.note(&by_path(b"/b"), false);
        other.note(&key(1), false);
        let texts = |sketch: &HotKeys| -> Vec<Option<String>> {
            let shown = |hot: &Hot| hot.text.map(|text| text.to_string());
            sketch.top(9).iter().map(shown).collect()
        };
        assert_eq!(texts(&one), [Some("/b".to_owned())]);
        other.merge(&one);
        assert_eq!(texts(&other), [Some("/b".to_owned())]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Each worker's steps: a key, or with 0 a minute that is over.
        #[test]
        fn keeps_its_guarantees_over_ageing_and_merging(
            slots in prop::collection::vec(1usize..24, 3),
            workers in prop::collection::vec(prop::collection::vec(0u64..40, 0..200), 3),
            skew in 1u32..4,
            later in prop::collection::vec(1u64..40, 0..60),
        ) {
            let mut all: Option<Watched> = None;
            for (slots, steps) in slots.into_iter().zip(workers) {
                let mut watched = Watched::new(slots);
                for step in steps {
                    match step {
                        0 => watched.age(),
                        step => watched.note(step.pow(skew) / 40u64.pow(skew - 1)),
                    }
                    watched.check(2);
                }
                match &mut all {
                    None => all = Some(watched),
                    Some(all) => all.merge(&watched),
                }
            }
            let mut all = all.unwrap();
            all.check(6);
            later.into_iter().for_each(|key| all.note(key));
            all.check(6);
            all.age();
            all.check(6);
        }
    }

    #[test]
    #[ignore = "measures time: run in release with --nocapture"]
    fn shows_what_a_note_costs() {
        // Hashes as keys have them, so that nothing is won by order.
        let hashed = |rank: u64| key(xxhash_rust::xxh3::xxh3_64(&rank.to_le_bytes()));
        let streams = [
            ("Zipf(1.0) over 100 k keys", zipf(100_000, 1 << 20, 1)),
            ("Zipf(1.0) over 64 keys", zipf(64, 1 << 20, 1)),
            ("each key once", (0..1 << 20).collect()),
            ("65 keys in turn", (0..1 << 20).map(|i| i % 65).collect()),
        ];
        for (name, ranks) in streams {
            let keys: Vec<Key> = ranks.into_iter().map(hashed).collect();
            let clock = Clock::system();
            let mut spans: Vec<f64> = (0..9)
                .map(|_| {
                    let mut sketch = HotKeys::default();
                    let start = clock.now();
                    keys.iter().for_each(|key| sketch.note(key, false));
                    let span = clock.now().since(start).as_nanos() as f64 / keys.len() as f64;
                    assert_eq!(sketch.noted(), keys.len() as u64);
                    span
                })
                .collect();
            spans.sort_by(f64::total_cmp);
            eprintln!("{name}: {:.1} ns a note (best {:.1})", spans[4], spans[0]);
        }
    }
}
