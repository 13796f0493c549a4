//! Tests: limiters as they are attached, compiled from what an operator writes.

mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::{Clock, Instant};
use crate::config::Config;
use crate::config::read::from_text;

const SECOND: u64 = 1_000_000_000;

/// A request of a client, with one header `x`.
#[derive(Clone, Copy)]
struct From(&'static str, &'static str);

impl Client for From {
    fn whose(&self) -> Whose<'_> {
        Whose::Route("r")
    }

    fn client_ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
    fn identity(&self) -> Option<&[u8]> {
        (!self.1.is_empty()).then_some(self.1.as_bytes())
    }
    fn host(&self, with: &mut dyn FnMut(&[u8])) {
        with(b"a");
    }
    fn path(&self, with: &mut dyn FnMut(&[u8])) {
        with(b"/");
    }
    fn header(&self, _: &str, with: &mut dyn FnMut(&[u8])) {
        if !self.1.is_empty() {
            with(self.1.as_bytes());
        }
    }
    fn cookie(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
        self.header(name, with);
    }
    fn query(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
        self.header(name, with);
    }
}

const ANN: From = From("192.0.2.1", "");
const BEN: From = From("192.0.2.2", "");

fn config(limits: &str, names: &str) -> Config {
    let text = format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
         routes: [{{ respond: {{}}, limits: [{names}] }}]\n{limits}\n"
    );
    let loaded = from_text("l.yaml", &text, &|_| None);
    loaded.unwrap_or_else(|no| panic!("{no}")).config
}

fn registry() -> Registry {
    Registry::new(4, 7, Arc::default())
}

fn compile(limits: &str, names: &str) -> Limits {
    Limits::compile(&config(limits, names), &registry())
}

fn attached(limits: &Limits) -> &Attached {
    limits.routes[0].as_ref().unwrap()
}

fn enter(limits: &Limits, asked: From, now: u64) -> Result<Entered, Refused> {
    attached(limits).enter(Phase::Early, &asked, Instant(now), 0)
}

fn told(limits: &Limits, standing: Option<Standing>) -> String {
    let mut out = Vec::new();
    if let Some(standing) = standing {
        attached(limits).write_standing(&standing, &mut out);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn each_client_has_its_own_bucket() {
    let limits = compile(
        "rate_limits: { a: { key: client_ip, rate: 1/s, burst: 2 } }",
        "a",
    );
    for client in [ANN, BEN] {
        for remaining in [1, 0] {
            let entered = enter(&limits, client, SECOND).unwrap();
            assert_eq!(
                told(&limits, entered.standing),
                format!("\"a\";r={remaining};t=1")
            );
        }
        let refused = enter(&limits, client, SECOND).unwrap_err();
        assert_eq!(refused.why, Refusal::Rate(Duration::from_secs(1)));
        assert_eq!(told(&limits, refused.standing), "\"a\";r=0;t=1");
    }
    assert_eq!(attached(&limits).policy(), b"\"a\";q=2;w=2");
    let counts = limits.all[0].counts();
    assert_eq!(
        (counts.of(Event::Passed), counts.of(Event::Limited)),
        (4, 2)
    );
}

#[test]
fn the_default_burst_is_what_a_second_brings() {
    for (rate, policy) in [
        ("50/s", "q=50;w=1"),
        ("90/m", "q=1;w=1"),
        ("7/h", "q=1;w=515"),
    ] {
        let text = format!("rate_limits: {{ a: {{ key: constant, rate: {rate} }} }}");
        let limits = compile(&text, "a");
        assert_eq!(
            attached(&limits).policy(),
            format!("\"a\";{policy}").as_bytes()
        );
    }
}

#[test]
fn what_one_refuses_takes_nothing_of_the_others() {
    let limits = compile(
        "rate_limits: { wide: { key: client_ip, rate: 1/h, burst: 3 }, tight: { key: { header: x }, rate: 1/h } }\n\
         concurrency_limits: { few: { key: client_ip, max: 2 } }",
        "wide, few, tight",
    );
    let first = enter(&limits, From("192.0.2.1", "k"), SECOND).unwrap();
    // The one with the least left.
    assert_eq!(told(&limits, first.standing), "\"tight\";r=0;t=3600");
    for _ in 0..5 {
        let refused = enter(&limits, From("192.0.2.1", "k"), SECOND).unwrap_err();
        assert_eq!(told(&limits, refused.standing), "\"tight\";r=0;t=3600");
    }
    let second = enter(&limits, From("192.0.2.1", "l"), SECOND).unwrap();
    let third = enter(&limits, From("192.0.2.1", "m"), SECOND);
    assert_eq!(third.unwrap_err().why, Refusal::Concurrency);
    drop((first, second));
    // Of equal ones the first.
    let fourth = enter(&limits, From("192.0.2.1", "m"), SECOND).unwrap();
    assert_eq!(told(&limits, fourth.standing), "\"wide\";r=0;t=3600");
    let fifth = enter(&limits, From("192.0.2.1", "n"), SECOND).unwrap_err();
    assert_eq!(told(&limits, fifth.standing), "\"wide\";r=0;t=3600");
}

#[test]
fn a_limit_on_trial_refuses_nobody_and_tells_nothing() {
    let limits = compile(
        "rate_limits: { a: { key: constant, rate: 1/h, dry_run: true } }\n\
         concurrency_limits: { b: { key: constant, max: 1, dry_run: true } }",
        "a, b",
    );
    let held: Vec<_> = (0..3)
        .map(|_| enter(&limits, ANN, SECOND).unwrap())
        .collect();
    assert!(held.iter().all(|entered| entered.standing.is_none()));
    assert_eq!(attached(&limits).policy(), b"");
    for limiter in &limits.all {
        let of = |event| limiter.counts().of(event);
        let counted = [of(Event::Passed), of(Event::WouldLimit), of(Event::Limited)];
        assert_eq!(counted, [1, 2, 0], "{}", limiter.name);
    }
    assert_eq!(limits.all[1].counts().under_way(), 3);
    drop(held);
    assert_eq!(limits.all[1].counts().under_way(), 0);
}

#[test]
fn some_may_do_more_less_or_anything() {
    let limits = compile(
        "rate_limits: { a: { key: client_ip, rate: 1/h, overrides: { \
           192.0.2.1: { rate: 1/h, burst: 3 }, 198.51.100.0/24: { rate: 1/h, burst: 2 }, 198.51.100.128/25: off } } }",
        "a",
    );
    let passed = |client| {
        let all = (0..10).map(|_| enter(&limits, From(client, ""), SECOND));
        all.filter(Result::is_ok).count()
    };
    let clients = [
        "192.0.2.1",
        "192.0.2.2",
        "198.51.100.1",
        "198.51.100.2",
        "198.51.100.200",
    ];
    assert_eq!(clients.map(passed), [3, 1, 2, 2, 10]);
    let limits = compile(
        "concurrency_limits: { a: { key: [{ header: x }, client_ip], max: 1, overrides: { ops 192.0.2.1: 2, ops 192.0.2.2: off } } }",
        "a",
    );
    let passed = |client, header| {
        let held: Vec<_> = (0..10)
            .filter_map(|_| enter(&limits, From(client, header), SECOND).ok())
            .collect();
        held.len()
    };
    assert_eq!(passed("192.0.2.1", "ops"), 2);
    assert_eq!(passed("192.0.2.2", "ops"), 10);
    assert_eq!(passed("192.0.2.1", "dev"), 1);
}

#[test]
fn who_lacks_the_key_is_treated_as_written() {
    let passed = |missing: &str| {
        let text = format!(
            "rate_limits: {{ a: {{ key: {{ header: x }}, rate: 1/h, missing: {missing} }} }}"
        );
        let limits = compile(&text, "a");
        let each =
            [ANN, BEN, ANN].map(|client| enter(&limits, client, SECOND).map_err(|no| no.why));
        each.map(|outcome| outcome.map(|_| ()))
    };
    assert_eq!(passed("pass"), [Ok(()); 3]);
    let later = Err(Refusal::Rate(Duration::from_secs(3600)));
    assert_eq!(passed("shared"), [Ok(()), later, later]);
    assert_eq!(passed("refuse"), [Err(Refusal::NoKey); 3]);
}

#[test]
fn who_somebody_is_counts_once_that_is_known() {
    let limits = compile(
        "rate_limits: { a: { key: identity, rate: 1/h }, b: { key: client_ip, rate: 1/h, burst: 9 } }",
        "a, b",
    );
    let late = |asked: From| attached(&limits).enter(Phase::Late, &asked, Instant(SECOND), 0);
    let ann = From("192.0.2.1", "ann");
    for _ in 0..2 {
        assert_eq!(
            told(&limits, enter(&limits, ann, SECOND).unwrap().standing).get(..3),
            Some("\"b\"")
        );
    }
    assert!(late(ann).is_ok() && late(ann).is_err());
    assert!(late(From("192.0.2.1", "ben")).is_ok());
    assert_eq!(
        attached(&limits).policy(),
        b"\"b\";q=9;w=32400, \"a\";q=1;w=3600"
    );
}

#[test]
fn what_is_known_outlives_a_configuration() {
    let registry = registry();
    let text = |rate: &str, keys: usize| {
        format!("rate_limits: {{ a: {{ key: client_ip, rate: {rate}, burst: 2, keys: {keys} }} }}")
    };
    let of = |text: &str| Limits::compile(&config(text, "a"), &registry);
    let before = of(&text("1/h", 100));
    assert!(enter(&before, ANN, SECOND).is_ok() && enter(&before, ANN, SECOND).is_ok());
    let after = of(&text("2/h", 100));
    assert!(enter(&after, ANN, SECOND).is_err());
    assert!(enter(&after, BEN, SECOND).is_ok());
    // One that is refused in the end takes nothing away, though it would have needed more room.
    drop(of(&text("2/h", 10_000)));
    let wider = of(&text("2/h", 100_000));
    assert!(enter(&wider, ANN, SECOND).is_err());
    assert!(enter(&wider, BEN, SECOND).is_ok() && enter(&wider, BEN, SECOND).is_err());
    drop((before, after));
    assert!(enter(&of(&text("2/h", 100_000)), ANN, SECOND).is_err());
    drop(wider);
    assert!(enter(&of(&text("2/h", 100)), ANN, SECOND).is_ok());
}

#[test]
fn a_name_that_becomes_another_kind_begins_anew() {
    let registry = registry();
    let of = |text: &str| Limits::compile(&config(text, "a"), &registry);
    let rate = of("rate_limits: { a: { key: constant, rate: 1/h } }");
    enter(&rate, ANN, SECOND).unwrap();
    let permits = of("concurrency_limits: { a: { key: constant, max: 1 } }");
    let held = enter(&permits, ANN, SECOND).unwrap();
    assert!(enter(&permits, ANN, SECOND).is_err());
    assert_eq!((rate.all[0].keys(), permits.all[0].keys()), (1, 1));
    drop(held);
}

#[test]
fn more_clients_than_may_be_known_share_what_is_left() {
    let limits = compile(
        "rate_limits: { a: { key: { header: x }, rate: 1/m, keys: 2 } }",
        "a",
    );
    let of = |name: &'static str, now| enter(&limits, From("192.0.2.1", name), now).is_ok();
    assert!(of("a", SECOND) && of("b", SECOND));
    assert!(of("c", SECOND) && !of("d", SECOND));
    let counts = limits.all[0].counts();
    assert_eq!(
        (counts.of(Event::Overflow), counts.of(Event::Evicted)),
        (2, 0)
    );
    // Their time has passed: nothing is lost by forgetting them.
    assert!(of("e", 62 * SECOND) && of("f", 62 * SECOND));
    assert_eq!(
        (counts.of(Event::Overflow), counts.of(Event::Evicted)),
        (2, 2)
    );
    assert_eq!(limits.all[0].keys(), 2);
    limits.sweep(0, Instant(200 * SECOND));
    assert_eq!(limits.all[0].keys(), 0);
}

#[test]
fn bytes_of_a_client_go_by_turns() {
    let limits = compile(
        "bandwidth_limits: { a: { key: client_ip, rate: 1000B/s, burst: 20B, direction: both } }",
        "a",
    );
    let flow = |client: From, way| {
        let mut flow = Flow::new(0);
        attached(&limits).hold(way, &client, &mut flow);
        flow
    };
    let (mut down, mut up, mut other) = (
        flow(ANN, Way::Down),
        flow(ANN, Way::Up),
        flow(BEN, Way::Down),
    );
    let now = Instant(SECOND);
    let millis = |count: u64| Instant(SECOND + count * 1_000_000);
    assert_eq!(down.allow(now, 0), Ok(20));
    assert_eq!(up.allow(now, 0), Err(millis(20)));
    assert_eq!(down.allow(now, 20), Err(millis(40)));
    assert_eq!(other.allow(now, 0), Ok(20));
    assert_eq!(up.allow(millis(20), 0), Ok(20));
    // What is left of a piece goes first.
    assert_eq!(up.allow(millis(20), 5), Ok(20));
    drop(down);
    assert_eq!(up.allow(millis(20), 20), Err(millis(40)));
    assert!(limits.all[0].counts().delay() >= Duration::from_millis(80));
}

#[test]
fn a_body_takes_as_long_as_its_bytes() {
    let limits = compile(
        "bandwidth_limits: { a: { key: constant, rate: 100KiB/s, burst: 4KiB } }",
        "a",
    );
    let mut flows: Vec<_> = (0..3)
        .map(|_| {
            let mut flow = Flow::new(0);
            attached(&limits).hold(Way::Down, &ANN, &mut flow);
            (flow, 0_u64)
        })
        .collect();
    let mut now = SECOND;
    while now < 11 * SECOND {
        for (flow, moved) in &mut flows {
            if let Ok(allowed) = flow.allow(Instant(now), *moved) {
                *moved = allowed;
            }
        }
        // Timers are late by up to this.
        now += 10_000_000;
    }
    let moved = flows.iter().map(|(_, moved)| *moved);
    let (sum, least) = (moved.clone().sum::<u64>(), moved.min().unwrap());
    assert!((1_000 * 1024..=1_008 * 1024).contains(&sum), "{sum}");
    assert!(least * 3 > sum * 95 / 100, "{least} of {sum}");
}

/// The law, over all workers: however many ask at once, no more pass than `rate * t + burst`.
#[test]
fn workers_at_once_let_no_more_pass_than_may() {
    let limits = compile(
        "rate_limits: { a: { key: client_ip, rate: 20000/s, burst: 100 } }",
        "a",
    );
    let clock = Clock::system();
    let (passed, begun) = (AtomicU64::new(0), clock.now());
    let end = begun + Duration::from_millis(300);
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let (limits, passed) = (&limits, &passed);
            scope.spawn(move || {
                loop {
                    let now = clock.now();
                    if now >= end {
                        break;
                    }
                    if attached(limits)
                        .enter(Phase::Early, &ANN, now, lane)
                        .is_ok()
                    {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let taken = clock.now().since(begun);
    let passed = passed.into_inner();
    let most = 20_000 * taken.as_micros() as u64 / 1_000_000 + 100;
    assert!(passed <= most, "{passed} of {most} in {taken:?}");
    // A busy machine may give the workers little time, but what was refused was refused for want of room.
    assert!(passed > 100, "{passed}");
    let counts = limits.all[0].counts();
    assert_eq!(counts.of(Event::Passed), passed);
}

/// Permits taken and given back by all workers at once add up.
#[test]
fn workers_at_once_hold_no_more_permits_than_may() {
    let limits = compile(
        "concurrency_limits: { a: { key: client_ip, max: 3, keys: 2 } }",
        "a",
    );
    let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
    let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    std::thread::scope(|scope| {
        for (lane, other) in clients.into_iter().enumerate() {
            let (limits, inside, most) = (&limits, &inside, &most);
            scope.spawn(move || {
                for turn in 0..20_000 {
                    let client = if turn % 2 == 0 { ANN } else { From(other, "") };
                    let entered = attached(limits).enter(Phase::Early, &client, Instant(0), lane);
                    if entered.is_ok() && turn % 2 == 0 {
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(limits.all[0].counts().under_way(), 0);
    let held: Vec<_> = (0..3).map(|_| enter(&limits, ANN, 0)).collect();
    assert!(held.iter().all(Result::is_ok) && enter(&limits, ANN, 0).is_err());
}

/// Beyond `keys` all share one bucket, the slow and the fast, and nobody who is fast gives the slow back what they have had.
#[test]
fn a_shared_bucket_is_not_pulled_back_by_who_may_ask_faster() {
    let limits = compile(
        "rate_limits: { a: { key: { header: x }, rate: 1/h, burst: 100, keys: 1, \
         overrides: { fast: { rate: 100/s, burst: 10 } } } }",
        "a",
    );
    let passed = |name: &'static str, times: usize| {
        let all = (0..times).map(|_| enter(&limits, From("192.0.2.1", name), SECOND));
        all.filter(Result::is_ok).count()
    };
    assert_eq!(passed("first", 200), 100);
    assert_eq!(passed("slow", 200), 100);
    assert_eq!(passed("fast", 10), 0);
    assert_eq!(passed("slow", 200), 0);
    assert_eq!(passed("slower", 200), 0);
    assert_eq!(limits.all[0].counts().of(Event::Overflow), 610);
}

/// And a rate that is slower no more, after a reload, does not lock those out who share.
#[test]
fn a_shared_bucket_is_no_longer_empty_than_the_rates_in_force_say() {
    let registry = registry();
    let limits = |rate: &str| {
        let written = format!(
            "rate_limits: {{ a: {{ key: {{ header: x }}, rate: {rate}, burst: 100, keys: 1 }} }}"
        );
        Limits::compile(&config(&written, "a"), &registry)
    };
    let before = limits("1/h");
    assert!(enter(&before, From("192.0.2.1", "first"), SECOND).is_ok());
    for _ in 0..100 {
        assert!(enter(&before, From("192.0.2.1", "second"), SECOND).is_ok());
    }
    let after = limits("100/s");
    let refused = enter(&after, From("192.0.2.1", "second"), SECOND).unwrap_err();
    assert_eq!(refused.why, Refusal::Rate(Duration::from_millis(10)));
    assert!(enter(&after, From("192.0.2.1", "second"), SECOND + SECOND / 100).is_ok());
}
