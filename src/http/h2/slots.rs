//! How many streams of a connection to an endpoint are in use, and who waits for one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

/// So many requests in a row that were given up while the endpoint said nothing at all show that it is gone. One alone may
/// be that of a client in a hurry.
const GIVEN_UP: u32 = 3;

/// Shared by the connection's handles, its driver and its streams.
pub(super) struct Slots {
    in_use: Cell<usize>,
    /// The most that we open, whatever the endpoint allows.
    pub(super) limit: usize,
    is_open: Cell<bool>,
    /// How often the endpoint was heard, whatever it said.
    heard: Cell<u64>,
    /// Streams that ended without an answer since then.
    given_up: Cell<u32>,
    waiting: RefCell<Vec<Waker>>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            in_use: Cell::new(0),
            limit,
            is_open: Cell::new(true),
            heard: Cell::new(0),
            given_up: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    pub(super) fn in_use(&self) -> usize {
        self.in_use.get()
    }

    /// Whether the connection is driven, and trusted.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Counts one more stream, until the slot is dropped.
    pub(super) fn take(self: &Rc<Self>) -> Rc<Slot> {
        self.in_use.set(self.in_use.get() + 1);
        Rc::new(Slot {
            heard: Cell::new(self.heard.get()),
            is_answered: Cell::new(false),
            slots: Rc::clone(self),
        })
    }

    /// The endpoint was heard so often by now.
    pub(super) fn hear(&self, reads: u64) {
        if self.heard.replace(reads) != reads {
            self.given_up.set(0);
        }
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

    /// The connection ended, or is to be used no more.
    pub(super) fn close(&self) {
        self.is_open.set(false);
        self.wake();
    }
}

/// One stream; held by both of its directions.
pub(super) struct Slot {
    slots: Rc<Slots>,
    /// How often the endpoint had been heard when this stream began, or last moved.
    heard: Cell<u64>,
    is_answered: Cell<bool>,
}

impl Slot {
    /// The final head of an answer came.
    pub(super) fn answered(&self) {
        self.is_answered.set(true);
    }

    /// Something moved on the stream.
    pub(super) fn moved(&self) {
        self.heard.set(self.slots.heard.get());
    }

    /// The stream waited in vain: if nothing was heard on the whole connection either, no other is opened on it. The
    /// endpoint may have gone without a word, and then each would wait as long.
    pub(super) fn doubt(&self) {
        if self.is_unheard() {
            self.slots.close();
        }
    }

    fn is_unheard(&self) -> bool {
        self.heard.get() == self.slots.heard.get()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.slots;
        slots.in_use.set(slots.in_use.get() - 1);
        if !self.is_answered.get() && self.is_unheard() {
            slots.given_up.set(slots.given_up.get() + 1);
            if slots.given_up.get() >= GIVEN_UP {
                slots.close();
            }
        }
        if slots.has_waiting() {
            slots.wake();
        }
    }
}
