//! Tests: when a request is tried again, where, and after what pause.

use super::*;

const REFUSED: Event = Event::ConnectFailed(ConnectFailure::Refused);

fn failing(retry_after: Option<u64>) -> Event {
    Event::Failing {
        kept: true,
        harmless: false,
        retry_after: retry_after.map(Duration::from_secs),
    }
}

/// Goes on from a failure at `now` with a token, as far as having sent to `endpoint`.
fn again(plan: &mut Plan, now: u64, endpoint: usize) {
    assert_eq!(plan.step(at(now), Event::Granted(0)), Action::Pause);
    assert_eq!(plan.step(at(now), Event::Timer), Action::Pick);
    let connect = Action::Connect {
        endpoint,
        fresh: false,
    };
    assert_eq!(plan.step(at(now), Event::Picked(endpoint)), connect);
    let connected = Event::Connected { reused: false };
    assert_eq!(plan.step(at(now), connected), Action::Send);
    plan.step(at(now), Event::Sent);
}

#[test]
fn what_fails_is_tried_again_elsewhere_after_a_pause() {
    for event in [
        Event::Died(GONE_UNSEEN),
        Event::Died(LATE),
        failing(None),
        Event::Died(Death {
            received: true,
            ..GONE_UNSEEN
        }),
    ] {
        let mut plan = sent_by(TWICE, &Method::GET, false);
        assert_eq!(plan.step(at(5), event), Action::Ask, "{event:?}");
        assert_eq!(plan.decision(), None);
        assert_eq!(plan.step(at(5), Event::Granted(1 << 63)), Action::Pause);
        assert_eq!(plan.decision(), Some(Decision::Made));
        assert!(plan.tried().contains(3));
        assert_eq!(plan.deadline().0, Instant(at(5).0 + 12_500_000));
        assert_eq!(plan.step(at(17), Event::Timer), Action::Wait, "too early");
        assert_eq!(plan.step(at(18), Event::Timer), Action::Pick);
        assert_eq!(plan.attempt(), 2);
    }
}

#[test]
fn only_what_may_be_repeated_is() {
    let unlike = |method: &Method, event, decision| {
        let mut plan = sent_by(TWICE, method, false);
        let action = plan.step(at(5), event);
        assert_eq!(plan.decision(), Some(decision), "{event:?}");
        action
    };
    let not = Decision::NotReplayable;
    let died = Action::GiveUp(Failure::Died);
    let lost = Death {
        kept: false,
        ..GONE_UNSEEN
    };
    assert_eq!(unlike(&Method::POST, Event::Died(GONE_UNSEEN), not), died);
    assert_eq!(unlike(&Method::PUT, Event::Died(lost), not), died);
    let late = Action::GiveUp(Failure::TimedOut(Timeout::FirstByte));
    assert_eq!(unlike(&Method::POST, Event::Died(LATE), not), late);
    assert_eq!(unlike(&Method::POST, failing(None), not), Action::Answer);
    let called = Event::Failing {
        kept: true,
        harmless: true,
        retry_after: None,
    };
    assert_eq!(unlike(&Method::POST, called, not), Action::Answer, "keyed");
    let deadlines = Deadlines::new(&UpstreamTimeouts::default(), at(0));
    let mut plan = Plan::new(Repeat::WhenHarmless, 5, deadlines, TWICE);
    for event in [
        Event::Admitted,
        Event::Picked(3),
        Event::Connected { reused: false },
        Event::Sent,
    ] {
        plan.step(at(0), event);
    }
    assert_eq!(plan.step(at(5), called), Action::Ask, "as the list says");
}

#[test]
fn without_a_token_the_answer_is_passed_on_as_it_is() {
    let mut plan = sent_by(TWICE, &Method::GET, false);
    plan.step(at(5), failing(None));
    assert_eq!(plan.step(at(5), Event::Denied), Action::Answer);
    assert_eq!(plan.decision(), Some(Decision::NoBudget));
    assert_eq!(plan.deadline().1, Timeout::Idle, "it streams");
    let mut plan = sent_by(TWICE, &Method::GET, false);
    plan.step(at(5), Event::Died(GONE_UNSEEN));
    let died = Action::GiveUp(Failure::Died);
    assert_eq!(plan.step(at(5), Event::Denied), died);
}

#[test]
fn attempts_are_counted_and_the_last_answer_is_passed_on() {
    let thrice = Rules {
        max_attempts: 3,
        ..TWICE
    };
    let mut plan = sent_by(thrice, &Method::GET, false);
    for (now, endpoint) in [(5, 1), (6, 2)] {
        assert_eq!(plan.step(at(now), failing(None)), Action::Ask);
        again(&mut plan, now, endpoint);
    }
    plan.decision();
    assert_eq!(plan.step(at(7), failing(None)), Action::Answer);
    assert_eq!(plan.decision(), Some(Decision::AttemptsUsed));
    assert_eq!(
        sent(&Method::GET, false).step(at(7), failing(None)),
        Action::Answer
    );
}

#[test]
fn retry_after_is_heeded_up_to_its_bound() {
    for (asked, pause) in [(Some(0), 25), (Some(1), 1025), (Some(86_400), 1025)] {
        let mut plan = sent_by(TWICE, &Method::GET, false);
        plan.step(at(5), failing(asked));
        plan.step(at(5), Event::Granted(LONGEST));
        let until = plan.deadline().0.since(at(5));
        assert_eq!(until.as_nanos().div_ceil(1_000_000), pause, "{asked:?}");
    }
    // 29.5 of 30 seconds are over.
    let mut plan = sent_by(TWICE, &Method::GET, false);
    assert_eq!(plan.step(at(29_500), failing(Some(1))), Action::Answer);
    assert_eq!(plan.decision(), Some(Decision::NoTime));
    let deaf = Rules {
        retry_after_max: None,
        ..TWICE
    };
    let mut plan = sent_by(deaf, &Method::GET, false);
    assert_eq!(plan.step(at(29_500), failing(Some(1))), Action::Ask);
    plan.step(at(29_500), Event::Granted(LONGEST));
    assert!(plan.deadline().0 < at(29_526));
}

#[test]
fn a_pause_leaves_half_of_the_time_to_the_attempt() {
    let slow = Rules {
        backoff: Backoff {
            base: Duration::from_secs(60),
            max: Duration::from_secs(60),
        },
        ..TWICE
    };
    let mut plan = sent_by(slow, &Method::GET, false);
    plan.step(at(10_000), Event::Died(GONE_UNSEEN));
    plan.step(at(10_000), Event::Granted(LONGEST));
    assert_eq!(plan.deadline(), (at(20_000), Timeout::Total));
    assert_eq!(plan.step(at(20_000), Event::Timer), Action::Pick);
}

#[test]
fn it_goes_back_to_an_endpoint_only_when_it_was_at_all() {
    let mut plan = plan_by(TWICE, &Method::GET, 1);
    plan.step(at(0), Event::Picked(0));
    plan.step(at(0), Event::Connected { reused: false });
    plan.step(at(0), failing(None));
    plan.step(at(0), Event::Granted(0));
    assert_eq!(plan.step(at(0), Event::Timer), Action::Pick);
    assert!(plan.tried().contains(0));
    let all = Event::Refused(Refusal::AllTried);
    assert_eq!(plan.step(at(0), all), Action::Pick);
    assert!(!plan.tried().contains(0), "now it may");
    let gone = Action::GiveUp(Failure::Failing);
    assert_eq!(plan.step(at(0), all), gone, "once a round");
}

#[test]
fn a_retry_that_finds_nobody_comes_to_its_first_failure() {
    for (event, failure) in [
        (failing(None), Failure::Failing),
        (Event::Died(GONE_UNSEEN), Failure::Died),
        (Event::Died(LATE), Failure::TimedOut(Timeout::FirstByte)),
    ] {
        for refusal in [Refusal::Full, Refusal::NoEndpoint] {
            let mut plan = sent_by(TWICE, &Method::GET, false);
            plan.step(at(1), event);
            plan.step(at(1), Event::Granted(0));
            plan.step(at(1), Event::Timer);
            let refused = plan.step(at(1), Event::Refused(refusal));
            assert_eq!(refused, Action::GiveUp(failure));
        }
    }
}

#[test]
fn what_nothing_was_sent_of_counts_as_no_attempt() {
    let mut plan = plan_by(TWICE, &Method::GET, 5);
    for endpoint in [4, 2] {
        plan.step(at(0), Event::Picked(endpoint));
        assert_eq!(plan.step(at(0), REFUSED), Action::Pick);
    }
    plan.step(at(0), Event::Picked(3));
    plan.step(at(0), Event::Connected { reused: false });
    assert_eq!(plan.step(at(0), failing(None)), Action::Ask);
    again(&mut plan, 0, 1);
    assert!([1, 2, 3, 4].map(|i| plan.tried().contains(i)) == [false, true, true, true]);
}

#[test]
fn what_an_endpoint_did_not_begin_with_goes_elsewhere_without_a_token() {
    let unprocessed = Event::Died(Death {
        written: false,
        ..GONE_UNSEEN
    });
    for rules in [Rules::NONE, TWICE] {
        let mut plan = sent_by(rules, &Method::POST, false);
        let again = Action::Connect {
            endpoint: 3,
            fresh: true,
        };
        assert_eq!(plan.step(at(1), unprocessed), again, "a free replay first");
        plan.step(at(1), Event::Connected { reused: false });
        assert_eq!(plan.step(at(1), unprocessed), Action::Pick);
        assert!(plan.tried().contains(3));
        let gone = Action::GiveUp(Failure::Died);
        assert_eq!(plan.step(at(1), Event::Refused(Refusal::AllTried)), gone);
    }
}

#[test]
fn a_client_that_leaves_ends_the_pause() {
    let mut plan = sent_by(TWICE, &Method::GET, false);
    plan.step(at(5), failing(None));
    plan.step(at(5), Event::Granted(LONGEST));
    let gone = Action::GiveUp(Failure::ClientGone);
    assert_eq!(plan.step(at(6), Event::ClientGone), gone);
    assert_eq!(plan.step(at(99), Event::Timer), Action::Wait);
}
