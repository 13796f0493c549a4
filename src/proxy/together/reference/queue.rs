//! Who waits, as a list in the order in which they came.

use super::MS;
use crate::config::{Priority, QueueOrder};
use crate::proxy::together::events::Rules;

/// One that waits.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy::together) struct Waits {
    pub(in crate::proxy::together) number: usize,
    pub(super) class: Priority,
    pub(super) since: u64,
    pub(in crate::proxy::together) deadline: u64,
    /// It was let in once, and found no slot.
    pub(super) has_looked: bool,
}

/// What becomes of those that are served.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::proxy::together) struct Served {
    pub(in crate::proxy::together) let_in: Vec<usize>,
    pub(in crate::proxy::together) sent_away: Vec<usize>,
}

#[derive(Debug, Default, Clone)]
pub(in crate::proxy::together) struct Queue {
    pub(in crate::proxy::together) list: Vec<Waits>,
    filled: Option<u64>,
}

impl Queue {
    /// One comes, or comes back to where it stood.
    pub(super) fn put(&mut self, now: u64, waits: Waits) {
        self.filled.get_or_insert(now);
        self.list.push(waits);
        self.list.sort_by_key(|waits| waits.number);
    }

    pub(in crate::proxy::together) fn remove(&mut self, number: usize) -> Option<Waits> {
        let place = self.list.iter().position(|waits| waits.number == number)?;
        let waits = self.list.remove(place);
        if self.list.is_empty() {
            self.filled = None;
        }
        Some(waits)
    }

    /// Who is let in while there are permits, and who is sent away since its time is over. Only where nobody has looked in
    /// vain: else not all that decides about it is known.
    pub(super) fn serves(&self, now: u64, rules: &Rules, mut permits: usize) -> Option<Served> {
        if self.list.iter().any(|waits| waits.has_looked) {
            return None;
        }
        let mut served = Served::default();
        let mut left = self.clone();
        loop {
            if let Some(late) = left.overdue(now, rules) {
                left.remove(late);
                served.sent_away.push(late);
                continue;
            }
            let Some(next) = left.in_order(now, rules).first().copied() else {
                break;
            };
            if next.deadline <= now {
                served.sent_away.push(next.number);
            } else if permits > 0 {
                permits -= 1;
                served.let_in.push(next.number);
            } else {
                break;
            }
            left.remove(next.number);
        }
        served.let_in.sort_unstable();
        served.sent_away.sort_unstable();
        Some(served)
    }

    /// Whoever goes for one of this class where there is no room.
    pub(super) fn least(&self, class: Priority, now: u64, rules: &Rules) -> Option<usize> {
        let last = *self.in_order(now, rules).last()?;
        (last.class < class).then_some(last.number)
    }

    /// All that wait, the next one first.
    pub(super) fn in_order(&self, now: u64, rules: &Rules) -> Vec<Waits> {
        let mut order = self.list.clone();
        if self.is_newest_first(now, rules) {
            order.reverse();
        }
        order.sort_by_key(|waits| std::cmp::Reverse(waits.class));
        order
    }

    /// Whether one may be sent away, whatever stands before it.
    pub(super) fn may_go(&self, waits: &Waits, now: u64, rules: &Rules) -> bool {
        waits.deadline <= now || (self.stands(now, rules) && is_stale(waits, now))
    }

    /// The oldest of each class is asked; while the queue stands not if it is the only one.
    fn overdue(&self, now: u64, rules: &Rules) -> Option<usize> {
        Priority::ALL.into_iter().find_map(|class| {
            let mut of_class = self.list.iter().filter(|waits| waits.class == class);
            let oldest = of_class.next()?;
            let is_stale =
                self.stands(now, rules) && of_class.next().is_some() && is_stale(oldest, now);
            (oldest.deadline <= now || is_stale).then_some(oldest.number)
        })
    }

    fn is_newest_first(&self, now: u64, rules: &Rules) -> bool {
        rules.order == QueueOrder::Lifo || self.stands(now, rules)
    }

    fn stands(&self, now: u64, rules: &Rules) -> bool {
        let since = self.filled.filter(|_| rules.order == QueueOrder::Adaptive);
        since.is_some_and(|since| now - since >= Rules::STANDING_AFTER * MS)
    }
}

fn is_stale(waits: &Waits, now: u64) -> bool {
    now - waits.since > Rules::STANDING_TIMEOUT * MS
}
