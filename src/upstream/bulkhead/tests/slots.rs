//! Those that have a permit and find no slot of an endpoint.

use super::*;
use crate::config::QueueOrder;

/// Lets one in that has to wait for a slot: it has looked, and found none.
fn looks_in_vain(bulkhead: &Arc<Bulkhead>, since: u64) -> Wait {
    let mut wait = bulkhead
        .enter(ask(Priority::Normal, since), at(since))
        .unwrap();
    let grant = polled(&mut wait).expect("there are permits").unwrap();
    grant.again(at(since)).unwrap()
}

#[test]
fn who_finds_no_slot_keeps_no_permit_and_is_woken_by_the_next_slot() {
    let bulkhead = bulkhead(&small(10, 8, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some());
    let mut wait = looks_in_vain(&bulkhead, 0);
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (1, 1));
    assert!(polled(&mut wait).is_none());
    give(&bulkhead, 5);
    let grant = polled(&mut wait).unwrap().unwrap();
    assert_eq!(grant.keep(at(5)), 1);
    assert_eq!(bulkhead.waiting(), 0);
}

/// Given back between the look and the wait: nobody else will give one back.
#[test]
fn a_slot_given_back_behind_its_back_is_not_missed() {
    let bulkhead = bulkhead(&small(10, 8, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some());
    let mut wait = bulkhead.enter(ask(Priority::Normal, 0), at(0)).unwrap();
    let grant = polled(&mut wait).unwrap().unwrap();
    give(&bulkhead, 1);
    let mut wait = grant.again(at(2)).unwrap();
    let grant = polled(&mut wait).expect("it looks once more").unwrap();
    let mut wait = grant.again(at(2)).unwrap();
    assert!(polled(&mut wait).is_none());
}

#[test]
fn a_slot_wakes_one_and_is_passed_on_by_whoever_cannot_use_it() {
    let bulkhead = bulkhead(&small(10, 8, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some());
    let mut waits = [0, 1, 2].map(|since| looks_in_vain(&bulkhead, since));
    give(&bulkhead, 5);
    assert!(polled(&mut waits[1]).is_none() && polled(&mut waits[2]).is_none());
    let first = polled(&mut waits[0]).unwrap().unwrap();
    // It may not go there.
    waits[0] = first.again(at(6)).unwrap();
    assert!(polled(&mut waits[0]).is_none() && polled(&mut waits[2]).is_none());
    let second = polled(&mut waits[1]).unwrap().unwrap();
    second.keep(at(6));
    assert!(polled(&mut waits[2]).is_none());
    // The next one is offered to the first again, which stands where it stood.
    give(&bulkhead, 7);
    let _first = polled(&mut waits[0]).expect("it stands where it stood");
    assert!(polled(&mut waits[2]).is_none());
}

#[test]
fn what_comes_free_by_itself_is_offered_by_the_tick_to_all() {
    let rules = small(30, 40, QueueOrder::Fifo);
    let bulkhead = bulkhead(&rules);
    let mut waits: Vec<Wait> = (0..25)
        .map(|since| looks_in_vain(&bulkhead, since))
        .collect();
    assert!(waits.iter_mut().all(|wait| polled(wait).is_none()));
    bulkhead.look(at(50), &rules);
    for wait in &mut waits {
        let grant = polled(wait).expect("it is its turn").unwrap();
        *wait = grant.again(at(50)).unwrap();
    }
    assert!(waits.iter_mut().all(|wait| polled(wait).is_none()));
}

#[test]
fn a_slot_that_nobody_can_use_is_not_offered_for_ever() {
    let bulkhead = bulkhead(&small(30, 40, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some());
    let mut waits: Vec<Wait> = (0..25)
        .map(|since| looks_in_vain(&bulkhead, since))
        .collect();
    give(&bulkhead, 50);
    let mut offered = 0;
    for wait in &mut waits {
        if let Some(verdict) = polled(wait) {
            offered += 1;
            *wait = verdict.unwrap().again(at(50)).unwrap();
        }
    }
    assert_eq!(offered, 17);
}

#[test]
fn without_a_queue_nobody_waits_for_a_slot() {
    let bulkhead = bulkhead(&small(10, 0, QueueOrder::Fifo));
    let mut wait = bulkhead.enter(ask(Priority::Normal, 0), at(0)).unwrap();
    let grant = polled(&mut wait).unwrap().unwrap();
    assert_eq!(grant.again(at(0)).err(), Some(Refusal::Full));
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
}

#[test]
fn who_leaves_with_an_offer_in_hand_passes_it_on() {
    let bulkhead = bulkhead(&small(10, 8, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some());
    let mut waits = [0, 1].map(|since| looks_in_vain(&bulkhead, since));
    give(&bulkhead, 5);
    drop(polled(&mut waits[0]).unwrap().unwrap());
    assert!(polled(&mut waits[1]).is_some());
}

/// On its own thread a newcomer would be at the slot before the one that was woken for it on another.
#[test]
fn a_newcomer_does_not_pass_one_that_was_called_for_a_slot() {
    let bulkhead = bulkhead(&small(10, 8, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some());
    let mut called = looks_in_vain(&bulkhead, 0);
    give(&bulkhead, 5);
    let mut newcomer = bulkhead.enter(ask(Priority::Low, 5), at(5)).unwrap();
    assert!(polled(&mut newcomer).is_none());
    // It has the slot: whether there is another, the newcomer finds out.
    let grant = polled(&mut called).unwrap().unwrap();
    grant.keep(at(6));
    let grant = polled(&mut newcomer).expect("it may look").unwrap();
    drop(grant);
    // The same where the one that was called leaves, or looks in vain.
    for leaves in [true, false] {
        let mut called = looks_in_vain(&bulkhead, 10);
        give(&bulkhead, 11);
        assert!(bulkhead.take().is_none());
        let mut newcomer = bulkhead.enter(ask(Priority::High, 11), at(11)).unwrap();
        assert!(polled(&mut newcomer).is_none());
        let grant = polled(&mut called).unwrap().unwrap();
        let waits = (!leaves).then(|| grant.again(at(12)).unwrap());
        assert!(polled(&mut newcomer).is_some());
        drop((newcomer, waits));
        assert!(bulkhead.take().is_some());
        assert_eq!(bulkhead.waiting(), 0);
    }
}

/// As one that asks other workers for a connection.
#[test]
fn who_takes_long_does_not_keep_newcomers_waiting() {
    let bulkhead = bulkhead(&small(10, 8, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some());
    let mut called = looks_in_vain(&bulkhead, 0);
    give(&bulkhead, 5);
    let mut newcomer = bulkhead.enter(ask(Priority::Low, 5), at(5)).unwrap();
    let mut grant = polled(&mut called).unwrap().unwrap();
    grant.takes_long(at(6));
    assert!(polled(&mut newcomer).is_some());
    let mut another = bulkhead.enter(ask(Priority::Low, 6), at(6)).unwrap();
    assert!(polled(&mut another).is_some());
    grant.keep(at(7));
}

/// Two slots: whoever is woken for the second leaves the first to the one that was woken for it.
#[test]
fn a_newcomer_of_high_priority_gets_the_next_slot_that_comes_free() {
    let bulkhead = bulkhead(&small(10, 8, QueueOrder::Fifo));
    assert!(bulkhead.take().is_some() && bulkhead.take().is_some());
    let mut waits = [0, 1].map(|since| looks_in_vain(&bulkhead, since));
    give(&bulkhead, 5);
    let mut high = bulkhead.enter(ask(Priority::High, 5), at(5)).unwrap();
    assert!(polled(&mut high).is_none());
    give(&bulkhead, 6);
    let _high = polled(&mut high).expect("it is first").unwrap();
    let _first = polled(&mut waits[0])
        .expect("it was called before")
        .unwrap();
    assert!(polled(&mut waits[1]).is_none());
}
