//! The signal that a worker's connections should finish what runs and take nothing new; and the one, from time to time,
//! that those which rest should end, because memory is short.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// One connection's view of the signal. Waiting costs a connection one registration in its life, not one a request.
pub struct Drain {
    shared: Rc<Shared>,
    place: Cell<Option<usize>>,
    /// How many pulses there had been when this connection began to rest.
    rested: Cell<u64>,
}

#[derive(Default)]
struct Shared {
    on: Cell<bool>,
    pulses: Cell<u64>,
    waiting: RefCell<Slab<Waker>>,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A signal that is off.
    pub fn new() -> Self {
        Self {
            shared: Rc::default(),
            place: Cell::new(None),
            rested: Cell::new(0),
        }
    }

    /// Whether draining has begun.
    pub fn is_on(&self) -> bool {
        self.shared.on.get()
    }

    /// Begins draining, for all clones.
    pub fn begin(&self) {
        self.shared.on.set(true);
        self.wake();
    }

    /// Ends the connections that have rested, or been in the middle of a head, since before the pulse before this one.
    pub fn pulse(&self) {
        self.shared.pulses.set(self.shared.pulses.get() + 1);
        self.wake();
    }

    /// The connection begins to rest.
    pub fn rest(&self) {
        self.rested.set(self.shared.pulses.get());
    }

    /// Ready once draining has begun, or two pulses have come since the connection began to rest: with one, it may have
    /// rested for a moment only. To be polled from one task only.
    pub fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_shed(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll(cx)
    }

    /// The same without draining: memory is short, and the connection has taken its time.
    pub fn poll_shed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.pulses.get() >= self.rested.get() + 2 {
            return Poll::Ready(());
        }
        self.register(cx);
        Poll::Pending
    }

    fn wake(&self) {
        let waiting: Vec<Waker> = self
            .shared
            .waiting
            .borrow()
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect();
        for waker in waiting {
            waker.wake();
        }
    }

    /// Ready once draining has begun. To be polled from one task only.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_on() {
            return Poll::Ready(());
        }
        self.register(cx);
        Poll::Pending
    }

    fn register(&self, cx: &Context<'_>) {
        if self.place.get().is_none() {
            self.place.set(Some(
                self.shared.waiting.borrow_mut().insert(cx.waker().clone()),
            ));
        }
    }
}

impl Clone for Drain {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            place: Cell::new(None),
            rested: Cell::new(self.shared.pulses.get()),
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(place) = self.place.get() {
            self.shared.waiting.borrow_mut().try_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_has_rested_through_a_pulse_ends_with_the_next() {
        let (signal, mut cx) = (Drain::new(), Context::from_waker(Waker::noop()));
        let resting = signal.clone();
        resting.rest();
        signal.pulse();
        assert!(resting.poll_rest(&mut cx).is_pending());
        // It has carried a request meanwhile.
        resting.rest();
        signal.pulse();
        assert!(resting.poll_rest(&mut cx).is_pending());
        signal.pulse();
        assert!(resting.poll_rest(&mut cx).is_ready());
        assert!(resting.poll_shed(&mut cx).is_ready());
        assert!(resting.poll(&mut cx).is_pending(), "it is no drain");
        let late = signal.clone();
        assert!(late.poll_rest(&mut cx).is_pending());
        signal.begin();
        assert!(late.poll_rest(&mut cx).is_ready());
        assert!(late.poll_shed(&mut cx).is_pending(), "it drains only");
    }
}
