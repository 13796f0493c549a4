//! The laws that every policy keeps; beside this file, by subject, what each promises beyond them.

mod round_robin;
mod supermarket;
mod weights;

use super::*;
use proptest::prelude::*;

/// Live numbers that a test writes down; what is missing is idle, free and untried.
#[derive(Debug, Default)]
struct Numbers {
    signals: Vec<Signals>,
    totals: Totals,
    full: Vec<bool>,
    tried: Vec<bool>,
    now: Instant,
}

impl Numbers {
    /// Of `count` idle endpoints.
    fn idle(count: usize) -> Self {
        Self::loaded(&vec![0; count])
    }

    /// Of endpoints with so much in flight.
    fn loaded(load: &[u32]) -> Self {
        Self {
            signals: load.iter().map(|&load| Signals::with_load(load)).collect(),
            ..Self::default()
        }
    }

    fn load(&self, i: usize) -> u32 {
        self.signals[i].in_flight.load()
    }

    fn reserve(&self, i: usize) {
        self.signals[i].in_flight.reserve(u32::MAX);
    }
}

impl Live for Numbers {
    fn now(&self) -> Instant {
        self.now
    }
    fn signals(&self, i: usize) -> &Signals {
        &self.signals[i]
    }
    fn totals(&self) -> &Totals {
        &self.totals
    }
    fn full(&self, i: usize) -> bool {
        self.full.get(i).copied().unwrap_or(false)
    }
    fn tried(&self, i: usize) -> bool {
        self.tried.get(i).copied().unwrap_or(false)
    }
}

/// Every policy that hashes no request.
fn policies() -> Vec<Policy> {
    let prequal = prequal::Rules {
        q_rif: 0.84,
        pool: 16,
        probes: 3,
    };
    vec![
        Policy::RoundRobin,
        Policy::Random,
        Policy::LeastConnections,
        Policy::P2c { choices: 2 },
        Policy::P2c { choices: 5 },
        Policy::PeakEwma {
            choices: 2,
            decay: Duration::from_secs(10),
        },
        Policy::Prequal(prequal),
        Policy::Prequal(prequal::Rules { pool: 4, ..prequal }),
    ]
}

/// Endpoints `0..` with these weights, all eligible.
fn weighing(weights: &[u32]) -> Members {
    let member = |(i, &weight)| Member {
        identity: i,
        weight,
        excluded: None,
    };
    Members::new(&(0u64..).zip(weights).map(member).collect::<Vec<_>>())
}

/// Endpoints with these identities, of weight 1.
fn named(identities: &[u64]) -> Members {
    let member = |&identity| Member {
        identity,
        weight: 1,
        excluded: None,
    };
    Members::new(&identities.iter().map(member).collect::<Vec<_>>())
}

/// Picks in a row, each without effect on the load.
fn picks(policy: &Policy, members: &Members, live: &Numbers, count: usize) -> Vec<usize> {
    let (mut memory, mut random) = (Memory::default(), Random::seeded(11));
    let view = View::new(members, live);
    let pick = |_| {
        policy
            .pick(&mut memory, &view, None, &mut random, None)
            .unwrap()
            .endpoint
    };
    (0..count).map(pick).collect()
}

fn counts(picks: &[usize], endpoints: usize) -> Vec<usize> {
    (0..endpoints)
        .map(|i| picks.iter().filter(|&&p| p == i).count())
        .collect()
}

#[derive(Debug, Clone)]
struct Case {
    member: Member,
    load: u32,
    full: bool,
    tried: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let excluded = prop::option::weighted(0.3, Just(Exclusion::Unhealthy));
    let flag = || prop::bool::weighted(0.4);
    (0u64..1000, 0u32..6, excluded, 0u32..9, flag(), flag()).prop_map(
        |(identity, weight, excluded, load, full, tried)| Case {
            member: Member {
                identity,
                weight,
                excluded,
            },
            load,
            full,
            tried,
        },
    )
}

proptest! {
    #[test]
    fn picks_a_free_candidate_whenever_there_is_one(
        cases in prop::collection::vec(case(), 0..40),
        then in prop::collection::vec(case(), 0..40),
        seed: u64,
    ) {
        for policy in policies() {
            let (mut memory, mut random) = (Memory::default(), Random::seeded(seed));
            for cases in [&cases, &then, &cases] {
                let members = Members::new(&cases.iter().map(|c| c.member).collect::<Vec<_>>());
                let loads: Vec<u32> = cases.iter().map(|c| c.load).collect();
                let live = Numbers {
                    full: cases.iter().map(|c| c.full).collect(),
                    tried: cases.iter().map(|c| c.tried).collect(),
                    ..Numbers::loaded(&loads)
                };
                let eligible = |c: &Case| c.member.excluded.is_none();
                let weighty = cases.iter().any(|c| eligible(c) && c.member.weight > 0);
                let fit = |c: &Case| {
                    eligible(c) && (c.member.weight > 0 || !weighty) && !c.full && !c.tried
                };
                let view = View::new(&members, &live);
                for explained in [false, true, false] {
                    let mut decision = Decision::default();
                    let explain = explained.then_some(&mut decision);
                    let picked = policy.pick(&mut memory, &view, None, &mut random, explain);
                    match picked {
                        Some(Picked { endpoint, .. }) => prop_assert!(fit(&cases[endpoint]), "{policy:?} {endpoint}"),
                        None => prop_assert!(!cases.iter().any(fit), "{policy:?} found none"),
                    }
                    if explained {
                        prop_assert_eq!(decision.picked, picked);
                        let named = |picked: Picked| {
                            decision.considered.iter().any(|c| c.endpoint == picked.endpoint)
                        };
                        prop_assert!(picked.is_none_or(named));
                        let unfit = cases.iter().filter(|&c| !fit(c)).count();
                        prop_assert_eq!(decision.excluded.len(), unfit);
                    }
                }
            }
        }
    }
}

#[test]
fn says_what_was_lacking() {
    let lack = |members: &Members, full: &[bool], tried: &[bool]| {
        let live = Numbers {
            full: full.to_vec(),
            tried: tried.to_vec(),
            ..Numbers::idle(full.len())
        };
        View::new(members, &live).lack()
    };
    assert_eq!(lack(&weighing(&[]), &[], &[]), Lack::Endpoint);
    assert_eq!(
        lack(&weighing(&[1, 1]), &[true, true], &[true, false]),
        Lack::Capacity
    );
    assert_eq!(
        lack(&weighing(&[1, 0]), &[false, false], &[true, false]),
        Lack::Untried
    );
}

#[test]
fn endpoints_without_weight_serve_when_there_is_no_other() {
    let members = weighing(&[0, 0]);
    assert!(members.is_last_resort());
    for policy in policies() {
        let counts = counts(&picks(&policy, &members, &Numbers::idle(2), 400), 2);
        assert!(
            counts.iter().all(|&count| count > 140),
            "{policy:?} {counts:?}"
        );
    }
}

#[test]
fn explains_scores_exclusions_and_the_fallback() {
    let member = |(identity, weight, excluded)| Member {
        identity,
        weight,
        excluded,
    };
    let members = Members::new(
        &[
            (1, 1, None),
            (2, 2, None),
            (3, 1, Some(Exclusion::Draining)),
            (4, 0, None),
            (5, 1, None),
        ]
        .map(member),
    );
    let live = Numbers {
        full: vec![false, false, false, false, true],
        ..Numbers::loaded(&[1, 2, 0, 0, 0])
    };
    let mut decision = Decision::default();
    let policy = Policy::P2c { choices: 2 };
    let (mut memory, mut random) = (Memory::default(), Random::seeded(1));
    let view = View::new(&members, &live);
    policy.pick(&mut memory, &view, None, &mut random, Some(&mut decision));
    let scores: Vec<_> = decision
        .considered
        .iter()
        .map(|c| (c.endpoint, c.score))
        .collect();
    assert_eq!(scores, [(1, Some(1.5)), (0, Some(2.0))]);
    let out: Vec<_> = decision
        .excluded
        .iter()
        .map(|e| (e.endpoint, e.reason))
        .collect();
    let expected = [
        (2, Exclusion::Draining),
        (3, Exclusion::WeightZero),
        (4, Exclusion::Full),
    ];
    assert_eq!(out, expected);
    let picked = Picked {
        endpoint: 1,
        by: Reason::FewCandidates,
    };
    assert_eq!(decision.picked, Some(picked));
}
