//! Tests: who is an outlier, and for how long; then random histories against laws that must hold whatever happens.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::entropy::Random;
use crate::tls::Shared;
use crate::upstream::Upstream;
use crate::upstream::breaker::Outcome;
use crate::upstream::registry::Registry;

const RULES: Rules = Rules {
    in_row: None,
    failure_rate: Some(0.3),
    latency: None,
    min_samples: 10,
    min_endpoints: 2,
    interval: Duration::from_secs(10),
    keep: 1,
    eject_for: Duration::from_secs(30),
    eject_for_max: Duration::from_secs(90),
    jitter: 0.0,
};

fn at(seconds: u64) -> Instant {
    Instant(seconds * 1_000_000_000)
}

/// Endpoints of one group and what they did.
struct Pool {
    detector: Detector,
    conducts: Vec<Conduct>,
    groups: Vec<usize>,
    is_serving: Vec<bool>,
    random: Random,
}

impl Pool {
    fn of(count: usize) -> Self {
        let mut pool = Self {
            detector: Detector::default(),
            conducts: (0..count).map(|_| Conduct::default()).collect(),
            groups: vec![0; count],
            is_serving: vec![true; count],
            random: Random::seeded(7),
        };
        pool.look(0, &RULES);
        pool
    }

    fn subjects(&self) -> Vec<Subject> {
        let all = self.conducts.iter().enumerate();
        all.map(|(i, conduct)| Subject {
            identity: i as u64,
            group: self.groups[i],
            is_serving: self.is_serving[i],
            totals: conduct.totals(),
            in_row: conduct.in_row(),
        })
        .collect()
    }

    fn look(&mut self, now: u64, rules: &Rules) -> Vec<Verdict> {
        let subjects = self.subjects();
        let verdicts = self
            .detector
            .look(at(now), rules, &mut self.random, &subjects);
        for verdict in &verdicts {
            if let Verdict::Returned(i) = verdict {
                self.conducts[*i].forget_row();
            }
        }
        verdicts
    }

    /// Attempts of one endpoint, so many of them failures, each answer after so many milliseconds.
    fn serve(&self, i: usize, attempts: u32, failures: u32, millis: u64) {
        (0..failures).for_each(|_| self.conducts[i].failed(true));
        for _ in failures..attempts {
            self.conducts[i].answered(Duration::from_millis(millis));
        }
    }

    fn out(&self) -> Vec<usize> {
        let all = 0..self.conducts.len();
        all.filter(|i| {
            let member = self.detector.member(*i as u64);
            member.is_some_and(|member| member.ejected.is_some())
        })
        .collect()
    }
}

#[test]
fn one_that_fails_more_than_its_peers_is_taken_out_and_returns() {
    let mut pool = Pool::of(3);
    pool.serve(0, 100, 40, 10);
    pool.serve(1, 100, 2, 10);
    pool.serve(2, 100, 4, 10);
    assert_eq!(pool.look(9, &RULES), [], "not before the interval is over");
    let why = Why::FailureRate(0.4, 0.03);
    let Verdict::Ejected(0, told, stay) = pool.look(10, &RULES)[0] else {
        panic!("the first is an outlier")
    };
    assert_eq!((format!("{told}"), stay.as_secs()), (format!("{why}"), 30));
    assert_eq!(
        told.to_string(),
        "40% of its attempts failed, beside 3% of its peers'"
    );
    assert_eq!(pool.look(39, &RULES), []);
    assert_eq!(pool.look(40, &RULES), [Verdict::Returned(0)]);
}

#[test]
fn what_befalls_most_alike_takes_nobody_out() {
    let mut pool = Pool::of(3);
    pool.serve(0, 100, 90, 10);
    pool.serve(1, 100, 80, 10);
    pool.serve(2, 100, 85, 10);
    assert_eq!(pool.look(10, &RULES), []);
    // Two of three: each is as bad as the median of the others, half way between a bad one and a good one, is not.
    pool.serve(0, 100, 50, 10);
    pool.serve(1, 100, 50, 10);
    pool.serve(2, 100, 0, 10);
    assert_eq!(pool.look(20, &RULES), []);
}

#[test]
fn few_samples_say_nothing() {
    let mut pool = Pool::of(2);
    pool.serve(0, 9, 9, 10);
    pool.serve(1, 100, 0, 10);
    assert_eq!(pool.look(10, &RULES), []);
    // Nor is there anything to compare with where the peers have none.
    pool.serve(0, 100, 100, 10);
    pool.serve(1, 9, 0, 10);
    assert_eq!(pool.look(20, &RULES), []);
    pool.serve(0, 100, 100, 10);
    pool.serve(1, 10, 0, 10);
    assert!(matches!(
        pool.look(30, &RULES)[..],
        [Verdict::Ejected(0, ..)]
    ));
    let three = Rules {
        min_endpoints: 3,
        ..RULES
    };
    let mut pool = Pool::of(2);
    pool.serve(0, 100, 100, 10);
    pool.serve(1, 100, 0, 10);
    assert_eq!(pool.look(10, &three), []);
}

#[test]
fn a_slow_one_is_told_by_its_typical_latency() {
    let rules = Rules {
        latency: Some(3.0),
        ..RULES
    };
    let mut pool = Pool::of(3);
    // Two slow answers of a hundred are no slow endpoint.
    pool.serve(0, 98, 0, 10);
    pool.serve(0, 2, 0, 5000);
    pool.serve(1, 100, 0, 10);
    pool.serve(2, 100, 0, 12);
    assert_eq!(pool.look(10, &rules), []);
    pool.serve(0, 100, 0, 40);
    pool.serve(1, 100, 0, 10);
    pool.serve(2, 100, 0, 12);
    let [Verdict::Ejected(0, Why::Latency(own, median), _)] = pool.look(20, &rules)[..] else {
        panic!("the first is an outlier")
    };
    assert!((own / 1e6 - 40.0).abs() < 3.0 && (median / 1e6 - 11.0).abs() < 1.0);
}

#[test]
fn a_row_of_failures_counts_at_once_but_not_when_most_have_one() {
    let rules = Rules {
        in_row: Some(5),
        ..RULES
    };
    let mut pool = Pool::of(4);
    pool.serve(0, 4, 4, 10);
    assert_eq!(pool.look(1, &rules), []);
    pool.serve(0, 1, 1, 10);
    let verdicts = pool.look(2, &rules);
    assert!(matches!(
        verdicts[..],
        [Verdict::Ejected(0, Why::InARow(5), _)]
    ));
    // It returns with a clean slate.
    assert_eq!(pool.look(32, &rules), [Verdict::Returned(0)]);
    assert_eq!(pool.look(33, &rules), []);
    let mut pool = Pool::of(4);
    (0..3).for_each(|i| pool.serve(i, 5, 5, 10));
    assert_eq!(pool.look(1, &rules), []);
}

#[test]
fn so_many_stay_the_worst_go_first() {
    let mut pool = Pool::of(5);
    for (i, failures) in [0, 60, 2, 90, 1].into_iter().enumerate() {
        pool.serve(i, 100, failures, 10);
    }
    let rules = Rules { keep: 4, ..RULES };
    assert_eq!(pool.detector.may_eject(&rules, &pool.subjects()), 1);
    pool.look(10, &rules);
    assert_eq!(pool.out(), [3]);
    assert_eq!(pool.detector.may_eject(&rules, &pool.subjects()), 0);
}

#[test]
fn only_those_of_one_group_are_peers() {
    let mut pool = Pool::of(4);
    pool.groups = vec![0, 0, 1, 1];
    for (i, failures) in [50, 50, 0, 0].into_iter().enumerate() {
        pool.serve(i, 100, failures, 10);
    }
    assert_eq!(pool.look(10, &RULES), []);
    // One that does not serve is nobody's peer, nor does it count as one that stays.
    let mut pool = Pool::of(2);
    pool.is_serving[1] = false;
    pool.serve(0, 100, 100, 10);
    pool.serve(1, 100, 0, 10);
    assert_eq!(pool.look(10, &RULES), []);
}

#[test]
fn the_stay_grows_to_its_bound_and_quiet_times_make_good() {
    let mut pool = Pool::of(2);
    let mut now = 0;
    let mut stays = Vec::new();
    for _ in 0..4 {
        now += 10;
        pool.serve(0, 100, 100, 10);
        pool.serve(1, 100, 0, 10);
        let [Verdict::Ejected(0, _, stay)] = pool.look(now, &RULES)[..] else {
            panic!("an outlier each time")
        };
        stays.push(stay.as_secs());
        now += stay.as_secs();
        assert_eq!(pool.look(now, &RULES), [Verdict::Returned(0)]);
    }
    assert_eq!(stays, [30, 60, 90, 90]);
    let ejections = |pool: &Pool| pool.detector.member(0).unwrap().ejections;
    assert_eq!(ejections(&pool), 4);
    pool.look(now + 65, &RULES);
    assert_eq!(ejections(&pool), 2);
    pool.look(now + 1000, &RULES);
    assert_eq!(ejections(&pool), 0);
}

#[test]
fn who_is_removed_is_forgotten_and_who_stays_is_not() {
    let mut pool = Pool::of(3);
    pool.serve(0, 100, 100, 10);
    pool.serve(1, 100, 0, 10);
    pool.serve(2, 100, 0, 10);
    pool.look(10, &RULES);
    assert_eq!(pool.out(), [0]);
    pool.conducts.pop();
    pool.look(11, &RULES);
    assert_eq!(pool.out(), [0]);
    assert!(pool.detector.member(2).is_none());
    pool.detector.release();
    assert!(pool.out().is_empty());
}

/// One that moves is copied when the configuration is read: what it was let back from meanwhile was held against it for ever.
#[test]
fn who_has_moved_is_out_as_long_as_it_is_known_to_be() {
    let registry = Registry::default();
    let compiled = |port: u16, outlier: &str| {
        let yaml = format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
             upstreams: {{ pool: {{ outlier: {outlier}, endpoints: \
             [ {{ id: a, address: \"127.0.0.1:{port}\" }}, \"127.0.0.1:2\" ] }} }}\n"
        );
        let config = config::read::from_text("test.yaml", &yaml, &|_| None);
        let written = &config.unwrap().config.upstreams["pool"];
        Upstream::compile("pool", written, None, &registry, &Shared::new().unwrap()).unwrap()
    };
    let on = "{ consecutive_gateway_failures: 5, eject_for: 30s, jitter: 0% }";
    let in_force = |upstream: &Upstream, now| {
        registry.put_in_force(upstream.endpoints.iter(), Some(now));
        upstream.look(now);
        upstream.endpoints[0].is_held(Exclusion::Ejected)
    };
    let first = compiled(1, on);
    assert!(!in_force(&first, at(0)));
    // It is ejected after others have moved it, and let back after it was moved again.
    let second = compiled(3, on);
    (0..5).for_each(|_| first.endpoints[0].conduct.failed(true));
    assert!(in_force(&first, at(1)));
    assert!(in_force(&second, at(2)));
    let (third, off) = (compiled(4, on), compiled(5, "off"));
    assert!(!in_force(&second, at(31)));
    assert!(!in_force(&third, at(32)));
    assert!(!in_force(&off, at(33)));
}

/// One that was let back while its breaker was open counted as one that stays: the last that could serve was ejected.
#[test]
fn who_returns_to_an_open_breaker_does_not_stay_in_for_another() {
    let registry = Registry::default();
    let yaml = "listeners: { web: { address: \"127.0.0.1:0\" } }\n\
         routes: [ { match: { path: / }, upstream: pool } ]\n\
         upstreams: { pool: { endpoints: [ \"127.0.0.1:1\", \"127.0.0.1:2\" ],\n\
         outlier: { consecutive_gateway_failures: 5, eject_for: 1s, jitter: 0% },\n\
         breaker: { consecutive_failures: 1, open_for: 30s, jitter: 0% } } }\n";
    let config = config::read::from_text("test.yaml", yaml, &|_| None).unwrap();
    let written = &config.config.upstreams["pool"];
    let upstream =
        Upstream::compile("pool", written, None, &registry, &Shared::new().unwrap()).unwrap();
    let (first, second) = (&upstream.endpoints[0], &upstream.endpoints[1]);
    let breaker = upstream.breaker.as_ref().unwrap();
    let mut pass = first.breaker.admit(at(0), &breaker.rules).unwrap();
    upstream.look(at(0));
    (0..5).for_each(|_| first.conduct.failed(true));
    upstream.look(at(1));
    assert!(first.is_held(Exclusion::Ejected));
    let outcome = Outcome::Failed(Duration::ZERO, "connection_refused");
    breaker.record(first, &mut pass, at(1), outcome);
    (0..5).for_each(|_| second.conduct.failed(true));
    upstream.look(at(2));
    assert_eq!(first.out(), Some(Exclusion::BreakerOpen));
    assert_eq!(second.out(), None, "one is kept");
}

#[derive(Debug, Clone)]
enum Step {
    Serve(usize, u32, u32),
    Pass(u64),
    Serving(usize, bool),
    Keep(usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// A reference that judges anew from whole histories; and always enough stay, whoever fails.
    #[test]
    fn enough_stay_and_stays_end_in_time(
        steps in prop::collection::vec(prop_oneof![
            4 => (0usize..5, 0u32..60, 0u32..60).prop_map(|(i, a, f)| Step::Serve(i, a, f)),
            4 => (0u64..12).prop_map(Step::Pass),
            1 => (0usize..5, any::<bool>()).prop_map(|(i, on)| Step::Serving(i, on)),
            1 => (1usize..5).prop_map(Step::Keep),
        ], 0..120),
    ) {
        let mut pool = Pool::of(5);
        let mut rules = Rules { in_row: Some(50), ..RULES };
        let mut now = 0;
        // When each must be back, as told, and what each did since the last comparison.
        let mut back: [Option<u64>; 5] = [None; 5];
        let (mut did, mut compared) = ([(0u32, 0u32); 5], 0);
        for step in steps {
            match step {
                Step::Serve(i, answers, failures) => {
                    pool.serve(i, failures, failures, 1);
                    pool.serve(i, answers, 0, 1);
                    did[i].0 += answers + failures;
                    did[i].1 += failures;
                    continue;
                }
                Step::Serving(i, on) => pool.is_serving[i] = on,
                Step::Keep(keep) => rules.keep = keep,
                Step::Pass(seconds) => now += seconds,
            }
            let in_before = (0..5).filter(|i| pool.is_serving[*i] && back[*i].is_none_or(|at| at <= now));
            let in_before: Vec<usize> = in_before.collect();
            let is_due = now - compared >= 10;
            for verdict in pool.look(now, &rules) {
                match verdict {
                    Verdict::Returned(i) => {
                        prop_assert!(back[i].is_some_and(|at| at <= now));
                        back[i] = None;
                    }
                    Verdict::Ejected(i, why, stay) => {
                        prop_assert!(in_before.contains(&i) && back[i].is_none());
                        prop_assert!(stay >= rules.eject_for && stay <= rules.eject_for_max);
                        back[i] = Some(now + stay.as_secs());
                        if let Why::FailureRate(own, median) = why {
                            let rate = |i: usize| f64::from(did[i].1) / f64::from(did[i].0);
                            let mut others: Vec<f64> = in_before.iter()
                                .filter(|o| **o != i && did[**o].0 >= 10).map(|o| rate(*o)).collect();
                            others.sort_by(f64::total_cmp);
                            let (low, high) = ((others.len() - 1) / 2, others.len() / 2);
                            prop_assert!(is_due && did[i].0 >= 10);
                            prop_assert!((own - rate(i)).abs() < 1e-9);
                            prop_assert!((median - (others[low] + others[high]) / 2.0).abs() < 1e-9);
                            prop_assert!(own - median >= 0.3 - 1e-6);
                        }
                    }
                }
            }
            if is_due {
                (did, compared) = ([(0, 0); 5], now);
            }
            let out: Vec<usize> = (0..5).filter(|i| back[*i].is_some()).collect();
            prop_assert_eq!(pool.out(), out.clone());
            prop_assert!(back.iter().flatten().all(|at| *at > now));
            // Nobody goes where too few would stay; who stopped serving is not for us to keep.
            let stay = in_before.iter().filter(|i| back[**i].is_none()).count();
            prop_assert!(stay >= rules.keep.min(in_before.len()));
        }
    }
}
