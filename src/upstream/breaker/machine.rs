//! The state machine of one breaker: told what happened, it says what changes. No clock, lock or task of its own.

use super::window::{Counts, Window};
use super::{Phase, Rules};
use crate::clock::Instant;
use crate::entropy::Random;
use std::time::Duration;

/// Why a breaker changed, or what it is open for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// So many failures in a row; the label of the last.
    InARow(u32, &'static str),
    /// The share of failures in the window.
    FailureRate(Counts),
    /// The share of slow attempts in the window.
    SlowRate(Counts),
    /// A probe failed; how.
    ProbeFailed(&'static str),
    /// It was open for long enough.
    CooledDown,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// It is no longer used.
    Unused,
}

/// A change, with what is known of it at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub to: Phase,
    pub why: Why,
    /// How long it stays open.
    pub stay: Duration,
}

/// One breaker.
#[derive(Debug, Default)]
pub struct Machine {
    phase: Phase,
    /// Counts up with each change, and when probes are given up: who was let through before has no say.
    epoch: u32,
    window: Window,
    since: Instant,
    /// When it is open: until when.
    until: Instant,
    /// When it is closed: until when its share grows.
    ramps_until: Instant,
    /// Openings without a rest between them.
    openings: u32,
    opened_for: Option<Why>,
    probes: Probes,
}

/// When it is half-open.
#[derive(Debug, Default)]
struct Probes {
    under_way: u32,
    succeeded: u32,
    last: Instant,
}

impl Machine {
    /// Before the first look: so many attempts had ended when it began.
    pub fn begin(&mut self, ended: u32) {
        self.window.begin(ended);
    }

    /// Its window follows nothing any more.
    pub fn forget(&mut self) {
        self.window.forget();
    }

    /// So many failures came in a row, the last of them now.
    pub fn failed(
        &mut self,
        now: Instant,
        rules: &Rules,
        random: &mut Random,
        in_row: u32,
        cause: &'static str,
    ) -> Option<Change> {
        let is_much = rules.consecutive.is_some_and(|limit| in_row >= limit);
        if self.phase != Phase::Closed || !is_much {
            return None;
        }
        Some(self.open(now, rules, random, Why::InARow(in_row, cause)))
    }

    /// Takes a place among the probes, if it is half-open and one is free.
    pub fn admit(&mut self, now: Instant, rules: &Rules) -> bool {
        let is_free = self.is_free(rules);
        if is_free {
            self.probes.under_way += 1;
            self.probes.last = now;
        }
        is_free
    }

    /// A probe ended: well, or by this cause. It holds its place until then.
    pub fn probed(
        &mut self,
        now: Instant,
        rules: &Rules,
        random: &mut Random,
        outcome: Result<(), &'static str>,
    ) -> Option<Change> {
        self.give_back();
        match outcome {
            Ok(()) => {
                self.probes.succeeded += 1;
                (self.probes.succeeded >= rules.probes)
                    .then(|| self.close(now, rules, Why::ProbesSucceeded))
            }
            Err(cause) => Some(self.open(now, rules, random, Why::ProbeFailed(cause))),
        }
    }

    /// A probe came to nothing that says anything: its place is free again.
    pub fn give_back(&mut self) {
        self.probes.under_way = self.probes.under_way.saturating_sub(1);
    }

    /// Looks at the running totals and at the time; from a tick.
    pub fn look(
        &mut self,
        now: Instant,
        rules: &Rules,
        random: &mut Random,
        totals: Counts,
    ) -> Option<Change> {
        let is_counted = self.phase == Phase::Closed;
        self.window.add(now, rules.window, totals, is_counted);
        match self.phase {
            Phase::Closed => {
                let why = self.too_much(rules)?;
                Some(self.open(now, rules, random, why))
            }
            Phase::Open if now >= self.until => {
                self.probes = Probes::default();
                Some(self.turn(now, Phase::HalfOpen, Why::CooledDown))
            }
            Phase::Open => None,
            Phase::HalfOpen => {
                // A probe that hangs for so long, as an upload that drips, must not keep others from finding out.
                if self.probes.under_way > 0 && now.since(self.probes.last) >= rules.open_for_max {
                    self.epoch = self.epoch.wrapping_add(1);
                    self.probes.under_way = 0;
                }
                None
            }
        }
    }

    /// Closes it, if it is not closed, since nobody asks it any more.
    pub fn reset(&mut self, now: Instant) -> Option<Change> {
        if self.phase == Phase::Closed {
            return None;
        }
        self.openings = 0;
        let change = self.turn(now, Phase::Closed, Why::Unused);
        self.ramps_until = now;
        Some(change)
    }

    /// The share of the traffic that goes through a closed one, 0 to 1: what is below a tenth is a tenth, so that
    /// there is something to see.
    pub fn share(&self, now: Instant) -> f64 {
        if self.phase != Phase::Closed || now >= self.ramps_until {
            return 1.0;
        }
        let whole = self.ramps_until.since(self.since).as_secs_f64();
        (now.since(self.since).as_secs_f64() / whole).max(super::LEAST_SHARE)
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether a probe would be let through.
    pub fn is_free(&self, rules: &Rules) -> bool {
        self.phase == Phase::HalfOpen
            && self.probes.under_way + self.probes.succeeded < rules.probes
    }

    /// What is told of it.
    pub fn facts(&self, now: Instant) -> Facts {
        Facts {
            phase: self.phase,
            since: self.since,
            opened_for: self.opened_for,
            openings: self.openings,
            next_probe: (self.phase == Phase::Open).then(|| self.until.since(now)),
            probes: (self.probes.under_way, self.probes.succeeded),
            window: self.window.sum(),
            share: self.share(now),
        }
    }

    fn too_much(&self, rules: &Rules) -> Option<Why> {
        let sum = self.window.sum();
        if sum.ended < rules.min_samples.max(1) {
            return None;
        }
        let part = |count: u32| f64::from(count) / f64::from(sum.ended);
        if rules
            .failure_rate
            .is_some_and(|rate| part(sum.failed) >= rate)
        {
            Some(Why::FailureRate(sum))
        } else if rules.slow_call.is_some() && part(sum.slow) >= rules.slow_rate {
            Some(Why::SlowRate(sum))
        } else {
            None
        }
    }

    fn open(&mut self, now: Instant, rules: &Rules, random: &mut Random, why: Why) -> Change {
        if self.phase == Phase::Closed && now.since(self.since) >= rules.open_for_max {
            self.openings = 0;
        }
        let stay = rules.stay(self.openings).as_secs_f64();
        let stay = Duration::from_secs_f64(stay * (1.0 - rules.jitter * random.unit()));
        self.openings = self.openings.saturating_add(1);
        self.until = now + stay;
        self.opened_for = Some(why);
        Change {
            stay,
            ..self.turn(now, Phase::Open, why)
        }
    }

    fn close(&mut self, now: Instant, rules: &Rules, why: Why) -> Change {
        self.ramps_until = now + rules.ramp;
        self.turn(now, Phase::Closed, why)
    }

    fn turn(&mut self, now: Instant, to: Phase, why: Why) -> Change {
        self.phase = to;
        self.since = now;
        self.epoch = self.epoch.wrapping_add(1);
        self.window.clear();
        Change {
            to,
            why,
            stay: Duration::ZERO,
        }
    }
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    pub phase: Phase,
    pub since: Instant,
    /// Why it opened last.
    pub opened_for: Option<Why>,
    /// Openings without a rest between them.
    pub openings: u32,
    /// When it is open: in how long probes go through.
    pub next_probe: Option<Duration>,
    /// When it is half-open: probes under way, and those that succeeded.
    pub probes: (u32, u32),
    /// What it counts at present: attempts since it closed, at most of its window.
    pub window: Counts,
    /// The share of the traffic that it lets through when it is closed.
    pub share: f64,
}
