//! The rules of narrowing against tables worked out by hand, and the laws that hold in every state.

mod draws;
mod laws;
mod rules;

use super::*;
use crate::balance::{Exclusion, Live, Member, Members, Memory, Policy, Signals, Totals, View};
use crate::clock::Instant;
use crate::entropy::Random;
use proptest::prelude::*;
use std::collections::HashSet;

const SICK: Option<Exclusion> = Some(Exclusion::Unhealthy);
const LEAVING: Option<Exclusion> = Some(Exclusion::Draining);

/// One endpoint as a test writes it down: what is configured, and how it stands.
#[derive(Debug, Clone, Copy)]
struct Case {
    place: Place,
    weight: u32,
    out: Option<Exclusion>,
}

/// An eligible endpoint of weight 1, alike all others.
fn endpoint() -> Case {
    Case {
        place: Place {
            identity: 0,
            weight: 1,
            priority: 0,
            backup: false,
            draining: false,
            is_local: false,
            subset: None,
        },
        weight: 1,
        out: None,
    }
}

impl Case {
    fn priority(mut self, priority: u8) -> Self {
        self.place.priority = priority;
        self
    }

    fn backup(mut self) -> Self {
        self.place.backup = true;
        self
    }

    fn local(mut self) -> Self {
        self.place.is_local = true;
        self
    }

    fn subset(mut self, value: u32) -> Self {
        self.place.subset = Some(value);
        self
    }

    fn weight(mut self, weight: u32) -> Self {
        (self.place.weight, self.weight) = (weight, weight);
        self
    }

    fn now(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    fn out(mut self, reason: Option<Exclusion>) -> Self {
        self.out = reason;
        self
    }

    /// So many of these, of which so many are eligible.
    fn times(self, count: usize, eligible: usize) -> Vec<Self> {
        let mut all = vec![self.out(SICK); count];
        all[..eligible].fill(self);
        all
    }
}

const ZONED: Rules = Rules {
    prefer_local: true,
    random_subset: None,
    panic: None,
};

fn plain() -> Rules {
    Rules::default()
}

fn panicking(threshold: f64, rule: PanicRule) -> Rules {
    Rules {
        panic: Some(Panic { threshold, rule }),
        ..Rules::default()
    }
}

/// Identities follow from the order.
fn places(cases: &[Case]) -> Vec<Place> {
    let place = |(identity, case): (u64, &Case)| Place {
        identity,
        ..case.place
    };
    (0..).zip(cases).map(place).collect()
}

fn members(cases: &[Case]) -> Vec<Member> {
    let member = |(identity, case): (u64, &Case)| Member {
        identity,
        weight: if case.weight == 0 {
            0
        } else {
            case.place.weight.max(1)
        },
        excluded: case.out,
    };
    (0..).zip(cases).map(member).collect()
}

/// The part of each weight that is in force.
fn in_force(cases: &[Case]) -> Vec<f64> {
    let part = |case: &Case| match (case.weight, case.place.weight) {
        (0, _) | (_, 0) => 1.0,
        (now, full) => (f64::from(now) / f64::from(full)).min(1.0),
    };
    cases.iter().map(part).collect()
}

fn narrow(cases: &[Case], rules: Rules) -> (Layout, Narrowed) {
    let layout = Layout::compile(&places(cases), rules);
    let narrowed = Narrowed::new(&layout, &members(cases), &in_force(cases));
    (layout, narrowed)
}

fn shares(spread: &Spread) -> Vec<f64> {
    spread.groups().iter().map(|group| group.share).collect()
}

/// The shares of the first section in whole percent.
fn percent(cases: &[Case], rules: Rules) -> Vec<u32> {
    let (_, narrowed) = narrow(cases, rules);
    let percent = |share: &f64| (share * 100.0).round() as u32;
    shares(narrowed.section(0)).iter().map(percent).collect()
}

fn candidates(spread: &Spread, group: usize) -> Vec<u32> {
    let mut all = spread.groups()[group].members.candidates().to_vec();
    all.sort_unstable();
    all
}

fn excluded(members: &Members) -> Vec<Option<Exclusion>> {
    (0..members.len()).map(|i| members.excluded(i)).collect()
}
