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
//! **Hot** is what has more in flight than the `q_rif` quantile of the pool. If any is cold, the cold one with the lowest
//! latency is taken; else the one with the least in flight. In flight means the [`View::burden`], so that weights, slow
//! start and failures count as everywhere, and a latency is divided by the factor of those.

use super::{Decision, Live, Note, Picked, Reason, View, random as by_chance};
use crate::clock::Instant;
use crate::entropy::Random;
use std::time::Duration;

/// The most that a pool can hold.
const MOST: usize = 64;
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

/// What one worker has read: field by field, so that a pass over one field is a handful of instructions.
#[derive(Debug)]
pub(super) struct Pool {
    /// Of the membership whose indices the readings hold.
    fingerprint: u64,
    len: usize,
    endpoints: [u32; MOST],
    /// The burden when it was read, and our own attempts since.
    burdens: [f32; MOST],
    /// By how much one more attempt raises the burden.
    steps: [f32; MOST],
    /// Nanoseconds.
    latencies: [f32; MOST],
    uses: [u32; MOST],
    /// Which reading it was, counted from the first; so the lowest is the oldest.
    numbers: [u32; MOST],
    at: [Instant; MOST],
    next_number: u32,
    /// No reading is older.
    oldest: Instant,
    /// Whether the next to go is the oldest, else the worst.
    oldest_next: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            fingerprint: 0,
            len: 0,
            endpoints: [0; MOST],
            burdens: [0.0; MOST],
            steps: [0.0; MOST],
            latencies: [0.0; MOST],
            uses: [0; MOST],
            numbers: [0; MOST],
            at: [Instant::default(); MOST],
            next_number: 0,
            oldest: Instant::default(),
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
        pool.read_all(view);
        let place = pool.best(rules, view, random, explain)?;
        let endpoint = pool.endpoints[place] as usize;
        return Some(Picked { endpoint, by });
    }
    pool.prepare(rules, view, random);
    while pool.len >= 2 {
        let place = pool.best(rules, view, random, explain.as_deref_mut())?;
        let endpoint = pool.endpoints[place] as usize;
        // Asked of the winner alone: it means another look at live numbers.
        if view.free(endpoint) {
            pool.used(place, rules.reuse(count), random);
            pool.remove_one(rules);
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
    fn reuse(&self, endpoints: usize) -> f64 {
        let share = self.pool as f64 / endpoints as f64;
        let surplus = (1.0 - share) * self.probes as f64 - 1.0;
        if surplus <= 0.0 {
            return f64::INFINITY;
        }
        ((1.0 + DELTA) / surplus).max(1.0)
    }

    /// The burden above which a reading is hot: the quantile of these readings, so that of a few too the one with the most
    /// in flight can be hot. There must be one.
    fn threshold(&self, burdens: &[f32]) -> f32 {
        let last = burdens.len() - 1;
        let wanted = last - (self.q_rif * last as f64) as usize + 1;
        match wanted {
            ..=4 => highest::<4>(burdens)[wanted - 1],
            ..=8 => highest::<8>(burdens)[wanted - 1],
            _ => {
                let mut sorted = [0.0; MOST];
                let sorted = &mut sorted[..burdens.len()];
                sorted.copy_from_slice(burdens);
                sorted.sort_unstable_by(f32::total_cmp);
                sorted[burdens.len() - wanted]
            }
        }
    }
}

/// The `N` highest values, the highest first, without a branch that depends on them.
fn highest<const N: usize>(values: &[f32]) -> [f32; N] {
    let mut highest = [f32::NEG_INFINITY; N];
    for &value in values {
        let mut sinking = value;
        for held in &mut highest {
            let (above, below) = (held.max(sinking), held.min(sinking));
            (*held, sinking) = (above, below);
        }
    }
    highest
}

impl Pool {
    /// Every candidate, as it is now.
    fn read_all<L: Live>(&mut self, view: &View<'_, L>) {
        self.fingerprint = view.members.fingerprint();
        self.len = 0;
        for &i in view.members.candidates() {
            if view.free(i as usize) {
                self.read(i as usize, self.len, view);
            }
        }
    }

    /// Drops what is old or of another membership, and reads a few endpoints anew.
    fn prepare<L: Live>(&mut self, rules: &Rules, view: &View<'_, L>, random: &mut Random) {
        let now = view.live.now();
        if self.fingerprint != view.members.fingerprint() {
            self.fingerprint = view.members.fingerprint();
            self.len = 0;
        }
        if now.since(self.oldest) > AGE {
            self.expire(now);
        }
        for _ in 0..rules.probes {
            let endpoint = view.members.sample(random);
            let place = self.place_of(endpoint as u32).unwrap_or_else(|| {
                if self.len < rules.capacity() {
                    self.len
                } else {
                    lowest(&self.numbers[..self.len])
                }
            });
            self.read(endpoint, place, view);
        }
    }

    fn expire(&mut self, now: Instant) {
        let mut place = 0;
        self.oldest = now;
        while place < self.len {
            if now.since(self.at[place]) > AGE {
                self.remove(place);
            } else {
                self.oldest = self.oldest.min(self.at[place]);
                place += 1;
            }
        }
    }

    /// Where the reading of an endpoint stands.
    fn place_of(&self, endpoint: u32) -> Option<usize> {
        let mut found = self.len;
        for (place, known) in self.endpoints[..self.len].iter().enumerate() {
            found = if *known == endpoint { place } else { found };
        }
        (found < self.len).then_some(found)
    }

    /// Writes a new reading to a place, which may be the one behind the last.
    fn read<L: Live>(&mut self, endpoint: usize, place: usize, view: &View<'_, L>) {
        let signals = view.live.signals(endpoint);
        let charge = signals.charge();
        let load = signals.load(view.live.now());
        let known = signals.by_load.at(load);
        let latency = known.unwrap_or_else(|| view.live.totals().typical());
        let step = (view.members.weight(endpoint) as f32 * charge.factor).recip();
        self.len = self.len.max(place + 1);
        self.endpoints[place] = endpoint as u32;
        self.burdens[place] = (load as f32 + charge.ghosts + 1.0) * step;
        self.steps[place] = step;
        self.latencies[place] = latency as f32 / charge.factor;
        self.uses[place] = 0;
        self.numbers[place] = self.next_number;
        self.at[place] = view.live.now();
        self.next_number = self.next_number.wrapping_add(1);
        if self.next_number == 0 {
            // Once in four thousand million readings: the order of age is kept by starting over.
            self.len = 0;
        }
    }

    /// The place of the reading to use: of the cold the fastest, of equally fast ones the one with the least in flight,
    /// and of equals in that too each with the same chance. Some are always cold: what has the threshold itself is.
    fn best<L: Live>(
        &self,
        rules: &Rules,
        view: &View<'_, L>,
        random: &mut Random,
        explain: Option<&mut Decision>,
    ) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let (burdens, latencies) = (&self.burdens[..self.len], &self.latencies[..self.len]);
        let threshold = rules.threshold(burdens);
        if let Some(decision) = explain {
            self.explain(threshold, view, decision);
        }
        let mut fastest = f32::INFINITY;
        for (burden, latency) in burdens.iter().zip(latencies) {
            let latency = if *burden <= threshold {
                *latency
            } else {
                f32::INFINITY
            };
            fastest = fastest.min(latency);
        }
        let (mut best, mut equals) = (None, 0);
        let mut least = f32::INFINITY;
        for (place, (burden, latency)) in burdens.iter().zip(latencies).enumerate() {
            // Most are not: the branch is foreseen.
            if *latency != fastest || *burden > threshold || *burden > least {
                continue;
            }
            equals = if *burden < least { 1 } else { equals + 1 };
            least = *burden;
            if equals == 1 || random.below(equals) == 0 {
                best = Some(place);
            }
        }
        best
    }

    fn explain<L: Live>(&self, threshold: f32, view: &View<'_, L>, decision: &mut Decision) {
        for place in 0..self.len {
            let (burden, latency) = (self.burdens[place], self.latencies[place]);
            let is_hot = burden > threshold;
            decision.consider(self.endpoints[place] as usize, view, |entry| {
                entry.latency = Some(f64::from(latency));
                entry.score = Some(f64::from(if is_hot { burden } else { latency }));
                entry.note = Some(if is_hot { Note::Hot } else { Note::Cold });
            });
        }
    }

    /// Adds our own attempt to a reading, or drops it when it was used often enough.
    fn used(&mut self, place: usize, reuse: f64, random: &mut Random) {
        self.uses[place] += 1;
        self.burdens[place] += self.steps[place];
        let uses = f64::from(self.uses[place]);
        // Rounded by chance, so that the mean is kept.
        if uses >= reuse.floor() && uses >= (reuse + random.unit()).floor() {
            self.remove(place);
        }
    }

    fn remove_one(&mut self, rules: &Rules) {
        self.oldest_next = !self.oldest_next;
        if self.len == 0 {
            return;
        }
        let place = if self.oldest_next {
            lowest(&self.numbers[..self.len])
        } else {
            self.worst(rules)
        };
        self.remove(place);
    }

    /// Of the hot the one with the most in flight, else the slowest.
    fn worst(&self, rules: &Rules) -> usize {
        let burdens = &self.burdens[..self.len];
        let threshold = rules.threshold(burdens);
        let fullest = highest_place(burdens);
        if burdens[fullest] > threshold {
            fullest
        } else {
            highest_place(&self.latencies[..self.len])
        }
    }

    /// The last one takes its place.
    fn remove(&mut self, place: usize) {
        self.len -= 1;
        let last = self.len;
        self.endpoints[place] = self.endpoints[last];
        self.burdens[place] = self.burdens[last];
        self.steps[place] = self.steps[last];
        self.latencies[place] = self.latencies[last];
        self.uses[place] = self.uses[last];
        self.numbers[place] = self.numbers[last];
        self.at[place] = self.at[last];
    }
}

/// Where the lowest value stands; 0 where there is none.
fn lowest(values: &[u32]) -> usize {
    let mut place = 0;
    let mut held = u32::MAX;
    for (i, &value) in values.iter().enumerate() {
        place = if value < held { i } else { place };
        held = held.min(value);
    }
    place
}

fn highest_place(values: &[f32]) -> usize {
    let mut place = 0;
    let mut held = f32::NEG_INFINITY;
    for (i, &value) in values.iter().enumerate() {
        place = if value > held { i } else { place };
        held = held.max(value);
    }
    place
}
