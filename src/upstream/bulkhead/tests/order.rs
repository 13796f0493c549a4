//! Who is next, who is pushed out, who has waited too long.

use super::*;
use crate::config::QueueOrder;

/// One permit, taken; those that wait by name.
struct Scene {
    bulkhead: Arc<Bulkhead>,
    waits: Vec<(&'static str, Wait)>,
    refused: Vec<(&'static str, Refusal)>,
}

impl Scene {
    fn new(rules: &Rules) -> Self {
        let bulkhead = bulkhead(rules);
        fill(&bulkhead);
        Self {
            bulkhead,
            waits: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn comes(&mut self, name: &'static str, class: Priority, millis: u64) {
        let wait = self.bulkhead.enter(ask(class, millis), at(millis));
        self.waits.push((name, wait.unwrap()));
    }

    /// A permit comes free; who gets it?
    fn served(&mut self, millis: u64) -> Option<&'static str> {
        give(&self.bulkhead, millis);
        let mut served = None;
        for name in self.look(millis) {
            assert_eq!(served.replace(name), None, "one permit serves one");
        }
        served
    }

    /// Who was let in.
    fn look(&mut self, millis: u64) -> Vec<&'static str> {
        let mut served = Vec::new();
        self.waits.retain_mut(|(name, wait)| {
            match polled(wait) {
                None => return true,
                Some(Ok(grant)) => {
                    grant.keep(at(millis));
                    served.push(*name);
                }
                Some(Err(refusal)) => self.refused.push((name, refusal)),
            }
            false
        });
        served
    }

    fn refused(&mut self, name: &str) -> Option<Refusal> {
        assert!(self.look(0).is_empty());
        let mut refused = self.refused.iter();
        let found = refused.find(|(known, _)| *known == name)?;
        Some(found.1)
    }
}

#[test]
fn the_highest_priority_is_first_and_of_equals_who_came_first() {
    let mut scene = Scene::new(&small(1, 8, QueueOrder::Fifo));
    scene.comes("low", Priority::Low, 0);
    scene.comes("one", Priority::Normal, 1);
    scene.comes("high", Priority::High, 2);
    scene.comes("two", Priority::Normal, 3);
    let order = [10, 11, 12, 13].map(|millis| scene.served(millis));
    assert_eq!(order, [Some("high"), Some("one"), Some("two"), Some("low")]);
}

#[test]
fn who_came_last_is_first_where_that_is_asked_for() {
    let mut scene = Scene::new(&small(1, 8, QueueOrder::Lifo));
    for name in ["one", "two", "three"] {
        scene.comes(name, Priority::Normal, 0);
    }
    let order = [1, 2, 3].map(|millis| scene.served(millis));
    assert_eq!(order, [Some("three"), Some("two"), Some("one")]);
}

/// In turn for 100 ms; then the newest, and what has waited for more than 250 ms is given up.
#[test]
fn a_queue_that_stands_is_turned_around_and_cut() {
    let mut scene = Scene::new(&small(1, 8, QueueOrder::Adaptive));
    scene.comes("one", Priority::Normal, 0);
    scene.comes("two", Priority::Normal, 10);
    scene.comes("three", Priority::Normal, 20);
    assert_eq!(scene.served(99), Some("one"));
    scene.comes("four", Priority::Normal, 250);
    scene.comes("five", Priority::Normal, 260);
    assert_eq!(scene.served(260), Some("five"));
    assert_eq!(scene.refused("two"), None);
    assert_eq!(scene.served(265), Some("four"));
    assert_eq!(scene.refused("two"), Some(Refusal::Timeout));
    // Never the last one: a place that comes free is for somebody.
    assert_eq!(scene.refused("three"), None);
    assert_eq!(scene.served(600), Some("three"));
    // It was empty: what comes now comes in turn.
    scene.comes("six", Priority::Normal, 610);
    scene.comes("seven", Priority::Normal, 611);
    assert_eq!(scene.served(612), Some("six"));
}

#[test]
fn a_full_queue_gives_up_the_lowest_for_a_higher_one() {
    let mut scene = Scene::new(&small(1, 3, QueueOrder::Fifo));
    scene.comes("old", Priority::Low, 0);
    scene.comes("new", Priority::Low, 1);
    scene.comes("normal", Priority::Normal, 2);
    let equal = scene.bulkhead.enter(ask(Priority::Low, 3), at(3));
    assert_eq!(equal.err(), Some(Refusal::Full));
    // Whose turn would come last.
    scene.comes("high", Priority::High, 4);
    assert_eq!(scene.refused("new"), Some(Refusal::PushedOut));
    scene.comes("another", Priority::Normal, 5);
    assert_eq!(scene.refused("old"), Some(Refusal::PushedOut));
    let equal = scene.bulkhead.enter(ask(Priority::Normal, 6), at(6));
    assert_eq!(equal.err(), Some(Refusal::Full));
    assert_eq!(scene.bulkhead.waiting(), 3);
    let order = [7, 8, 9].map(|millis| scene.served(millis));
    assert_eq!(order, [Some("high"), Some("normal"), Some("another")]);
}

#[test]
fn who_is_past_its_deadline_gets_no_permit() {
    let mut scene = Scene::new(&small(1, 8, QueueOrder::Fifo));
    scene.comes("late", Priority::High, 0);
    scene.comes("one", Priority::Normal, 500);
    assert_eq!(scene.served(1000), Some("one"));
    assert_eq!(scene.refused("late"), Some(Refusal::Timeout));
}

/// What one has left of its whole time may be less than others before it have left to wait.
#[test]
fn who_is_past_a_deadline_that_ends_before_others_gets_no_permit() {
    let mut scene = Scene::new(&small(1, 8, QueueOrder::Lifo));
    scene.comes("patient", Priority::Normal, 0);
    let hasty = Ask {
        deadline: at(50),
        ..ask(Priority::Normal, 1)
    };
    let hasty = scene.bulkhead.enter(hasty, at(1)).unwrap();
    scene.waits.push(("hasty", hasty));
    assert_eq!(scene.served(50), Some("patient"));
    assert_eq!(scene.refused("hasty"), Some(Refusal::Timeout));
}

#[test]
fn the_queue_says_how_it_stands() {
    let mut scene = Scene::new(&small(1, 8, QueueOrder::Adaptive));
    scene.comes("low", Priority::Low, 10);
    scene.comes("one", Priority::Normal, 20);
    scene.comes("two", Priority::Normal, 30);
    let calm = scene.bulkhead.standing(at(50));
    assert_eq!(calm.waiting, [1, 2, 0]);
    assert_eq!(calm.oldest, Some(Duration::from_millis(40)));
    assert!(!calm.stands && !calm.is_newest_first);
    let later = scene.bulkhead.standing(at(110));
    assert!(later.stands && later.is_newest_first);
}
