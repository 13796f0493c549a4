//! Round robin: exact shares in every window, no needless runs, and places that outlast a change of membership.

use super::*;

proptest! {
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
