//! Each rule against tables worked out by hand.

use super::*;

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
