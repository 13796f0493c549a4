//! What goes by chance or by key: which group a ticket falls to, and which endpoints a random subset holds.

use super::*;

#[test]
fn tickets_choose_each_group_as_often_as_its_share_says() {
    let cases = [
        endpoint().local().times(10, 5),
        endpoint().times(10, 5),
        endpoint().priority(1).times(10, 10),
        endpoint().priority(2).times(10, 10),
    ]
    .concat();
    let (_, narrowed) = narrow(&cases, ZONED);
    let spread = narrowed.section(0);
    let mut random = Random::seeded(5);
    let draws = 100_000;
    // Drawn by chance, and hashes so bad that they count up.
    let chance: Vec<u64> = (0..draws).map(|_| random.next_u64()).collect();
    for tickets in [chance, (0..draws).collect()] {
        let mut chosen = [0; 4];
        for ticket in tickets {
            chosen[spread.choose(ticket)] += 1;
        }
        for (count, share) in chosen.iter().zip(shares(spread)) {
            let measured = f64::from(*count) / draws as f64;
            assert!((measured - share).abs() < 0.005, "{measured} for {share}");
        }
        assert_eq!(chosen[3], 0);
    }
}

#[test]
fn a_key_keeps_its_group_and_the_keys_of_a_group_are_no_range_of_hashes() {
    let state = |eligible| {
        let cases = [
            endpoint().times(10, eligible),
            endpoint().priority(1).times(10, 10),
        ];
        narrow(&cases.concat(), plain()).1
    };
    let (half, less) = (state(5), state(4));
    let mut random = Random::seeded(6);
    let keys: Vec<u64> = (0..40_000).map(|_| random.next_u64()).collect();
    let (mut moved, mut quarters) = (0, [0; 4]);
    for &key in &keys {
        let group = half.section(0).choose(key);
        assert_eq!(half.section(0).choose(key), group);
        if group == 0 {
            quarters[(key >> 62) as usize] += 1;
        }
        match (group, less.section(0).choose(key)) {
            (0, 1) => moved += 1,
            (before, after) => assert_eq!(before, after),
        }
    }
    // From 70 % to 56 %: only the keys that must go have gone.
    let moved = f64::from(moved) / keys.len() as f64;
    assert!((moved - 0.14).abs() < 0.01, "{moved}");
    for count in quarters {
        assert!((6_700..7_300).contains(&count), "{quarters:?}");
    }
}

fn sampling(size: usize, seed: u64) -> Rules {
    Rules {
        random_subset: Some(RandomSubset { size, seed }),
        ..Rules::default()
    }
}

/// The identities that a proxy of this seed uses, of endpoints with those identities.
fn used(identities: &[u64], size: usize, seed: u64) -> HashSet<u64> {
    let place = |&identity| Place {
        identity,
        ..endpoint().place
    };
    let places: Vec<Place> = identities.iter().map(place).collect();
    let layout = Layout::compile(&places, sampling(size, seed));
    let endpoints = &layout.sections()[0].groups[0].endpoints;
    assert!(endpoints.is_sorted());
    endpoints
        .iter()
        .map(|&i| places[i as usize].identity)
        .collect()
}

proptest! {
    #[test]
    fn a_random_subset_has_its_size_and_changes_by_one(
        identities in prop::collection::hash_set(any::<u64>(), 1..60),
        size in 1usize..40,
        seed: u64,
    ) {
        let identities: Vec<u64> = identities.into_iter().collect();
        let all = used(&identities, size, seed);
        prop_assert_eq!(all.len(), size.min(identities.len()));
        for gone in &identities {
            let rest: Vec<u64> = identities.iter().copied().filter(|i| i != gone).collect();
            let now = used(&rest, size, seed);
            let newcomers = now.difference(&all).count();
            if all.contains(gone) {
                let others = identities.len() - all.len();
                prop_assert_eq!(all.difference(&now).collect::<Vec<_>>(), vec![gone]);
                prop_assert_eq!(newcomers, others.min(1));
            } else {
                prop_assert_eq!(&all, &now);
            }
        }
    }
}

#[test]
fn each_group_is_drawn_apart_and_the_rest_is_unsampled() {
    let rules = Rules {
        prefer_local: true,
        ..sampling(3, 8)
    };
    let cases = [
        endpoint().local().times(2, 2),
        endpoint().times(50, 50),
        endpoint().backup().times(20, 0),
        endpoint().weight(0).times(50, 50),
    ]
    .concat();
    let (layout, narrowed) = narrow(&cases, rules);
    let groups = &layout.sections()[0].groups;
    let sizes: Vec<usize> = groups.iter().map(|group| group.endpoints.len()).collect();
    assert_eq!(sizes, [2, 3, 3]);
    // Those of weight 0 take no place that one with a weight can have.
    assert!(groups[1].endpoints.iter().all(|&i| i < 52));
    let spread = narrowed.section(0);
    assert_eq!(candidates(spread, 1), groups[1].endpoints);
    let count = |reason| {
        let all = excluded(&spread.groups()[1].members);
        all.iter().filter(|&&out| out == reason).count()
    };
    assert_eq!(count(Some(Exclusion::Unsampled)), 47);
    assert_eq!(count(Some(Exclusion::Zone)), 2);
    // A reason of its own goes first here too.
    assert_eq!(count(SICK), 20);
    assert_eq!(count(Some(Exclusion::WeightZero)), 50);
}

/// The least and the most used endpoint in percent of the mean, where each of 300 proxies uses `size`
/// of 300 endpoints; averaged over so many fleets.
fn extremes(size: usize, fleets: u64) -> (f64, f64) {
    let identities: Vec<u64> = (0..300).collect();
    let (mut least, mut most) = (0.0, 0.0);
    let mut random = Random::seeded(size as u64);
    for _ in 0..fleets {
        let mut proxies = [0u32; 300];
        for _ in 0..300 {
            for identity in used(&identities, size, random.next_u64()) {
                proxies[identity as usize] += 1;
            }
        }
        let of_mean = |count: Option<&u32>| f64::from(*count.unwrap()) / size as f64 * 100.0;
        least += of_mean(proxies.iter().min()) / fleets as f64;
        most += of_mean(proxies.iter().max()) / fleets as f64;
    }
    (least, most)
}

/// Ranges that an independent simulation of 20 to 40 fleets gave. The SRE book has 63 % and 121 % for
/// 30 % of the endpoints, and 50 % and 150 % for 10 %; its 63 % is lower than any draw seen there.
fn assert_evenness(fleets: u64) {
    for (size, least, most) in [
        (90, 70.0..82.0, 120.0..137.0),
        (30, 43.0..60.0, 140.0..180.0),
    ] {
        let (low, high) = extremes(size, fleets);
        eprintln!("{size} of 300: least used {low:.1} % of the mean, most used {high:.1} %");
        assert!(least.contains(&low), "{low}");
        assert!(most.contains(&high), "{high}");
    }
}

#[test]
fn random_subsets_load_endpoints_as_unevenly_as_published() {
    assert_evenness(2);
}

#[test]
#[ignore = "40 fleets take seconds without optimisation; two of them run above"]
fn random_subsets_load_endpoints_as_unevenly_as_published_over_40_fleets() {
    assert_evenness(40);
}
