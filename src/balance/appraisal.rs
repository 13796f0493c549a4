//! How much of its weight does an endpoint get now? Slow start and the failure penalty, as one rule for every policy.
//!
//! **An endpoint counts by `weight × factor`**, where the factor is
//!
//! ```text
//! slow start    max(min_weight, (time since it became healthy / window)^(1 / aggression)), 1 after the window
//!   ×
//! successes     (attempts - failures + 1) / (attempts + 1) of late, not below a tenth
//! ```
//!
//! divided by the highest factor among those that can be picked, so that what befalls all of them alike changes nothing.
//! "Of late": sums that decay with the time constant `window` of the penalty.
//!
//! A policy that goes by turn, by chance or by key passes an endpoint over with the chance `1 - factor`. One that goes by
//! load divides by `weight × factor`, and **holds each failure as load for as long as an answer takes**: by Little's law,
//! failures per second times the upstream's median latency are the attempts that would be under way if they had been
//! answers. Without that, an endpoint that fails at once looks idle and draws all the traffic (features of that kind in
//! other balancers: linkerd's load biaser, gRPC A58's error penalty).
//!
//! Called from a tick, not per pick: what is known of failures is a tick old.

use super::signals::{Charge, Signals};
use crate::clock::Instant;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::InFlight;

/// What no factor falls below by failures: enough traffic is left to see that it is well again.
const LEAST_SUCCESS: f64 = 0.1;
/// A latency by load that nothing was added to for so long is forgotten.
const STALE: Duration = Duration::from_secs(10);
/// Time constant of the mean in flight: long enough to even out that a tick sees single moments, a hundred of them, and
/// short enough to tell of now.
const MEAN: Duration = Duration::from_secs(10);

/// How an endpoint that became healthy comes up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    pub window: Duration,
    /// 1: in a straight line; above, faster at the beginning.
    pub aggression: f64,
    /// Above 0 to 1.
    pub min_weight: f64,
}

impl SlowStart {
    /// The part of its weight and of its caps that an endpoint has, so long after it became healthy. 1: it is through.
    pub fn ramp(&self, healthy_for: Duration) -> f64 {
        if healthy_for >= self.window {
            return 1.0;
        }
        let part = healthy_for.as_secs_f64() / self.window.as_secs_f64();
        part.powf(self.aggression.recip()).max(self.min_weight)
    }
}

/// The rules of one upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Off: an endpoint has its whole weight at once.
    pub slow_start: Option<SlowStart>,
    /// Time constant over which failures count. Off: they do not.
    pub failure_window: Option<Duration>,
    /// Time constant of latencies.
    pub latency_decay: Duration,
}

/// What holds for the endpoints of one upstream together.
#[derive(Debug, Default)]
pub struct Totals {
    /// Attempts under way at all of them; kept only where a policy asks for it.
    pub in_flight: InFlight,
    /// Bits of an `f64`: the median latency of the endpoints in nanoseconds, 0 before any is known.
    typical: AtomicU64,
    /// For the tick alone.
    appraiser: Mutex<Appraiser>,
}

#[derive(Debug, Default)]
struct Appraiser {
    last: Instant,
    tallies: Vec<(u64, Tally)>,
}

/// What an endpoint did of late.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The counts of [`Signals::ends`] that are in the sums already.
    seen: (u32, u32),
    attempts: f64,
    failures: f64,
    /// What was in flight at the ticks; `None` before the first, from which on it is looked at.
    in_flight: Option<Mean>,
}

/// A mean over the last [`MEAN`] or so, and over less where it began later: what it has not seen does not count as none.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    /// 0 at the beginning, and in the end 1.
    weight: f64,
}

impl Mean {
    /// So much since the last call, what was before of which this part still counts.
    fn add(&mut self, value: f64, kept: f64) {
        self.sum = self.sum * kept + value * (1.0 - kept);
        self.weight = self.weight * kept + (1.0 - kept);
    }

    fn value(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// An endpoint as it is appraised.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub identity: u64,
    pub signals: &'a Signals,
    /// Whether it can be picked at all.
    pub is_eligible: bool,
}

impl Totals {
    /// The median latency of the endpoints in nanoseconds, which stands in for that of a newcomer; 0 before any is known.
    pub fn typical(&self) -> f64 {
        f64::from_bits(self.typical.load(Relaxed))
    }

    /// Looks at all endpoints of the upstream and says how much each counts from now on. Whether one is still in its
    /// slow start, so that another look is due though nothing happens.
    pub fn appraise(&self, now: Instant, rules: &Rules, subjects: &[Subject<'_>]) -> bool {
        self.measure(now, rules, subjects);
        let mut appraiser = self
            .appraiser
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        appraiser.count(now, rules, subjects);
        let mut ramping = false;
        let raw: Vec<f64> = subjects
            .iter()
            .zip(&appraiser.tallies)
            .map(|(subject, (_, tally))| {
                let ramp = ramp(now, rules, subject.signals);
                ramping |= ramp < 1.0;
                ramp * tally.success()
            })
            .collect();
        let eligible = subjects
            .iter()
            .zip(&raw)
            .filter(|(subject, _)| subject.is_eligible);
        let highest = eligible.map(|(_, raw)| *raw).fold(0.0, f64::max);
        let typical = self.typical();
        for ((subject, raw), (_, tally)) in subjects.iter().zip(&raw).zip(&appraiser.tallies) {
            let factor = if highest > 0.0 {
                (raw / highest).min(1.0)
            } else {
                1.0
            };
            subject.signals.charge_with(Charge {
                factor: factor as f32,
                ghosts: tally.ghosts(rules, typical) as f32,
            });
        }
        ramping
    }

    /// By identity what each endpoint had in flight of late, as a mean over about ten seconds: L of Little's law, for
    /// people. Of those that were looked at last.
    pub fn mean_in_flight(&self) -> HashMap<u64, f64> {
        let appraiser = self
            .appraiser
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let tallies = appraiser.tallies.iter();
        tallies
            .filter_map(|(identity, tally)| Some((*identity, tally.in_flight?.value()?)))
            .collect()
    }

    fn measure(&self, now: Instant, rules: &Rules, subjects: &[Subject<'_>]) {
        let eligible = subjects.iter().filter(|subject| subject.is_eligible);
        let mut known: Vec<f64> = eligible
            .filter_map(|subject| subject.signals.latency(now, rules.latency_decay))
            .collect();
        if !known.is_empty() {
            let middle = (known.len() - 1) / 2;
            let (_, median, _) = known.select_nth_unstable_by(middle, f64::total_cmp);
            self.typical.store(median.to_bits(), Relaxed);
        }
        for subject in subjects {
            subject.signals.by_load.forget(now, STALE);
        }
    }
}

/// The part of its weight and caps that slow start leaves to an endpoint; ends the ramp of one that is through.
pub fn ramp(now: Instant, rules: &Rules, signals: &Signals) -> f64 {
    let since = signals.ramping_since();
    let Some((slow_start, since)) = rules.slow_start.zip(since) else {
        return 1.0;
    };
    let ramp = slow_start.ramp(now.since(since));
    if ramp >= 1.0 {
        signals.end_ramp();
    }
    ramp
}

impl Appraiser {
    /// Brings the sums up to now, for these endpoints and no others.
    fn count(&mut self, now: Instant, rules: &Rules, subjects: &[Subject<'_>]) {
        let same = self.tallies.len() == subjects.len()
            && self
                .tallies
                .iter()
                .zip(subjects)
                .all(|((known, _), s)| *known == s.identity);
        if !same {
            let before: HashMap<u64, Tally> = self.tallies.drain(..).collect();
            let tally = |subject: &Subject<'_>| {
                let new = || Tally {
                    seen: subject.signals.ends(),
                    ..Tally::default()
                };
                (
                    subject.identity,
                    before.get(&subject.identity).copied().unwrap_or_else(new),
                )
            };
            self.tallies = subjects.iter().map(tally).collect();
        }
        let passed = now.since(self.last).as_secs_f64();
        self.last = now;
        let kept = |over: Duration| (-passed / over.as_secs_f64()).exp();
        let of_failures = rules.failure_window.map_or(0.0, kept);
        let of_mean = kept(MEAN);
        for ((_, tally), subject) in self.tallies.iter_mut().zip(subjects) {
            tally.add(subject.signals.ends(), of_failures);
            tally.sample(f64::from(subject.signals.in_flight.load()), of_mean);
        }
    }
}

impl Tally {
    fn add(&mut self, ends: (u32, u32), kept: f64) {
        let attempts = ends.0.wrapping_sub(self.seen.0);
        let failures = ends.1.wrapping_sub(self.seen.1);
        self.attempts = self.attempts * kept + f64::from(attempts);
        // The two counts are not read at one moment.
        self.failures = (self.failures * kept + f64::from(failures)).min(self.attempts);
        self.seen = ends;
    }

    /// So much is in flight now, and this part of the mean so far still counts.
    fn sample(&mut self, in_flight: f64, kept: f64) {
        match &mut self.in_flight {
            Some(mean) => mean.add(in_flight, kept),
            None => self.in_flight = Some(Mean::default()),
        }
    }

    fn success(&self) -> f64 {
        ((self.attempts - self.failures + 1.0) / (self.attempts + 1.0)).max(LEAST_SUCCESS)
    }

    fn ghosts(&self, rules: &Rules, typical: f64) -> f64 {
        rules.failure_window.map_or(0.0, |window| {
            self.failures / window.as_secs_f64() * typical / 1e9
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        slow_start: Some(SlowStart {
            window: Duration::from_secs(10),
            aggression: 1.0,
            min_weight: 0.1,
        }),
        failure_window: Some(Duration::from_secs(10)),
        latency_decay: Duration::from_secs(10),
    };

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn look(totals: &Totals, now: Instant, rules: &Rules, signals: &[Signals]) -> bool {
        let subject = |(identity, signals)| Subject {
            identity,
            signals,
            is_eligible: true,
        };
        let subjects: Vec<_> = (0u64..).zip(signals).map(subject).collect();
        totals.appraise(now, rules, &subjects)
    }

    fn answer(signals: &Signals, now: Instant, millis: u64) {
        signals.answered(now, Duration::from_millis(millis), 0, RULES.latency_decay);
    }

    #[test]
    fn a_ramp_follows_its_formula() {
        let squared = SlowStart {
            aggression: 0.5,
            ..RULES.slow_start.expect("set above")
        };
        let line = RULES.slow_start.expect("set above");
        for (seconds, of_line, of_square) in [
            (0, 0.1, 0.1),
            (2, 0.2, 0.1),
            (5, 0.5, 0.25),
            (10, 1.0, 1.0),
            (99, 1.0, 1.0),
        ] {
            let healthy_for = Duration::from_secs(seconds);
            assert!((line.ramp(healthy_for) - of_line).abs() < 1e-12);
            assert!((squared.ramp(healthy_for) - of_square).abs() < 1e-12);
        }
    }

    #[test]
    fn slow_start_ends_and_asks_for_looks_until_then() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        signals[1].ramp(at(100));
        assert!(look(&totals, at(103), &RULES, &signals));
        assert_eq!(signals[0].charge(), Charge::NONE);
        assert!((signals[1].charge().factor - 0.3).abs() < 1e-6);
        assert!(!look(&totals, at(110), &RULES, &signals));
        assert_eq!(signals[1].charge(), Charge::NONE);
        assert_eq!(signals[1].ramping_since(), None);
    }

    #[test]
    fn what_befalls_all_changes_nothing() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        signals.iter().for_each(|signals| signals.ramp(at(100)));
        look(&totals, at(101), &RULES, &signals);
        assert!(
            signals
                .iter()
                .all(|signals| signals.charge() == Charge::NONE)
        );
    }

    /// By hand: 99 of 99 attempts failed at one, none of 99 at the other, with answers of 20 ms.
    #[test]
    fn failures_cost_weight_and_stand_as_load_until_they_are_old() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        look(&totals, at(1), &RULES, &signals);
        for _ in 0..99 {
            answer(&signals[0], at(1), 20);
            signals[1].failed(at(1), Duration::ZERO, RULES.latency_decay);
        }
        look(&totals, at(1), &RULES, &signals);
        assert_eq!(totals.typical(), 20e6);
        assert_eq!(signals[0].charge(), Charge::NONE);
        let charge = signals[1].charge();
        assert!((charge.factor - 0.1).abs() < 1e-6, "{charge:?}");
        // 9.9 failures a second of 20 ms each.
        assert!((charge.ghosts - 0.198).abs() < 1e-6, "{charge:?}");
        look(&totals, at(101), &RULES, &signals);
        let charge = signals[1].charge();
        assert!(charge.factor > 0.99 && charge.ghosts < 1e-4, "{charge:?}");
    }

    #[test]
    fn without_a_penalty_failures_count_for_nothing() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        let rules = Rules {
            failure_window: None,
            ..RULES
        };
        answer(&signals[0], at(0), 20);
        signals[1].failed(at(0), Duration::ZERO, RULES.latency_decay);
        look(&totals, at(0), &rules, &signals);
        look(&totals, at(1), &rules, &signals);
        assert_eq!(signals[1].charge(), Charge::NONE);
    }

    /// By hand: none for ten seconds, then 4 for ten, of which the past counts 1/e: `4 / (1 + 1/e)`.
    #[test]
    fn the_mean_in_flight_forgets_over_ten_seconds() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        let mean = || totals.mean_in_flight();
        look(&totals, at(100), &RULES, &signals);
        assert!(mean().is_empty(), "no time has passed yet");
        look(&totals, at(110), &RULES, &signals);
        assert_eq!((mean()[&0], mean()[&1]), (0.0, 0.0));
        (0..4).for_each(|_| assert!(signals[1].in_flight.reserve(u32::MAX)));
        // However often it is looked at.
        for second in [111, 111, 114, 120] {
            look(&totals, at(second), &RULES, &signals);
        }
        let expected = 4.0 / (1.0 + (-1f64).exp());
        assert!((mean()[&1] - expected).abs() < 1e-9, "{:?}", mean());
        assert_eq!(mean()[&0], 0.0);
    }

    #[test]
    fn the_past_of_who_remains_is_kept_and_of_who_left_forgotten() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        look(&totals, at(0), &RULES, &signals);
        (0..99).for_each(|_| signals[1].failed(at(0), Duration::ZERO, RULES.latency_decay));
        look(&totals, at(0), &RULES, &signals);
        let other = Signals::default();
        let subjects = |ids: [u64; 2]| {
            let of = |identity: u64| Subject {
                identity,
                signals: if identity == 1 { &signals[1] } else { &other },
                is_eligible: true,
            };
            ids.map(of)
        };
        totals.appraise(at(0), &RULES, &subjects([1, 7]));
        assert!((signals[1].charge().factor - 0.1).abs() < 1e-6);
        for identity in 8..2000 {
            totals.appraise(at(0), &RULES, &subjects([identity, identity + 1]));
        }
        assert_eq!(totals.appraiser.lock().unwrap().tallies.len(), 2);
    }
}
