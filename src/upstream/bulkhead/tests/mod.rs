//! Tests of the bulkhead as a whole; each unit is tested beside its code.

mod laws;
mod order;
mod simulation;
mod slots;
mod threads;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::entropy::Random;

fn at(millis: u64) -> Instant {
    Instant(millis * 1_000_000)
}

fn rules(edit: impl FnOnce(&mut config::Bulkhead)) -> Rules {
    let mut written = config::Bulkhead::default();
    edit(&mut written);
    Rules::from(&written)
}

/// With so many permits and room for so many to wait.
fn small(max_in_flight: usize, queue: usize, order: config::QueueOrder) -> Rules {
    rules(|written| {
        written.max_in_flight = max_in_flight;
        written.queue = queue;
        written.order = order;
    })
}

fn bulkhead(rules: &Rules) -> Arc<Bulkhead> {
    let state = Arc::new(Bulkhead::seeded(1));
    Configured::new(state, rules.clone()).state
}

fn ask(class: Priority, since: u64) -> Ask {
    Ask {
        class,
        since: at(since),
        deadline: at(since + 1000),
    }
}

/// What came of a wait so far.
fn polled(wait: &mut Wait) -> Option<Result<Grant, Refusal>> {
    let mut cx = Context::from_waker(Waker::noop());
    match std::pin::Pin::new(wait).poll(&mut cx) {
        Poll::Ready(verdict) => Some(verdict),
        Poll::Pending => None,
    }
}

/// Takes all permits.
fn fill(bulkhead: &Bulkhead) {
    while bulkhead.take().is_some() {}
}

/// Gives a permit back at this time.
fn give(bulkhead: &Arc<Bulkhead>, millis: u64) {
    bulkhead.give(|| at(millis));
}

#[test]
fn a_permit_goes_to_whoever_waits_and_is_counted_once() {
    let bulkhead = bulkhead(&small(2, 8, config::QueueOrder::Fifo));
    fill(&bulkhead);
    let mut wait = bulkhead.enter(ask(Priority::Normal, 0), at(0)).unwrap();
    assert!(polled(&mut wait).is_none());
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (2, 1));
    give(&bulkhead, 5);
    // Handed over: nobody else gets it meanwhile.
    assert_eq!((bulkhead.in_flight(), bulkhead.take()), (2, None));
    let grant = polled(&mut wait).unwrap().unwrap();
    assert_eq!(grant.keep(at(5)), 2);
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (2, 0));
    give(&bulkhead, 6);
    give(&bulkhead, 7);
    assert_eq!(bulkhead.in_flight(), 0);
    assert_eq!(bulkhead.waited(), 1);
}

#[test]
fn who_leaves_before_or_after_being_called_leaves_nothing_behind() {
    let bulkhead = bulkhead(&small(1, 8, config::QueueOrder::Fifo));
    fill(&bulkhead);
    let before = bulkhead.enter(ask(Priority::Normal, 0), at(0)).unwrap();
    drop(before);
    assert_eq!(bulkhead.waiting(), 0);
    let called = bulkhead.enter(ask(Priority::Normal, 0), at(0)).unwrap();
    let mut next = bulkhead.enter(ask(Priority::Normal, 1), at(1)).unwrap();
    give(&bulkhead, 2);
    assert!(polled(&mut next).is_none());
    // It was called and never looked.
    drop(called);
    drop(polled(&mut next).unwrap().unwrap());
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
    assert!(bulkhead.take().is_some());
}

/// Whoever left after it was called served the others by when it had come: they were not late yet.
#[test]
fn who_leaves_after_being_called_lets_nobody_in_that_is_late() {
    let bulkhead = bulkhead(&small(1, 8, config::QueueOrder::Fifo));
    fill(&bulkhead);
    let enter = |class, until| {
        let ask = Ask {
            deadline: at(until),
            ..ask(class, 0)
        };
        bulkhead.enter(ask, at(0)).unwrap()
    };
    let called = enter(Priority::High, 5000);
    let mut next = enter(Priority::Normal, 5000);
    let mut late = enter(Priority::Normal, 1000);
    give(&bulkhead, 1100);
    drop(called);
    assert!(polled(&mut next).unwrap().is_ok());
    assert_eq!(
        polled(&mut late).map(|late| late.err()),
        Some(Some(Refusal::Timeout))
    );
}

#[test]
fn without_a_queue_nobody_waits() {
    let bulkhead = bulkhead(&small(1, 0, config::QueueOrder::Fifo));
    fill(&bulkhead);
    let refused = bulkhead.enter(ask(Priority::High, 0), at(0));
    assert_eq!(refused.err(), Some(Refusal::Full));
    give(&bulkhead, 1);
    // There is a permit by now: that is not waiting.
    let mut wait = bulkhead.enter(ask(Priority::Low, 1), at(1)).unwrap();
    polled(&mut wait).unwrap().unwrap().keep(at(1));
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (1, 0));
}

#[test]
fn a_limit_that_is_raised_lets_those_in_that_wait() {
    let rules = small(1, 8, config::QueueOrder::Fifo);
    let bulkhead = bulkhead(&rules);
    fill(&bulkhead);
    let mut waits = [0, 1, 2].map(|since| {
        bulkhead
            .enter(ask(Priority::Normal, since), at(since))
            .unwrap()
    });
    let raised = Rules {
        max_in_flight: 3,
        ..rules
    };
    bulkhead.look(at(100), &raised);
    assert_eq!(bulkhead.in_flight(), 3);
    let called = waits.each_mut().map(polled);
    assert_eq!(called.map(|verdict| verdict.is_some()), [true, true, false]);
}

#[test]
fn what_a_worker_that_is_late_refuses_is_of_low_priority_first() {
    let defaults = rules(|_| {});
    let late = Duration::from_millis(150);
    let sheds = |rules: &Rules| Priority::ALL.map(|class| rules.sheds(class, late));
    assert_eq!(sheds(&defaults), [true, false, false]);
    assert!(!defaults.sheds(Priority::Low, Duration::from_millis(99)));
    let more = rules(|written| written.shed.normal = Some(late));
    assert_eq!(sheds(&more), [true, true, false]);
    let none = rules(|written| written.shed.low = None);
    assert_eq!(sheds(&none), [false, false, false]);
}
