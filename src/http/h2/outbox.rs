//! What waits to be sent on one connection, over all its streams, and how far each of them has come.
//!
//! The library bounds what waits for one stream. A client that opens as many as it may and takes nothing would make us
//! hold that much for each; so all of them together have an [`ALLOWANCE`]. Whoever finds it used up waits, and with it
//! its endpoint, until its own bytes are gone or half of the allowance is free. A stream that holds nothing is never made
//! to wait for others: it may take a [`MORSEL`] whatever they hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Buf, Bytes};
use slab::Slab;

use super::FRAME;

/// Bytes of answers that one connection makes us hold before its streams wait. As much as a client may make us hold of
/// its requests, and many times what the socket takes at once: the connection never waits for its endpoints because of
/// it. Not a key: whoever needs another bound wants fewer streams or connections, which are keys.
pub(super) const ALLOWANCE: usize = 1024 * 1024;
/// What a stream that holds nothing is given beyond the allowance, and before it has any window: enough for most error
/// pages and single messages, and little enough for ten thousand streams.
pub(super) const MORSEL: usize = 4 * 1024;
/// What a piece costs beside its bytes, in the library's queue: an endpoint that sends byte by byte must not win a
/// hundredfold of the allowance.
const OVERHEAD: usize = 256;

/// The outbox of one connection. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Outbox(Rc<Shared>);

struct Shared {
    held: Cell<usize>,
    streams: RefCell<Slab<Stream>>,
    /// How many streams wait for room.
    waiting: Cell<usize>,
    /// Bytes that the connection's socket took after it had been full; goes on counting.
    delayed: Rc<Cell<u64>>,
}

#[derive(Default)]
struct Stream {
    held: usize,
    /// Bytes that the library has written, and how many of the connection had been delayed when it wrote the last.
    taken: u64,
    since: u64,
    waker: Option<Waker>,
    /// Nobody will add to it.
    is_left: bool,
}

impl Outbox {
    /// Of a connection whose socket took so many bytes after it had been full.
    pub(super) fn new(delayed: Rc<Cell<u64>>) -> Self {
        Self(Rc::new(Shared {
            held: Cell::new(0),
            streams: RefCell::default(),
            waiting: Cell::new(0),
            delayed,
        }))
    }

    /// For the answer on one more stream.
    pub(super) fn share(&self) -> Share {
        let stream = Stream {
            since: self.0.delayed.get(),
            ..Stream::default()
        };
        Share {
            key: self.0.streams.borrow_mut().insert(stream),
            of: Rc::clone(&self.0),
        }
    }
}

/// What one stream has in the outbox.
pub(super) struct Share {
    of: Rc<Shared>,
    key: usize,
}

impl Share {
    /// Notes these bytes as held, until the piece is dropped.
    pub(super) fn put(&self, bytes: Bytes) -> Piece {
        let charge = bytes.len() + OVERHEAD;
        self.of.held.set(self.of.held.get() + charge);
        self.of.streams.borrow_mut()[self.key].held += charge;
        let hold = Hold {
            of: Rc::clone(&self.of),
            key: self.key,
            charge,
        };
        Piece {
            bytes,
            hold: Some(hold),
        }
    }

    /// Whether the connection holds all that it may.
    pub(super) fn is_full(&self) -> bool {
        self.of.held.get() >= ALLOWANCE
    }

    /// Whether this stream holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.of.streams.borrow()[self.key].held == 0
    }

    /// Wakes the task when this stream holds nothing any more, or much was freed. Only while it holds something.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut streams = self.of.streams.borrow_mut();
        let kept = streams[self.key].waker.replace(cx.waker().clone());
        if kept.is_none() {
            self.of.waiting.set(self.of.waiting.get() + 1);
        }
    }

    /// Bytes of it that the library has written.
    pub(super) fn written(&self) -> u64 {
        self.of.streams.borrow()[self.key].taken
    }

    /// A number that changes when the stream comes forward: with what was written of it, and while the client is slow to
    /// take what others have, for as long as it may be their turn, with that. When they have had it, or the client takes
    /// all at once, it is the windows of this stream that are closed, which no other opens.
    pub(super) fn progress(&self) -> u64 {
        let streams = self.of.streams.borrow();
        let stream = &streams[self.key];
        if stream.held == 0 {
            return stream.taken;
        }
        // The library writes a frame of each stream that can send in turn, and the connection gathers a few.
        let turns = (streams.len() as u64 + 8) * u64::from(FRAME);
        stream.taken + (self.of.delayed.get() - stream.since).min(turns)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut streams = self.of.streams.borrow_mut();
        let stream = &mut streams[self.key];
        stream.is_left = true;
        if stream.waker.take().is_some() {
            self.of.waiting.set(self.of.waiting.get() - 1);
        }
        if stream.held == 0 {
            streams.remove(self.key);
        }
    }
}

/// Bytes that wait for their turn on a connection.
pub(super) struct Piece {
    bytes: Bytes,
    hold: Option<Hold>,
}

impl Piece {
    /// Bytes that nobody counts.
    pub(super) fn uncounted(bytes: Bytes) -> Self {
        Self { bytes, hold: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(hold) = &self.hold {
            hold.written(count);
        }
    }
}

/// The memory of a piece: all of it is held as long as any of it is.
struct Hold {
    of: Rc<Shared>,
    key: usize,
    charge: usize,
}

impl Hold {
    fn written(&self, count: usize) {
        let stream = &mut self.of.streams.borrow_mut()[self.key];
        stream.taken += count as u64;
        stream.since = self.of.delayed.get();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let before = self.of.held.get();
        let held = before - self.charge;
        self.of.held.set(held);
        let mut streams = self.of.streams.borrow_mut();
        let stream = &mut streams[self.key];
        stream.held -= self.charge;
        let mut woken = None;
        if stream.held == 0 {
            woken = stream.waker.take();
            if stream.is_left {
                streams.remove(self.key);
            }
        }
        self.of
            .waiting
            .set(self.of.waiting.get() - usize::from(woken.is_some()));
        let mut others = Vec::new();
        if held < ALLOWANCE / 2 && self.of.waiting.get() > 0 {
            self.of.waiting.set(0);
            others.extend(streams.iter_mut().filter_map(|(_, one)| one.waker.take()));
        }
        drop(streams);
        for waker in woken.into_iter().chain(others) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Woken {
        fn wait(self: &Arc<Self>, share: &Share) {
            share.wait(&Context::from_waker(&Waker::from(Arc::clone(self))));
        }

        fn times(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn outbox() -> Outbox {
        Outbox::new(Rc::default())
    }

    fn piece(share: &Share, length: usize) -> Piece {
        share.put(vec![0; length].into())
    }

    #[test]
    fn it_is_full_for_all_and_a_stream_that_holds_nothing_sees_that_it_does() {
        let outbox = outbox();
        let (one, other) = (outbox.share(), outbox.share());
        let held: Vec<_> = (0..16).map(|_| piece(&one, 64 * 1024)).collect();
        assert!(one.is_full() && other.is_full());
        assert!(!one.is_empty() && other.is_empty());
        drop(held);
        assert!(!one.is_full() && one.is_empty());
    }

    #[test]
    fn who_waits_is_woken_once_half_is_free_or_nothing_of_its_own_is_left() {
        let outbox = outbox();
        let (one, other) = (outbox.share(), outbox.share());
        let mut large: Vec<_> = (0..16).map(|_| piece(&one, 64 * 1024)).collect();
        let small = piece(&other, 10);
        let woken = Arc::new(Woken::default());
        woken.wait(&other);
        woken.wait(&other);
        assert_eq!(woken.times(), 0);
        drop(small);
        assert_eq!(woken.times(), 1, "nothing of its own is left");
        let small = piece(&other, 10);
        woken.wait(&other);
        large.truncate(9);
        assert_eq!(woken.times(), 1);
        large.truncate(7);
        assert_eq!(woken.times(), 2, "half is free");
        drop((small, large, one, other));
        assert_eq!(woken.times(), 2);
        assert!(outbox.0.streams.borrow().is_empty());
    }

    #[test]
    fn pieces_of_one_byte_do_not_win_a_hundredfold() {
        let outbox = outbox();
        let share = outbox.share();
        let mut held = Vec::new();
        while !share.is_full() {
            held.push(piece(&share, 1));
        }
        assert!(held.len() < 5000, "{}", held.len());
    }

    #[test]
    fn a_stream_comes_forward_by_its_own_bytes_and_for_a_while_by_those_of_others() {
        let delayed = Rc::new(Cell::new(0));
        let outbox = Outbox::new(Rc::clone(&delayed));
        let share = outbox.share();
        delayed.set(100);
        assert_eq!(share.progress(), 0, "it has nothing to send");
        let mut own = piece(&share, 1000);
        let begun = share.progress();
        delayed.set(200);
        assert_ne!(share.progress(), begun, "its turn may come");
        delayed.set(100_000_000);
        let late = share.progress();
        delayed.set(200_000_000);
        assert_eq!(share.progress(), late, "all others have had theirs");
        own.advance(1);
        let moved = share.progress();
        assert_ne!(moved, late);
        delayed.set(200_000_001);
        assert_ne!(share.progress(), moved);
    }

    proptest! {
        /// Whatever is held and dropped in whatever order: the sums are those of what is held.
        #[test]
        fn what_is_held_is_what_was_put_and_not_dropped(
            steps in prop::collection::vec((0..4_usize, 0..70_000_usize, any::<bool>()), 0..100),
        ) {
            let outbox = outbox();
            let mut shares: Vec<_> = (0..4).map(|_| Some(outbox.share())).collect();
            let mut held = Vec::new();
            for (which, length, is_put) in steps {
                if is_put {
                    if let Some(share) = &shares[which] {
                        held.push(piece(share, length));
                    }
                } else if length % 5 == 0 {
                    shares[which] = None;
                } else if !held.is_empty() {
                    held.swap_remove(length % held.len());
                }
                let sum: usize = held.iter().map(|piece| piece.bytes.len() + OVERHEAD).sum();
                prop_assert_eq!(outbox.0.held.get(), sum);
            }
            drop(held);
            let left = shares.iter().flatten().count();
            prop_assert_eq!(outbox.0.streams.borrow().len(), left);
            prop_assert_eq!(outbox.0.held.get(), 0);
        }
    }
}
