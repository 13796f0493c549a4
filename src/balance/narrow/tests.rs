//! The rules of narrowing against tables worked out by hand, and the laws that hold in every state.

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

#[test]
fn without_rules_there_is_one_group_which_is_the_whole_membership() {
    let cases = [
        endpoint().weight(3),
        endpoint().out(SICK),
        endpoint().weight(0),
        endpoint().out(LEAVING),
    ];
    let (layout, narrowed) = narrow(&cases, plain());
    assert_eq!(layout.sections().len(), 1);
    assert_eq!(layout.sections()[0].groups.len(), 1);
    assert_eq!(layout.sections()[0].groups[0].endpoints, [0, 1, 2, 3]);
    let spread = narrowed.section(0);
    let whole = Members::new(&members(&cases));
    let group = &spread.groups()[0].members;
    assert_eq!(group.candidates(), whole.candidates());
    assert_eq!(excluded(group), excluded(&whole));
    for ticket in [0, 1, u64::MAX / 2, u64::MAX] {
        assert_eq!(spread.choose(ticket), 0);
    }
    assert_eq!(spread.others(0).count(), 0);
    assert!(!spread.is_panicking());
}

#[test]
fn an_upstream_without_endpoints_has_a_group_without_candidates() {
    for rules in [plain(), ZONED, panicking(0.5, PanicRule::FailOpen)] {
        let (layout, narrowed) = narrow(&[], rules);
        assert_eq!(layout.sections()[0].groups.len(), 1);
        let spread = narrowed.section(0);
        assert_eq!(spread.choose(7), 0);
        assert_eq!(shares(spread), [0.0]);
        assert!(!spread.is_panicking());
    }
}

/// The tables of Envoy's page "Priority levels": healthy percent of each tier, percent of the traffic.
/// Envoy counts in whole percent and cuts off, so that a share may be one off.
#[test]
fn tiers_share_as_in_the_tables_of_envoy() {
    let table: [(&[usize], &[u32]); 17] = [
        (&[100, 100], &[100, 0]),
        (&[72, 100], &[100, 0]),
        (&[71, 100], &[99, 1]),
        (&[50, 100], &[70, 30]),
        (&[25, 100], &[35, 65]),
        (&[0, 100], &[0, 100]),
        (&[72, 72], &[100, 0]),
        (&[71, 71], &[99, 1]),
        (&[50, 50], &[70, 30]),
        (&[25, 25], &[50, 50]),
        (&[5, 65], &[7, 93]),
        (&[72, 72, 100], &[100, 0, 0]),
        (&[71, 71, 100], &[99, 1, 0]),
        (&[25, 100, 100], &[35, 65, 0]),
        (&[25, 25, 100], &[35, 35, 30]),
        (&[25, 25, 20], &[36, 36, 28]),
        (&[0, 0, 0], &[0, 0, 0]),
    ];
    for (healthy, traffic) in table {
        let tier = |(priority, &eligible)| endpoint().priority(priority).times(100, eligible);
        let cases: Vec<Case> = (0u8..).zip(healthy).flat_map(tier).collect();
        let ours = percent(&cases, plain());
        let near = |(ours, theirs): (&u32, &u32)| ours.abs_diff(*theirs) <= 1;
        assert!(ours.iter().zip(traffic).all(near), "{healthy:?}: {ours:?}");
    }
}

#[test]
fn what_rounding_leaves_is_no_share() {
    // Healths of 7/10, 3/10 and 1, of which the first two sum to 1 but for 1e-16.
    let tier = |priority, eligible| endpoint().priority(priority).times(14, eligible);
    let cases = [tier(0, 7), tier(1, 3), tier(2, 14)].concat();
    let (_, narrowed) = narrow(&cases, plain());
    assert_eq!(shares(narrowed.section(0))[2], 0.0);
}

#[test]
fn health_is_a_matter_of_weight_and_not_of_count() {
    let light = endpoint().weight(10).times(5, 0);
    let heavy = endpoint().weight(50).times(1, 1);
    let next = endpoint().priority(1).times(2, 2);
    assert_eq!(
        percent(&[light, heavy, next].concat(), plain()),
        [70, 30] // 50 of 100 is eligible.
    );
}

#[test]
fn the_first_priority_in_use_need_not_be_zero() {
    let cases = [endpoint().priority(7), endpoint().priority(3)];
    let (layout, narrowed) = narrow(&cases, plain());
    let priorities = layout.sections()[0].groups.iter().map(|g| g.label.priority);
    assert_eq!(priorities.collect::<Vec<_>>(), [3, 7]);
    assert_eq!(shares(narrowed.section(0)), [1.0, 0.0]);
}

#[test]
fn draining_endpoints_and_those_of_weight_zero_count_in_no_total() {
    let cases = [
        endpoint(),
        endpoint().out(LEAVING),
        endpoint().out(LEAVING),
        endpoint().weight(0),
        endpoint().weight(0).out(SICK),
        endpoint().priority(1),
    ];
    assert_eq!(percent(&cases, plain()), [100, 0]);
    // The configuration goes before what the owner says of health.
    let mut configured = cases;
    configured[1] = endpoint().out(SICK);
    configured[1].place.draining = true;
    assert_eq!(percent(&configured, plain()), [100, 0]);
    let (_, narrowed) = narrow(&configured, panicking(1.0, PanicRule::FailOpen));
    assert_eq!(
        excluded(&narrowed.section(0).groups()[0].members)[1],
        LEAVING
    );
}

#[test]
fn a_tier_that_comes_back_in_slow_start_takes_its_traffic_back_as_slowly() {
    let next = endpoint().priority(1).weight(100);
    for (now, traffic) in [(10, [14, 86]), (50, [70, 30]), (72, [100, 0])] {
        let cases = [endpoint().weight(100).now(now), next];
        assert_eq!(percent(&cases, plain()), traffic);
    }
    // A weight raised at run time beyond the configured one is the full weight.
    let cases = [endpoint().weight(100).now(400), next];
    assert_eq!(percent(&cases, plain()), [100, 0]);
}

#[test]
fn weight_zero_serves_only_where_the_section_has_no_weight_left() {
    let idle = endpoint().weight(0);
    let cases = [idle, endpoint().out(SICK), idle.priority(1)];
    // All count as 1: one of two is eligible in the first tier.
    let (_, narrowed) = narrow(&cases, plain());
    assert_eq!(percent(&cases, plain()), [70, 30]);
    let spread = narrowed.section(0);
    assert!(spread.groups()[0].members.is_last_resort());
    assert_eq!(candidates(spread, 0), [0]);
    assert_eq!(candidates(spread, 1), [2]);
    // An eligible endpoint with a weight ends it wherever it is, even among the backups.
    for weighty in [endpoint().priority(1), endpoint().backup()] {
        let cases = [&cases[..], &[weighty]].concat();
        let (_, narrowed) = narrow(&cases, plain());
        let spread = narrowed.section(0);
        let chosen = spread.choose(99);
        assert_eq!(candidates(spread, chosen), [3]);
        assert_eq!(spread.others(chosen).count(), 0);
        let first = &spread.groups()[0].members;
        assert!(!first.is_last_resort());
        assert_eq!(first.excluded(0), Some(Exclusion::WeightZero));
        assert_eq!(first.excluded(2), Some(Exclusion::WeightZero));
    }
}

/// Local and other zones of ten endpoints each: eligible in both, percent of the traffic.
#[test]
fn the_local_zone_keeps_its_traffic_until_it_is_short() {
    let table = [
        ([10, 10], [100, 0]),
        ([8, 10], [100, 0]),
        ([7, 10], [98, 2]),
        ([5, 10], [70, 30]),
        ([5, 1], [70, 30]),
        ([5, 0], [100, 0]),
        ([1, 10], [14, 86]),
        ([0, 10], [0, 100]),
        ([0, 0], [0, 0]),
    ];
    for ([local, others], traffic) in table {
        let cases = [
            endpoint().times(10, others),
            endpoint().local().times(10, local),
        ]
        .concat();
        assert_eq!(percent(&cases, ZONED), traffic, "{local} {others}");
        // The mark means nothing where zones are not preferred.
        assert_eq!(percent(&cases, plain()).len(), 1);
    }
}

#[test]
fn zones_divide_what_their_tier_takes() {
    let cases = [
        endpoint().local().times(10, 5),
        endpoint().times(10, 5),
        endpoint().priority(1).times(10, 10),
        endpoint().priority(2).local().times(10, 10),
    ]
    .concat();
    let (layout, _) = narrow(&cases, ZONED);
    let labels = layout.sections()[0].groups.iter();
    let labels: Vec<String> = labels.map(|group| group.label.to_string()).collect();
    assert_eq!(
        labels,
        [
            "priority 0, local zone",
            "priority 0, other zones",
            "priority 1, other zones",
            "priority 2, local zone"
        ]
    );
    // The first tier takes 1.4 × 10/20 = 70 %, of which the local zone 1.4 × 5/10 = 70 %.
    assert_eq!(percent(&cases, ZONED), [49, 21, 30, 0]);
}

#[test]
fn backups_serve_when_no_other_is_eligible_and_are_tried_last_before_that() {
    let backups = endpoint().backup().times(2, 1);
    let next_backups = endpoint().backup().priority(1).times(2, 2);
    let cases = |first, second| {
        let tiers = [
            endpoint().times(10, first),
            endpoint().priority(1).times(10, second),
        ];
        [tiers.concat(), backups.clone(), next_backups.clone()].concat()
    };
    assert_eq!(percent(&cases(1, 0), plain()), [100, 0, 0, 0]);
    assert_eq!(percent(&cases(0, 1), plain()), [0, 100, 0, 0]);
    assert_eq!(percent(&cases(0, 0), plain()), [0, 0, 70, 30]);
    let (layout, narrowed) = narrow(&cases(1, 1), plain());
    let order = |chosen| narrowed.section(0).others(chosen).collect::<Vec<_>>();
    assert_eq!(order(0), [1, 2, 3]);
    assert_eq!(order(1), [0, 2, 3]);
    assert_eq!(
        layout.sections()[0].groups[3].label.to_string(),
        "priority 1, backup"
    );
}

#[test]
fn a_section_holds_only_the_endpoints_of_its_value() {
    let cases = [
        endpoint().subset(40),
        endpoint().subset(7).priority(1),
        endpoint(),
        endpoint().subset(7).backup(),
        endpoint().subset(7).weight(0),
    ];
    let (layout, narrowed) = narrow(&cases, plain());
    let subsets: Vec<Option<u32>> = layout.sections().iter().map(|s| s.subset).collect();
    assert_eq!(subsets, [None, Some(7), Some(40)]);
    assert_eq!(layout.section_of(7), Some(1));
    assert_eq!(layout.section_of(40), Some(2));
    assert_eq!(layout.section_of(8), None);
    assert_eq!(layout.sections()[0].groups[0].endpoints, [0, 2, 4]);
    let spread = narrowed.section(1);
    assert_eq!(shares(spread), [0.0, 1.0, 0.0]);
    assert_eq!(candidates(spread, 1), [1]);
    assert_eq!(
        excluded(&spread.groups()[1].members),
        [
            Some(Exclusion::Subset),
            None,
            Some(Exclusion::Subset),
            Some(Exclusion::Tier),
            Some(Exclusion::WeightZero),
        ]
    );
}

#[test]
fn a_reason_of_its_own_goes_before_that_of_another_group() {
    let cases = [
        endpoint().local(),
        endpoint(),
        endpoint().out(SICK),
        endpoint().priority(1),
        endpoint().priority(1).out(Some(Exclusion::Ejected)),
        endpoint().priority(1).out(LEAVING),
        endpoint().local().backup(),
    ];
    let (_, narrowed) = narrow(&cases, ZONED);
    assert_eq!(
        excluded(&narrowed.section(0).groups()[0].members),
        [
            None,
            Some(Exclusion::Zone),
            SICK,
            Some(Exclusion::Tier),
            Some(Exclusion::Ejected),
            LEAVING,
            Some(Exclusion::Tier),
        ]
    );
}

#[test]
fn to_fail_open_serves_from_the_unhealthy_but_not_from_the_draining() {
    let rules = panicking(0.5, PanicRule::FailOpen);
    let state = |eligible| {
        let mut cases = endpoint().times(8, eligible);
        cases[6].out = Some(Exclusion::BreakerOpen);
        cases[7].out = Some(Exclusion::Ejected);
        cases.push(endpoint().out(LEAVING));
        cases.push(endpoint().weight(0));
        narrow(&cases, rules).1
    };
    let calm = state(4);
    assert!(!calm.section(0).is_panicking());
    assert_eq!(candidates(calm.section(0), 0), [0, 1, 2, 3]);
    for eligible in [3, 0] {
        let panic = state(eligible);
        assert!(panic.section(0).is_panicking());
        assert_eq!(candidates(panic.section(0), 0), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(shares(panic.section(0)), [1.0]);
    }
}

#[test]
fn to_fail_closed_leaves_no_candidate_and_says_why() {
    let rules = panicking(0.5, PanicRule::FailClosed);
    let cases = [
        vec![endpoint().subset(1)],
        endpoint().times(3, 0),
        endpoint().priority(1).times(5, 1),
        vec![endpoint().weight(0), endpoint().out(LEAVING)],
    ]
    .concat();
    let (_, narrowed) = narrow(&cases, rules);
    let spread = narrowed.section(0);
    assert!(spread.is_panicking());
    assert_eq!(shares(spread), [0.0, 0.0]);
    assert_eq!(spread.others(spread.choose(1)).count(), 0);
    let panic = Some(Exclusion::Panic);
    assert_eq!(
        excluded(&spread.groups()[0].members),
        [
            panic, SICK, SICK, SICK, panic, SICK, SICK, SICK, SICK, panic, LEAVING
        ]
    );
    // The section of the healthy one is calm.
    assert!(!narrowed.section(1).is_panicking());
    assert_eq!(candidates(narrowed.section(1), 0), [0]);
}

#[test]
fn tiers_and_backups_that_can_take_over_keep_a_section_from_panic() {
    for rule in [PanicRule::FailOpen, PanicRule::FailClosed] {
        let rules = panicking(0.5, rule);
        let dead = endpoint().times(10, 0);
        for rest in [
            endpoint().priority(1).times(2, 1),
            endpoint().backup().times(2, 1),
        ] {
            let cases = [dead.clone(), rest].concat();
            let (_, narrowed) = narrow(&cases, rules);
            assert!(!narrowed.section(0).is_panicking());
            assert_eq!(percent(&cases, rules), [0, 100]);
            assert_eq!(candidates(narrowed.section(0), 1), [10]);
        }
    }
}

#[test]
fn a_dead_tier_or_zone_draws_no_traffic_in_a_panic_while_another_answers() {
    let rules = Rules {
        prefer_local: true,
        ..panicking(0.5, PanicRule::FailOpen)
    };
    let cases = [
        endpoint().local().times(10, 0),
        endpoint().priority(1).local().times(10, 0),
        endpoint().priority(1).times(10, 3),
    ]
    .concat();
    let (_, narrowed) = narrow(&cases, rules);
    let spread = narrowed.section(0);
    assert!(spread.is_panicking());
    assert_eq!(shares(spread), [0.0, 0.0, 1.0]);
    assert_eq!(candidates(spread, 2).len(), 10);
    // With nothing eligible the shares are those of a healthy upstream.
    let dead: Vec<Case> = cases.iter().map(|case| case.out(SICK)).collect();
    assert_eq!(percent(&dead, rules), [100, 0, 0]);
}

#[test]
fn without_a_threshold_to_fail_open_waits_until_nothing_is_eligible() {
    for rule in [PanicRule::FailOpen, PanicRule::FailClosed] {
        let rules = panicking(0.0, rule);
        let (_, narrowed) = narrow(&endpoint().times(10, 1), rules);
        assert!(!narrowed.section(0).is_panicking());
        let (_, narrowed) = narrow(&endpoint().times(10, 0), rules);
        let is_open = rule == PanicRule::FailOpen;
        assert_eq!(narrowed.section(0).is_panicking(), is_open);
        let (_, narrowed) = narrow(&endpoint().out(LEAVING).times(10, 10), rules);
        assert!(!narrowed.section(0).is_panicking());
    }
}

#[test]
fn the_threshold_itself_is_no_panic_however_the_sum_is_rounded() {
    // 0.1 + 0.7 is a little less than 0.8 in binary.
    let cases = [endpoint().times(10, 1), endpoint().priority(1).times(10, 7)].concat();
    for (threshold, panics) in [(0.8, false), (0.81, true)] {
        let (_, narrowed) = narrow(&cases, panicking(threshold, PanicRule::FailOpen));
        assert_eq!(narrowed.section(0).is_panicking(), panics);
    }
}

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

fn case() -> impl Strategy<Value = Case> {
    let out = prop_oneof![
        4 => Just(None),
        3 => Just(SICK),
        1 => Just(Some(Exclusion::Ejected)),
        1 => Just(LEAVING),
    ];
    let flag = |share| prop::bool::weighted(share);
    let place = (0u32..4, 0u8..3, flag(0.2), flag(0.1), flag(0.4));
    let subset = prop::option::of(0u32..2);
    (place, subset, 0u32..5, out).prop_map(|(place, subset, weight, out)| {
        let (full, priority, backup, draining, is_local) = place;
        Case {
            place: Place {
                identity: 0,
                weight: full,
                priority,
                backup,
                draining,
                is_local,
                subset,
            },
            weight,
            out,
        }
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let rule = prop_oneof![Just(PanicRule::FailOpen), Just(PanicRule::FailClosed)];
    let panic = (0.0f64..1.0, rule).prop_map(|(threshold, rule)| Panic { threshold, rule });
    let subset = (1usize..4, any::<u64>()).prop_map(|(size, seed)| RandomSubset { size, seed });
    (
        any::<bool>(),
        prop::option::of(subset),
        prop::option::of(panic),
    )
        .prop_map(|(prefer_local, random_subset, panic)| Rules {
            prefer_local,
            random_subset,
            panic,
        })
}

/// Nothing is loaded, full or tried.
#[derive(Default)]
struct Idle(Signals, Totals);

impl Live for Idle {
    fn now(&self) -> Instant {
        Instant::default()
    }
    fn signals(&self, _: usize) -> &Signals {
        &self.0
    }
    fn totals(&self) -> &Totals {
        &self.1
    }
    fn full(&self, _: usize) -> bool {
        false
    }
    fn tried(&self, _: usize) -> bool {
        false
    }
}

/// What holds in any section, whatever its state.
fn assert_laws(section: &Section, spread: &Spread, cases: &[Case], random: &mut Random) {
    let groups = spread.groups();
    assert_eq!(groups.len(), section.groups.len());
    let serves = |group: &Group| !group.members.candidates().is_empty();
    let sum: f64 = shares(spread).iter().sum();
    let whole = if groups.iter().any(serves) { 1.0 } else { 0.0 };
    assert!((sum - whole).abs() < 1e-9, "{:?}", shares(spread));
    let mut owner = vec![None; cases.len()];
    for (g, group) in groups.iter().enumerate() {
        assert!(group.share >= 0.0);
        assert!(group.share == 0.0 || serves(group), "{g}");
        assert_eq!(group.members.len(), cases.len());
        for &i in group.members.candidates() {
            // Each is a candidate in one group, the one it was laid out for.
            assert_eq!(owner[i as usize].replace(g), None);
            assert!(section.groups[g].endpoints.contains(&i));
            let case = &cases[i as usize];
            assert!(!case.place.draining && case.out != LEAVING);
        }
    }
    let chosen = spread.choose(random.next_u64());
    assert!(whole == 0.0 || groups[chosen].share > 0.0);
    let others: Vec<usize> = spread.others(chosen).collect();
    assert!(others.is_sorted() && !others.contains(&chosen));
    let expected = groups.iter().filter(|group| serves(group)).count();
    assert_eq!(
        others.len() + usize::from(serves(&groups[chosen])),
        expected
    );
    let idle = Idle::default();
    let view = View::new(&groups[chosen].members, &idle);
    let picked = Policy::P2c { choices: 2 }.pick(&mut Memory::default(), &view, None, random, None);
    assert_eq!(picked.is_some(), whole == 1.0);
    // No weight 0 beside a weight, in whatever group.
    let weights = (0..cases.len()).filter(|&i| owner[i].is_some());
    let weights: HashSet<bool> = weights.map(|i| cases[i].weight > 0).collect();
    assert!(weights.len() <= 1);
}

proptest! {
    #[test]
    fn the_laws_hold_in_any_state(
        cases in prop::collection::vec(case(), 0..12),
        rules in rules(),
        seed: u64,
    ) {
        let (layout, narrowed) = narrow(&cases, rules);
        let mut random = Random::seeded(seed);
        for (i, section) in layout.sections().iter().enumerate() {
            assert_laws(section, narrowed.section(i), &cases, &mut random);
        }
    }

    #[test]
    fn without_a_panic_rule_whoever_is_eligible_can_be_reached(
        cases in prop::collection::vec(case(), 0..12),
        prefer_local: bool,
    ) {
        let rules = Rules { prefer_local, ..plain() };
        let (_, narrowed) = narrow(&cases, rules);
        let spread = narrowed.section(0);
        let eligible = |case: &Case| case.out.is_none() && !case.place.draining;
        let weighty = cases.iter().any(|case| eligible(case) && case.weight > 0);
        let expected = cases.iter().filter(|&case| eligible(case) && (case.weight > 0 || !weighty));
        let reached: usize = (0..spread.groups().len()).map(|g| candidates(spread, g).len()).sum();
        prop_assert_eq!(reached, expected.count());
    }
}

#[test]
fn many_changes_of_standing_leave_nothing_behind() {
    let rules = Rules {
        prefer_local: true,
        ..panicking(0.5, PanicRule::FailOpen)
    };
    let mut cases = [
        endpoint().local().weight(3).times(4, 4),
        endpoint().weight(5).times(4, 4),
        endpoint().priority(1).times(3, 3),
        endpoint().backup().times(2, 2),
    ]
    .concat();
    let layout = Layout::compile(&places(&cases), rules);
    let before = Narrowed::new(&layout, &members(&cases), &in_force(&cases));
    let mut random = Random::seeded(9);
    let states = [None, SICK, LEAVING, Some(Exclusion::BreakerOpen)];
    for _ in 0..20_000 {
        let at = random.below(cases.len());
        cases[at].out = states[random.below(states.len())];
        let narrowed = Narrowed::new(&layout, &members(&cases), &in_force(&cases));
        assert_laws(
            &layout.sections()[0],
            narrowed.section(0),
            &cases,
            &mut random,
        );
    }
    for case in &mut cases {
        case.out = None;
    }
    let after = Narrowed::new(&layout, &members(&cases), &in_force(&cases));
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}
