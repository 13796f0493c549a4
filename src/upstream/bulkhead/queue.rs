//! Who waits, who is next, and who has waited too long.
//!
//! The highest priority is next; within one the order decides. What cannot be served now (no endpoint that it may go to
//! has a free slot) keeps its place, and is passed over until a slot was given back that it has not looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::{Priority, QueueOrder};

/// How a queue is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How many may wait.
    pub capacity: usize,
    pub order: QueueOrder,
    /// The queue stands when it was not empty for so long.
    pub standing_after: Duration,
    /// How long one may wait while it stands.
    pub standing_timeout: Duration,
}

/// A place in a queue: the later one came, the higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub class: Priority,
    number: u64,
}

/// One that waits.
#[derive(Debug)]
pub struct Waiting<T> {
    pub since: Instant,
    /// When it has waited too long.
    pub deadline: Instant,
    /// The last slot given back before it looked for one in vain; `None`: it has not looked yet.
    pub looked: Option<u64>,
    pub who: T,
}

/// Those that wait, by priority and in the order in which they came.
#[derive(Debug)]
pub struct Queue<T> {
    /// The lowest priority first.
    classes: [BTreeMap<u64, Waiting<T>>; Priority::ALL.len()],
    next: u64,
    len: usize,
    /// Since when it was not empty.
    filled: Option<Instant>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            next: 0,
            len: 0,
            filled: None,
        }
    }
}

impl<T> Queue<T> {
    /// Puts one behind all others of its class, unless there is no room.
    pub fn push(&mut self, class: Priority, waiting: Waiting<T>, now: Instant) -> Place {
        let number = self.next;
        self.next += 1;
        let place = Place { class, number };
        self.put(place, waiting, now);
        place
    }

    /// Puts one back where it was.
    pub fn put(&mut self, place: Place, waiting: Waiting<T>, now: Instant) {
        self.filled.get_or_insert(now);
        self.len += 1;
        self.classes[place.class as usize].insert(place.number, waiting);
    }

    /// Takes one out, wherever it stands.
    pub fn remove(&mut self, place: Place) -> Option<Waiting<T>> {
        let found = self.classes[place.class as usize].remove(&place.number)?;
        self.len -= 1;
        if self.is_empty() {
            self.filled = None;
        }
        Some(found)
    }

    /// Who is next among those that can be served: whoever looked for a slot before the one with number `given` was given
    /// back, and where they `may_look`, whoever has not looked yet.
    pub fn next(
        &self,
        now: Instant,
        rules: &Rules,
        given: Option<u64>,
        may_look: bool,
    ) -> Option<Place> {
        let can = |waiting: &Waiting<T>| match (waiting.looked, given) {
            (None, _) => may_look,
            (Some(looked), Some(given)) => looked < given,
            (Some(_), None) => false,
        };
        let newest_first = self.is_newest_first(now, rules);
        Priority::ALL.into_iter().rev().find_map(|class| {
            let mut waiting = self.classes[class as usize].iter();
            let found = if newest_first {
                waiting.rfind(|(_, waiting)| can(waiting))
            } else {
                waiting.find(|(_, waiting)| can(waiting))
            };
            let (&number, _) = found?;
            Some(Place { class, number })
        })
    }

    /// Whether the one in this place is past its deadline.
    pub fn is_late(&self, place: Place, now: Instant) -> bool {
        let waiting = self.classes[place.class as usize].get(&place.number);
        waiting.is_some_and(|waiting| waiting.deadline <= now)
    }

    /// One that has waited too long: past its deadline, or for longer than is worth it while the queue stands. The newest of
    /// a class is then spared, so that a place that comes free finds somebody.
    pub fn overdue(&self, now: Instant, rules: &Rules) -> Option<Place> {
        let stands = rules.order == QueueOrder::Adaptive && self.stands(now, rules);
        Priority::ALL.into_iter().find_map(|class| {
            let all = &self.classes[class as usize];
            let (&number, oldest) = all.first_key_value()?;
            let is_late = oldest.deadline <= now;
            let is_stale =
                stands && all.len() > 1 && now.since(oldest.since) > rules.standing_timeout;
            (is_late || is_stale).then_some(Place { class, number })
        })
    }

    /// Who gives its place to a newcomer of this class when there is no room: of the lowest class that waits, if that
    /// is lower, the one that would be served last.
    pub fn least(&self, class: Priority, now: Instant, rules: &Rules) -> Option<Place> {
        let lower = Priority::ALL.into_iter().take_while(|lower| *lower < class);
        let newest_first = self.is_newest_first(now, rules);
        lower.into_iter().find_map(|class| {
            let all = &self.classes[class as usize];
            let least = if newest_first {
                all.first_key_value()
            } else {
                all.last_key_value()
            };
            let (&number, _) = least?;
            Some(Place { class, number })
        })
    }

    /// Whether it was not empty for longer than a burst takes.
    pub fn stands(&self, now: Instant, rules: &Rules) -> bool {
        self.filled
            .is_some_and(|since| now.since(since) >= rules.standing_after)
    }

    /// Since when it was not empty.
    pub fn filled(&self) -> Option<Instant> {
        self.filled
    }

    /// Whether whoever came last is served first.
    pub fn is_newest_first(&self, now: Instant, rules: &Rules) -> bool {
        match rules.order {
            QueueOrder::Fifo => false,
            QueueOrder::Lifo => true,
            QueueOrder::Adaptive => self.stands(now, rules),
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many of each class wait, the lowest first.
    pub fn counts(&self) -> [usize; Priority::ALL.len()] {
        [0, 1, 2].map(|class| self.classes[class].len())
    }

    /// Since when the one waits that has waited longest.
    pub fn oldest(&self) -> Option<Instant> {
        let firsts = self.classes.iter().filter_map(BTreeMap::first_key_value);
        firsts.map(|(_, waiting)| waiting.since).min()
    }
}
