//! Tests of verdicts and of when checks are due, in virtual time.

use proptest::prelude::*;

use super::*;

const INITIAL: [Verdict; 3] = [Verdict::Healthy, Verdict::Unhealthy, Verdict::Unknown];

fn rules() -> Rules {
    Rules {
        interval: Duration::from_secs(5),
        fast: Duration::from_secs(1),
        slow: Duration::from_secs(20),
        jitter: 0.0,
        rise: 2,
        fall: 3,
        initial: Verdict::Healthy,
        history: 4,
    }
}

fn check(began: Instant, took: Duration, outcome: Outcome) -> Check {
    Check {
        began,
        took,
        outcome,
        reason: (outcome == Failed).then(|| "it answered 503".to_owned()),
    }
}

/// An endpoint under checks that all take as long, in virtual time.
struct Course {
    rules: Rules,
    health: Health,
    random: Random,
    took: Duration,
    began: Vec<Instant>,
    turns: Vec<Turn>,
}

impl Course {
    fn new(rules: Rules, took: Duration) -> Self {
        let mut random = Random::seeded(7);
        Self {
            health: Health::new(Instant(0), &rules, &mut random),
            rules,
            random,
            took,
            began: Vec::new(),
            turns: Vec::new(),
        }
    }

    fn then(mut self, outcomes: &[Outcome]) -> Self {
        for outcome in outcomes {
            let began = self.health.due();
            let now = began + self.took;
            let check = check(began, self.took, *outcome);
            let turn = self
                .health
                .record(now, check, &self.rules, &mut self.random);
            self.turns.extend(turn);
            self.began.push(began);
        }
        self
    }

    fn gaps(&self) -> Vec<u64> {
        let mut all = self.began.clone();
        all.push(self.health.due());
        let gaps = all.windows(2).map(|pair| pair[1].since(pair[0]));
        gaps.map(|gap| gap.as_millis() as u64).collect()
    }
}

use Outcome::{Failed, Passed, Void};

#[test]
fn it_is_looked_at_faster_while_it_changes_and_slower_while_it_is_down() {
    let course = Course::new(rules(), Duration::ZERO).then(&[
        Passed, Failed, Failed, Failed, Failed, Passed, Passed, Passed, Failed, Passed,
    ]);
    let gaps = course.gaps();
    assert_eq!(
        gaps,
        [
            5000, 1000, 1000, 20_000, 20_000, 1000, 5000, 5000, 1000, 5000
        ]
    );
    let texts: Vec<&str> = course.turns.iter().map(|turn| &*turn.text).collect();
    assert_eq!(
        texts,
        [
            "is unhealthy: 3 checks failed in a row, the last because it answered 503",
            "is healthy: 2 checks passed in a row"
        ]
    );
    assert_eq!((course.health.turns(), course.health.count(Failed)), (2, 5));
}

#[test]
fn a_first_check_decides_alone_where_nothing_was_known() {
    for (outcome, verdict) in [(Passed, Verdict::Healthy), (Failed, Verdict::Unhealthy)] {
        let rules = Rules {
            initial: Verdict::Unknown,
            ..rules()
        };
        let course = Course::new(rules, Duration::ZERO);
        assert!(course.health.is_held());
        let course = course.then(&[Void]);
        assert!(course.health.is_held() && course.turns.is_empty());
        let course = course.then(&[outcome]);
        assert_eq!(course.health.verdict(), verdict);
        assert_eq!(course.turns[0].from, Verdict::Unknown);
    }
}

#[test]
fn a_void_check_neither_counts_nor_breaks_a_row() {
    let course = Course::new(rules(), Duration::ZERO).then(&[Failed, Void, Failed, Void]);
    assert_eq!((course.health.against(), course.turns.len()), (2, 0));
    let course = course.then(&[Failed]);
    assert_eq!(course.health.verdict(), Verdict::Unhealthy);
    // It is made up for soon, also where all is steady.
    let course = Course::new(rules(), Duration::ZERO).then(&[Passed, Void, Passed]);
    assert_eq!(course.gaps(), [5000, 1000, 5000]);
}

#[test]
fn checks_that_take_longer_than_the_interval_follow_each_other_at_once() {
    let course = Course::new(rules(), Duration::from_secs(9)).then(&[Passed, Passed, Failed]);
    assert_eq!(course.gaps(), [9000, 9000, 9000]);
}

#[test]
fn the_fast_interval_is_never_the_slower_one() {
    let rules = Rules {
        interval: Duration::from_millis(100),
        ..rules()
    };
    let course = Course::new(rules, Duration::ZERO).then(&[Passed, Failed, Void, Failed]);
    assert_eq!(course.gaps(), [100; 4]);
}

#[test]
fn at_another_address_the_verdict_stays_until_it_was_checked_and_that_is_soon() {
    let mut course = Course::new(rules(), Duration::ZERO).then(&[Failed, Failed, Failed, Passed]);
    let now = course.began[3] + Duration::from_millis(300);
    course.health = course.health.moved();
    course.health.replan(now, &course.rules, &mut course.random);
    let health = &course.health;
    assert_eq!((health.due(), health.against()), (now, 0));
    assert_eq!(health.verdict(), Verdict::Unhealthy);
    let course = course.then(&[Passed, Passed]);
    assert_eq!(course.health.verdict(), Verdict::Healthy);
    assert_eq!(course.began[5].since(now), Duration::from_secs(1));
}

#[test]
fn other_rules_bring_the_next_check_forward_and_never_put_it_off() {
    let mut course = Course::new(rules(), Duration::ZERO).then(&[Passed]);
    let now = Instant(0) + Duration::from_millis(100);
    let mut random = Random::seeded(1);
    let longer = Rules {
        interval: Duration::from_secs(3600),
        ..rules()
    };
    course.health.replan(now, &longer, &mut random);
    assert_eq!(course.health.due(), Instant(0) + Duration::from_secs(5));
    let shorter = Rules {
        interval: Duration::from_secs(2),
        ..rules()
    };
    course.health.replan(now, &shorter, &mut random);
    assert_eq!(course.health.due(), now + Duration::from_secs(2));
}

#[test]
fn the_latest_results_are_kept() {
    let mut course = Course::new(rules(), Duration::ZERO).then(&[Passed; 9]);
    let kept: Vec<Instant> = course
        .health
        .history()
        .iter()
        .map(|one| one.began)
        .collect();
    assert_eq!(kept, course.began[5..]);
    let fewer = Rules {
        history: 1,
        ..rules()
    };
    course
        .health
        .replan(Instant(0), &fewer, &mut Random::seeded(1));
    assert_eq!(course.health.history().len(), 1);
}

/// The rule as it is told: so many of the last results, all against the verdict, all since it last turned.
fn by_the_book(initial: Verdict, results: &[Outcome], rise: u32, fall: u32) -> Verdict {
    let mut verdict = initial;
    let mut begin = 0;
    let told: Vec<Outcome> = results.iter().copied().filter(|one| *one != Void).collect();
    for end in 1..=told.len() {
        let turns = |wanted: Outcome, needed: u32| {
            let since = &told[begin..end];
            since.len() >= needed as usize
                && since[since.len() - needed as usize..]
                    .iter()
                    .all(|one| *one == wanted)
        };
        let next = match verdict {
            Verdict::Unknown if told[end - 1] == Passed => Verdict::Healthy,
            Verdict::Unknown => Verdict::Unhealthy,
            Verdict::Healthy if turns(Failed, fall) => Verdict::Unhealthy,
            Verdict::Unhealthy if turns(Passed, rise) => Verdict::Healthy,
            same => same,
        };
        if next != verdict {
            verdict = next;
            begin = end;
        }
    }
    verdict
}

proptest! {
    #[test]
    fn verdicts_are_those_of_the_reference(
        results in proptest::collection::vec((0_usize..10).prop_map(|draw| match draw { 0 => Void, 1..=5 => Failed, _ => Passed }), 0..60),
        rise in 1_u32..5,
        fall in 1_u32..5,
        initial in 0_usize..3,
    ) {
        let initial = INITIAL[initial];
        let rules = Rules { rise, fall, initial, ..rules() };
        let mut course = Course::new(rules, Duration::ZERO);
        for end in 0..=results.len() {
            prop_assert_eq!(course.health.verdict(), by_the_book(initial, &results[..end], rise, fall));
            if let Some(next) = results.get(end) {
                course = course.then(&[*next]);
            }
        }
        let counted: u64 = Outcome::ALL.iter().map(|outcome| course.health.count(*outcome)).sum();
        prop_assert_eq!(counted, results.len() as u64);
        prop_assert_eq!(course.health.turns(), course.turns.len() as u64);
    }

    #[test]
    fn each_check_lies_within_the_jitter_of_an_interval_and_none_before_the_last_has_ended(
        results in proptest::collection::vec((0_usize..3).prop_map(|draw| Outcome::ALL[draw]), 1..40),
        jitter in 0.0_f64..0.9,
        millis in 0_u64..3000,
        seed in any::<u64>(),
    ) {
        let rules = Rules { jitter, ..rules() };
        let mut course = Course::new(rules.clone(), Duration::from_millis(millis));
        course.random = Random::seeded(seed);
        course.health = Health::new(Instant(0), &rules, &mut course.random);
        let first = course.health.due().since(Instant(0));
        prop_assert!(first <= rules.fast.mul_f64(jitter));
        let course = course.then(&results);
        for gap in course.gaps() {
            let near = |of: Duration| {
                let (gap, of) = (gap as f64, of.as_millis() as f64);
                (of * (1.0 - jitter) - 1.0..=of * (1.0 + jitter) + 1.0).contains(&gap)
            };
            let planned = [rules.interval, rules.fast, rules.slow].into_iter().any(near);
            prop_assert!(gap >= millis && (planned || gap == millis), "{gap} ms");
        }
    }

    #[test]
    fn a_dead_endpoint_is_out_within_the_bound_that_the_rules_give(
        passed in 0_u64..20,
        jitter in 0.0_f64..0.9,
        seed in any::<u64>(),
    ) {
        let rules = Rules { jitter, ..rules() };
        let mut course = Course::new(rules.clone(), Duration::ZERO);
        course.random = Random::seeded(seed);
        let course = course.then(&vec![Passed; passed as usize + 1]);
        let died = course.began[passed as usize];
        let course = course.then(&[Failed; 3]);
        let bound = (rules.interval + rules.fast * 2).mul_f64(1.0 + jitter);
        prop_assert_eq!(course.health.verdict(), Verdict::Unhealthy);
        prop_assert!(course.health.since().since(died) <= bound + Duration::from_millis(1));
    }
}
