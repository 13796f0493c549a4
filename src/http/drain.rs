//! The signal that a worker's connections should finish what runs and take nothing new.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// One connection's view of the signal. Waiting costs a connection one registration in its life, not one a request.
pub struct Drain {
    shared: Rc<Shared>,
    place: Cell<Option<usize>>,
}

#[derive(Default)]
struct Shared {
    on: Cell<bool>,
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
        }
    }

    /// Whether draining has begun.
    pub fn is_on(&self) -> bool {
        self.shared.on.get()
    }

    /// Begins draining, for all clones.
    pub fn begin(&self) {
        self.shared.on.set(true);
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
        if self.place.get().is_none() {
            self.place.set(Some(
                self.shared.waiting.borrow_mut().insert(cx.waker().clone()),
            ));
        }
        Poll::Pending
    }
}

impl Clone for Drain {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            place: Cell::new(None),
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
