//! The live numbers of one endpoint: written by whoever carries attempts there, read by the policies.
//!
//! They are shared by all workers, and belong to the endpoint's identity, so that a reload keeps them. Only the
//! count of attempts in flight is exact; every other number is a plain load and a plain store, so that two workers that
//! end an attempt at the same moment may count as one. All lie together on cache lines that the worker has to itself
//! anyway at the moments when it writes, since it takes or gives back a slot then.

use super::by_load::ByLoad;
use crate::clock::Instant;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Attempts that have not ended. One of the few numbers that all workers change.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

impl InFlight {
    /// Takes a slot unless `cap` are taken. Whoever got one owes a `release`.
    pub fn reserve(&self, cap: u32) -> bool {
        if cap == u32::MAX {
            self.0.fetch_add(1, Relaxed);
            return true;
        }
        self.0
            .fetch_update(Relaxed, Relaxed, |taken| (taken < cap).then_some(taken + 1))
            .is_ok()
    }

    /// Gives a slot back.
    pub fn release(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Slots taken now.
    pub fn load(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

impl From<u32> for InFlight {
    fn from(taken: u32) -> Self {
        Self(AtomicU32::new(taken))
    }
}

/// What is known of one endpoint now.
///
/// In the order in which it lies in memory: what every pick reads of an endpoint is on the first cache line, with its
/// latencies at low loads. Among thousands of endpoints those lines are most of what a pick costs.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Signals {
    /// Attempts under way, over all workers.
    pub in_flight: InFlight,
    /// Attempts that failed; it wraps.
    failed: AtomicU32,
    charge: AtomicU64,
    /// The count of failures that the charge speaks of, and above it [`COUNTS`] where failures count.
    charged: AtomicU64,
    reported: Reported,
    /// Latencies by what was in flight, for the policy that asks for them.
    pub by_load: ByLoad,
    latency: Latency,
    /// Attempts that ended; it wraps.
    ended: AtomicU32,
    rate: Rate,
    /// When its slow start began, 0 where there is none.
    ramping_since: AtomicU64,
    /// When it began to recover, 0 where it does not, and in how many nanoseconds.
    recovering_since: AtomicU64,
    recovers_in: AtomicU64,
}

/// Marks in [`Signals::charged`] that failures count.
const COUNTS: u64 = 1 << 32;

/// By how much an endpoint counts less than its weight, and more than its attempts in flight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Charge {
    /// The part of its weight that is in force: 0 exclusive to 1.
    pub factor: f32,
    /// Failures of late, each as the load that an answer would have been.
    pub ghosts: f32,
}

impl Charge {
    /// Of an endpoint that nothing is held against.
    pub const NONE: Self = Self {
        factor: 1.0,
        ghosts: 0.0,
    };

    const fn packed(self) -> u64 {
        (self.factor.to_bits() as u64) << 32 | self.ghosts.to_bits() as u64
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            in_flight: InFlight::default(),
            ended: AtomicU32::default(),
            failed: AtomicU32::default(),
            charge: AtomicU64::new(Charge::NONE.packed()),
            charged: AtomicU64::default(),
            latency: Latency::default(),
            rate: Rate::default(),
            reported: Reported::default(),
            ramping_since: AtomicU64::default(),
            recovering_since: AtomicU64::default(),
            recovers_in: AtomicU64::default(),
            by_load: ByLoad::default(),
        }
    }
}

impl Signals {
    /// An endpoint with so much in flight, of which nothing else is known.
    pub fn with_load(load: u32) -> Self {
        Self {
            in_flight: InFlight::from(load),
            ..Self::default()
        }
    }

    /// An attempt was placed here.
    pub fn picked(&self, now: Instant) {
        self.rate.note(now);
    }

    /// An attempt got a response head that is no failure, `latency` after it was placed here, when `load` others were
    /// under way. `decay` as in [`Signals::latency`].
    pub fn answered(&self, now: Instant, latency: Duration, load: u32, decay: Duration) {
        let nanos = nanos(latency);
        add(&self.ended);
        self.latency.observe(now, nanos, decay);
        self.by_load.record(now, load, nanos);
    }

    /// An attempt failed. Its time says nothing of how long an answer takes, unless it is longer than that.
    pub fn failed(&self, now: Instant, spent: Duration, decay: Duration) {
        add(&self.ended);
        add(&self.failed);
        self.cancelled(now, spent, decay);
    }

    /// An attempt that was answered broke off before the end of its body: it counts as a failure after all.
    pub fn broke(&self) {
        add(&self.failed);
    }

    /// An attempt was given up by us after `spent`: an answer would have taken at least as long. Compared with what was
    /// measured last, not with what the decay has left of it: that is shorter than any failure in the end.
    pub fn cancelled(&self, now: Instant, spent: Duration, decay: Duration) {
        let spent = nanos(spent);
        if self.latency.last().is_some_and(|last| spent > last) {
            self.latency.observe(now, spent, decay);
        }
    }

    /// The same of one that another attempt overtook, and that counts as one which ended: it was slow.
    pub fn overtaken(&self, now: Instant, spent: Duration, decay: Duration) {
        add(&self.ended);
        self.cancelled(now, spent, decay);
    }

    /// The endpoint says how many requests it has in flight, from whomever.
    pub fn reported(&self, now: Instant, load: u32) {
        self.reported.set(now, load, self.in_flight.load());
    }

    /// Attempts under way here, or requests where the endpoint itself has said so within the last second.
    pub fn load(&self, now: Instant) -> u32 {
        let own = self.in_flight.load();
        self.reported.correct(now, own)
    }

    /// Peak-EWMA of the latency in nanoseconds: it follows a higher one at once and forgets it with time constant
    /// `decay`, also while nothing comes (Finagle's `PeakEwma`). `None`: no answer came yet, nor was one seeded.
    pub fn latency(&self, now: Instant, decay: Duration) -> Option<f64> {
        self.latency.read(now, decay)
    }

    /// The same as it was measured, without what it has decayed since: what those under way will take.
    pub fn last_latency(&self) -> Option<f64> {
        self.latency.last()
    }

    /// A latency in nanoseconds to begin with; without effect where one is known. The first answers lead on from it: a quick one
    /// alone would make a newcomer look better than all those whose peaks are known.
    pub fn seed_latency(&self, now: Instant, nanos: f64) {
        if self.latency.last().is_none() {
            self.latency.set(now, nanos);
        }
    }

    /// Attempts placed here in the last second.
    pub fn rate(&self, now: Instant) -> f64 {
        self.rate.per_second(now)
    }

    /// What is held against it. Failures that came since it was said stand as load at once.
    pub fn charge(&self) -> Charge {
        let packed = self.charge.load(Relaxed);
        let charged = self.charged.load(Relaxed);
        let fresh = if charged & COUNTS > 0 {
            ahead(charged as u32, self.failed.load(Relaxed))
        } else {
            0
        };
        Charge {
            factor: f32::from_bits((packed >> 32) as u32),
            ghosts: f32::from_bits(packed as u32) + fresh as f32,
        }
    }

    /// Says by how much it counts less from now on.
    pub fn charge_with(&self, charge: Charge) {
        self.charge.store(charge.packed(), Relaxed);
    }

    /// Says up to which count of failures ([`Signals::ends`]) the charge speaks; `None`: failures do not count.
    pub fn charged_up_to(&self, failed: Option<u32>) {
        let charged = failed.map_or(0, |failed| COUNTS | u64::from(failed));
        self.charged.store(charged, Relaxed);
    }

    /// Attempts ended and attempts failed so far; both wrap.
    pub fn ends(&self) -> (u32, u32) {
        (self.ended.load(Relaxed), self.failed.load(Relaxed))
    }

    /// Its slow start begins.
    pub fn ramp(&self, now: Instant) {
        self.ramping_since.store(now.0.max(1), Relaxed);
    }

    /// It takes its whole share from now on, unless another slow start has begun meanwhile.
    pub fn end_ramp(&self, since: Instant) {
        // Where it fails, another has begun, which goes on.
        let _ = self
            .ramping_since
            .compare_exchange(since.0, 0, Relaxed, Relaxed);
    }

    /// It recovers from now on: its share grows in a straight line for so long, whether or not there is a slow start.
    pub fn recover(&self, now: Instant, window: Duration) {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        self.recovers_in.store(window, Relaxed);
        let since = if window > 0 { now.0.max(1) } else { 0 };
        self.recovering_since.store(since, Relaxed);
    }

    /// The part of its share that it has recovered, 0 to 1. Forgets a recovery that is over.
    pub fn recovered(&self, now: Instant) -> f64 {
        let since = self.recovering_since.load(Relaxed);
        if since == 0 {
            return 1.0;
        }
        let part = now.0.saturating_sub(since) as f64 / self.recovers_in.load(Relaxed) as f64;
        if part >= 1.0 {
            // Where it fails, another recovery has begun, which goes on.
            let _ = self
                .recovering_since
                .compare_exchange(since, 0, Relaxed, Relaxed);
        }
        part.min(1.0)
    }

    /// Whether slow start or a recovery may hold a part of its share back.
    pub fn is_ramping(&self) -> bool {
        self.ramping_since.load(Relaxed) > 0 || self.recovering_since.load(Relaxed) > 0
    }

    /// When its slow start began, if it is in one.
    pub fn ramping_since(&self) -> Option<Instant> {
        match self.ramping_since.load(Relaxed) {
            0 => None,
            since => Some(Instant(since)),
        }
    }
}

/// How far a count has come that wraps. None where it went back: either the endpoint has a new address and with it new
/// numbers, or of two workers that counted at once the first to read was the last to write.
pub(super) fn ahead(seen: u32, count: u32) -> u32 {
    let ahead = count.wrapping_sub(seen);
    if ahead > u32::MAX / 2 { 0 } else { ahead }
}

fn add(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

fn nanos(span: Duration) -> f64 {
    // Of 128 bits the conversion is a loop.
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX) as f64
}

/// A peak-EWMA in nanoseconds and when it was last written; 0 and no more where nothing was.
#[derive(Debug, Default)]
struct Latency {
    /// The bits of an `f64`.
    value: AtomicU64,
    at: AtomicU64,
}

impl Latency {
    fn observe(&self, now: Instant, nanos: f64, decay: Duration) {
        let value = match self.read(now, decay) {
            // `read` has the past decayed already: what is missing to a whole weight is the sample's.
            Some(past) => {
                let before = f64::from_bits(self.value.load(Relaxed));
                let weight = if before > 0.0 { past / before } else { 0.0 };
                if nanos > before {
                    nanos
                } else {
                    past + nanos * (1.0 - weight)
                }
            }
            None => nanos,
        };
        self.set(now, value);
    }

    fn set(&self, now: Instant, nanos: f64) {
        // An answer within the same nanosecond is still an answer.
        self.value.store(nanos.max(1.0).to_bits(), Relaxed);
        self.at.store(now.0, Relaxed);
    }

    /// As it was written.
    fn last(&self) -> Option<f64> {
        let value = f64::from_bits(self.value.load(Relaxed));
        (value > 0.0).then_some(value)
    }

    /// Decayed since.
    fn read(&self, now: Instant, decay: Duration) -> Option<f64> {
        let value = self.last()?;
        let idle = now.0.saturating_sub(self.at.load(Relaxed)) as f64;
        Some(value * (-idle / nanos(decay)).exp())
    }
}

/// Events of the last second, as HAProxy's `freq_ctr` counts them: those of the second that runs, and of the one before
/// it the part that is not over for a second yet.
#[derive(Debug, Default)]
struct Rate(AtomicU64);

/// Bits of a [`Rate`] for each of its two counts; the others hold the second.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// The bits of the second: they come around after half a year.
const SECONDS: u64 = u64::MAX >> (2 * COUNT_BITS);
const SECOND: u64 = 1_000_000_000;

impl Rate {
    /// The second, what came in it and what came in the one before.
    fn at(&self, now: Instant) -> (u64, u64, u64) {
        let packed = self.0.load(Relaxed);
        let (second, current, before) = (
            packed >> (2 * COUNT_BITS),
            (packed >> COUNT_BITS) & COUNT_MAX,
            packed & COUNT_MAX,
        );
        let today = (now.0 / SECOND) & SECONDS;
        match today.wrapping_sub(second) & SECONDS {
            0 => (second, current, before),
            1 => (today, 0, current),
            // One behind: another worker's clock was ahead, and the second that it began has begun.
            SECONDS => (second, current, before),
            _ => (today, 0, 0),
        }
    }

    fn note(&self, now: Instant) {
        let (second, current, before) = self.at(now);
        let current = (current + 1).min(COUNT_MAX);
        let packed = second << (2 * COUNT_BITS) | current << COUNT_BITS | before;
        self.0.store(packed, Relaxed);
    }

    fn per_second(&self, now: Instant) -> f64 {
        let (second, current, before) = self.at(now);
        let has_begun = (now.0 / SECOND) & SECONDS == second;
        let passed = if has_begun { now.0 % SECOND } else { 0 };
        let left = 1.0 - passed as f64 / SECOND as f64;
        current as f64 + before as f64 * left
    }
}

/// What an endpoint said of its own load, and what ours was then.
#[derive(Debug, Default)]
struct Reported {
    /// Its number above, ours below.
    loads: AtomicU64,
    /// 0: it never said anything.
    at: AtomicU64,
}

/// How long a report counts: the age limit of probes in Prequal (NSDI'24, 4.3).
const REPORT_AGE: u64 = SECOND;

impl Reported {
    fn set(&self, now: Instant, load: u32, own: u32) {
        self.loads
            .store(u64::from(load) << 32 | u64::from(own), Relaxed);
        self.at.store(now.0.max(1), Relaxed);
    }

    /// The report, moved by what has come and gone here since; never less than our own.
    fn correct(&self, now: Instant, own: u32) -> u32 {
        let at = self.at.load(Relaxed);
        if at == 0 || now.0.saturating_sub(at) > REPORT_AGE {
            return own;
        }
        let loads = self.loads.load(Relaxed);
        let (reported, then) = ((loads >> 32) as u32, loads as u32);
        reported.saturating_add(own).saturating_sub(then).max(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    #[test]
    fn what_a_pick_reads_lies_on_one_cache_line_or_two() {
        // With the medians of the first six steps, which reach to seven attempts in flight.
        assert!(std::mem::offset_of!(Signals, by_load) + 6 * size_of::<AtomicU32>() <= 64);
        let latency = std::mem::offset_of!(Signals, latency);
        assert_eq!(latency / 64, (latency + size_of::<Latency>() - 1) / 64);
        assert_eq!(size_of::<Signals>() % 64, 0);
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn a_cap_is_never_exceeded() {
        let in_flight = InFlight::default();
        assert!(in_flight.reserve(2) && in_flight.reserve(2) && !in_flight.reserve(2));
        in_flight.release();
        assert!(in_flight.reserve(2));
        assert_eq!(in_flight.load(), 2);
    }

    /// Computed by hand from Finagle's rule with a decay of 10 s.
    #[test]
    fn latency_rises_at_once_and_falls_over_the_decay() {
        let signals = Signals::default();
        let known = |millis| signals.latency(at(millis), DECAY).map(|nanos| nanos / 1e6);
        let answered = |now, took| signals.answered(at(now), Duration::from_millis(took), 0, DECAY);
        assert_eq!(known(0), None);
        answered(0, 20);
        assert_eq!(known(0), Some(20.0));
        answered(1000, 100);
        assert_eq!(known(1000), Some(100.0));
        // A decay later, e^-1 of it is left, also without an answer.
        let near = |value: Option<f64>, expected: f64| {
            let value = value.expect("answers came");
            assert!(
                (value - expected).abs() < 1e-9,
                "{value} instead of {expected}"
            );
        };
        near(known(11_000), 100.0 * (-1f64).exp());
        answered(11_000, 20);
        near(
            known(11_000),
            100.0 * (-1f64).exp() + 20.0 * (1.0 - (-1f64).exp()),
        );
    }

    #[test]
    fn failures_do_not_look_fast_and_long_waits_count() {
        let signals = Signals::default();
        signals.failed(at(0), Duration::from_millis(1), DECAY);
        assert_eq!(signals.latency(at(0), DECAY), None);
        signals.answered(at(0), Duration::from_millis(50), 0, DECAY);
        signals.failed(at(0), Duration::from_millis(1), DECAY);
        assert_eq!(signals.latency(at(0), DECAY), Some(50e6));
        signals.cancelled(at(0), Duration::from_millis(80), DECAY);
        assert_eq!(signals.latency(at(0), DECAY), Some(80e6));
        assert_eq!(signals.ends(), (3, 2));
        // A minute without an answer leaves 80 ms · e^-6 = 0.2 ms, and a failure is still not an answer of a millisecond.
        let decayed = signals.latency(at(60_000), DECAY);
        signals.failed(at(60_000), Duration::from_millis(1), DECAY);
        assert_eq!(signals.latency(at(60_000), DECAY), decayed);
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let rate = Rate::default();
        (0..10).for_each(|i| rate.note(at(100 * i)));
        assert_eq!(rate.per_second(at(999)), 10.0);
        assert_eq!(rate.per_second(at(1500)), 5.0);
        rate.note(at(1500));
        assert_eq!(rate.per_second(at(1500)), 6.0);
        assert_eq!(rate.per_second(at(3000)), 0.0);
    }

    /// The clocks of workers are not read at one moment: one that was behind at the turn of a second emptied both counts.
    #[test]
    fn a_clock_that_is_behind_does_not_empty_the_rate() {
        let rate = Rate::default();
        (0..10).for_each(|i| rate.note(at(1000 + 100 * i)));
        rate.note(at(2000));
        rate.note(at(1999));
        assert_eq!(rate.per_second(at(1999)), 12.0);
        assert_eq!(rate.per_second(at(2500)), 7.0);
        // The seconds come around.
        let last = SECONDS * 1000;
        rate.note(at(last + 999));
        rate.note(at(last + 1000));
        assert_eq!(rate.per_second(at(last + 1000)), 2.0);
    }

    #[test]
    fn a_report_counts_for_a_second_and_moves_with_our_own() {
        let signals = Signals::with_load(2);
        assert_eq!(signals.load(at(0)), 2);
        signals.reported(at(0), 9);
        signals.in_flight.reserve(u32::MAX);
        assert_eq!(signals.load(at(500)), 10);
        assert_eq!(signals.load(at(1001)), 3);
        signals.reported(at(2000), 0);
        assert_eq!(signals.load(at(2000)), 3);
    }
}
