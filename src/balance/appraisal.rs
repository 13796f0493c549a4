//! How much of its weight does an endpoint get now? Slow start and the failure penalty, as one rule for every policy.
//!
//! **An endpoint counts by `weight × factor`**, where the factor is
//!
//! ```text
//! slow start    max(min_weight, (time since it became healthy / window)^(1 / aggression)), 1 after the window;
//!               or time since its breaker closed / ramp, not below a tenth, where that is less
//!   ×
//! successes     (attempts - failures + 1) / (attempts + 1) of late, not below a tenth
//! ```
//!
//! divided by the highest factor among those of its group that can be picked, so that what befalls all of them alike changes
//! nothing (groups: [`super::narrow`]; those of the section of all endpoints).
//! "Of late": sums that decay with the time constant `window` of the penalty. What is missing less than a thirty-second to
//! the whole counts as whole.
//!
//! A policy that goes by turn, by chance or by key passes an endpoint over with the chance `1 - factor`. One that goes by
//! load divides by `weight × factor`, and **holds each failure as load for as long as an answer takes**, the upstream's median
//! latency: so many attempts would be under way if they had been answers. Without that, an endpoint that fails at once looks
//! idle and draws all the traffic (features of that kind in other balancers: linkerd's load biaser, gRPC A58's error penalty).
//!
//! Called from a tick, not per pick, so that a factor is a tick old. A failure counts as load at once and until the tick, since a
//! tick of all the traffic would be lost before anything stopped it; after that its load decays with the median latency.

use super::mean::Mean;
use super::signals::{Charge, Signals, ahead};
use crate::clock::Instant;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What no factor falls below by failures: enough traffic is left to see that it is well again.
const LEAST_SUCCESS: f64 = 0.1;
/// What an endpoint has at least that recovers, so that something is seen of it.
const LEAST_RECOVERED: f64 = 0.1;
/// So much missing to the whole weight counts as nothing missing. The sums come close to 0 but never there, and who compares
/// loads leaves out an endpoint that is worse by a millionth for as long as another one is idle.
const SLIGHT: f64 = 1.0 / 32.0;
/// Less load than this by failures counts as none, for the same reason.
const SLIGHT_LOAD: f64 = 1.0 / 8.0;
/// A latency by load that nothing was added to for so long is forgotten.
const STALE: Duration = Duration::from_secs(10);
/// Seconds over which the mean in flight is taken: long enough to even out that a tick sees single moments, a hundred of
/// them, and short enough to tell of now.
const MEAN: f64 = 10.0;

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
    /// Failures that still stand as load.
    held: f64,
    /// What was in flight at the ticks; `None` before the first, from which on it is looked at.
    in_flight: Option<Mean>,
}

/// An endpoint as it is appraised.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub identity: u64,
    pub signals: &'a Signals,
    /// Whether it can be picked at all.
    pub is_eligible: bool,
    /// Among whom it is picked: endpoints of one group are compared with each other.
    pub group: usize,
}

impl Totals {
    /// The median latency of the endpoints in nanoseconds, with which a newcomer begins; 0 before any is known.
    pub fn typical(&self) -> f64 {
        f64::from_bits(self.typical.load(Relaxed))
    }

    /// Of whom there is a tally.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> Vec<u64> {
        let appraiser = self.appraiser.lock().unwrap();
        appraiser
            .tallies
            .iter()
            .map(|(identity, _)| *identity)
            .collect()
    }

    /// Looks at all endpoints of the upstream and says how much each counts from now on. Whether one is still in its
    /// slow start, so that another look is due though nothing happens.
    pub fn appraise(&self, now: Instant, rules: &Rules, subjects: &[Subject<'_>]) -> bool {
        self.measure(now, rules, subjects);
        let mut appraiser = self
            .appraiser
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let typical = self.typical();
        appraiser.count(now, rules, typical, subjects);
        let mut ramping = false;
        let raw: Vec<f64> = subjects
            .iter()
            .zip(&appraiser.tallies)
            .map(|(subject, (_, tally))| {
                let ramp = ramp(now, rules, subject.signals);
                ramping |= ramp < 1.0;
                if let Some(since) = subject.signals.ramping_since().filter(|_| ramp >= 1.0) {
                    subject.signals.end_ramp(since);
                }
                ramp * tally.success(rules)
            })
            .collect();
        let highest = highest(subjects, &raw);
        let counts = rules.failure_window.is_some();
        for ((subject, raw), (_, tally)) in subjects.iter().zip(&raw).zip(&appraiser.tallies) {
            let part = raw / highest.get(&subject.group).unwrap_or(raw);
            let factor = if part < 1.0 - SLIGHT {
                part
            } else {
                // Also where none can be picked.
                1.0
            };
            let counted = counts && tally.held >= SLIGHT_LOAD;
            subject.signals.charge_with(Charge {
                factor: factor as f32,
                ghosts: if counted { tally.held as f32 } else { 0.0 },
            });
            subject
                .signals
                .charged_up_to(counts.then_some(tally.seen.1));
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
        let typical = self.typical();
        for subject in subjects {
            subject.signals.by_load.forget(now, STALE);
            if subject.is_eligible && typical > 0.0 {
                subject.signals.seed_latency(now, typical);
            }
        }
    }
}

/// The highest part of a weight in force in each group, among those that can be picked.
fn highest(subjects: &[Subject<'_>], raw: &[f64]) -> HashMap<usize, f64> {
    let mut highest = HashMap::new();
    for (subject, raw) in subjects
        .iter()
        .zip(raw)
        .filter(|(subject, _)| subject.is_eligible)
    {
        let held = highest.entry(subject.group).or_insert(0.0);
        *held = f64::max(*held, *raw);
    }
    highest
}

/// The part of its weight and caps that slow start leaves to an endpoint, and that it has recovered of them.
pub fn ramp(now: Instant, rules: &Rules, signals: &Signals) -> f64 {
    let since = signals.ramping_since();
    let started = rules
        .slow_start
        .zip(since)
        .map_or(1.0, |(slow_start, since)| slow_start.ramp(now.since(since)));
    started.min(signals.recovered(now).max(LEAST_RECOVERED))
}

impl Appraiser {
    /// Brings the sums up to now, for these endpoints and no others.
    fn count(&mut self, now: Instant, rules: &Rules, typical: f64, subjects: &[Subject<'_>]) {
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
        let window = rules.failure_window.unwrap_or_default().as_secs_f64();
        let of_mean = kept(passed, MEAN);
        let kept = [kept(passed, window), kept(passed, typical / 1e9)];
        for ((_, tally), subject) in self.tallies.iter_mut().zip(subjects) {
            tally.add(subject.signals.ends(), kept);
            match &mut tally.in_flight {
                Some(mean) => mean.add(f64::from(subject.signals.in_flight.load()), of_mean),
                None => tally.in_flight = Some(Mean::default()),
            }
        }
    }
}

impl Tally {
    /// `kept`: what the time that has passed leaves of the sums, and of failures as load.
    fn add(&mut self, ends: (u32, u32), [kept, held]: [f64; 2]) {
        let (attempts, failures) = (ahead(self.seen.0, ends.0), ahead(self.seen.1, ends.1));
        self.attempts = self.attempts * kept + f64::from(attempts);
        // The two counts are not read at one moment.
        self.failures = (self.failures * kept + f64::from(failures)).min(self.attempts);
        self.held = (self.held + f64::from(failures)) * held;
        self.seen = ends;
    }

    fn success(&self, rules: &Rules) -> f64 {
        if rules.failure_window.is_none() {
            return 1.0;
        }
        ((self.attempts - self.failures + 1.0) / (self.attempts + 1.0)).max(LEAST_SUCCESS)
    }
}

/// What is left after a time of a sum that decays with this time constant, both in seconds.
fn kept(passed: f64, constant: f64) -> f64 {
    // Nothing, where nothing is to be kept at all.
    if constant > 0.0 {
        (-passed / constant).exp()
    } else {
        0.0
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
            group: 0,
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
        // Before anybody looks they are load already.
        assert_eq!(signals[1].charge().ghosts, 99.0);
        look(&totals, at(1), &RULES, &signals);
        assert_eq!(totals.typical(), 20e6);
        assert_eq!(signals[0].charge(), Charge::NONE);
        let charge = signals[1].charge();
        assert!((charge.factor - 0.1).abs() < 1e-6, "{charge:?}");
        assert_eq!(charge.ghosts, 99.0);
        // For about as long as an answer takes: after 20 ms e^-1 of them. The median itself has decayed by 0.2 % then.
        look(&totals, Instant(at(1).0 + 20_000_000), &RULES, &signals);
        let held = 99.0 * (-1f32).exp();
        assert!((signals[1].charge().ghosts - held).abs() < 0.1);
        // And less than an eighth of one after 20 ms · ln (99 · 8) = 133 ms.
        look(&totals, Instant(at(1).0 + 140_000_000), &RULES, &signals);
        assert_eq!(signals[1].charge().ghosts, 0.0);
    }

    /// By hand: of one attempt that failed, e^(-t / 10 s) is left, so that the factor is 1 / (1 + e^(-t / 10 s)): 31 / 32 of the
    /// weight are in force when e^(-t / 10 s) is 1 / 31, after 34.3 s.
    #[test]
    fn a_failure_is_forgotten_altogether() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        look(&totals, at(0), &RULES, &signals);
        answer(&signals[0], at(0), 20);
        signals[1].failed(at(0), Duration::ZERO, RULES.latency_decay);
        look(&totals, at(0), &RULES, &signals);
        assert_eq!(signals[1].charge().factor, 0.5);
        for (seconds, is_forgotten) in [(34, false), (35, true)] {
            look(&totals, at(seconds), &RULES, &signals);
            assert_eq!(signals[1].charge() == Charge::NONE, is_forgotten);
        }
    }

    #[test]
    fn without_a_penalty_failures_count_for_nothing() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        let rules = Rules {
            failure_window: None,
            ..RULES
        };
        look(&totals, at(0), &rules, &signals);
        answer(&signals[0], at(0), 20);
        signals[1].failed(at(0), Duration::ZERO, RULES.latency_decay);
        for seconds in [0, 1] {
            look(&totals, at(seconds), &rules, &signals);
            assert_eq!(signals[1].charge(), Charge::NONE);
        }
    }

    /// An endpoint whose `id` stays while its address changes: its counts began anew and were taken for 2^32 attempts, nearly all
    /// of them failed.
    #[test]
    fn counts_that_go_back_are_no_attempts() {
        let (totals, before) = (Totals::default(), [Signals::default(), Signals::default()]);
        look(&totals, at(1), &RULES, &before);
        (0..99).for_each(|_| answer(&before[1], at(1), 20));
        before[1].failed(at(1), Duration::ZERO, RULES.latency_decay);
        look(&totals, at(1), &RULES, &before);
        let after = [Signals::default(), Signals::default()];
        look(&totals, at(1), &RULES, &after);
        assert_eq!(after[1].charge(), before[1].charge());
        // They count on from there: 199 attempts, 100 of them failed, and one more of each that did not.
        (0..99).for_each(|_| after[1].failed(at(1), Duration::ZERO, RULES.latency_decay));
        look(&totals, at(1), &RULES, &after);
        assert!((after[1].charge().factor - 0.5).abs() < 1e-6);
    }

    /// By hand: the others take 20 ms, and of those e^-0.1 is left a second later. Then a newcomer answers within a
    /// millisecond.
    #[test]
    fn a_newcomer_begins_with_the_median_latency() {
        let (totals, signals) = (Totals::default(), [Signals::default(), Signals::default()]);
        look(&totals, at(0), &RULES, &signals);
        assert_eq!(signals[1].latency(at(0), RULES.latency_decay), None);
        answer(&signals[0], at(0), 20);
        look(&totals, at(0), &RULES, &signals);
        assert_eq!(signals[1].latency(at(0), RULES.latency_decay), Some(20e6));
        answer(&signals[1], at(1), 1);
        let kept = (-0.1f64).exp();
        let latency = signals[1].latency(at(1), RULES.latency_decay);
        let expected = 20e6 * kept + 1e6 * (1.0 - kept);
        assert!((latency.expect("it answered") - expected).abs() < 1.0);
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
                group: 0,
            };
            ids.map(of)
        };
        totals.appraise(at(0), &RULES, &subjects([1, 7]));
        assert!((signals[1].charge().factor - 0.1).abs() < 1e-6);
        for identity in 8..2000 {
            totals.appraise(at(0), &RULES, &subjects([identity, identity + 1]));
        }
        assert_eq!(totals.remembered(), [1999, 2000]);
    }
}
