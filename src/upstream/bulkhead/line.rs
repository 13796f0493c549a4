//! What is guarded where somebody waits: the queue, and which slots have come free meanwhile.

use super::queue::{self, Place, Queue};
use super::waiter::{Grant, Who};
use crate::clock::Instant;

/// To how many in turn a slot is offered that came free; what is left after that the tick offers.
const OFFERS: u32 = 16;

/// Those that wait, and which slots have come free meanwhile.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) queue: Queue<Who>,
    pub(super) rules: queue::Rules,
    /// Counts slots given back while somebody waited.
    pub(super) given: u64,
    /// Such slots that nobody was woken for yet.
    pub(super) open: u32,
    /// To how many more one of them is offered after somebody could not use it.
    offers: u32,
}

impl Line {
    /// Nobody waits yet.
    pub(super) fn new(rules: queue::Rules) -> Self {
        Self {
            queue: Queue::default(),
            rules,
            given: 0,
            open: 0,
            offers: 0,
        }
    }

    /// Who is next, if anybody can be served.
    pub(super) fn next(&self, now: Instant) -> Option<Place> {
        let given = (self.open > 0).then_some(self.given);
        self.queue.next(now, &self.rules, given)
    }

    /// A slot was given back; so many wait.
    pub(super) fn give(&mut self, waiting: u32) {
        self.given += 1;
        self.open = self.open.saturating_add(1).min(waiting);
        self.offers = OFFERS;
    }

    /// What may have come free by itself is for all that wait, one after the other.
    pub(super) fn offer_to_all(&mut self) {
        if !self.queue.is_empty() {
            self.given += 1;
            self.open = self.open.max(1);
            self.offers = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        }
    }

    /// Who was woken for a slot could not use it: it is for the next one.
    pub(super) fn offer_on(&mut self, grant: &Grant) {
        if grant.is_offer && self.offers > 0 {
            self.offers -= 1;
            self.open += 1;
        }
    }
}
