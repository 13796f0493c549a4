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
    /// Those who were woken for such a slot and are awaited: they have not said yet whether they use it.
    called: u32,
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
            called: 0,
        }
    }

    /// Who is next, if anybody can be served. While others are on their way to slots that came free, nobody looks who would
    /// find just these: on its own thread it would be there before them, whoever they are.
    pub(super) fn next(&self, now: Instant) -> Option<Place> {
        let given = (self.open > 0).then_some(self.given);
        let may_look = self.called == 0 || self.open > 0;
        self.queue.next(now, &self.rules, given, may_look)
    }

    /// Whether somebody who comes now, and for whom there is a permit, need not queue up.
    pub(super) fn is_clear(&self, now: Instant) -> bool {
        self.called == 0 && self.next(now).is_none()
    }

    /// One that has looked for a slot before, or not, is called: is it woken for one that came free?
    pub(super) fn call(&mut self, has_looked: bool) -> bool {
        let is_offer = has_looked || self.called > 0;
        if is_offer {
            self.open -= 1;
            self.called += 1;
        }
        is_offer
    }

    /// Nobody waits any more for who was called.
    pub(super) fn answer(&mut self, grant: &mut Grant) {
        self.called -= u32::from(std::mem::take(&mut grant.is_awaited));
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
    pub(super) fn offer_on(&mut self, grant: &mut Grant) {
        self.answer(grant);
        if grant.is_offer && self.offers > 0 {
            self.offers -= 1;
            self.open += 1;
        }
    }
}
