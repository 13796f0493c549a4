//! Tests: single rules; `model` has random lists of events against a reference that counts on its fingers.

mod model;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::entropy::Random;
use crate::tls::Shared;
use crate::upstream::Upstream;
use crate::upstream::registry::Registry;

const RULES: Rules = Rules {
    consecutive: Some(3),
    failure_rate: None,
    slow_call: None,
    slow_rate: 1.0,
    min_samples: 4,
    window: Duration::from_secs(10),
    open_for: Duration::from_secs(1),
    open_for_max: Duration::from_secs(8),
    jitter: 0.0,
    probes: 1,
    ramp: Duration::from_secs(5),
    count_500: false,
};

const FAST: Outcome = Outcome::Answered(Duration::from_millis(1));
const FAILED: Outcome = Outcome::Failed(Duration::from_millis(1), "connection_refused");

fn at(millis: u64) -> Instant {
    Instant(millis * 1_000_000)
}

fn switch() -> Arc<Switch> {
    Arc::new(Switch::seeded(Random::seeded(7)))
}

/// Lets one attempt through, which must be possible, and says how it came out.
fn attempt(switch: &Arc<Switch>, now: Instant, rules: &Rules, outcome: Outcome) -> Option<Change> {
    let mut pass = switch.admit(now, rules).expect("it is let through");
    switch.record(&mut pass, now, rules, outcome)
}

/// Three failures at `now`, and how long it stays open then.
fn opened(switch: &Arc<Switch>, now: Instant) -> Duration {
    let mut changes = (0..3).filter_map(|_| attempt(switch, now, &RULES, FAILED));
    let change = changes.next().expect("it opens");
    assert_eq!(change.to, Phase::Open);
    change.stay
}

#[test]
fn opens_after_failures_in_a_row_and_not_before() {
    let switch = switch();
    for outcome in [FAILED, FAILED, FAST, FAILED, FAILED] {
        assert_eq!(attempt(&switch, at(0), &RULES, outcome), None);
    }
    assert_eq!(switch.in_row(), 2);
    let change = attempt(&switch, at(0), &RULES, FAILED).expect("the third in a row");
    assert_eq!(change.why, Why::InARow(3, "connection_refused"));
    assert_eq!((switch.phase(), switch.in_row()), (Phase::Open, 0));
}

/// A head ends a row of failures: one whose answers all break off had never opened.
#[test]
fn answers_that_break_off_are_failures_in_a_row() {
    let switch = switch();
    for number in 0..3 {
        let mut pass = switch.admit(at(0), &RULES).unwrap();
        assert_eq!(switch.record(&mut pass, at(0), &RULES, FAST), None);
        let change = switch.record(
            &mut pass,
            at(0),
            &RULES,
            Outcome::Broke("connection_closed"),
        );
        assert_eq!(change.is_some(), number == 2);
    }
    // One that is answered whole in between ends the row.
    let switch = self::switch();
    for _ in 0..5 {
        attempt(&switch, at(0), &RULES, FAST);
        let mut pass = switch.admit(at(0), &RULES).unwrap();
        switch.record(&mut pass, at(0), &RULES, FAST);
        let change = switch.record(
            &mut pass,
            at(0),
            &RULES,
            Outcome::Broke("connection_closed"),
        );
        assert_eq!(change, None);
    }
}

/// A download that began long ago, when others had just failed, once opened it all by itself.
#[test]
fn an_old_answer_that_breaks_off_brings_back_no_row_that_others_ended() {
    let switch = switch();
    for _ in 0..2 {
        attempt(&switch, at(0), &RULES, FAILED);
    }
    let mut download = switch.admit(at(0), &RULES).unwrap();
    switch.record(&mut download, at(0), &RULES, FAST);
    for _ in 0..1000 {
        attempt(&switch, at(1), &RULES, FAST);
    }
    let broke = Outcome::Broke("connection_closed");
    assert_eq!(
        switch.record(&mut download, at(600_000), &RULES, broke),
        None
    );
    assert_eq!((switch.phase(), switch.in_row()), (Phase::Closed, 1));
}

#[test]
fn the_stay_doubles_to_its_bound_and_begins_anew_after_a_rest() {
    let switch = switch();
    let mut now = 0;
    let mut stays = Vec::new();
    for _ in 0..5 {
        let stay = opened(&switch, at(now));
        stays.push(stay.as_secs());
        now += u64::try_from(stay.as_millis()).unwrap();
        assert_eq!(switch.look(at(now - 1), &RULES, 0), None);
        assert_eq!(switch.look(at(now), &RULES, 0).unwrap().to, Phase::HalfOpen);
        assert_eq!(
            attempt(&switch, at(now), &RULES, FAST).unwrap().to,
            Phase::Closed
        );
    }
    assert_eq!(stays, [1, 2, 4, 8, 8]);
    assert_eq!(opened(&switch, at(now + 8000)).as_secs(), 1);
}

#[test]
fn jitter_makes_a_stay_shorter_by_up_to_its_share() {
    let rules = Rules {
        jitter: 0.2,
        ..RULES
    };
    for seed in 0..100 {
        let switch = Arc::new(Switch::seeded(Random::seeded(seed)));
        let mut changes = (0..3).filter_map(|_| attempt(&switch, at(0), &rules, FAILED));
        let stay = changes.next().unwrap().stay.as_secs_f64();
        assert!((0.8..=1.0).contains(&stay), "{stay}");
    }
}

#[test]
fn probes_are_reserved_given_back_and_decide() {
    let rules = Rules { probes: 2, ..RULES };
    let switch = switch();
    opened(&switch, at(0));
    switch.look(at(1000), &rules, 0);
    let first = switch.admit(at(1000), &rules).expect("a first probe");
    let mut second = switch.admit(at(1000), &rules).expect("a second probe");
    assert!(switch.admit(at(1000), &rules).is_none() && switch.is_taken());
    // A probe that is given up decides nothing.
    drop(first);
    assert!(!switch.is_taken());
    let mut third = switch.admit(at(1000), &rules).expect("its place is free");
    assert_eq!(switch.record(&mut second, at(1000), &rules, FAST), None);
    assert!(
        switch.is_taken(),
        "two successes are asked for, and two probes were let through"
    );
    let change = switch.record(&mut third, at(1000), &rules, FAST);
    assert_eq!(change.unwrap().why, Why::ProbesSucceeded);
    assert!(!switch.is_taken());
}

#[test]
fn one_probe_that_fails_or_is_slow_opens_it_again() {
    let rules = Rules {
        probes: 2,
        slow_call: Some(Duration::from_secs(1)),
        ..RULES
    };
    for outcome in [FAILED, Outcome::Answered(Duration::from_secs(2))] {
        let switch = switch();
        opened(&switch, at(0));
        switch.look(at(1000), &rules, 0);
        let mut other = switch.admit(at(1000), &rules).unwrap();
        let change = attempt(&switch, at(1000), &rules, outcome).unwrap();
        assert_eq!((change.to, change.stay.as_secs()), (Phase::Open, 2));
        // Who was let through before has no say any more.
        assert_eq!(switch.record(&mut other, at(1001), &rules, FAST), None);
        assert_eq!(switch.phase(), Phase::Open);
    }
}

#[test]
fn attempts_of_before_have_no_say_after() {
    let switch = switch();
    let passes = || (0..5).map(|_| switch.admit(at(0), &RULES).unwrap());
    let mut before: Vec<Pass> = passes().collect();
    opened(&switch, at(0));
    switch.look(at(1000), &RULES, 0);
    attempt(&switch, at(1000), &RULES, FAST);
    for pass in &mut before {
        assert_eq!(switch.record(pass, at(2000), &RULES, FAILED), None);
    }
    assert_eq!((switch.phase(), switch.in_row()), (Phase::Closed, 0));
}

#[test]
fn a_probe_that_hangs_does_not_keep_others_from_finding_out() {
    let switch = switch();
    opened(&switch, at(0));
    switch.look(at(1000), &RULES, 0);
    let mut hanging = switch.admit(at(1000), &RULES).unwrap();
    switch.look(at(8900), &RULES, 0);
    assert!(switch.is_taken());
    switch.look(at(9000), &RULES, 0);
    let next = switch.admit(at(9000), &RULES).expect("its place is free");
    assert!(switch.admit(at(9000), &RULES).is_none());
    assert_eq!(switch.record(&mut hanging, at(9100), &RULES, FAST), None);
    drop(next);
    assert!(switch.admit(at(9100), &RULES).is_some());
}

#[test]
fn opens_by_rate_over_the_window() {
    let rules = Rules {
        consecutive: None,
        failure_rate: Some(0.5),
        ..RULES
    };
    let switch = switch();
    assert_eq!(switch.look(at(0), &rules, 0), None);
    for _ in 0..3 {
        attempt(&switch, at(0), &rules, FAILED);
    }
    assert_eq!(switch.look(at(100), &rules, 3), None, "too few samples");
    assert_eq!(switch.look(at(200), &rules, 7), None, "three of seven");
    attempt(&switch, at(200), &rules, FAILED);
    let change = switch.look(at(300), &rules, 8).expect("four of eight");
    let sum = Counts {
        ended: 8,
        failed: 4,
        slow: 0,
    };
    assert_eq!(change.why, Why::FailureRate(sum));
    assert_eq!(switch.facts(at(300)).window, Counts::default());
}

/// What ended in the life of an endpoint before diluted the rate for a whole window.
#[test]
fn one_that_is_switched_on_counts_from_then_on() {
    let rules = Rules {
        consecutive: None,
        failure_rate: Some(0.5),
        ..RULES
    };
    let switch = switch();
    let mut ended = 0;
    for (round, now) in [1000, 30_000, 31_000].into_iter().enumerate() {
        ended += 1_000_000;
        switch.begin(ended);
        assert_eq!(switch.look(at(now), &rules, ended), None);
        for _ in 0..4 {
            attempt(&switch, at(now), &rules, FAILED);
        }
        let change = switch.look(at(now + 100), &rules, ended + 5);
        assert!(change.is_some(), "four of five, round {round}");
        switch.reset(at(now + 200));
    }
}

#[test]
fn a_configuration_that_switches_it_on_does_not_count_what_was_before() {
    let registry = Registry::default();
    let compiled = |breaker: &str| {
        let yaml = format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
             upstreams: {{ pool: {{ breaker: {breaker}, endpoints: [ \"127.0.0.1:1\" ] }} }}\n"
        );
        let config = config::read::from_text("test.yaml", &yaml, &|_| None);
        let written = &config.unwrap().config.upstreams["pool"];
        let upstream =
            Upstream::compile("pool", written, None, &registry, &Shared::new().unwrap()).unwrap();
        registry.put_in_force(upstream.endpoints.iter(), None);
        upstream
    };
    let on = "{ consecutive_failures: off, failure_rate: 50%, min_samples: 4 }";
    // Off at first, and later for a while.
    for (round, now) in [1000, 20_000].into_iter().enumerate() {
        let before = compiled("off");
        before.look(at(now));
        let endpoint = &before.endpoints[0];
        for _ in 0..1000 {
            let millisecond = Duration::from_millis(1);
            endpoint
                .signals
                .answered(at(now), millisecond, 0, millisecond);
        }
        let upstream = compiled(on);
        upstream.look(at(now + 100));
        let rules = &upstream.breaker.as_ref().unwrap().rules;
        for _ in 0..5 {
            endpoint
                .signals
                .failed(at(now + 100), Duration::ZERO, Duration::from_secs(1));
            attempt(&endpoint.breaker, at(now + 100), rules, FAILED);
        }
        upstream.look(at(now + 200));
        assert_eq!(endpoint.breaker.phase(), Phase::Open, "round {round}");
    }
}

#[test]
fn opens_by_slow_attempts() {
    let rules = Rules {
        slow_call: Some(Duration::from_secs(1)),
        slow_rate: 0.5,
        ..RULES
    };
    let switch = switch();
    switch.look(at(0), &rules, 0);
    for _ in 0..2 {
        attempt(
            &switch,
            at(0),
            &rules,
            Outcome::Answered(Duration::from_millis(1001)),
        );
        attempt(&switch, at(0), &rules, FAST);
    }
    let change = switch.look(at(100), &rules, 4).expect("two of four");
    assert!(matches!(change.why, Why::SlowRate(Counts { slow: 2, .. })));
}

#[test]
fn one_that_was_overtaken_counts_where_it_was_slow_and_ends_no_row() {
    let rules = Rules {
        slow_call: Some(Duration::from_secs(1)),
        slow_rate: 0.5,
        ..RULES
    };
    let overtaken = |millis| Outcome::Overtaken(Duration::from_millis(millis));
    let switch = switch();
    switch.look(at(0), &rules, 0);
    attempt(&switch, at(0), &rules, FAILED);
    attempt(&switch, at(0), &rules, overtaken(999));
    attempt(&switch, at(0), &rules, overtaken(1001));
    attempt(&switch, at(0), &rules, overtaken(1001));
    assert_eq!(switch.in_row(), 1);
    let change = switch.look(at(100), &rules, 4).expect("two of four");
    assert!(matches!(change.why, Why::SlowRate(Counts { slow: 2, .. })));
    // A probe that was overtaken soon has found out nothing.
    switch.look(at(10_000), &rules, 4);
    assert_eq!(switch.phase(), Phase::HalfOpen);
    attempt(&switch, at(10_000), &rules, overtaken(999));
    assert!(switch.phase() == Phase::HalfOpen && !switch.is_taken());
    attempt(&switch, at(10_000), &rules, overtaken(1001));
    assert_eq!(switch.phase(), Phase::Open);
}

#[test]
fn one_for_all_refuses_and_lets_through_as_its_ramp_says() {
    let switch = switch();
    let count = |now| {
        let passes = (0..1000).filter_map(|_| switch.admit_shared(at(now), &RULES));
        passes.count()
    };
    assert_eq!(count(0), 1000);
    opened(&switch, at(0));
    assert_eq!(count(500), 0);
    switch.look(at(1000), &RULES, 0);
    let mut probe = switch.admit_shared(at(1000), &RULES).unwrap();
    assert_eq!(count(1000), 0, "its one probe is under way");
    switch.record(&mut probe, at(1000), &RULES, FAST);
    // A tenth at least, then in proportion to the time; 1000 draws by a fixed seed.
    for (now, share) in [(1000, 100), (2500, 300), (3500, 500), (5000, 800)] {
        let let_through = count(now);
        assert!(
            let_through.abs_diff(share) < 50,
            "{let_through} at {now} ms"
        );
    }
    switch.look(at(6000), &RULES, 0);
    assert_eq!(count(6000), 1000);
}

#[test]
fn other_rules_apply_to_what_is_known() {
    let switch = switch();
    attempt(&switch, at(0), &RULES, FAILED);
    let strict = Rules {
        consecutive: Some(2),
        ..RULES
    };
    assert_eq!(
        attempt(&switch, at(0), &strict, FAILED).unwrap().to,
        Phase::Open
    );
    // Half-open, two probes are let through where one was.
    switch.look(at(1000), &RULES, 0);
    let one = switch.admit(at(1000), &RULES).unwrap();
    assert!(switch.admit(at(1000), &RULES).is_none());
    let two = Rules { probes: 2, ..RULES };
    assert!(switch.admit(at(1000), &two).is_some());
    drop(one);
    assert_eq!(switch.reset(at(1000)).unwrap().why, Why::Unused);
    assert_eq!(switch.reset(at(1000)), None);
}

/// Two threads that race for the probes never get more than there are.
#[test]
fn probes_are_exact_across_threads() {
    let rules = Rules { probes: 3, ..RULES };
    for round in 0..50u64 {
        let switch = switch();
        opened(&switch, at(0));
        switch.look(at(1000 + round), &rules, 0);
        let passes: Vec<Pass> = std::thread::scope(|scope| {
            let ask = || {
                let passes = (0..50).filter_map(|_| switch.admit(at(2000), &rules));
                passes.collect::<Vec<Pass>>()
            };
            let threads = [scope.spawn(ask), scope.spawn(ask)];
            let got = threads.map(|thread| thread.join().unwrap());
            got.into_iter().flatten().collect()
        });
        assert_eq!(passes.len(), 3);
    }
}

/// Counts that are lost would make rates too high.
#[test]
fn attempts_of_a_route_are_all_counted() {
    let switch = switch();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50_000).for_each(|_| switch.count()));
        }
    });
    assert_eq!(switch.ended(), 200_000);
}
