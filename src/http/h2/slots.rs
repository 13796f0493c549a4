//! How many streams of a connection to an endpoint are in use, whether it takes more, and who waits for its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::clock::Instant;
use crate::clock::wheel::Wheel;

/// So many requests in a row that were given up while the endpoint said nothing at all show that it is gone. One alone may
/// be that of a client in a hurry.
const GIVEN_UP: u32 = 3;
/// What was given up sooner shows nothing: a browser that leaves a page drops all its requests at once, and an endpoint
/// that lives may need a round trip for its first word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shared by the connection's handles, its driver and its streams.
pub(super) struct Slots {
    in_use: Cell<usize>,
    /// The most that we open, whatever the endpoint allows.
    pub(super) limit: usize,
    is_open: Cell<bool>,
    /// How often the endpoint was heard, whatever it said.
    heard: Cell<u64>,
    /// Streams that ended without an answer since then, after [`PATIENCE`].
    given_up: Cell<u32>,
    waiting: RefCell<Vec<Waker>>,
    wheel: Wheel,
}

impl Slots {
    pub(super) fn new(limit: usize, wheel: Wheel) -> Rc<Self> {
        Rc::new(Self {
            in_use: Cell::new(0),
            limit,
            is_open: Cell::new(true),
            heard: Cell::new(0),
            given_up: Cell::new(0),
            waiting: RefCell::default(),
            wheel,
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
            since: Cell::new(self.wheel.recent()),
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

    /// Wakes the task when the connection is closed.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// The connection ended, or is to be used no more.
    pub(super) fn close(&self) {
        self.is_open.set(false);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

/// One stream; held by both of its directions.
pub(super) struct Slot {
    slots: Rc<Slots>,
    /// How often the endpoint had been heard when this stream began, or last moved.
    heard: Cell<u64>,
    /// When that was, as far as the time was known.
    since: Cell<Instant>,
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
        self.since.set(self.slots.wheel.recent());
    }

    /// The stream waited in vain: if nothing was heard on the whole connection either, no other is opened on it. The
    /// endpoint may have gone without a word, and then each would wait as long.
    pub(super) fn doubt(&self) {
        if self.is_unheard() {
            self.slots.close();
        }
    }

    /// Whether nothing was heard on the whole connection since this stream began, or last moved.
    pub(super) fn is_unheard(&self) -> bool {
        self.heard.get() == self.slots.heard.get()
    }

    /// Whether it was given up after it had waited for long, with nothing heard. Looks at the clock only then.
    fn was_patient(&self) -> bool {
        !self.is_answered.get()
            && self.is_unheard()
            && self.slots.wheel.now().since(self.since.get()) >= PATIENCE
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let slots = &self.slots;
        slots.in_use.set(slots.in_use.get() - 1);
        if self.was_patient() {
            slots.given_up.set(slots.given_up.get() + 1);
            if slots.given_up.get() >= GIVEN_UP {
                slots.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    /// Begins so many streams at once, and gives them up when so much time has passed.
    fn give_up(slots: &Rc<Slots>, count: usize, after: Duration) {
        let begun = slots.wheel.now();
        let all: Vec<_> = (0..count).map(|_| slots.take()).collect();
        while slots.wheel.now().since(begun) < after {
            std::hint::spin_loop();
        }
        drop(all);
    }

    #[test]
    fn streams_that_are_given_up_at_once_leave_the_connection_open() {
        let slots = Slots::new(100, Wheel::new(Clock::system()));
        give_up(&slots, 10, Duration::ZERO);
        assert!(slots.is_open() && slots.in_use() == 0);
    }

    #[test]
    fn streams_that_waited_long_with_nothing_heard_close_it() {
        // A second of it is over in a microsecond.
        let fast = || Slots::new(100, Wheel::new(Clock::scaled(1_000_000)));
        let slots = fast();
        give_up(&slots, 2, PATIENCE);
        assert!(slots.is_open());
        give_up(&slots, 1, PATIENCE);
        assert!(!slots.is_open());

        let slots = fast();
        for reads in 1..5 {
            give_up(&slots, 2, PATIENCE);
            slots.hear(reads);
        }
        assert!(slots.is_open(), "the endpoint was heard in between");
        let moving = slots.take();
        slots.hear(5);
        let answered = slots.take();
        answered.answered();
        drop((moving, answered));
        give_up(&slots, 2, PATIENCE);
        assert!(slots.is_open(), "one was heard, one answered");
    }
}
