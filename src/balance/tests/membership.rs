//! Thousands of changes of membership: what remains is what belongs to who is there now.

use super::*;
use crate::balance::appraisal::{Rules, Subject};

const CHANGES: usize = 20_000;
const RULES: Rules = Rules {
    slow_start: None,
    failure_window: Some(Duration::from_secs(10)),
    latency_decay: Duration::from_secs(10),
};

/// One endpoint as it comes, changes and goes.
struct Resident {
    identity: u64,
    weight: u32,
    out: Option<Exclusion>,
    signals: Signals,
}

/// An upstream of at most 40 endpoints that never stays the same.
struct Town {
    residents: Vec<Resident>,
    next: u64,
    random: Random,
}

impl Town {
    fn new(seed: u64) -> Self {
        Self {
            residents: Vec::new(),
            next: 0,
            random: Random::seeded(seed),
        }
    }

    /// Somebody comes, goes, gets another weight, falls ill or well, or all are listed in another order.
    fn change(&mut self) {
        let count = self.residents.len();
        let whom = self.random.below(count);
        match self.random.below(6) {
            0 | 1 if count < 40 => {
                self.residents.push(Resident {
                    identity: self.next,
                    weight: 1 + self.random.below(4) as u32,
                    out: None,
                    signals: Signals::default(),
                });
                self.next += 1;
            }
            2 if count > 1 => drop(self.residents.swap_remove(whom)),
            3 if count > 0 => self.residents[whom].weight = self.random.below(5) as u32,
            4 if count > 0 => {
                let out = &mut self.residents[whom].out;
                *out = out.is_none().then_some(Exclusion::Unhealthy);
            }
            _ => self.residents.reverse(),
        }
    }

    fn members(&self) -> Members {
        let member = |resident: &Resident| Member {
            identity: resident.identity,
            weight: resident.weight,
            excluded: resident.out,
        };
        Members::new(&self.residents.iter().map(member).collect::<Vec<_>>())
    }
}

struct Now<'a> {
    residents: &'a [Resident],
    totals: &'a Totals,
    now: Instant,
}

impl Live for Now<'_> {
    fn now(&self) -> Instant {
        self.now
    }
    fn signals(&self, i: usize) -> &Signals {
        &self.residents[i].signals
    }
    fn totals(&self) -> &Totals {
        self.totals
    }
    fn full(&self, _: usize) -> bool {
        false
    }
    fn tried(&self, _: usize) -> bool {
        false
    }
}

#[test]
fn twenty_thousand_changes_leave_nothing_behind() {
    for policy in policies() {
        let (mut town, mut memory, totals) = (Town::new(17), Memory::default(), Totals::default());
        let mut random = Random::seeded(18);
        for step in 0..CHANGES {
            town.change();
            let members = town.members();
            let now = Instant(step as u64 * 1_000_000);
            let live = Now {
                residents: &town.residents,
                totals: &totals,
                now,
            };
            let picked = policy.pick(
                &mut memory,
                &View::new(&members, &live),
                None,
                &mut random,
                None,
            );
            assert_eq!(
                picked.is_some(),
                !members.candidates().is_empty(),
                "{policy:?}"
            );
            if let Some(picked) = picked {
                let signals = &town.residents[picked.endpoint].signals;
                signals.picked(now);
                signals.answered(now, Duration::from_millis(5), 0, RULES.latency_decay);
            }
            let subjects = town.residents.iter().map(|resident| Subject {
                identity: resident.identity,
                signals: &resident.signals,
                is_eligible: resident.out.is_none(),
                group: 0,
            });
            totals.appraise(now, &RULES, &subjects.collect::<Vec<_>>());
            if step % 100 == 0 {
                let residents = town.residents.len();
                assert!(memory.places() <= residents.max(16), "{policy:?} at {step}");
                assert_eq!(totals.subjects(), residents, "{policy:?} at {step}");
            }
        }
        assert!(town.next > 2000, "few ever came");
    }
}
