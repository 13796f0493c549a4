//! How many streams of a connection to an endpoint are in use, and who waits for one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

/// Shared by the connection's handles, its driver and its streams.
pub(super) struct Slots {
    in_use: Cell<usize>,
    /// The most that we open, whatever the endpoint allows.
    pub(super) limit: usize,
    is_open: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            in_use: Cell::new(0),
            limit,
            is_open: Cell::new(true),
            waiting: RefCell::default(),
        })
    }

    pub(super) fn in_use(&self) -> usize {
        self.in_use.get()
    }

    /// Whether the connection is driven.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Counts one more stream, until the slot is dropped.
    pub(super) fn take(self: &Rc<Self>) -> Rc<Slot> {
        self.in_use.set(self.in_use.get() + 1);
        Rc::new(Slot(Rc::clone(self)))
    }

    /// Wakes the task when a stream ended or the connection changed.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// All are woken, since one that was woken may have been dropped; those that find no room wait again.
    pub(super) fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }

    /// The connection ended.
    pub(super) fn close(&self) {
        self.is_open.set(false);
        self.wake();
    }
}

/// One stream; held by both of its directions.
pub(super) struct Slot(Rc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.0;
        slots.in_use.set(slots.in_use.get() - 1);
        if slots.has_waiting() {
            slots.wake();
        }
    }
}
