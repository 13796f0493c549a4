//! The laws of every table, whoever is in it.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Small, so that many are built.
const SMALL: [Algorithm; 3] = [
    Algorithm::Ring { virtual_nodes: 20 },
    Algorithm::Maglev { size: 251 },
    Algorithm::Rendezvous,
];

/// Up to 80 endpoints, some without weight; the first has weight 1, so that all weights keep having
/// nothing in common whoever else goes.
fn membership() -> impl Strategy<Value = Vec<Place>> {
    let weights = prop::collection::vec(0u32..5, 1..80);
    (weights, any::<u64>()).prop_map(|(mut weights, upstream)| {
        weights[0] = 1;
        weighing(&weights, upstream)
    })
}

/// Every endpoint that `key` is offered, in order, when all are refused.
fn preferences(table: &Table, key: u64) -> Vec<usize> {
    let mut offered = Vec::new();
    let found = table.find(key, |endpoint| {
        offered.push(endpoint);
        false
    });
    assert_eq!(found, None);
    offered
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_endpoint_is_offered_once_and_those_without_weight_last(
        places in membership(), key: u64,
    ) {
        for algorithm in SMALL {
            let table = Table::compile(algorithm, &places);
            let offered = preferences(&table, key);
            let each: BTreeSet<usize> = offered.iter().copied().collect();
            prop_assert_eq!(each.len(), places.len());
            prop_assert_eq!(offered.len(), places.len());
            let weightless = places.iter().filter(|place| place.weight == 0).count();
            let (first, last) = offered.split_at(places.len() - weightless);
            prop_assert!(first.iter().all(|&endpoint| places[endpoint].weight > 0));
            prop_assert!(last.iter().all(|&endpoint| places[endpoint].weight == 0));
        }
    }

    #[test]
    fn the_first_that_is_accepted_is_found(places in membership(), key: u64, wanted: usize) {
        let wanted = wanted % places.len();
        for algorithm in SMALL {
            let table = Table::compile(algorithm, &places);
            prop_assert_eq!(table.find(key, |endpoint| endpoint == wanted), Some(wanted));
            prop_assert_eq!(table.owner(key), Some(preferences(&table, key)[0]));
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(places in membership(), seed: u64) {
        let mut shuffled = places.clone();
        shuffle(&mut shuffled, &mut Random::seeded(seed));
        for algorithm in SMALL {
            let (a, b) = (Table::compile(algorithm, &places), Table::compile(algorithm, &shuffled));
            prop_assert_eq!(owners(&a, keys(300)), owners(&b, keys(300)));
            prop_assert_eq!(preferences(&a, seed), preferences(&b, seed));
            prop_assert_eq!(a.shares(), b.shares());
        }
    }

    #[test]
    fn an_endpoint_is_found_by_identity_whatever_its_number(places in membership(), by in 1u32..9) {
        let renumbered: Vec<Place> = places
            .iter()
            .map(|place| Place { endpoint: place.endpoint + by, ..*place })
            .collect();
        for algorithm in SMALL {
            let (a, b) = (Table::compile(algorithm, &places), Table::compile(algorithm, &renumbered));
            let shifted: Vec<usize> = owners(&b, keys(300)).iter().map(|e| e - by as usize).collect();
            prop_assert_eq!(owners(&a, keys(300)), shifted);
        }
    }

    #[test]
    fn a_refused_endpoint_moves_its_own_keys_and_no_others(places in membership(), seed: u64) {
        let gone = draw(places.len() / 3, places.len(), &mut Random::seeded(seed));
        let accept = |endpoint: usize| !gone.contains(&(endpoint as u32));
        for algorithm in SMALL {
            let table = Table::compile(algorithm, &places);
            for key in keys(300) {
                let owner = table.owner(key).unwrap();
                let found = table.find(key, accept).unwrap();
                prop_assert!(accept(found));
                prop_assert!(found == owner || !accept(owner));
            }
        }
    }

    #[test]
    fn ring_and_rendezvous_answer_as_if_the_refused_had_never_been_there(
        places in membership(), seed: u64, count in 0usize..70,
    ) {
        // The first stays; see `membership`.
        let mut gone = draw(count.min(places.len()), places.len(), &mut Random::seeded(seed));
        gone.retain(|&endpoint| endpoint != 0);
        let rest = without(&places, &gone);
        for algorithm in [SMALL[0], SMALL[2]] {
            let (all, few) = (Table::compile(algorithm, &places), Table::compile(algorithm, &rest));
            for key in keys(300) {
                let found = all.find(key, |endpoint| !gone.contains(&(endpoint as u32)));
                prop_assert_eq!(found, few.owner(key));
            }
        }
    }

    #[test]
    fn a_newcomer_takes_keys_and_no_other_endpoint_gains_any(places in membership(), seed: u64) {
        let newcomer = draw(1, places.len(), &mut Random::seeded(seed))[0];
        prop_assume!(newcomer != 0);
        for algorithm in [SMALL[0], SMALL[2]] {
            let before = Table::compile(algorithm, &without(&places, &[newcomer]));
            let after = Table::compile(algorithm, &places);
            for key in keys(300) {
                let (was, is) = (before.owner(key).unwrap(), after.owner(key).unwrap());
                prop_assert!(is == was || is == newcomer as usize);
            }
        }
    }

    #[test]
    fn endpoints_of_one_identity_are_all_offered(weights in prop::collection::vec(0u32..3, 1..50), key: u64) {
        let places: Vec<Place> = (0u32..)
            .zip(weights)
            .map(|(endpoint, weight)| Place { endpoint, identity: 7, weight })
            .collect();
        for algorithm in SMALL {
            let table = Table::compile(algorithm, &places);
            prop_assert_eq!(preferences(&table, key).len(), places.len());
        }
    }
}

#[test]
fn an_empty_table_offers_nobody() {
    for algorithm in ALL {
        let table = Table::compile(algorithm, &[]);
        assert_eq!(table.find(1, |_| true), None);
        assert_eq!(table.shares(), []);
    }
}

#[test]
fn the_only_endpoint_owns_every_key() {
    for algorithm in ALL {
        let table = Table::compile(algorithm, &equal(1, 0));
        assert!(keys(50).all(|key| table.owner(key) == Some(0)));
        assert!([0, u64::MAX].iter().all(|&key| table.owner(key) == Some(0)));
        assert_eq!(table.shares(), [(0, 1.0)]);
    }
}

#[test]
fn endpoints_without_weight_share_alike_when_no_other_is_there() {
    let without_weight = weighing(&[0; 4], 0);
    for algorithm in ALL {
        let (none, one) = (
            Table::compile(algorithm, &without_weight),
            Table::compile(algorithm, &equal(4, 0)),
        );
        assert_eq!(owners(&none, keys(500)), owners(&one, keys(500)));
    }
}

#[test]
fn keys_of_a_refused_endpoint_spread_over_all_others_by_weight() {
    let weights = [4, 1, 2, 3, 2];
    let places = weighing(&weights, 0);
    for algorithm in ALL {
        let table = Table::compile(algorithm, &places);
        let mut got = [0.0; 5];
        for key in keys(20_000).filter(|&key| table.owner(key) == Some(0)) {
            got[table.find(key, |endpoint| endpoint != 0).unwrap()] += 1.0;
        }
        let all: f64 = got.iter().sum();
        for (endpoint, weight) in [(1, 1.0), (2, 2.0), (3, 3.0), (4, 2.0)] {
            let (share, due) = (got[endpoint] / all, weight / 8.0);
            assert!(
                (share - due).abs() < due * 0.25,
                "{algorithm:?}: {share} for {due}"
            );
        }
    }
}

#[test]
fn shares_are_the_part_of_keys_that_each_gets() {
    let mut random = Random::seeded(9);
    for upstream in 0..8 {
        let weights: Vec<u32> = (0..random.below(40) + 1)
            .map(|_| random.below(5) as u32)
            .collect();
        for algorithm in SMALL {
            let table = Table::compile(algorithm, &weighing(&weights, upstream));
            let (shares, owners) = (table.shares(), owners(&table, keys(5000)));
            assert!((shares.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
            for (i, &(endpoint, share)) in shares.iter().enumerate() {
                assert_eq!(endpoint as usize, i);
                let got = owners.iter().filter(|&&owner| owner == i).count() as f64 / 5000.0;
                // Four standard deviations of a count, and two keys.
                let tolerance = 4.0 * (share * (1.0 - share) / 5000.0).sqrt() + 0.0004;
                assert!(
                    (got - share).abs() <= tolerance,
                    "{algorithm:?}: {got} for {share}"
                );
            }
        }
    }
}

#[test]
fn shares_follow_weights() {
    let weights = [1, 2, 3, 4, 0, 10];
    // By how much of its due a share may be off: the ring has 160 points for the lightest.
    for (algorithm, tolerance) in [(RING, 0.2), (MAGLEV, 0.002), (Algorithm::Rendezvous, 1e-9)] {
        let table = Table::compile(algorithm, &weighing(&weights, 3));
        let owners = owners(&table, keys(40_000));
        for (endpoint, share) in table.shares() {
            let due = f64::from(weights[endpoint as usize]) / 20.0;
            assert!(
                (share - due).abs() <= due * tolerance,
                "{algorithm:?}: {share} for {due}"
            );
            let got = owners
                .iter()
                .filter(|&&owner| owner == endpoint as usize)
                .count();
            assert!((got as f64 / 40_000.0 - share).abs() < 0.01);
            assert_eq!(got == 0, due == 0.0);
        }
    }
}

#[test]
fn debug_tells_the_size_and_not_the_content() {
    let table = Table::compile(MAGLEV, &equal(3, 0));
    assert_eq!(
        format!("{table:?}"),
        r#"Table { scheme: "maglev", size: 65537, endpoints: 3, .. }"#
    );
}
