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
//! **Hot** is what has more in flight than the `q_rif` quantile of the pool (of a large upstream as it stood up to three
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
    /// Endpoints read for each pick.
    pub probes: usize,
}

/// What one worker has read: a ring of readings in the order in which they were taken, with gaps where one has gone. Kept
/// field by field, so that a pass over one field is a handful of instructions.
#[derive(Debug)]
pub(super) struct Pool {
    /// Of the membership whose indices the readings hold.
    fingerprint: u64,
    /// Places that are in use, gaps included.
    size: usize,
    /// How many of them are no gaps.
    held: usize,
    /// Where the next reading is written: the oldest stands here, if it is no gap.
    next: usize,
    /// [`NOBODY`] in a gap.
    endpoints: [u32; MOST],
    /// The burden when it was read, and our own attempts since; infinite in a gap.
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
/// The bits of the burden in a gap.
const GAP: u32 = f32::INFINITY.to_bits();
/// What stands in a gap.
const NOBODY: u32 = u32::MAX;
/// The bits of a rank that hold the place.
const PLACE: u64 = MOST as u64 - 1;
/// Picks for which a threshold holds.
const THRESHOLD_HOLDS: u32 = 4;

impl Default for Pool {
    fn default() -> Self {
        Self {
            fingerprint: 0,
            size: 0,
            held: 0,
            next: 0,
            endpoints: [NOBODY; MOST],
            burdens: [f32::INFINITY; MOST],
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
        let best = pool.best()?;
        let place = pool.one_of_equals(best, random);
        let endpoint = pool.endpoints[place] as usize;
        return Some(Picked { endpoint, by });
    }
    pool.prepare(rules, view, random);
    while pool.held >= 2 {
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

impl Pool {
    /// Every candidate, as it is now.
    fn read_all<L: Live>(&mut self, rules: &Rules, view: &View<'_, L>) {
        self.clear(view.members.fingerprint());
        for &i in view.members.candidates() {
            if view.free(i as usize) {
                self.read(i as usize, view);
                self.next += 1;
            }
        }
        self.guess();
        self.threshold = self.quantile(rules.q_rif);
    }

    fn clear(&mut self, fingerprint: u64) {
        self.endpoints[..self.size].fill(NOBODY);
        self.burdens[..self.size].fill(f32::INFINITY);
        self.fingerprint = fingerprint;
        (self.size, self.held, self.next) = (0, 0, 0);
        self.until_threshold = 0;
    }

    /// Of whom readings are kept.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> impl Iterator<Item = usize> {
        let known = self.endpoints.iter().filter(|known| **known != NOBODY);
        known.map(|endpoint| *endpoint as usize)
    }

    /// Drops what is old or of another membership, and reads a few endpoints anew.
    fn prepare<L: Live>(&mut self, rules: &Rules, view: &View<'_, L>, random: &mut Random) {
        let capacity = rules.capacity();
        if self.fingerprint != view.members.fingerprint() || self.size > capacity {
            self.clear(view.members.fingerprint());
            self.reuse = rules.reuse(view.members.candidates().len());
        }
        self.expire(view.live.now());
        for _ in 0..rules.probes {
            let endpoint = view.members.sample(random);
            if let Some(place) = self.place_of(endpoint as u32) {
                self.remove(place);
            }
            if self.endpoints[self.next] != NOBODY {
                self.remove(self.next);
            }
            self.read(endpoint, view);
            self.next = if self.next + 1 < capacity {
                self.next + 1
            } else {
                0
            };
        }
        self.guess();
        if self.until_threshold == 0 {
            self.threshold = self.quantile(rules.q_rif);
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
        for _ in 0..self.size {
            let oldest = self.oldest();
            let is_old = |place: &usize| now.since(self.at[*place]) > AGE;
            match oldest.filter(is_old) {
                Some(place) => self.remove(place),
                None => break,
            }
        }
    }

    /// Where the oldest reading stands.
    fn oldest(&self) -> Option<usize> {
        let mut places = (self.next..self.size).chain(0..self.next);
        places.find(|place| self.endpoints[*place] != NOBODY)
    }

    /// Where the reading of an endpoint stands.
    fn place_of(&self, endpoint: u32) -> Option<usize> {
        let mut found = self.size;
        for (place, known) in self.endpoints[..self.size].iter().enumerate() {
            found = if *known == endpoint { place } else { found };
        }
        (found < self.size).then_some(found)
    }

    /// Writes a new reading to the next place, which is a gap.
    fn read<L: Live>(&mut self, endpoint: usize, view: &View<'_, L>) {
        let place = self.next;
        let signals = view.live.signals(endpoint);
        let charge = signals.charge();
        let load = signals.load(view.live.now());
        let unknown = if load == 0 { UNTRIED } else { OWES_ANSWER };
        let latency = signals
            .by_load
            .at(load)
            .map_or(unknown, |nanos| nanos as f32);
        let weight = view.members.weight(endpoint) as f32 * charge.factor;
        self.endpoints[place] = endpoint as u32;
        let burden = load as f32 + charge.ghosts + 1.0;
        // Most weigh 1, and a division costs more than to see that. It is divided, not multiplied by the step, so that equal
        // fractions are equal here too.
        (self.burdens[place], self.steps[place]) = if weight == 1.0 {
            (burden, 1.0)
        } else {
            (burden / weight, weight.recip())
        };
        self.latencies[place] = latency;
        self.is_to_guess |= latency < 0.0;
        self.uses[place] = 0;
        self.at[place] = view.live.now();
        self.size = self.size.max(place + 1);
        self.held += 1;
    }

    /// Gives a latency to the readings of this pick that have none.
    fn guess(&mut self) {
        if !std::mem::take(&mut self.is_to_guess) {
            return;
        }
        let (mut fastest, mut slowest) = (f32::INFINITY, 0f32);
        let latencies = &mut self.latencies[..self.size];
        for (endpoint, latency) in self.endpoints.iter().zip(&*latencies) {
            if *endpoint != NOBODY && *latency >= 0.0 {
                (fastest, slowest) = (fastest.min(*latency), slowest.max(*latency));
            }
        }
        // Where none is known all are equal, and the load decides.
        fastest = fastest.min(slowest);
        for latency in latencies {
            if *latency == UNTRIED {
                *latency = fastest;
            } else if *latency == OWES_ANSWER {
                *latency = slowest;
            }
        }
    }

    /// The burden that is not exceeded by this part of the readings. Of a few too the one with the most in flight can be
    /// above it.
    fn quantile(&self, part: f64) -> f32 {
        let mut burdens = [0; MOST];
        let burdens = &mut burdens[..self.size];
        for (bits, burden) in burdens.iter_mut().zip(&self.burdens) {
            *bits = burden.to_bits();
        }
        let last = self.held.saturating_sub(1);
        let rank = (part * last as f64) as usize;
        if self.held == 0 {
            return 0.0;
        }
        // None is negative, so that their bits are ordered as they are. Gaps are infinite: beyond those held.
        let bits = match self.held - rank {
            above @ 1..=HIGHEST => highest(burdens)[above - 1],
            _ => *burdens.select_nth_unstable(rank).1,
        };
        f32::from_bits(bits)
    }

    /// Where the reading to use stands: of the cold the fastest, of equally fast ones the one with the least in flight; if
    /// all are hot, the one with the least in flight.
    fn best(&self) -> Option<usize> {
        let ranks = (0..self.size.min(MOST)).map(|place| self.rank(place));
        // Gaps are hot without end: they come last, and are all there is only where nothing is held.
        let least = ranks.fold(u64::MAX, u64::min);
        (self.held > 0).then_some((least & PLACE) as usize)
    }

    /// Where the worst one stands in that order.
    fn worst(&self) -> Option<usize> {
        let most = (0..self.size.min(MOST)).fold(0, |most, place| {
            let is_gap = self.endpoints[place] == NOBODY;
            u64::max(most, if is_gap { 0 } else { self.rank(place) })
        });
        (self.held > 0).then_some((most & PLACE) as usize)
    }

    /// Of those that are equal to the reading at a place each has the same chance.
    fn one_of_equals(&self, place: usize, random: &mut Random) -> usize {
        let rank = self.rank(place) & !PLACE;
        let (mut held, mut equals) = (place, 0);
        for other in (0..self.size).filter(|other| self.rank(*other) & !PLACE == rank) {
            equals += 1;
            if random.below(equals) == 0 {
                held = other;
            }
        }
        held
    }

    /// All that is compared in one number, which ends with the place. The bits of what is not negative are ordered as the
    /// numbers are; the last ones of a burden, a hundred thousandth of it, give way to the place.
    fn rank(&self, place: usize) -> u64 {
        let (burden, latency) = (self.burdens[place], self.latencies[place]);
        let burden_bits = u64::from(burden.to_bits());
        let cold = u64::from(latency.to_bits()) << 32 | (burden_bits & !PLACE);
        let hot = 1 << 63 | (burden_bits << 32 & !PLACE);
        (if burden <= self.threshold { cold } else { hot }) | place as u64
    }

    /// Writes down what is compared.
    fn tell<L: Live>(&self, view: &View<'_, L>, explain: Option<&mut Decision>) {
        let Some(decision) = explain else {
            return;
        };
        for place in (0..self.size).filter(|place| self.endpoints[*place] != NOBODY) {
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
        let reuse = self.reuse;
        self.uses[place] += 1;
        self.burdens[place] += self.steps[place];
        let uses = f64::from(self.uses[place]);
        // Rounded by chance, so that the mean is kept.
        if uses >= reuse || (uses + 1.0 > reuse && random.unit() >= reuse - uses) {
            self.remove(place);
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
        self.endpoints[place] = NOBODY;
        self.burdens[place] = f32::INFINITY;
        self.held -= 1;
    }
}

/// How many of the highest are looked for one by one, which takes no branch; of sixteen readings the usual quantile is
/// among them.
const HIGHEST: usize = 4;

/// The highest of these bits of burdens, the highest first, gaps left out.
fn highest(values: &[u32]) -> [u32; HIGHEST] {
    let mut highest = [0; HIGHEST];
    for &value in values {
        let mut sinking = if value == GAP { 0 } else { value };
        for held in &mut highest {
            (*held, sinking) = (sinking.max(*held), sinking.min(*held));
        }
    }
    highest
}
