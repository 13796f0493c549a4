//! The laws that every policy keeps, and what each promises beyond them.

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

    #[test]
    fn round_robin_gives_exact_shares_in_every_window_and_no_needless_runs(
        weights in prop::collection::vec(0u32..9, 1..12),
        seed: u64,
    ) {
        prop_assume!(weights.iter().any(|&w| w > 0));
        let (members, live) = (weighing(&weights), Numbers::idle(weights.len()));
        let total: usize = weights.iter().map(|&w| w as usize).sum();
        let (mut memory, mut random) = (Memory::default(), Random::seeded(seed));
        let view = View::new(&members, &live);
        let mut pick = || Policy::RoundRobin.pick(&mut memory, &view, None, &mut random, None);
        let order: Vec<usize> = (0..3 * total).map(|_| pick().unwrap().endpoint).collect();
        let shares: Vec<usize> = weights.iter().map(|&w| w as usize).collect();
        for window in order.windows(total) {
            prop_assert_eq!(&counts(window, weights.len()), &shares);
        }
        for run in order.chunk_by(|a, b| a == b) {
            let weight = shares[run[0]];
            let needed = if weight == total { order.len() } else { weight.div_ceil(total - weight) };
            prop_assert!(run.len() <= needed, "{:?}", order);
        }
    }

    #[test]
    fn round_robin_keeps_the_places_of_who_remains(
        mut identities in Just((0u64..20).collect::<Vec<_>>()).prop_shuffle(),
        gone in prop::collection::hash_set(0u64..20, 1..19),
        before in 0usize..50,
        seed: u64,
    ) {
        let (mut memory, mut random) = (Memory::default(), Random::seeded(seed));
        let mut turn = |memory: &mut Memory, identities: &[u64]| {
            let (members, live) = (named(identities), Numbers::idle(identities.len()));
            let view = View::new(&members, &live);
            identities[Policy::RoundRobin.pick(memory, &view, None, &mut random, None).unwrap().endpoint]
        };
        let all: Vec<u64> = (0u64..20).collect();
        let round: Vec<u64> = (0..20 + before).map(|_| turn(&mut memory, &all)).collect();
        let expected: Vec<u64> =
            round[before..].iter().copied().filter(|i| !gone.contains(i)).collect();
        // The same endpoints may also be listed in another order now.
        identities.retain(|i| !gone.contains(i));
        let after: Vec<u64> = (0..identities.len()).map(|_| turn(&mut memory, &identities)).collect();
        prop_assert_eq!(after, expected);
    }
}

#[test]
fn an_endpoint_that_comes_back_joins_without_disturbing_the_others() {
    let (mut memory, mut random) = (Memory::default(), Random::seeded(5));
    let live = Numbers::idle(6);
    let mut round = |ill: Option<u64>| -> Vec<u64> {
        let member = |identity| Member {
            identity,
            weight: 1,
            excluded: (ill == Some(identity)).then_some(Exclusion::Unhealthy),
        };
        let members = Members::new(&(0..6).map(member).collect::<Vec<_>>());
        let view = View::new(&members, &live);
        let mut pick = || Policy::RoundRobin.pick(&mut memory, &view, None, &mut random, None);
        (0..members.candidates().len())
            .map(|_| pick().unwrap().endpoint as u64)
            .collect()
    };
    round(None);
    let without = round(Some(3));
    let mut with = round(None);
    with.retain(|&i| i != 3);
    assert_eq!(with, without);
}

#[test]
fn workers_do_not_begin_with_the_same_endpoint() {
    let (members, live) = (weighing(&[5, 1, 1, 1]), Numbers::idle(4));
    let view = View::new(&members, &live);
    let mut first = [0; 4];
    for seed in 0..800 {
        let (mut memory, mut random) = (Memory::default(), Random::seeded(seed));
        let picked = Policy::RoundRobin.pick(&mut memory, &view, None, &mut random, None);
        first[picked.unwrap().endpoint] += 1;
    }
    // By weight: 500 and three times 100; the seeds are fixed, the bounds four deviations wide.
    assert!((440..560).contains(&first[0]), "{first:?}");
    assert!(
        first[1..].iter().all(|count| (62..138).contains(count)),
        "{first:?}"
    );
}

#[test]
fn random_draws_by_weight_also_when_it_has_to_scan() {
    let members = weighing(&[1, 2, 3, 0, 4]);
    let free = counts(
        &picks(&Policy::Random, &members, &Numbers::idle(5), 10_000),
        5,
    );
    for (count, expected) in free.iter().zip([1000, 2000, 3000, 0, 4000]) {
        assert!(count.abs_diff(expected) < 200, "{free:?}");
    }
    // Forty thousandths of the weight are free: most picks miss eight times.
    let mut weights = vec![1000; 100];
    weights[..2].copy_from_slice(&[1000, 3000]);
    let full = (0..100).map(|i| i >= 2).collect();
    let live = Numbers {
        full,
        ..Numbers::idle(100)
    };
    let scanned = counts(
        &picks(&Policy::Random, &weighing(&weights), &live, 4000),
        100,
    );
    assert!(
        scanned[0].abs_diff(1000) < 120 && scanned[1].abs_diff(3000) < 120,
        "{scanned:?}"
    );
}

#[test]
fn least_connections_takes_the_lowest_load_for_its_weight() {
    let members = weighing(&[1, 2, 4]);
    let at = |load: [u32; 3]| {
        let live = Numbers::loaded(&load);
        counts(&picks(&Policy::LeastConnections, &members, &live, 300), 3)
    };
    assert_eq!(at([0, 0, 0]), [0, 0, 300]);
    assert_eq!(at([0, 2, 4]), [300, 0, 0]);
    assert_eq!(at([1, 2, 7]), [0, 300, 0]);
    // (0 + 1) / 1, (1 + 1) / 2 and (3 + 1) / 4 are the same: chance decides, each about 100 times.
    assert!(at([0, 1, 3]).iter().all(|count| count.abs_diff(100) < 35));
}

#[test]
fn p2c_never_takes_the_busiest_and_shares_by_weight_under_load() {
    let live = Numbers::loaded(&(0..20).collect::<Vec<_>>());
    let picked = counts(
        &picks(
            &Policy::P2c { choices: 2 },
            &weighing(&[1; 20]),
            &live,
            5000,
        ),
        20,
    );
    assert_eq!(picked[19], 0);
    assert!(picked[0] > picked[10] && picked[10] > picked[18]);

    // Nothing ever ends: in the long run the loads are as the weights.
    let weights: Vec<u32> = (0..20).map(|i| if i == 0 { 20 } else { 1 }).collect();
    let (members, mut random) = (weighing(&weights), Random::seeded(3));
    let live = Numbers::idle(20);
    for _ in 0..3900 {
        let view = View::new(&members, &live);
        let policy = Policy::P2c { choices: 2 };
        let picked = policy
            .pick(&mut Memory::default(), &view, None, &mut random, None)
            .unwrap();
        live.reserve(picked.endpoint);
    }
    let loads: Vec<u32> = (0..20).map(|i| live.load(i)).collect();
    assert!(loads[0].abs_diff(2000) < 100, "{loads:?}");
    assert!(
        loads[1..].iter().all(|load| load.abs_diff(100) < 20),
        "{loads:?}"
    );
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

/// The supermarket model (Mitzenmacher 1996): n servers, arrivals at rate nλ, service at rate 1, each
/// arrival joins the shorter of two queues. As n grows its mean time tends to Σ λ^(2^i - 2).
#[test]
fn p2c_has_the_mean_time_of_the_supermarket_model() {
    const SERVERS: usize = 500;
    const ARRIVALS: f64 = 0.9;
    let expected: f64 = (1..12).map(|i| ARRIVALS.powi((1 << i) - 2)).sum();
    let members = weighing(&[1; SERVERS]);
    let (mut memory, mut random) = (Memory::default(), Random::seeded(2024));
    let live = Numbers::idle(SERVERS);
    let (mut busy, mut jobs) = (Vec::new(), 0u32);
    let (mut job_time, mut time) = (0.0, 0.0);
    for event in 0..500_000 {
        let rate = ARRIVALS * SERVERS as f64 + busy.len() as f64;
        if event > 50_000 {
            // Each state counts for the mean time that it lasts, which is less noisy than a drawn one.
            job_time += f64::from(jobs) / rate;
            time += 1.0 / rate;
        }
        if random.unit() * rate >= busy.len() as f64 {
            let policy = Policy::P2c { choices: 2 };
            let view = View::new(&members, &live);
            let i = policy
                .pick(&mut memory, &view, None, &mut random, None)
                .unwrap()
                .endpoint;
            live.reserve(i);
            jobs += 1;
            if live.load(i) == 1 {
                busy.push(i);
            }
        } else {
            let place = random.below(busy.len());
            live.signals[busy[place]].in_flight.release();
            jobs -= 1;
            if live.load(busy[place]) == 0 {
                busy.swap_remove(place);
            }
        }
    }
    // Little's law: jobs in the system over arrivals per unit of time.
    let mean = job_time / time / (ARRIVALS * SERVERS as f64);
    // 500 servers for about 500 units of time are noisy: eleven seeds lay within 2.8 % of it.
    assert!(
        (mean / expected - 1.0).abs() < 0.04,
        "{mean} instead of {expected}"
    );
}
