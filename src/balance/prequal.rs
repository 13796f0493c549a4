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

/// What one worker has read.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Of the membership whose indices the readings hold.
    fingerprint: u64,
    /// In the order of their load.
    readings: Vec<Reading>,
    /// Whether the next to go is the oldest, else the worst.
    oldest_next: bool,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    endpoint: usize,
    burden: f64,
    /// By how much one more attempt raises the burden.
    step: f64,
    latency: f64,
    at: Instant,
    uses: u32,
}

pub(super) fn pick<L: Live>(
    rules: &Rules,
    pool: &mut Pool,
    view: &View<'_, L>,
    random: &mut Random,
    explain: Option<&mut Decision>,
) -> Option<Picked> {
    let count = view.members.candidates().len();
    if count <= rules.pool.min(MOST) {
        pool.read_all(view);
        let best = pool.best(rules, view, random, explain);
        let by = Reason::Policy;
        let endpoint = best.map(|place| pool.readings[place].endpoint)?;
        return Some(Picked { endpoint, by });
    }
    pool.prepare(rules, view, random);
    let free = pool
        .readings
        .iter()
        .filter(|reading| view.free(reading.endpoint));
    if free.take(2).count() < 2 {
        return by_chance::pick(view, random, explain).map(|picked| Picked {
            by: Reason::ScanAfterMisses,
            ..picked
        });
    }
    let place = pool.best(rules, view, random, explain)?;
    let endpoint = pool.readings[place].endpoint;
    pool.used(place, rules.reuse(count), random);
    pool.remove_one(rules);
    let by = Reason::Policy;
    Some(Picked { endpoint, by })
}

impl Rules {
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

    /// How many of these readings, which stand in the order of their load, are not hot. The quantile is that of the
    /// readings, so that of a few too the one with the most in flight can be hot.
    fn cold(&self, readings: &[Reading]) -> usize {
        let Some(last) = readings.len().checked_sub(1) else {
            return 0;
        };
        let threshold = &readings[(self.q_rif * last as f64) as usize];
        // Those with as much in flight as the threshold are not above it.
        readings.partition_point(|reading| reading.burden <= threshold.burden)
    }
}

impl Pool {
    /// Every candidate, as it is now.
    fn read_all<L: Live>(&mut self, view: &View<'_, L>) {
        self.fingerprint = view.members.fingerprint();
        self.readings.clear();
        for &i in view.members.candidates() {
            if view.free(i as usize) {
                self.insert(Reading::of(i as usize, view));
            }
        }
    }

    /// Drops what is old or no candidate any more, and reads a few endpoints anew.
    fn prepare<L: Live>(&mut self, rules: &Rules, view: &View<'_, L>, random: &mut Random) {
        let now = view.live.now();
        if self.fingerprint != view.members.fingerprint() {
            self.fingerprint = view.members.fingerprint();
            self.readings.clear();
        }
        self.readings.retain(|reading| now.since(reading.at) <= AGE);
        for _ in 0..rules.probes {
            let endpoint = view.members.sample(random);
            let known = self
                .readings
                .iter()
                .position(|reading| reading.endpoint == endpoint);
            if let Some(place) = known {
                self.readings.remove(place);
            } else if self.readings.len() >= rules.pool.min(MOST) {
                self.remove_oldest();
            }
            self.insert(Reading::of(endpoint, view));
        }
    }

    fn insert(&mut self, reading: Reading) {
        let place = self
            .readings
            .partition_point(|other| other.burden <= reading.burden);
        self.readings.insert(place, reading);
    }

    /// The place of the reading to use. Of equals each has the same chance.
    fn best<L: Live>(
        &self,
        rules: &Rules,
        view: &View<'_, L>,
        random: &mut Random,
        mut explain: Option<&mut Decision>,
    ) -> Option<usize> {
        let cold = rules.cold(&self.readings);
        let (mut best, mut equals): (Option<usize>, usize) = (None, 0);
        for (place, reading) in self.readings.iter().enumerate() {
            if !view.free(reading.endpoint) {
                continue;
            }
            let is_cold = place < cold;
            if let Some(decision) = explain.as_deref_mut() {
                decision.consider(reading.endpoint, view, |entry| {
                    entry.latency = Some(reading.latency);
                    entry.score = Some(if is_cold {
                        reading.latency
                    } else {
                        reading.burden
                    });
                    entry.note = Some(if is_cold { Note::Cold } else { Note::Hot });
                });
            }
            let Some(held) = best else {
                (best, equals) = (Some(place), 1);
                continue;
            };
            let other = &self.readings[held];
            let order = match (is_cold, held < cold) {
                (true, true) => {
                    let burdens = reading.burden.total_cmp(&other.burden);
                    reading.latency.total_cmp(&other.latency).then(burdens)
                }
                (true, false) => std::cmp::Ordering::Less,
                (false, true) => std::cmp::Ordering::Greater,
                (false, false) => reading.burden.total_cmp(&other.burden),
            };
            equals = match order {
                std::cmp::Ordering::Less => 1,
                std::cmp::Ordering::Equal => equals + 1,
                std::cmp::Ordering::Greater => continue,
            };
            if random.below(equals) == 0 {
                best = Some(place);
            }
        }
        best
    }

    /// Adds our own attempt to a reading, or drops it when it was used often enough.
    fn used(&mut self, place: usize, reuse: f64, random: &mut Random) {
        let mut reading = self.readings.remove(place);
        reading.uses += 1;
        reading.burden += reading.step;
        // Rounded by chance, so that the mean is kept.
        let limit = if reuse.is_finite() {
            (reuse + random.unit()).floor()
        } else {
            reuse
        };
        if f64::from(reading.uses) < limit {
            self.insert(reading);
        }
    }

    fn remove_one(&mut self, rules: &Rules) {
        self.oldest_next = !self.oldest_next;
        if self.oldest_next {
            self.remove_oldest();
        } else {
            self.remove_worst(rules);
        }
    }

    fn remove_oldest(&mut self) {
        let ages = self.readings.iter().enumerate();
        if let Some((place, _)) = ages.min_by_key(|(_, reading)| reading.at) {
            self.readings.remove(place);
        }
    }

    fn remove_worst(&mut self, rules: &Rules) {
        if rules.cold(&self.readings) < self.readings.len() {
            self.readings.pop();
            return;
        }
        let latencies = self.readings.iter().enumerate();
        let slowest = latencies.max_by(|(_, a), (_, b)| a.latency.total_cmp(&b.latency));
        if let Some((place, _)) = slowest {
            self.readings.remove(place);
        }
    }
}

impl Reading {
    fn of<L: Live>(endpoint: usize, view: &View<'_, L>) -> Self {
        let signals = view.live.signals(endpoint);
        let known = signals.by_load.at(view.load(endpoint));
        let latency = known.unwrap_or_else(|| view.live.totals().typical());
        Self {
            endpoint,
            burden: view.burden(endpoint),
            step: view.weight_in_force(endpoint).recip(),
            latency: latency / f64::from(view.charge(endpoint).factor),
            at: view.live.now(),
            uses: 0,
        }
    }
}
