//! One breaker as all workers share it: the machine behind a lock, and before the lock what an attempt asks for when
//! nothing fails: one load when it begins, another when it ends.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::machine::{Change, Facts, Machine};
use super::pass::{Outcome, Pass, Probe};
use super::row::Row;
use super::window::Counts;
use super::{Phase, Rules};
use crate::clock::Instant;
use crate::entropy::Random;

/// A breaker with its state. All of it is exact, however many workers share it.
#[derive(Debug)]
pub struct Switch {
    /// What the machine says, packed: see [`Seen`].
    seen: AtomicU64,
    row: Row,
    failed: AtomicU32,
    slow: AtomicU32,
    /// Only where nobody else counts: of a route.
    ended: AtomicU32,
    /// Whether its window follows what happens.
    is_watched: AtomicBool,
    /// Guards the machine, for a few instructions; taken by whoever fails, probes or ticks.
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    machine: Machine,
    random: Random,
    /// Changes so far, to each phase.
    changes: [u64; Phase::ALL.len()],
}

impl Default for Switch {
    fn default() -> Self {
        Self::seeded(Random::from_system())
    }
}

/// What is seen of the machine without the lock: phase (2 bits), whether no probe is free, whether its share grows, and
/// the epoch above.
#[derive(Clone, Copy)]
struct Seen(u64);

const TAKEN: u64 = 1 << 2;
const RAMPS: u64 = 1 << 3;

impl Seen {
    fn of(machine: &Machine, rules: &Rules, ramps: bool) -> Self {
        let is_taken = machine.phase() == Phase::HalfOpen && !machine.is_free(rules);
        let flags = (u64::from(is_taken) * TAKEN) | (u64::from(ramps) * RAMPS);
        Self(u64::from(machine.epoch()) << 32 | flags | machine.phase() as u64)
    }

    fn phase(self) -> Phase {
        Phase::ALL[(self.0 & 3) as usize]
    }

    fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Switch {
    /// A closed one that draws by this chance.
    pub fn seeded(random: Random) -> Self {
        Self {
            seen: AtomicU64::default(),
            row: Row::default(),
            failed: AtomicU32::default(),
            slow: AtomicU32::default(),
            ended: AtomicU32::default(),
            is_watched: AtomicBool::default(),
            kept: Mutex::new(Kept {
                machine: Machine::default(),
                random,
                changes: [0; Phase::ALL.len()],
            }),
        }
    }

    /// Says how many attempts had ended when it began; without effect on one that is looked at, until it is reset.
    pub fn begin(&self, ended: u32) {
        self.kept().machine.begin(ended);
    }

    /// Whether it is half-open and its probes are under way: the endpoint is full then.
    pub fn is_taken(&self) -> bool {
        self.seen.load(Relaxed) & TAKEN > 0
    }

    pub fn phase(&self) -> Phase {
        self.seen().phase()
    }

    /// Whether it has ever been anything but closed.
    pub fn has_changed(&self) -> bool {
        self.seen().epoch() > 0
    }

    /// Lets an attempt through at an endpoint, unless it is half-open and its probes are under way. That an open one
    /// is not picked is seen to where it is picked; who was on the way there then, or whom a panic sends, goes through and
    /// has no say.
    pub fn admit(self: &Arc<Self>, now: Instant, rules: &Rules) -> Option<Pass> {
        let seen = self.seen();
        if seen.phase() == Phase::HalfOpen {
            return self.reserve(now, rules);
        }
        Some(Pass::of(seen.epoch()))
    }

    /// The same for a breaker that is asked before anything is picked: an open one lets nobody through, and one that
    /// has closed as many as its ramp says.
    pub fn admit_shared(self: &Arc<Self>, now: Instant, rules: &Rules) -> Option<Pass> {
        let seen = self.seen();
        let is_refused = match seen.phase() {
            Phase::Open => true,
            Phase::Closed if seen.0 & RAMPS > 0 => {
                let mut kept = self.kept();
                let share = kept.machine.share(now);
                kept.random.unit() >= share
            }
            Phase::Closed | Phase::HalfOpen => false,
        };
        if is_refused {
            return None;
        }
        self.admit(now, rules)
    }

    /// Takes note of how an attempt came out.
    pub fn record(
        &self,
        pass: &mut Pass,
        now: Instant,
        rules: &Rules,
        outcome: Outcome,
    ) -> Option<Change> {
        let is_slow = |spent| rules.is_slow(spent);
        if matches!(outcome, Outcome::Overtaken(spent) if !is_slow(spent)) {
            return None;
        }
        if let Some(probe) = pass.probe.take() {
            let outcome = match outcome {
                Outcome::Answered(spent) if is_slow(spent) => Err("slow"),
                Outcome::Overtaken(_) => Err("slow"),
                Outcome::Answered(_) => Ok(()),
                Outcome::Failed(_, cause) | Outcome::Broke(cause) => Err(cause),
            };
            return self.probed(*probe, now, rules, outcome);
        }
        let (spent, cause) = match outcome {
            Outcome::Answered(spent) | Outcome::Overtaken(spent) => (spent, None),
            Outcome::Failed(spent, cause) => (spent, Some(cause)),
            Outcome::Broke(cause) => (Duration::ZERO, Some(cause)),
        };
        if is_slow(spent) && self.is_current(pass) {
            self.slow.fetch_add(1, Relaxed);
        }
        match cause {
            None => {
                if matches!(outcome, Outcome::Answered(_)) {
                    self.answered(pass);
                }
                None
            }
            Some(cause) => self.failed(pass, now, rules, cause),
        }
    }

    /// Counts an attempt that ended, where nobody else does. In one step, though it is on the way of each request of a route
    /// with a breaker: the line goes from worker to worker in any case, and if counts were lost, which those of
    /// failures are not, the rate would be too high the more the more workers there are.
    pub fn count(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// Attempts counted by [`Switch::count`].
    pub fn ended(&self) -> u32 {
        self.ended.load(Relaxed)
    }

    /// Looks at the time and at what happened; from a tick. `ended`: attempts that ended so far.
    pub fn look(&self, now: Instant, rules: &Rules, ended: u32) -> Option<Change> {
        let totals = Counts {
            ended,
            failed: self.failed.load(Relaxed),
            slow: self.slow.load(Relaxed),
        };
        if !self.is_watched.load(Relaxed) {
            self.is_watched.store(true, Relaxed);
        }
        self.change_at(now, rules, |kept| {
            kept.machine.look(now, rules, &mut kept.random, totals)
        })
    }

    /// Closes it because nobody asks it any more. It begins anew should somebody ask it again.
    pub fn reset(&self, now: Instant) -> Option<Change> {
        if self.is_watched.load(Relaxed) {
            self.is_watched.store(false, Relaxed);
            self.kept().machine.forget();
        }
        if self.phase() == Phase::Closed {
            return None;
        }
        self.change_at(now, &Rules::default(), |kept| kept.machine.reset(now))
    }

    pub fn facts(&self, now: Instant) -> Facts {
        self.kept().machine.facts(now)
    }

    /// Failures in a row so far.
    pub fn in_row(&self) -> u32 {
        self.row.failures()
    }

    /// How often it changed to each phase.
    pub fn changes(&self) -> [u64; Phase::ALL.len()] {
        self.kept().changes
    }

    fn reserve(self: &Arc<Self>, now: Instant, rules: &Rules) -> Option<Pass> {
        let mut pass = None;
        self.change_at(now, rules, |kept| {
            let mut one = Pass::of(kept.machine.epoch());
            pass = match kept.machine.phase() {
                // It changed since it was looked at: closed lets all through, open nobody.
                Phase::Closed => Some(one),
                Phase::Open => None,
                Phase::HalfOpen => kept.machine.admit(now, rules).then(|| {
                    one.probe = Some(Box::new(Probe::new(self, one.epoch, rules)));
                    one
                }),
            };
            None
        });
        pass
    }

    fn probed(
        &self,
        probe: Probe,
        now: Instant,
        rules: &Rules,
        outcome: Result<(), &'static str>,
    ) -> Option<Change> {
        let epoch = probe.decide();
        self.change_at(now, rules, |kept| {
            if kept.machine.epoch() != epoch {
                return None;
            }
            kept.machine.probed(now, rules, &mut kept.random, outcome)
        })
    }

    /// A probe of this epoch came to nothing that says anything.
    pub(super) fn give_back(&self, rules: &Rules, epoch: u32) {
        let ramps = self.seen.load(Relaxed) & RAMPS > 0;
        let step = |kept: &mut Kept| {
            if kept.machine.epoch() == epoch {
                kept.machine.give_back();
            }
            None
        };
        self.carry(rules, step, |_| ramps);
    }

    /// Ends a row of failures. One that is none costs a load.
    fn answered(&self, pass: &mut Pass) {
        if self.row.is_begun() && self.is_current(pass) {
            pass.ended_row = self.row.end();
        }
    }

    fn failed(
        &self,
        pass: &Pass,
        now: Instant,
        rules: &Rules,
        cause: &'static str,
    ) -> Option<Change> {
        if !self.is_current(pass) {
            return None;
        }
        self.failed.fetch_add(1, Relaxed);
        // Its head may have ended the row, which it goes on with: one that breaks every answer off fails in a row.
        let in_row = self.row.add(pass.ended_row);
        if rules.consecutive.is_none_or(|limit| in_row < limit) {
            return None;
        }
        self.change_at(now, rules, |kept| {
            kept.machine
                .failed(now, rules, &mut kept.random, in_row, cause)
        })
    }

    /// Whether nothing has changed since the attempt was let through, in a breaker that is closed.
    fn is_current(&self, pass: &Pass) -> bool {
        let seen = self.seen();
        seen.epoch() == pass.epoch && seen.phase() == Phase::Closed
    }

    fn seen(&self) -> Seen {
        Seen(self.seen.load(Relaxed))
    }

    fn change_at(
        &self,
        now: Instant,
        rules: &Rules,
        step: impl FnOnce(&mut Kept) -> Option<Change>,
    ) -> Option<Change> {
        self.carry(rules, step, |machine| machine.share(now) < 1.0)
    }

    /// Takes a step of the machine, and shows to all what it says now.
    fn carry(
        &self,
        rules: &Rules,
        step: impl FnOnce(&mut Kept) -> Option<Change>,
        ramps: impl FnOnce(&Machine) -> bool,
    ) -> Option<Change> {
        let mut kept = self.kept();
        let change = step(&mut kept);
        if let Some(change) = change {
            kept.changes[change.to as usize] += 1;
            self.row.clear();
        }
        let seen = Seen::of(&kept.machine, rules, ramps(&kept.machine));
        if self.seen.load(Relaxed) != seen.0 {
            self.seen.store(seen.0, Relaxed);
        }
        change
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
