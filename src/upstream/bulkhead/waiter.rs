//! One that waits, on whatever thread, and the place that it is given in the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::queue::{Place, Waiting};
use super::{Ask, Bulkhead, Refusal};
use crate::clock::Instant;

/// What a queue says to one that waits in it. A grant that nobody takes any more gives its permit back as it is dropped.
pub(super) type Verdict = Result<Grant, Refusal>;
/// Where it is said.
pub(super) type Who = oneshot::Sender<Verdict>;

/// Waits for a place in flight. Dropping it gives the place in the queue up.
#[derive(Debug)]
pub struct Wait {
    bulkhead: Arc<Bulkhead>,
    /// `None`: it stands in the queue no more.
    place: Option<Place>,
    verdict: oneshot::Receiver<Verdict>,
}

impl Wait {
    pub(super) fn new(
        bulkhead: &Arc<Bulkhead>,
        place: Option<Place>,
        verdict: oneshot::Receiver<Verdict>,
    ) -> Self {
        Self {
            bulkhead: Arc::clone(bulkhead),
            place,
            verdict,
        }
    }
}

impl Future for Wait {
    type Output = Result<Grant, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let verdict = std::task::ready!(Pin::new(&mut self.verdict).poll(cx));
        // From here on the place may be another's: that of the same request, should it have to go on waiting.
        self.place = None;
        // The queue lets go of nobody without a word.
        Poll::Ready(verdict.unwrap_or(Err(Refusal::Timeout)))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.bulkhead.leave(place);
        }
    }
}

/// A permit that was waited for; with it a slot of an endpoint is looked for. Until there is one, or none is needed, the
/// request still counts as one that waits, so that no slot is given back behind its back.
#[derive(Debug)]
pub struct Grant {
    bulkhead: Arc<Bulkhead>,
    pub(super) ask: Ask,
    /// Where it stood; `None`: it did not have to wait.
    pub(super) place: Option<Place>,
    /// When it was called.
    pub(super) called: Instant,
    /// The last slot that had been given back by then.
    pub(super) seen: u64,
    /// It was woken for a slot that came free.
    pub(super) is_offer: bool,
    /// Others wait for whether it uses that.
    pub(super) is_awaited: bool,
    is_open: bool,
}

impl Grant {
    pub(super) fn new(
        bulkhead: &Arc<Bulkhead>,
        ask: Ask,
        place: Option<Place>,
        (called, seen): (Instant, u64),
        is_offer: bool,
    ) -> Self {
        Self {
            bulkhead: Arc::clone(bulkhead),
            ask,
            place,
            called,
            seen,
            is_offer,
            is_awaited: is_offer,
            is_open: true,
        }
    }

    /// A slot was found. The permit is the caller's now, who gives it back by [`Bulkhead::give`].
    pub fn keep(mut self, now: Instant) -> u32 {
        self.is_open = false;
        let bulkhead = Arc::clone(&self.bulkhead);
        bulkhead.settle(&mut self, now)
    }

    /// It will be a while until it is known whether there is a slot: others need not wait for that.
    pub fn takes_long(&mut self, now: Instant) {
        let bulkhead = Arc::clone(&self.bulkhead);
        bulkhead.let_others_look(self, now);
    }

    /// No slot was free: gives the permit back and waits on, in the same place, for a slot that comes free.
    pub fn again(mut self, now: Instant) -> Result<Wait, Refusal> {
        self.is_open = false;
        let (who, verdict) = oneshot::channel();
        let waiting = Waiting {
            since: self.ask.since,
            deadline: self.ask.deadline,
            looked: Some(self.seen),
            who,
        };
        let bulkhead = Arc::clone(&self.bulkhead);
        let place = bulkhead.look_again(&mut self, waiting, now)?;
        Ok(Wait::new(&self.bulkhead, Some(place), verdict))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.is_open {
            let bulkhead = Arc::clone(&self.bulkhead);
            bulkhead.give_up(self);
        }
    }
}
