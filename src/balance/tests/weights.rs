//! An endpoint of weight `w` counts as `w` endpoints of weight 1.

use super::*;

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
