//! The queue beside a simple list, on events by chance.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::config::QueueOrder;

#[derive(Debug, Clone)]
enum Step {
    Comes(Priority),
    /// A permit comes free.
    Given,
    /// Of those that wait, the one at this place of the list, from its front, as often as it fits.
    Leaves(usize),
    Passes(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => select(&Priority::ALL[..]).prop_map(Step::Comes),
        3 => Just(Step::Given),
        1 => (0_usize..8).prop_map(Step::Leaves),
        2 => (1_u64..120).prop_map(Step::Passes),
    ]
}

/// One that waits: its number, its class, since when.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    number: usize,
    class: Priority,
    since: u64,
}

/// What is said of the queue, step by step over a list.
struct Model {
    rules: Rules,
    list: Vec<Known>,
    filled: Option<u64>,
}

impl Model {
    fn newest_first(&self, now: u64) -> bool {
        self.rules.queue.order == QueueOrder::Lifo || self.stands(now)
    }

    fn stands(&self, now: u64) -> bool {
        self.rules.queue.order == QueueOrder::Adaptive
            && self.filled.is_some_and(|since| now - since >= 100)
    }

    fn settle(&mut self) {
        if self.list.is_empty() {
            self.filled = None;
        }
    }

    /// Those sent away before anybody is called.
    fn late(&mut self, now: u64) -> Vec<usize> {
        let mut late = Vec::new();
        loop {
            let found = Priority::ALL.into_iter().find_map(|class| {
                let mut of_class = self.list.iter().filter(|known| known.class == class);
                let oldest = *of_class.next()?;
                let is_stale =
                    self.stands(now) && of_class.next().is_some() && now - oldest.since > 250;
                (oldest.since + 1000 <= now || is_stale).then_some(oldest)
            });
            let Some(oldest) = found else {
                return late;
            };
            self.list.retain(|known| *known != oldest);
            self.settle();
            late.push(oldest.number);
        }
    }

    fn called(&mut self, now: u64) -> Option<usize> {
        let newest_first = self.newest_first(now);
        let highest = self.list.iter().map(|known| known.class).max()?;
        let mut of_class = self.list.iter().filter(|known| known.class == highest);
        let next = if newest_first {
            of_class.next_back()
        } else {
            of_class.next()
        };
        let next = *next?;
        self.list.retain(|known| *known != next);
        self.settle();
        Some(next.number)
    }

    /// Who must go for one of this class where there is no room.
    fn least(&mut self, class: Priority, now: u64) -> Option<usize> {
        let newest_first = self.newest_first(now);
        let lowest = self.list.iter().map(|known| known.class).min()?;
        if lowest >= class {
            return None;
        }
        let mut of_class = self.list.iter().filter(|known| known.class == lowest);
        let least = if newest_first {
            of_class.next()
        } else {
            of_class.next_back()
        };
        let least = *least?;
        self.list.retain(|known| *known != least);
        self.settle();
        Some(least.number)
    }
}

/// Runs both, and compares after each step who was let in and who was sent away.
fn agree(order: QueueOrder, capacity: usize, steps: &[Step]) {
    let rules = small(1, capacity, order);
    let bulkhead = bulkhead(&rules);
    fill(&bulkhead);
    let mut model = Model {
        rules,
        list: Vec::new(),
        filled: None,
    };
    let mut waits: Vec<Option<Wait>> = Vec::new();
    let mut now = 0;
    for step in steps {
        let (mut sent_away, mut let_in) = (Vec::new(), None);
        match *step {
            Step::Comes(class) => {
                let entered = bulkhead.enter(ask(class, now), at(now));
                let is_full = model.list.len() >= capacity;
                let least = if is_full {
                    model.least(class, now)
                } else {
                    None
                };
                assert_eq!(entered.is_err(), is_full && least.is_none());
                if let Ok(wait) = entered {
                    sent_away.extend(least);
                    model.filled.get_or_insert(now);
                    model.list.push(Known {
                        number: waits.len(),
                        class,
                        since: now,
                    });
                    waits.push(Some(wait));
                    // Who comes finds out who is late.
                    sent_away.extend(model.late(now));
                }
            }
            Step::Given => {
                give(&bulkhead, now);
                sent_away = model.late(now);
                let_in = model.called(now);
            }
            Step::Leaves(place) => {
                if !model.list.is_empty() {
                    let left = model.list.remove(place % model.list.len());
                    model.settle();
                    waits[left.number] = None;
                }
            }
            Step::Passes(millis) => now += millis,
        }
        let mut found = Vec::new();
        for (number, slot) in waits.iter_mut().enumerate() {
            let Some(verdict) = slot.as_mut().and_then(polled) else {
                continue;
            };
            *slot = None;
            match verdict {
                Ok(grant) => {
                    assert_eq!(Some(number), let_in.take(), "{step:?}");
                    grant.keep(at(now));
                }
                Err(_) => found.push(number),
            }
        }
        sent_away.sort_unstable();
        assert_eq!(found, sent_away, "{step:?}");
        assert_eq!(let_in, None, "{step:?}");
        assert_eq!(bulkhead.waiting() as usize, model.list.len());
        // Who is served has the permit again; who was not leaves it free.
        if bulkhead.in_flight() == 0 {
            fill(&bulkhead);
        }
    }
}

proptest! {
    #[test]
    fn the_queue_agrees_with_a_list(
        order in select(&[QueueOrder::Fifo, QueueOrder::Lifo, QueueOrder::Adaptive][..]),
        capacity in 0_usize..6,
        steps in vec(step(), 1..80),
    ) {
        agree(order, capacity, &steps);
    }
}
