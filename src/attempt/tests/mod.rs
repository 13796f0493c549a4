//! The plan driven by a world that answers as it pleases, and the cases that it must know.

use super::retry::{Decision, Repeat, Rules};
use super::*;
use crate::clock::Instant;
use crate::config::UpstreamTimeouts;
use ::http::Method;
use proptest::prelude::*;
use std::time::Duration;

const MILLISECOND: u64 = 1_000_000;
const GONE_UNSEEN: Death = Death {
    written: true,
    received: false,
    kept: true,
    late: false,
};

/// Given up after its `first_byte`.
const LATE: Death = Death {
    late: true,
    ..GONE_UNSEEN
};

/// Two attempts, and pauses as by default.
const TWICE: Rules = Rules {
    max_attempts: 2,
    backoff: Backoff {
        base: Duration::from_millis(25),
        max: Duration::from_millis(250),
    },
    retry_after_max: Some(Duration::from_secs(1)),
};
/// The largest draw.
const LONGEST: u64 = u64::MAX;

fn at(milliseconds: u64) -> Instant {
    Instant(milliseconds * MILLISECOND)
}

/// At time 0, admitted, with the default timeouts and no retries.
fn plan(method: &Method, endpoints: usize) -> Plan {
    plan_by(Rules::NONE, method, endpoints)
}

fn plan_by(rules: Rules, method: &Method, endpoints: usize) -> Plan {
    let deadlines = Deadlines::new(&UpstreamTimeouts::default(), at(0));
    let mut plan = Plan::new(method.into(), endpoints, deadlines, rules);
    assert_eq!(plan.step(at(0), Event::Admitted), Action::Pick);
    plan
}

/// The same, as far as having sent to endpoint 3.
fn sent(method: &Method, reused: bool) -> Plan {
    sent_by(Rules::NONE, method, reused)
}

fn sent_by(rules: Rules, method: &Method, reused: bool) -> Plan {
    let mut plan = plan_by(rules, method, 5);
    let connect = Action::Connect {
        endpoint: 3,
        fresh: false,
    };
    assert_eq!(plan.step(at(0), Event::Picked(3)), connect);
    assert_eq!(plan.step(at(0), Event::Connected { reused }), Action::Send);
    assert_eq!(plan.step(at(0), Event::Sent), Action::Wait);
    plan
}

#[test]
fn the_straight_path_answers_and_then_rests() {
    let mut plan = sent(&Method::POST, true);
    assert_eq!(plan.deadline(), (at(10_000), Timeout::FirstByte));
    assert_eq!(
        plan.step(at(5), Event::Head { tunnel: false }),
        Action::Answer
    );
    assert_eq!(plan.deadline(), (at(60_005), Timeout::Idle));
    plan.progress(at(30_000));
    assert_eq!(plan.deadline(), (at(90_000), Timeout::Idle));
    assert_eq!(plan.step(at(31_000), Event::Done), Action::Wait);
    assert_eq!(plan.step(at(99_000), Event::Timer), Action::Wait);
}

#[test]
fn a_refused_connection_sends_any_method_elsewhere() {
    let mut plan = plan(&Method::POST, 2);
    plan.step(at(0), Event::Picked(1));
    let refused = Event::ConnectFailed(ConnectFailure::Refused);
    assert_eq!(plan.step(at(1), refused), Action::Pick);
    assert!(plan.tried().contains(1) && !plan.tried().contains(0));
    plan.step(at(1), Event::Picked(0));
    let given_up = Action::GiveUp(Failure::Connect(ConnectFailure::Refused));
    assert_eq!(plan.step(at(2), refused), given_up, "each endpoint once");
}

#[test]
fn a_connect_timeout_goes_elsewhere_while_total_lasts() {
    let mut plan = plan(&Method::POST, 100);
    let mut picks = 1;
    let mut now = at(0);
    let last = loop {
        plan.step(now, Event::Picked(picks));
        let (deadline, _) = plan.deadline();
        assert_eq!(
            plan.step(Instant(deadline.0 - 1), Event::Timer),
            Action::Wait,
            "too early"
        );
        now = deadline;
        match plan.step(now, Event::Timer) {
            Action::Pick => picks += 1,
            other => break other,
        }
    };
    // Thirty seconds hold thirty times one second, and the last of them ends both.
    assert_eq!((picks, now), (30, at(30_000)));
    assert_eq!(last, Action::GiveUp(Failure::TimedOut(Timeout::Total)));
}

#[test]
fn a_stale_connection_is_replayed_once_on_a_new_one() {
    let mut plan = sent(&Method::GET, true);
    let again = Action::Connect {
        endpoint: 3,
        fresh: true,
    };
    assert_eq!(plan.step(at(1), Event::Died(GONE_UNSEEN)), again);
    assert!(!plan.tried().contains(3));
    assert_eq!(
        plan.step(at(2), Event::Connected { reused: false }),
        Action::Send
    );
    assert_eq!(
        plan.step(at(3), Event::Died(GONE_UNSEEN)),
        Action::GiveUp(Failure::Died)
    );
}

#[test]
fn a_replay_whose_new_connection_is_refused_goes_elsewhere_on_new_ones() {
    let mut plan = sent(&Method::GET, true);
    plan.step(at(1), Event::Died(GONE_UNSEEN));
    let refused = Event::ConnectFailed(ConnectFailure::Refused);
    assert_eq!(plan.step(at(2), refused), Action::Pick);
    let connect = Action::Connect {
        endpoint: 4,
        fresh: true,
    };
    assert_eq!(plan.step(at(2), Event::Picked(4)), connect);
}

#[test]
fn a_death_is_final_when_a_replay_could_do_harm() {
    let give_up = Action::GiveUp(Failure::Died);
    let dies =
        |method: &Method, reused, death| sent(method, reused).step(at(1), Event::Died(death));
    assert_eq!(
        dies(&Method::GET, false, GONE_UNSEEN),
        give_up,
        "it was a new connection"
    );
    assert_eq!(
        dies(&Method::POST, true, GONE_UNSEEN),
        give_up,
        "it may have been acted upon"
    );
    assert_eq!(
        dies(
            &Method::PUT,
            true,
            Death {
                kept: false,
                ..GONE_UNSEEN
            }
        ),
        give_up
    );
    assert_eq!(
        dies(
            &Method::GET,
            true,
            Death {
                received: true,
                ..GONE_UNSEEN
            }
        ),
        give_up
    );
    let again = Action::Connect {
        endpoint: 3,
        fresh: true,
    };
    assert_eq!(
        dies(
            &Method::POST,
            true,
            Death {
                written: false,
                ..GONE_UNSEEN
            }
        ),
        again
    );
    assert_eq!(dies(&Method::PUT, true, GONE_UNSEEN), again);
    let unprocessed = Death {
        written: false,
        ..GONE_UNSEEN
    };
    assert_eq!(
        dies(&Method::POST, false, unprocessed),
        again,
        "nothing was done, on a new connection either"
    );
}

#[test]
fn a_body_is_kept_only_while_a_replay_is_possible() {
    let keep = |method: &Method, reused| sent(method, reused).keep();
    let keep_by = |rules, method: &Method| sent_by(rules, method, false).keep();
    assert_eq!(keep_by(TWICE, &Method::PUT), Keep::All, "it may be retried");
    assert_eq!(keep_by(TWICE, &Method::POST), Keep::Unwritten);
    assert_eq!(keep(&Method::PUT, true), Keep::All);
    assert_eq!(keep(&Method::DELETE, true), Keep::All);
    assert_eq!(
        keep(&Method::POST, true),
        Keep::Unwritten,
        "it is not repeated once it was written"
    );
    for method in [Method::PUT, Method::POST] {
        let of_a_new_connection = keep(&method, false);
        assert_eq!(of_a_new_connection, Keep::Unwritten, "it may be refused");
    }
    assert_eq!(plan(&Method::PUT, 5).keep(), Keep::Nothing, "not yet sent");

    let mut answered = sent(&Method::PUT, true);
    answered.step(at(1), Event::Head { tunnel: false });
    assert_eq!(answered.keep(), Keep::Nothing);

    let mut replayed = sent(&Method::PUT, true);
    replayed.step(at(1), Event::Died(GONE_UNSEEN));
    replayed.step(at(2), Event::Connected { reused: true });
    assert_eq!(replayed.keep(), Keep::Unwritten, "it is replayed once");
}

#[test]
fn full_endpoints_are_passed_over_and_then_told_apart_from_none() {
    let mut first = plan(&Method::GET, 2);
    assert_eq!(first.step(at(0), Event::Full(1)), Action::Pick);
    assert!(first.tried().contains(1));
    let no_capacity = Action::GiveUp(Failure::NoCapacity);
    assert_eq!(
        first.clone().step(at(0), Event::Refused(Refusal::AllTried)),
        no_capacity
    );
    assert_eq!(first.step(at(0), Event::Full(0)), no_capacity);
    let none = plan(&Method::GET, 2).step(at(0), Event::Refused(Refusal::NoEndpoint));
    assert_eq!(none, Action::GiveUp(Failure::NoEndpoint));
}

#[test]
fn timeouts_are_told_apart() {
    let mut plan = sent(&Method::GET, true);
    let first_byte = Action::GiveUp(Failure::TimedOut(Timeout::FirstByte));
    assert_eq!(plan.step(at(10_000), Event::Timer), Action::Abandon);
    assert_eq!(plan.step(at(10_000), Event::Died(LATE)), first_byte);
    let mut plan = sent(&Method::GET, true);
    plan.step(at(0), Event::Head { tunnel: true });
    let tunnel_idle = Action::GiveUp(Failure::TimedOut(Timeout::TunnelIdle));
    assert_eq!(plan.step(at(3_599_999), Event::Timer), Action::Wait);
    assert_eq!(plan.step(at(3_600_000), Event::Timer), tunnel_idle);
}

#[test]
fn methods_are_idempotent_as_in_rfc_9110() {
    for name in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(retry::idempotent(&name.parse().unwrap()), "{name}");
    }
    for name in ["POST", "PATCH", "CONNECT", "PROPFIND", "get"] {
        assert!(!retry::idempotent(&name.parse().unwrap()), "{name}");
    }
}

#[test]
fn a_plan_is_small() {
    // It is built for each request. Five cache lines: the rules of retries are in it, so that it owns what it goes by.
    assert!(size_of::<Plan>() <= 320, "{}", size_of::<Plan>());
}

mod laws;
mod retries;
