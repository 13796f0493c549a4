//! The laws that every policy keeps; beside this file, by subject, what each promises beyond them.

mod failing;
mod hot_and_cold;
mod membership;
mod peaks;
mod queue;
mod round_robin;
mod slow_start;
mod supermarket;
mod ties;
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

    /// Looks at all endpoints, as the tick does.
    fn appraise(&self, members: &Members, rules: &appraisal::Rules) {
        let subject = |(i, signals)| appraisal::Subject {
            identity: members.identities()[i],
            signals,
            is_eligible: members.is_candidate(i),
            group: 0,
        };
        let subjects: Vec<_> = self.signals.iter().enumerate().map(subject).collect();
        self.totals.appraise(self.now, rules, &subjects);
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

/// No slow start; failures count for about ten seconds.
const RULES: appraisal::Rules = appraisal::Rules {
    slow_start: None,
    failure_window: Some(Duration::from_secs(10)),
    latency_decay: Duration::from_secs(10),
};

/// Every policy for these endpoints, by name. A new one is added by its line here, and all laws hold for it.
fn policies(members: &[Member]) -> Vec<(&'static str, Policy)> {
    let decay = RULES.latency_decay;
    let prequal = prequal::Rules {
        q_rif: 0.84,
        pool: 16,
        probes: 3,
    };
    let small = prequal::Rules { pool: 4, ..prequal };
    let hash = |algorithm, bound| hashing(algorithm, bound, members);
    vec![
        ("round_robin", Policy::RoundRobin),
        ("random", Policy::Random),
        ("least_connections", Policy::LeastConnections),
        ("p2c", Policy::P2c { choices: 2 }),
        ("p2c of 5", Policy::P2c { choices: 5 }),
        ("peak_ewma", Policy::PeakEwma { choices: 2, decay }),
        ("prequal", Policy::Prequal(prequal)),
        ("prequal with a small pool", Policy::Prequal(small)),
        ("ring", hash(config::HashAlgorithm::Ring, None)),
        ("maglev", hash(config::HashAlgorithm::Maglev, None)),
        ("rendezvous", hash(config::HashAlgorithm::Rendezvous, None)),
        (
            "bounded load",
            hash(config::HashAlgorithm::Ring, Some("1.25")),
        ),
    ]
}

fn hashing(
    algorithm: config::HashAlgorithm,
    bounded_load: Option<&str>,
    members: &[Member],
) -> Policy {
    let options = config::ConsistentHash {
        algorithm,
        table_size: 1009,
        virtual_nodes: 20,
        bounded_load: bounded_load.map(|bound| bound.parse().unwrap()),
        ..config::ConsistentHash::default()
    };
    let place = |(endpoint, member): (u32, &Member)| table::Place {
        endpoint,
        identity: member.identity,
        weight: member.weight,
    };
    let places: Vec<_> = (0..).zip(members).map(place).collect();
    Policy::ConsistentHash(ConsistentHash::compile(&options, &places))
}

/// Endpoints `0..` with these weights, all eligible.
fn weights(weights: &[u32]) -> Vec<Member> {
    let member = |(identity, &weight)| Member {
        identity,
        weight,
        excluded: None,
    };
    (0u64..).zip(weights).map(member).collect()
}

/// The same as a membership.
fn weighing(of: &[u32]) -> Members {
    Members::new(&weights(of))
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

/// Picks in a row, each of another key and without effect on the load.
fn picks(policy: &Policy, members: &Members, live: &Numbers, count: usize) -> Vec<usize> {
    let (mut memory, mut random) = (Memory::default(), Random::seeded(11));
    let mut keys = Random::seeded(12);
    let view = View::new(members, live);
    let pick = |_| {
        let key = Some(keys.next_u64());
        policy
            .pick(&mut memory, &view, key, &mut random, None)
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
    charge: Charge,
    /// Of an answer.
    latency: Option<Duration>,
    full: bool,
    tried: bool,
}

fn case() -> impl Strategy<Value = Case> {
    // The most that can be written costs a ring as many points.
    let weight = prop_oneof![199 => 0u32..6, 1 => Just(1000)];
    let excluded = prop::option::weighted(0.3, Just(Exclusion::Unhealthy));
    let member = (any::<u64>(), weight, excluded).prop_map(|(identity, weight, excluded)| Member {
        identity,
        weight,
        excluded,
    });
    let load = prop_oneof![8 => 0u32..9, 1 => Just(u32::MAX)];
    let charge = prop_oneof![
        4 => Just(Charge::NONE),
        1 => (0.01f32..1.0, 0f32..1e6).prop_map(|(factor, ghosts)| Charge { factor, ghosts }),
    ];
    let latency = prop::option::of((0u64..1_000).prop_map(Duration::from_nanos));
    let flag = || prop::bool::weighted(0.4);
    (member, load, charge, latency, flag(), flag()).prop_map(
        |(member, load, charge, latency, full, tried)| Case {
            member,
            load,
            charge,
            latency,
            full,
            tried,
        },
    )
}

fn numbers(cases: &[Case]) -> Numbers {
    let live = Numbers {
        full: cases.iter().map(|c| c.full).collect(),
        tried: cases.iter().map(|c| c.tried).collect(),
        ..Numbers::loaded(&cases.iter().map(|c| c.load).collect::<Vec<_>>())
    };
    let members: Vec<Member> = cases.iter().map(|c| c.member).collect();
    live.appraise(&Members::new(&members), &RULES);
    for (signals, case) in live.signals.iter().zip(cases) {
        signals.by_load.enable();
        if let Some(latency) = case.latency {
            signals.answered(live.now, latency, case.load, RULES.latency_decay);
        }
    }
    live.appraise(&Members::new(&members), &RULES);
    for (signals, case) in live.signals.iter().zip(cases) {
        signals.charge_with(case.charge);
    }
    live
}

proptest! {
    // Each compiles eight tables.
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn picks_a_free_candidate_whenever_there_is_one(
        cases in prop::collection::vec(case(), 0..40),
        then in prop::collection::vec(case(), 0..40),
        seed: u64,
    ) {
        let members = |cases: &[Case]| cases.iter().map(|c| c.member).collect::<Vec<_>>();
        let [now, later] = [&cases, &then].map(|cases| policies(&members(cases)));
        for k in 0..now.len() {
            let (mut memory, mut random) = (Memory::default(), Random::seeded(seed));
            for (cases, policies) in [(&cases, &now), (&then, &later), (&cases, &now)] {
                let (name, policy) = &policies[k];
                let members = Members::new(&members(cases));
                let live = numbers(cases);
                let eligible = |c: &Case| c.member.excluded.is_none();
                let weighty = cases.iter().any(|c| eligible(c) && c.member.weight > 0);
                let fit = |c: &Case| {
                    eligible(c) && (c.member.weight > 0 || !weighty) && !c.full && !c.tried
                };
                let view = View::new(&members, &live);
                for explained in [false, true, false] {
                    let mut decision = Decision::default();
                    let explain = explained.then_some(&mut decision);
                    let key = Some(random.next_u64()).filter(|key| key % 4 > 0);
                    let picked = policy.pick(&mut memory, &view, key, &mut random, explain);
                    match picked {
                        Some(Picked { endpoint, .. }) => prop_assert!(fit(&cases[endpoint]), "{name} {endpoint}"),
                        None => prop_assert!(!cases.iter().any(fit), "{name} found none"),
                    }
                    if explained {
                        prop_assert_eq!(decision.picked, picked);
                        let named = |picked: Picked| {
                            decision.considered.iter().any(|c| c.endpoint == picked.endpoint)
                        };
                        prop_assert!(picked.is_none_or(named), "{name}");
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
    for (name, policy) in policies(&weights(&[0, 0])) {
        let counts = counts(&picks(&policy, &members, &Numbers::idle(2), 400), 2);
        assert!(
            counts.iter().all(|&count| count > 140),
            "{name}: {counts:?}"
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
