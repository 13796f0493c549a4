//! Tests: a breaker behaves as the textbook says, whatever happens in which order.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What may happen to a breaker.
#[derive(Debug, Clone)]
enum Step {
    Pass(u16),
    Begin,
    /// The attempt of this number, of those under way, comes out so.
    End(usize, End),
    Tick,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Well,
    Badly,
    GivenUp,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![1 => Just(End::Well), 3 => Just(End::Badly), 1 => Just(End::GivenUp)];
    let step = prop_oneof![
        1 => (0u16..700).prop_map(Step::Pass),
        4 => Just(Step::Begin),
        4 => (0usize..8, end).prop_map(|(which, end)| Step::End(which, end)),
        3 => Just(Step::Tick),
    ];
    prop::collection::vec(step, 0..200)
}

/// The textbook in as few words as possible: who began in which life of the breaker has a say in that one alone.
struct Reference {
    phase: Phase,
    life: usize,
    row: u32,
    until: u64,
    since: u64,
    openings: u32,
    probing: u32,
    well: u32,
}

impl Reference {
    fn begin(&mut self, probes: u32) -> Option<(usize, bool)> {
        if self.phase != Phase::HalfOpen {
            return Some((self.life, false));
        }
        let is_free = self.probing + self.well < probes;
        self.probing += u32::from(is_free);
        is_free.then_some((self.life, true))
    }

    fn end(&mut self, now: u64, (life, is_probe): (usize, bool), end: End, probes: u32) {
        if life != self.life {
            return;
        }
        match (self.phase, end) {
            (Phase::Closed, End::Well) => self.row = 0,
            (Phase::Closed, End::Badly) => {
                self.row += 1;
                if self.row >= 3 {
                    self.open(now);
                }
            }
            (Phase::HalfOpen, end) if is_probe => {
                self.probing -= 1;
                match end {
                    End::Well => {
                        self.well += 1;
                        if self.well == probes {
                            self.turn(now, Phase::Closed);
                        }
                    }
                    End::Badly => self.open(now),
                    End::GivenUp => {}
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, now: u64) {
        if self.phase == Phase::Closed && now - self.since >= 8000 {
            self.openings = 0;
        }
        self.until = now + [1000, 2000, 4000, 8000][self.openings.min(3) as usize];
        self.openings += 1;
        self.turn(now, Phase::Open);
    }

    fn tick(&mut self, now: u64) {
        if self.phase == Phase::Open && now >= self.until {
            self.turn(now, Phase::HalfOpen);
        }
    }

    fn turn(&mut self, now: u64, phase: Phase) {
        (self.phase, self.since, self.row) = (phase, now, 0);
        (self.probing, self.well) = (0, 0);
        self.life += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn behaves_as_the_reference(steps in steps(), probes in 1u32..4) {
        let rules = Rules { probes, ..RULES };
        let switch = switch();
        let mut reference = Reference {
            phase: Phase::Closed, life: 0, row: 0, until: 0, since: 0, openings: 0, probing: 0, well: 0,
        };
        let mut under_way: VecDeque<(Pass, (usize, bool))> = VecDeque::new();
        let (mut now, mut last_probe) = (0, 0);
        for step in steps {
            match step {
                Step::Pass(millis) => now += u64::from(millis),
                Step::Begin => {
                    let expected = reference.begin(probes);
                    let pass = switch.admit(at(now), &rules);
                    prop_assert_eq!(pass.is_some(), expected.is_some());
                    if pass.is_some() && reference.phase == Phase::HalfOpen {
                        last_probe = now;
                    }
                    under_way.extend(pass.zip(expected));
                }
                Step::End(which, end) => {
                    if let Some((mut pass, begun)) = under_way.remove(which) {
                        match end {
                            End::Well => drop(switch.record(&mut pass, at(now), &rules, FAST)),
                            End::Badly => drop(switch.record(&mut pass, at(now), &rules, FAILED)),
                            End::GivenUp => {}
                        }
                        drop(pass);
                        reference.end(now, begun, end, probes);
                    }
                }
                Step::Tick => {
                    // The reference knows no probes that hang.
                    if reference.phase == Phase::HalfOpen && now - last_probe >= 8000 {
                        continue;
                    }
                    switch.look(at(now), &rules, 0);
                    reference.tick(now);
                }
            }
            prop_assert_eq!(switch.phase(), reference.phase);
            prop_assert_eq!(switch.in_row(), reference.row);
            let is_taken = reference.phase == Phase::HalfOpen
                && reference.probing + reference.well >= probes;
            prop_assert_eq!(switch.is_taken(), is_taken);
        }
    }
}
