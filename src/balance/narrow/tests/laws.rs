//! The laws that hold in every state.

use super::*;

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
