//! Prequal (Wydrowski et al., "Load is not what you should balance", NSDI 2024): of those that have no more in flight than
//! most, the one that answers fastest.
//!
//! The paper's clients ask servers by probes for what they have in flight and how long they take at that load, and choose
//! from a pool of answers. Here both are known without asking: what this proxy has in flight, and its own latencies by load.
//! An upstream of no more endpoints than the pool holds is read whole at each pick, so nothing is stale. Of a larger one a
//! few are read at each pick and kept, by the rules of the paper's section 4.3:
//!
//! - `probes` endpoints are drawn for each pick; an endpoint stands in the pool once, with its newest reading.
//! - A reading goes when it is a second old, when it was used as often as
//!   `max(1, (1 + δ) / ((1 - m / n) · probes - 1))` allows, δ = 1, rounded by chance, and one at each pick, in turn the oldest
//!   and the worst: the hot one with the most in flight, else the cold one with the highest latency.
//! - Attempts placed from here are added to what was read.
//! - With fewer than two readings the pick is by chance.
//!
//! **Hot** is what has more in flight than the `q_rif` quantile of the pool (of a large upstream as it stood up to seven
//! picks ago, which saves a good part of the cost). If any is cold, the cold one with the lowest
//! latency is taken; else the one with the least in flight. In flight means the [`View::burden`], so that weights, slow
//! start and failures count as everywhere.
//!
//! Whoever is not sent anything is not heard of, and latencies grow old. So **an endpoint of which none is known is tried,
//! with one attempt at a time**: it counts as the fastest of the pool as long as it is idle, and as the slowest while it owes an answer.

use super::{Decision, Live, Note, Picked, Reason, View, random as by_chance};
use crate::clock::Instant;
use crate::entropy::Random;
use std::time::Duration;

/// The most that a pool can hold.
pub const MOST: usize = 64;
/// The most endpoints that are read for one pick.
pub const PROBES: usize = 16;
/// How long a reading counts.
const AGE: Duration = Duration::from_secs(1);
/// The paper's δ: by how much readings come in faster than they go.
const DELTA: f64 = 1.0;

/// The options of the policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// From 0, where all are hot and the least loaded is taken, to 1, where the latency alone decides.
    pub q_rif: f64,
    /// Readings kept: 2 to [`MOST`].
    pub pool: usize,
    /// Endpoints read for each pick: 1 to [`PROBES`].
    pub probes: usize,
}

/// What one worker has read: a ring of readings in the order in which they were taken, with gaps where one has gone. Kept
/// field by field, so that a pass over one field is a handful of instructions. Passes are made in the width in which the
/// field is written and without branches on what was read: a wider load waits for the writes of the same pick, and what was
/// read cannot be foreseen; either cost more than all the rest.
#[derive(Debug)]
pub(super) struct Pool {
    /// Of the membership whose indices the readings hold.
    fingerprint: u64,
    /// The places that are no gaps, one bit each.
    held: u64,
    /// Places that are in use, gaps included.
    size: usize,
    /// Where the next reading is written: the oldest stands here, if it is no gap.
    next: usize,
    /// Of a gap what stood there before.
    endpoints: [u32; MOST],
    /// Where the reading of each endpoint stands; [`NOWHERE`]: there is none. Empty where all are read at each pick.
    places: Vec<u8>,
    /// [`Pool::rank`] of each place, [`GAP`] in a gap.
    ranks: [u64; MOST],
    /// The burden when it was read, and our own attempts since; 0 in a gap.
    burdens: [f32; MOST],
    /// By how much one more attempt raises the burden.
    steps: [f32; MOST],
    /// Nanoseconds; guessed where none is known.
    latencies: [f32; MOST],
    /// A reading of this pick has no latency yet.
    is_to_guess: bool,
    uses: [u32; MOST],
    at: [Instant; MOST],
    /// How often a reading may be used, for the membership of the fingerprint.
    reuse: f64,
    /// Above it a burden is hot.
    threshold: f32,
    /// Picks until it is computed anew.
    until_threshold: u32,
    /// Whether the next to go is the oldest, else the worst.
    oldest_next: bool,
}

/// Stand for the latency of a reading that has none, idle or not, until it is guessed.
const UNTRIED: f32 = -1.0;
const OWES_ANSWER: f32 = -2.0;
/// The rank of a gap.
const GAP: u64 = u64::MAX;
/// The place of an endpoint that was not read.
const NOWHERE: u8 = u8::MAX;
/// The bits of a rank that hold the place.
const PLACE: u64 = MOST as u64 - 1;
/// Picks for which a threshold holds.
const THRESHOLD_HOLDS: u32 = 8;

impl Default for Pool {
    fn default() -> Self {
        Self {
            fingerprint: 0,
            held: 0,
            size: 0,
            next: 0,
            endpoints: [0; MOST],
            places: Vec::new(),
            ranks: [GAP; MOST],
            burdens: [0.0; MOST],
            steps: [0.0; MOST],
            latencies: [0.0; MOST],
            is_to_guess: false,
            uses: [0; MOST],
            at: [Instant::default(); MOST],
            reuse: 1.0,
            threshold: 0.0,
            until_threshold: 0,
            oldest_next: false,
        }
    }
}

pub(super) fn pick<L: Live>(
    rules: &Rules,
    pool: &mut Pool,
    view: &View<'_, L>,
    random: &mut Random,
    mut explain: Option<&mut Decision>,
) -> Option<Picked> {
    let by = Reason::Policy;
    let count = view.members.candidates().len();
    if count <= rules.capacity() {
        pool.read_all(rules, view);
        pool.tell(view, explain);
        let place = pool.one_of_bests(random)?;
        let endpoint = pool.endpoints[place] as usize;
        return Some(Picked { endpoint, by });
    }
    pool.prepare(rules, view, random);
    while pool.has_two() {
        pool.tell(view, explain.as_deref_mut());
        // Where a reading stands is chance already.
        let place = pool.best()?;
        let endpoint = pool.endpoints[place] as usize;
        // Asked of the winner alone: it means another look at live numbers.
        if view.free(endpoint) {
            pool.used(place, random);
            pool.remove_one();
            return Some(Picked { endpoint, by });
        }
        pool.remove(place);
    }
    let by = Reason::ScanAfterMisses;
    by_chance::pick(view, random, explain).map(|picked| Picked { by, ..picked })
}

impl Rules {
    fn capacity(&self) -> usize {
        self.pool.min(MOST)
    }

    /// How often a reading may be used with so many endpoints. Infinite where readings go faster than they come, which
    /// leaves age and removal.
    pub(super) fn reuse(&self, endpoints: usize) -> f64 {
        let share = self.pool as f64 / endpoints as f64;
        let surplus = (1.0 - share) * self.probes as f64 - 1.0;
        if surplus <= 0.0 {
            return f64::INFINITY;
        }
        ((1.0 + DELTA) / surplus).max(1.0)
    }
}

/// An endpoint as it is now.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    endpoint: u32,
    burden: f32,
    step: f32,
    latency: f32,
}

impl Reading {
    #[inline]
    fn of<L: Live>(endpoint: usize, view: &View<'_, L>) -> Self {
        let signals = view.live.signals(endpoint);
        let charge = signals.charge();
        let load = signals.load(view.live.now());
        let unknown = if load == 0 { UNTRIED } else { OWES_ANSWER };
        let latency = signals.by_load.at(load);
        let weight = view.members.weight_of_candidate(endpoint) as f32 * charge.factor;
        let burden = load as f32 + charge.ghosts + 1.0;
        // Most weigh 1, and a division costs more than to see that. It is divided, not multiplied by the step, so that equal
        // fractions are equal here too.
        let (burden, step) = if weight == 1.0 {
            (burden, 1.0)
        } else {
            (burden / weight, weight.recip())
        };
        Self {
            endpoint: endpoint as u32,
            burden,
            step,
            latency: latency.map_or(unknown, |nanos| nanos as f32),
        }
    }
}

impl Pool {
    /// Whether there are two readings at least.
    fn has_two(&self) -> bool {
        self.held & self.held.wrapping_sub(1) != 0
    }

    /// Every candidate, as it is now.
    fn read_all<L: Live>(&mut self, rules: &Rules, view: &View<'_, L>) {
        self.clear(view.members.fingerprint(), 0);
        for &i in view.members.candidates() {
            if view.free(i as usize) {
                self.write(&Reading::of(i as usize, view), view.live.now());
                self.next += 1;
            }
        }
        self.guess();
        self.set_threshold(rules);
    }

    /// Forgets everything, and makes room for so many endpoints.
    fn clear(&mut self, fingerprint: u64, endpoints: usize) {
        self.ranks.fill(GAP);
        self.burdens.fill(0.0);
        self.places.clear();
        self.places.resize(endpoints, NOWHERE);
        self.fingerprint = fingerprint;
        (self.held, self.size, self.next) = (0, 0, 0);
        self.until_threshold = 0;
    }

    /// Of whom readings are kept.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> impl Iterator<Item = usize> {
        each(self.held).map(|place| self.endpoints[place] as usize)
    }

    /// Drops what is old or of another membership, and reads a few endpoints anew.
    fn prepare<L: Live>(&mut self, rules: &Rules, view: &View<'_, L>, random: &mut Random) {
        let capacity = rules.capacity();
        let endpoints = view.members.len();
        let is_strange = self.fingerprint != view.members.fingerprint();
        if is_strange || self.size > capacity || self.places.len() != endpoints {
            self.clear(view.members.fingerprint(), endpoints);
            self.reuse = rules.reuse(view.members.candidates().len());
        }
        self.expire(view.live.now());
        // All are read before any is written down: their cache lines come at the same time.
        let mut readings = [Reading::default(); PROBES];
        let readings = &mut readings[..rules.probes.min(PROBES)];
        for reading in &mut *readings {
            *reading = Reading::of(view.members.sample(random), view);
        }
        for reading in readings {
            let endpoint = reading.endpoint as usize;
            let place = usize::from(self.places[endpoint]);
            if place < MOST {
                self.remove(place);
            }
            self.overwrite();
            self.write(reading, view.live.now());
            self.places[endpoint] = self.next as u8;
            self.next = if self.next + 1 < capacity {
                self.next + 1
            } else {
                0
            };
        }
        self.guess();
        if self.until_threshold == 0 {
            self.set_threshold(rules);
            self.until_threshold = THRESHOLD_HOLDS;
        }
        self.until_threshold -= 1;
    }

    /// Where steady picks replace all readings in no time, nothing is ever too old.
    fn expire(&mut self, now: Instant) {
        // The times of gaps stand too, in the same order.
        if now.since(self.at[self.next]) <= AGE {
            return;
        }
        while let Some(place) = self.oldest() {
            if now.since(self.at[place]) <= AGE {
                return;
            }
            self.remove(place);
        }
    }

    /// Where the oldest reading stands: the first from the next place on, around the ring.
    fn oldest(&self) -> Option<usize> {
        let ahead = first(self.held.rotate_right(self.next as u32))?;
        Some((ahead + self.next) % MOST)
    }

    /// Forgets who stands at the next place. Of a gap nobody can foresee whether it is one, and it is not asked: who stood
    /// there stands elsewhere now, or nowhere.
    fn overwrite(&mut self) {
        if let Some(place) = self.places.get_mut(self.endpoints[self.next] as usize) {
            let is_here = usize::from(*place) == self.next;
            *place |= u8::from(is_here).wrapping_neg();
        }
    }

    /// Writes a new reading to the next place.
    fn write(&mut self, reading: &Reading, now: Instant) {
        let place = self.next;
        self.endpoints[place] = reading.endpoint;
        self.burdens[place] = reading.burden;
        self.steps[place] = reading.step;
        self.latencies[place] = reading.latency;
        self.is_to_guess |= reading.latency < 0.0;
        self.uses[place] = 0;
        self.at[place] = now;
        self.size = self.size.max(place + 1);
        self.held |= 1 << place;
        self.ranks[place] = self.rank(place);
    }

    /// Gives a latency to the readings of this pick that have none.
    fn guess(&mut self) {
        if !std::mem::take(&mut self.is_to_guess) {
            return;
        }
        let (mut fastest, mut slowest) = (f32::INFINITY, 0f32);
        for place in each(self.held) {
            let latency = self.latencies[place];
            if latency >= 0.0 {
                (fastest, slowest) = (fastest.min(latency), slowest.max(latency));
            }
        }
        // Where none is known all are equal, and the load decides.
        fastest = fastest.min(slowest);
        for place in each(self.held) {
            let latency = &mut self.latencies[place];
            if *latency == UNTRIED {
                *latency = fastest;
            } else if *latency == OWES_ANSWER {
                *latency = slowest;
            }
        }
        self.rank_all();
    }

    fn set_threshold(&mut self, rules: &Rules) {
        self.threshold = self.quantile(rules.q_rif);
        self.rank_all();
    }

    /// The burden that is not exceeded by this part of the readings. Of a few too the one with the most in flight can be
    /// above it.
    fn quantile(&self, part: f64) -> f32 {
        let held = self.held.count_ones() as usize;
        let rank = (part * held.saturating_sub(1) as f64) as usize;
        if held == 0 {
            return 0.0;
        }
        match held - rank {
            above @ 1..=HIGHEST => self.highest()[above - 1],
            _ => {
                let mut burdens = [0.0; MOST];
                let burdens = &mut burdens[..held];
                for (burden, place) in burdens.iter_mut().zip(each(self.held)) {
                    *burden = self.burdens[place];
                }
                *burdens.select_nth_unstable_by(rank, f32::total_cmp).1
            }
        }
    }

    /// The highest burdens, the highest first.
    fn highest(&self) -> [f32; HIGHEST] {
        let mut highest = [0; HIGHEST];
        for place in 0..self.size.min(MOST) {
            // The bits of what is not negative are ordered as the numbers are.
            let mut sinking = self.burdens[place].to_bits();
            for held in &mut highest {
                (*held, sinking) = (sinking.max(*held), sinking.min(*held));
            }
        }
        highest.map(f32::from_bits)
    }

    /// Where the reading to use stands: of the cold the fastest, of equally fast ones the one with the least in flight; if
    /// all are hot, the one with the least in flight.
    fn best(&self) -> Option<usize> {
        let mut least = [GAP; LANES];
        for ranks in self.lanes() {
            for (least, rank) in least.iter_mut().zip(ranks) {
                *least = (*least).min(*rank);
            }
        }
        let least = least.into_iter().fold(GAP, u64::min);
        (least != GAP).then_some((least & PLACE) as usize)
    }

    /// Where the worst one stands in that order.
    fn worst(&self) -> Option<usize> {
        let mut most = [0; LANES];
        for ranks in self.lanes() {
            for (most, rank) in most.iter_mut().zip(ranks) {
                // A gap comes to 0.
                *most = (*most).max(rank.wrapping_add(1));
            }
        }
        let most = most.into_iter().fold(0, u64::max);
        (most > 0).then(|| ((most - 1) & PLACE) as usize)
    }

    /// The ranks in groups that are compared side by side.
    fn lanes(&self) -> &[[u64; LANES]] {
        let groups = self.size.div_ceil(LANES);
        let (all, _) = self.ranks.as_chunks();
        &all[..groups.min(all.len())]
    }

    /// Where a reading to use stands; of those that are equally good each has the same chance.
    fn one_of_bests(&self, random: &mut Random) -> Option<usize> {
        let mut chosen = self.best()?;
        let (rank, mut equals) = (self.ranks[chosen] & !PLACE, 0);
        for place in each(self.held) {
            if self.ranks[place] & !PLACE == rank {
                equals += 1;
                if random.below(equals) == 0 {
                    chosen = place;
                }
            }
        }
        Some(chosen)
    }

    /// All that is compared in one number, which ends with the place. The bits of what is not negative are ordered as the
    /// numbers are; the last ones of a burden, a hundred thousandth of it, give way to the place.
    fn rank(&self, place: usize) -> u64 {
        let (burden, latency) = (self.burdens[place], self.latencies[place]);
        let burden_bits = u64::from(burden.to_bits());
        let cold = u64::from(latency.to_bits()) << 32 | (burden_bits & !PLACE);
        let hot = 1 << 63 | (burden_bits << 32 & !PLACE);
        // All ones where it is cold, so that the choice takes no branch.
        let is_cold = u64::from(burden <= self.threshold).wrapping_neg();
        cold & is_cold | hot & !is_cold | place as u64
    }

    fn rank_all(&mut self) {
        for place in each(self.held) {
            self.ranks[place] = self.rank(place);
        }
    }

    /// Writes down what is compared.
    fn tell<L: Live>(&self, view: &View<'_, L>, explain: Option<&mut Decision>) {
        let Some(decision) = explain else {
            return;
        };
        for place in each(self.held) {
            let (burden, latency) = (self.burdens[place], self.latencies[place]);
            let is_hot = burden > self.threshold;
            decision.consider(self.endpoints[place] as usize, view, |entry| {
                entry.latency = Some(f64::from(latency));
                entry.score = Some(f64::from(if is_hot { burden } else { latency }));
                entry.note = Some(if is_hot { Note::Hot } else { Note::Cold });
            });
        }
    }

    /// Adds our own attempt to a reading, or drops it when it was used often enough.
    fn used(&mut self, place: usize, random: &mut Random) {
        self.uses[place] += 1;
        self.burdens[place] += self.steps[place];
        // Rounded by chance, so that the mean is kept.
        let left = self.reuse - f64::from(self.uses[place]);
        let is_used_up = left < f64::INFINITY && random.unit() >= left;
        // All ones where it goes: which of the two it is cannot be foreseen, so that the choice takes no branch.
        let goes = u64::from(is_used_up).wrapping_neg();
        self.ranks[place] = self.rank(place) | goes;
        self.burdens[place] *= 1.0 - f32::from(u8::from(is_used_up));
        self.held &= !(goes & 1 << place);
        if let Some(known) = self.places.get_mut(self.endpoints[place] as usize) {
            *known |= goes as u8;
        }
    }

    fn remove_one(&mut self) {
        self.oldest_next = !self.oldest_next;
        let place = if self.oldest_next {
            self.oldest()
        } else {
            self.worst()
        };
        if let Some(place) = place {
            self.remove(place);
        }
    }

    /// Leaves a gap.
    fn remove(&mut self, place: usize) {
        if let Some(known) = self.places.get_mut(self.endpoints[place] as usize) {
            *known = NOWHERE;
        }
        self.ranks[place] = GAP;
        self.burdens[place] = 0.0;
        self.held &= !(1 << place);
    }
}

/// How many of the highest are looked for one by one, which takes no branch; of sixteen readings the usual quantile is
/// among them.
const HIGHEST: usize = 4;
/// Ranks that are compared side by side, since each comparison waits for the one before.
const LANES: usize = 4;

/// The first place of a set.
fn first(places: u64) -> Option<usize> {
    (places != 0).then(|| places.trailing_zeros() as usize)
}

/// The places of a set, the first one first.
fn each(mut places: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = first(places)?;
        places &= places - 1;
        Some(place)
    })
}
