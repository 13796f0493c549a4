//! An endpoint of weight `w` counts as `w` endpoints of weight 1.

use super::queue::{Backend, Queue, Service};
use super::*;

/// Names of the policies that compare loads.
const BY_LOAD: [&str; 6] = [
    "least_connections",
    "p2c",
    "p2c of 5",
    "peak_ewma",
    "prequal",
    "prequal with a small pool",
];

/// Endpoints that can do as much as they weigh, busy for four fifths of the time, all equally fast. A table of hashes owes what it owns, of which a ring of
/// twenty points for each unit of weight gives one of weight 1 a fifth more or less than its share.
#[test]
fn every_policy_shares_traffic_by_weight() {
    let of = [1, 2, 4, 8];
    for (name, policy) in policies(&weights(&of)) {
        let service = Service::Constant(Duration::from_millis(20));
        let backends = of.map(|weight| Backend::new(service).slots(4 * weight as usize));
        let mut queue = Queue::new(&policy, backends.to_vec(), 0.8 * 60.0 * 50.0, 6);
        queue.change(weighing(&of));
        queue.run(Duration::from_secs(1));
        queue.measure();
        queue.run(Duration::from_secs(4));
        let tolerance = if ["ring", "bounded load"].contains(&name) {
            0.35
        } else {
            0.1
        };
        for (share, weight) in queue.seen.shares().into_iter().zip(of) {
            let due = f64::from(weight) / 15.0;
            assert!(
                (share / due - 1.0).abs() < tolerance,
                "{name}: {share} instead of {due}"
            );
        }
    }
}

/// Nothing ever ends: 1500 attempts over a weight of 15 are 100 for each unit, and no policy that compares all is off by more than
/// the one attempt that makes the difference. Of the heaviest half of the weight may be out of force: 1100 over 11.
#[test]
fn loads_are_as_the_weights_when_nothing_ends() {
    let members = weighing(&[1, 2, 4, 8]);
    for (name, policy) in policies(&[])
        .into_iter()
        .filter(|(name, _)| BY_LOAD.contains(name))
    {
        for (factor, attempts, expected) in [
            (1.0, 1500, [100, 200, 400, 800]),
            (0.5, 1100, [100, 200, 400, 400]),
        ] {
            let live = Numbers::idle(4);
            live.signals[3].charge_with(Charge {
                factor,
                ghosts: 0.0,
            });
            let (mut memory, mut random) = (Memory::default(), Random::seeded(8));
            for _ in 0..attempts {
                let view = View::new(&members, &live);
                let picked = policy.pick(&mut memory, &view, None, &mut random, None);
                live.reserve(picked.unwrap().endpoint);
            }
            for (i, expected) in expected.into_iter().enumerate() {
                assert!(
                    live.load(i).abs_diff(expected) <= 1,
                    "{name}: {i} has {}",
                    live.load(i)
                );
            }
        }
    }
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
