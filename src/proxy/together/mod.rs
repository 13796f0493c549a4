//! Tests: breakers, active health, outlier detection, budgets and the queue of one upstream together, through reloads, on
//! events by chance and beside a reference that is obviously right.
//!
//! [`events`] says what may happen, [`world`] has the real upstream and carries it out on virtual time, [`reference`] says what
//! should come of it. After each event all that can be seen of the one is compared with the other. Not here: slow start, comparison
//! of latencies, panic, groups of endpoints, breakers of a whole upstream or a route, adaptive limits; and threads.

mod admission;
mod compare;
mod drive;
mod events;
mod reference;
mod world;

use proptest::prelude::*;

use events::{Event, Rules};
use world::World;

fn run(rules: Rules, events: &[Event]) {
    let mut world = World::new(rules);
    world.compare();
    for event in events {
        world.carry_out(event);
        world.compare();
    }
    world.end();
    world.compare();
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn all_mechanisms_agree_with_the_reference(
        rules in events::rules(0),
        events in events::events(),
    ) {
        run(rules, &events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn stays_that_jitter_end_within_their_bounds(
        rules in events::rules(20),
        events in events::events(),
    ) {
        run(rules, &events);
    }
}
