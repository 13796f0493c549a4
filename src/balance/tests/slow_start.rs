//! A newcomer: it gets its part while it warms up, and no crowd because it is empty.

use super::queue::{Backend, Queue, Service};
use super::*;

const SERVICE: Duration = Duration::from_millis(20);
const NEWCOMER: usize = 0;

/// Idle endpoints of which each would have this much under way in an even spread, if none waited for another.
fn queue(policy: &Policy, endpoints: usize, each: f64) -> Queue {
    let backend = Backend::new(Service::Constant(SERVICE)).slots(usize::MAX);
    let per_second = each * endpoints as f64 / SERVICE.as_secs_f64();
    Queue::new(policy, vec![backend; endpoints], per_second, 9)
}

fn without_newcomer(endpoints: usize) -> Members {
    let mut members = weights(&vec![1; endpoints]);
    members[NEWCOMER].excluded = Some(Exclusion::Unhealthy);
    Members::new(&members)
}

/// The newcomer becomes healthy now.
fn admit(queue: &mut Queue) {
    queue.live.signals[NEWCOMER].ramp(queue.live.now);
    queue.change(weighing(&vec![1; queue.backends.len()]));
}

/// Held at one point of its ramp by a least weight and a window without end.
fn held_at(part: f64) -> appraisal::Rules {
    let slow_start = appraisal::SlowStart {
        window: Duration::from_secs(1_000_000),
        aggression: 1.0,
        min_weight: part,
    };
    appraisal::Rules {
        slow_start: Some(slow_start),
        ..RULES
    }
}

/// With 20 under way at each, so that a tenth of that is more than one. Of those that go by turn or load a part `f` of one among
/// five is `f / (4 + f)`; of a table of hashes it keeps `f` of its keys.
#[test]
fn a_newcomer_gets_the_part_of_its_share_that_its_ramp_has_reached() {
    const TOLERANCE: f64 = 0.2;
    for (name, policy) in policies(&weights(&[1; 5])) {
        let share = |part: f64| {
            let mut queue = queue(&policy, 5, 20.0);
            queue.rules = held_at(part);
            queue.change(without_newcomer(5));
            queue.run(SERVICE * 5);
            admit(&mut queue);
            // Until it has what is its own.
            queue.run(SERVICE * 5);
            queue.measure();
            queue.run(SERVICE * 50);
            queue.seen.share(NEWCOMER)
        };
        let whole = share(1.0);
        for part in [0.1, 0.5] {
            let share = share(part);
            // Three deviations of a binomial are a fifth of a fortieth of 5 000.
            let least = whole * part * (1.0 - TOLERANCE);
            let most = whole * part / (1.0 - whole + whole * part) * (1.0 + TOLERANCE);
            assert!(
                (least..most).contains(&share),
                "{name}: {share} of {whole} at {part}"
            );
        }
    }
}

/// Policies that see the load, and by how much more than the mean an endpoint may have under way by the chance of their draws.
fn by_load() -> impl Iterator<Item = (&'static str, Policy)> {
    let names = [
        "least_connections",
        "p2c",
        "p2c of 5",
        "peak_ewma",
        "prequal",
    ];
    policies(&[])
        .into_iter()
        .filter(move |(name, _)| names.contains(name))
}

/// Five are compared with each other, so that nothing is left to chance: no pick lifts the newcomer above the mean of the others by more
/// than the attempt that is placed.
#[test]
fn an_empty_newcomer_draws_no_crowd() {
    for part in [1.0, 0.1] {
        for (name, policy) in by_load() {
            let mut queue = queue(&policy, 5, 10.0);
            queue.rules = held_at(part);
            queue.change(without_newcomer(5));
            queue.run(SERVICE * 20);
            admit(&mut queue);
            let others =
                |live: &Numbers| (1..5).map(|i| f64::from(live.load(i))).sum::<f64>() / 4.0;
            queue.run_watched(SERVICE * 50, |live, i| {
                let load = f64::from(live.load(NEWCOMER));
                assert!(
                    i != NEWCOMER || load <= others(live) * part + 1.0,
                    "{name} at {part}"
                );
            });
            assert!(queue.seen.share(NEWCOMER) > 0.1 * part, "{name} at {part}");
        }
    }
}

/// Where a few of many are drawn, the newcomer is no fuller than the fullest of the others.
#[test]
fn an_empty_newcomer_among_many_draws_no_crowd() {
    for (name, policy) in by_load() {
        let mut queue = queue(&policy, 20, 10.0);
        queue.change(without_newcomer(20));
        queue.run(SERVICE * 20);
        admit(&mut queue);
        queue.run_watched(SERVICE * 20, |live, i| {
            let most = (1..20).map(|i| live.load(i)).max();
            assert!(i != NEWCOMER || Some(live.load(NEWCOMER)) <= most, "{name}");
        });
    }
}

/// It was out for a minute, in which its latency decayed to next to nothing.
#[test]
fn an_endpoint_that_comes_back_draws_no_crowd() {
    for (name, policy) in by_load() {
        let mut queue = queue(&policy, 5, 10.0);
        queue.run(SERVICE * 20);
        queue.change(without_newcomer(5));
        queue.per_second /= 100.0;
        queue.run(Duration::from_secs(60));
        queue.per_second *= 100.0;
        queue.run(SERVICE * 20);
        queue.change(weighing(&[1; 5]));
        queue.run_watched(SERVICE * 20, |live, i| {
            let most = (1..5).map(|i| live.load(i)).max();
            assert!(i != NEWCOMER || Some(live.load(NEWCOMER)) <= most, "{name}");
        });
    }
}

/// The median is known from the first look on, 100 ms after the start, but the first answers come earlier. The bug was that who had
/// not answered yet counted as the fastest, which is the slowest.
#[test]
fn the_slowest_is_not_taken_for_the_fastest_before_it_answers() {
    for (name, policy) in by_load() {
        let mut queue = queue(&policy, 5, 4.0);
        queue.backends[4].service = Service::Constant(SERVICE * 4);
        queue.run_watched(queue::LOOK, |live, i| {
            let most = (0..4).map(|i| live.load(i)).max();
            assert!(i != 4 || Some(live.load(4)) <= most, "{name}");
        });
    }
}
