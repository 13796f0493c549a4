//! A breaker as the textbook has it. Who was let through in another life of it has no say.

use super::MS;
use crate::proxy::together::events::Rules;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::together) enum State {
    Closed,
    HalfOpen,
    Open,
}

/// What an attempt was let through by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    life: u32,
    pub(super) is_probe: bool,
}

/// What an attempt says in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Well,
    Badly,
    /// Only that it was slow.
    Slow,
    /// What was said to be well was not.
    Broke,
}

/// Attempts that ended, failures, and slow ones.
pub(super) type Counts = [u32; 3];

#[derive(Debug, Clone)]
pub(in crate::proxy::together) struct Breaker {
    pub(in crate::proxy::together) state: State,
    life: u32,
    /// Failures in a row, and those that an answer of this attempt put an end to.
    pub(in crate::proxy::together) row: u32,
    ended_by: Option<(usize, u32)>,
    pub(in crate::proxy::together) since: u64,
    /// When it is open.
    pub(in crate::proxy::together) until: u64,
    pub(in crate::proxy::together) stay: u64,
    pub(in crate::proxy::together) openings: u32,
    /// Probes under way, those that went well, and when the last began.
    pub(in crate::proxy::together) probes: (u32, u32),
    probed: u64,
    failed: u32,
    slow: u32,
    /// The totals at the last look, and what has come in each tenth of the window.
    seen: Counts,
    slices: Vec<(u64, Counts)>,
}

impl Breaker {
    /// Of an address at which so many attempts had ended before.
    pub(super) fn new(ended: u32) -> Self {
        Self {
            state: State::Closed,
            life: 0,
            row: 0,
            ended_by: None,
            since: 0,
            until: 0,
            stay: 0,
            openings: 0,
            probes: (0, 0),
            probed: 0,
            failed: 0,
            slow: 0,
            seen: [ended, 0, 0],
            slices: Vec::new(),
        }
    }

    /// All places of probes are taken.
    pub(in crate::proxy::together) fn is_taken(&self, rules: &Rules) -> bool {
        self.state == State::HalfOpen && self.probes.0 + self.probes.1 >= rules.probes
    }

    pub(super) fn admit(&mut self, now: u64) -> Pass {
        let is_probe = self.state == State::HalfOpen;
        if is_probe {
            self.probes.0 += 1;
            self.probed = now;
        }
        Pass {
            life: self.life,
            is_probe,
        }
    }

    /// A probe that says nothing gives its place back.
    pub(super) fn let_go(&mut self, pass: Pass) {
        if pass.is_probe && pass.life == self.life {
            self.probes.0 -= 1;
        }
    }

    /// What an attempt says, which is this one of all. After that it is no probe any more.
    pub(super) fn hear(
        &mut self,
        now: u64,
        rules: &Rules,
        attempt: usize,
        pass: &mut Pass,
        (said, is_slow): (Said, bool),
    ) {
        let was_probe = std::mem::take(&mut pass.is_probe);
        if pass.life != self.life {
            return;
        }
        if was_probe {
            self.probes.0 -= 1;
            if said == Said::Well && !is_slow {
                self.probes.1 += 1;
                if self.probes.1 == rules.probes {
                    self.turn(now, State::Closed);
                }
            } else {
                self.open(now);
            }
        } else if self.state == State::Closed {
            self.slow += u32::from(is_slow);
            match said {
                Said::Slow => {}
                Said::Well => {
                    self.ended_by = (self.row > 0).then_some((attempt, self.row));
                    self.row = 0;
                }
                Said::Badly => self.fail(now, rules, 0),
                Said::Broke => {
                    let before = self.ended_by.take_if(|(by, _)| *by == attempt);
                    self.fail(now, rules, before.map_or(0, |(_, row)| row));
                }
            }
        }
    }

    fn fail(&mut self, now: u64, rules: &Rules, before: u32) {
        self.failed += 1;
        self.row += before + 1;
        if self.row >= rules.consecutive {
            self.open(now);
        }
    }

    /// A tick. So many attempts have ended at the endpoint so far.
    pub(super) fn look(&mut self, now: u64, ended: u32) {
        let slice = now / (Rules::WINDOW * MS / 10);
        self.slices.retain(|(number, _)| number + 10 > slice);
        let totals = [ended, self.failed, self.slow];
        let before = std::mem::replace(&mut self.seen, totals);
        match self.state {
            State::Closed => {
                let came = [0, 1, 2].map(|which| totals[which] - before[which]);
                self.slices.push((slice, came));
                let [ended, failed, slow] = self.window();
                let is_enough = ended >= Rules::MIN_SAMPLES;
                let is_much = |count: u32, percent: u32| count * 100 >= percent * ended;
                if is_enough
                    && (is_much(failed, Rules::FAILURE_RATE) || is_much(slow, Rules::SLOW_RATE))
                {
                    self.open(now);
                }
            }
            State::Open => {
                if now >= self.until {
                    self.turn(now, State::HalfOpen);
                }
            }
            State::HalfOpen => {
                // Those that hang are waited for no longer.
                if self.probes.0 > 0 && now - self.probed >= Rules::OPEN_FOR_MAX * MS {
                    self.life += 1;
                    self.probes.0 = 0;
                }
            }
        }
    }

    /// What the window holds. The totals are not taken at one moment: no more failed than ended.
    pub(in crate::proxy::together) fn window(&self) -> Counts {
        let sum = |which: usize| -> u32 { self.slices.iter().map(|(_, came)| came[which]).sum() };
        let ended = sum(0);
        [ended, sum(1).min(ended), sum(2).min(ended)]
    }

    fn open(&mut self, now: u64) {
        if self.state == State::Closed && now - self.since >= Rules::OPEN_FOR_MAX * MS {
            self.openings = 0;
        }
        let doubled = Rules::OPEN_FOR << self.openings.min(10);
        self.stay = doubled.min(Rules::OPEN_FOR_MAX) * MS;
        self.until = now + self.stay;
        self.openings += 1;
        self.turn(now, State::Open);
    }

    fn turn(&mut self, now: u64, to: State) {
        self.state = to;
        self.since = now;
        self.life += 1;
        self.row = 0;
        self.ended_by = None;
        self.slices.clear();
        self.probes = (0, 0);
    }
}
