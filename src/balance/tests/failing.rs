//! Endpoints that fail fast: the less they do the more they could take, and no policy may fall for it.
//!
//! The case of the SRE book (Beyer et al. 2016, chapter 21): one of five endpoints answers with failures in a millisecond,
//! the others with pages in 100 ms.

use super::queue::{Backend, Queue, Service};
use super::*;

/// All have the same.
const COUNT: usize = 5;
const FAIR: f64 = 1.0 / COUNT as f64;
const FAILING: usize = 0;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);

fn queue(policy: &Policy, per_second: f64) -> Queue {
    let service = Service::Constant(Duration::from_millis(100));
    // However many there are, none waits for another.
    let backend = Backend::new(service).slots(usize::MAX);
    Queue::new(policy, vec![backend; COUNT], per_second, 3)
}

fn every() -> Vec<(&'static str, Policy)> {
    policies(&weights(&[1; COUNT]))
}

/// The share that goes to the failing one in the time to come.
fn share(queue: &mut Queue, span: Duration) -> f64 {
    queue.measure();
    queue.run(span);
    queue.seen.share(FAILING)
}

/// What an even spread of so many requests is off by chance, at three standard deviations.
fn chance(requests: f64) -> f64 {
    3.0 * (FAIR * (1.0 - FAIR) / requests).sqrt()
}

#[test]
fn a_failing_endpoint_gets_no_more_than_its_share() {
    for (name, policy) in every() {
        let mut queue = queue(&policy, 200.0);
        queue.run(WINDOW);
        let usual = share(&mut queue, WINDOW);
        queue.backends[FAILING].failing = 1.0;
        // Whoever goes by turn, chance or key stays at the usual share until failures cost weight; a table of hashes does not give
        // equal shares.
        let at_once = share(&mut queue, SECOND);
        assert!(
            at_once < usual.max(FAIR) + chance(200.0),
            "{name}: {at_once} at once"
        );
        let early = share(&mut queue, WINDOW);
        assert!(early < FAIR, "{name}: {early} at first");
        // A tenth of the weight is left to it. Of load-aware policies, idle endpoints of whole weight come first.
        let later = share(&mut queue, 2 * WINDOW);
        assert!(later < FAIR / 2.0, "{name}: {later} later");
    }
}

#[test]
fn an_endpoint_that_fails_half_of_the_time_gets_no_more_than_its_share() {
    for (name, policy) in every() {
        let mut queue = queue(&policy, 200.0);
        queue.run(WINDOW);
        queue.backends[FAILING].failing = 0.5;
        // Of 6 000 requests, the first third as usual.
        let share = share(&mut queue, 3 * WINDOW);
        assert!(share < FAIR, "{name}: {share}");
    }
}

/// So that the tests above can fail. Equal loads mean failures of 1 ms here and answers of 100 ms at each of four, or 100 to 4 in
/// requests: with ten under way at each, 10 400 a second, 96 % of them here. It is a little less, as the load here goes below
/// ten between two picks.
#[test]
fn without_the_penalty_it_would_draw_nearly_all() {
    let mut queue = queue(&Policy::LeastConnections, 10_400.0);
    queue.rules.failure_window = None;
    queue.backends[FAILING].failing = 1.0;
    queue.run(SECOND / 2);
    let share = share(&mut queue, SECOND / 2);
    assert!(share > 0.94 && share < 100.0 / 104.0, "{share}");
}

#[test]
fn what_all_suffer_changes_no_shares() {
    for (name, policy) in every() {
        let mut queue = queue(&policy, 200.0);
        queue.run(SECOND);
        queue.measure();
        queue.run(WINDOW);
        let before = queue.seen.shares();
        queue.backends.iter_mut().for_each(|b| b.failing = 0.5);
        queue.run(WINDOW);
        queue.measure();
        queue.run(WINDOW);
        // Half of 400 attempts failed, give or take ten: so unequal do they look by chance, and so much weight it costs.
        for (before, after) in before.iter().zip(queue.seen.shares()) {
            assert!(
                (after - before).abs() < 0.15 * FAIR,
                "{name}: {after} after {before}"
            );
        }
    }
}

/// Failures are forgotten after three to four windows, see [`appraisal`].
#[test]
fn an_endpoint_that_is_well_again_gets_its_share_back_in_four_windows() {
    for (name, policy) in every() {
        let mut queue = queue(&policy, 100.0);
        queue.run(SECOND);
        let usual = share(&mut queue, WINDOW);
        queue.backends[FAILING].failing = 1.0;
        queue.run(WINDOW);
        queue.backends[FAILING].failing = 0.0;
        queue.run(4 * WINDOW);
        let share = share(&mut queue, 2 * WINDOW);
        assert!(
            share > 0.9 * usual - chance(2000.0),
            "{name}: {share} of {usual}"
        );
    }
}
