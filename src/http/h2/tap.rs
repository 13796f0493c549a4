//! What stands between the `h2` library and the socket of one connection.
//!
//! It puts back what was read ahead, counts frames for the [`Meter`], and gathers writes: the library writes each
//! frame with a body by itself, so that a burst of answers would be a burst of system calls and TLS records. Here
//! they wait until the connection's task has nothing more to say, and go out by [`Tap::poll_send`] at once.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::End;
use super::meter::{Flood, Meter};
use super::walk::{Frame, Look, Walk};
use crate::clock::Instant;
use crate::clock::wheel::Wheel;
use crate::http::buffers::Buffers;
use crate::stream::Stream;

/// Gathered before the socket is asked to take some.
const GATHERED: usize = 64 * 1024;
/// Without TLS, writes from this size on go straight from where they lie. With TLS they are gathered too, since
/// each write becomes at least one record.
const STRAIGHT: usize = 8 * 1024;
/// The types of the frames that are looked at when they are written.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
/// What is told of them: a reason; the last stream, a reason, and the beginning of what the library says about it.
const LOOKS: &[Look] = &[(RST_STREAM, 4), (GOAWAY, 20)];
/// Read and thrown away while a connection closes.
const DISCARDED: usize = 256 * 1024;

/// Cheap to clone: the library holds one, the task that drives the connection another.
#[derive(Clone)]
pub(super) struct Tap(Rc<RefCell<Wire>>);

struct Wire {
    stream: Stream,
    /// Read before the connection was known to be HTTP/2, and how much of it was handed on.
    unread: Vec<u8>,
    handed_on: usize,
    /// Waits for the socket, and how much of it was written.
    unsent: Vec<u8>,
    written: usize,
    /// The socket did not take all that it was offered last.
    is_full: bool,
    /// Bytes that the socket took after it had been full.
    delayed: Rc<Cell<u64>>,
    meter: Meter,
    /// The frames that are written, and how many of them gave a stream up as malformed since that was asked last.
    written_frames: Walk,
    malformed: u32,
    /// The last stream whose request was taken from the library, and how many heads it has answered by itself since
    /// that was asked last.
    taken: u32,
    oversized: u32,
    /// Why this side has given the connection up, once it was said.
    farewell: Option<End>,
    /// How often the peer was heard.
    reads: u64,
    flood: Option<Flood>,
    /// Which header block is under way, and since when.
    block: Option<(u32, Instant)>,
    is_closing: bool,
    /// The own direction was closed already.
    is_shut: bool,
    discarded: usize,
    is_server: bool,
    buffers: Buffers,
    wheel: Wheel,
}

impl Tap {
    /// For a connection that a client opened, who may have so many streams at once; `unread` are its first bytes.
    pub(super) fn server(
        stream: Stream,
        unread: Vec<u8>,
        streams: u32,
        buffers: Buffers,
        wheel: Wheel,
    ) -> Self {
        let meter = Meter::of_client(wheel.now(), streams);
        Self::new(stream, unread, meter, true, buffers, wheel)
    }

    /// For a connection to an endpoint.
    pub(super) fn client(stream: Stream, buffers: Buffers, wheel: Wheel) -> Self {
        let meter = Meter::of_server(wheel.now());
        Self::new(stream, Vec::new(), meter, false, buffers, wheel)
    }

    fn new(
        stream: Stream,
        unread: Vec<u8>,
        meter: Meter,
        is_server: bool,
        buffers: Buffers,
        wheel: Wheel,
    ) -> Self {
        Self(Rc::new(RefCell::new(Wire {
            stream,
            unread,
            handed_on: 0,
            unsent: Vec::new(),
            written: 0,
            is_full: false,
            delayed: Rc::default(),
            meter,
            written_frames: Walk::new(0, LOOKS),
            malformed: 0,
            taken: 0,
            oversized: 0,
            farewell: None,
            reads: 0,
            flood: None,
            block: None,
            is_closing: false,
            is_shut: false,
            discarded: 0,
            is_server,
            buffers,
            wheel,
        })))
    }

    /// What the peer floods with. From then on nothing more is read.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.0.borrow().flood
    }

    /// What the peer sent last that moved nothing.
    pub(super) fn suspect(&self) -> Flood {
        self.0.borrow().meter.suspect()
    }

    /// How many requests the library has refused as malformed since this was asked last: it resets their streams with
    /// PROTOCOL_ERROR and says so nowhere else. We ourselves reset with other reasons.
    pub(super) fn take_malformed(&self) -> u32 {
        std::mem::take(&mut self.0.borrow_mut().malformed)
    }

    /// The request of this stream was taken from the library. They come in the order of their streams.
    pub(super) fn took(&self, stream: u32) {
        self.0.borrow_mut().taken = stream;
    }

    /// How many heads were so large that the library has answered them by itself since this was asked last: with 431,
    /// and without a word to us.
    pub(super) fn take_oversized(&self) -> u32 {
        std::mem::take(&mut self.0.borrow_mut().oversized)
    }

    /// Why the connection was given up, as the last GOAWAY has told the peer. The library has bounds of its own on some
    /// floods, and says so to nobody else until the connection has come to its end.
    pub(super) fn farewell(&self) -> Option<End> {
        self.0.borrow().farewell
    }

    /// Since when a header block is under way, whose end the peer owes.
    pub(super) fn in_block_since(&self) -> Option<Instant> {
        self.0.borrow().block.map(|(_, since)| since)
    }

    /// Whether the library has begun to close the connection.
    pub(super) fn is_closing(&self) -> bool {
        self.0.borrow().is_closing
    }

    /// Whether the peer's SETTINGS were received.
    pub(super) fn has_settings(&self) -> bool {
        self.0.borrow().meter.has_settings()
    }

    /// How often something was read from the peer.
    pub(super) fn reads(&self) -> u64 {
        self.0.borrow().reads
    }

    /// How many bytes the socket took after it had been full, so that others had to wait for them; goes on counting.
    pub(super) fn delayed(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.0.borrow().delayed)
    }

    /// Ready once all that was gathered is with the operating system. To be polled after the library was.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_unsent(cx))?;
        Pin::new(&mut wire.stream).poll_flush(cx)
    }
}

impl Wire {
    fn has_unsent(&self) -> bool {
        self.written < self.unsent.len()
    }

    /// Ready once nothing that was gathered is left.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_unsent() {
            let unsent = &self.unsent[self.written..];
            let polled = Pin::new(&mut self.stream).poll_write(cx, unsent);
            self.is_full |= polled.is_pending();
            let count = ready!(polled)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent(count);
            self.is_full &= self.has_unsent();
        }
        Poll::Ready(Ok(()))
    }

    fn count(&mut self, count: usize) {
        self.meter.wrote(count);
        if self.is_full {
            self.delayed.set(self.delayed.get() + count as u64);
        }
    }

    /// Strikes out what the socket took, and gives the memory back when that was all.
    fn sent(&mut self, count: usize) {
        self.count(count);
        self.written += count;
        if !self.has_unsent() {
            self.written = 0;
            self.buffers.give(std::mem::take(&mut self.unsent));
        }
    }

    fn gather(&mut self, slices: &[IoSlice<'_>]) {
        if self.unsent.capacity() == 0 {
            self.unsent = self.buffers.take();
        }
        for slice in slices {
            self.unsent.extend_from_slice(slice);
        }
    }

    /// Writes what was gathered and the start of `slices` with one call. Gives how much of the latter was taken.
    fn poll_straight(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let before = self.unsent.len() - self.written;
            let mut all = [
                IoSlice::new(&self.unsent[self.written..]),
                IoSlice::new(&[]),
                IoSlice::new(&[]),
            ];
            for (place, slice) in all[1..].iter_mut().zip(slices) {
                *place = IoSlice::new(slice);
            }
            let all = if before == 0 { &all[1..] } else { &all[..] };
            let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, all);
            self.is_full |= polled.is_pending();
            let count = ready!(polled)?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            self.sent(count.min(before));
            if count > before {
                self.count(count - before);
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                self.is_full &= count - before < offered;
                return Poll::Ready(Ok(count - before));
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.unsent.len() - self.written >= GATHERED {
            ready!(self.poll_unsent(cx))?;
        }
        let taken = if length >= STRAIGHT && !self.stream.is_tls() {
            ready!(self.poll_straight(cx, slices))?
        } else {
            self.gather(slices);
            length
        };
        if self.is_server {
            self.look_at(slices, taken);
        }
        Poll::Ready(Ok(taken))
    }

    /// Looks through the frames in the first `length` bytes of what the library wrote.
    fn look_at(&mut self, slices: &[IoSlice<'_>], mut length: usize) {
        for slice in slices {
            let mut bytes = &slice[..slice.len().min(length)];
            length -= bytes.len();
            while let Some(frame) = self.written_frames.next(&mut bytes) {
                match frame.kind {
                    RST_STREAM => self.reset(Reason::from(frame.number(0))),
                    GOAWAY => self.part(&frame),
                    // Nobody else can have answered what was not taken yet.
                    HEADERS if frame.stream > self.taken => {
                        self.oversized += 1;
                        self.meter.oversized();
                    }
                    HEADERS => self.meter.answered(),
                    _ => {}
                }
            }
        }
        if self.meter.is_overdrawn() && self.flood.is_none() {
            self.flood = self.meter.verdict(self.wheel.now());
        }
    }

    /// Takes note of a farewell. One without an error ends nothing yet.
    fn part(&mut self, frame: &Frame) {
        let debug = frame.payload().get(8..).unwrap_or_default();
        self.farewell = match Reason::from(frame.number(4)) {
            Reason::NO_ERROR => return,
            Reason::ENHANCE_YOUR_CALM => {
                let flood = Flood::told(debug);
                Some(End::Flood(flood.unwrap_or_else(|| self.meter.suspect())))
            }
            _ => Some(End::Broken),
        };
    }

    /// Takes note of a stream that is reset. We ourselves do that for other reasons than these.
    fn reset(&mut self, reason: Reason) {
        match reason {
            Reason::PROTOCOL_ERROR => {
                self.malformed += 1;
                self.meter.provoked();
            }
            Reason::FLOW_CONTROL_ERROR | Reason::STREAM_CLOSED | Reason::FRAME_SIZE_ERROR => {
                self.meter.provoked();
            }
            Reason::REFUSED_STREAM => self.meter.refused(),
            _ => {}
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flood.is_some() {
            // The task that polls looks at the verdict next and ends the connection.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        } else {
            let rest = &self.unread[self.handed_on..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            self.handed_on += count;
            if self.handed_on == self.unread.len() {
                self.buffers.give(std::mem::take(&mut self.unread));
            }
        }
        // The end is no word.
        self.reads += u64::from(buffer.filled().len() > before);
        self.meter.read(&buffer.filled()[before..]);
        self.block = if self.meter.in_block() {
            let this = self.meter.blocks();
            let known = self.block.filter(|(block, _)| *block == this);
            Some(known.unwrap_or_else(|| (this, self.wheel.now())))
        } else {
            None
        };
        if self.meter.is_overdrawn() {
            self.flood = self.meter.verdict(self.wheel.now());
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the own direction; a server then listens until the client closes too, so that what was sent last
    /// (GOAWAY says which requests may be sent again) is not lost to a reset. The caller bounds the time.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_closing = true;
        if !self.is_shut {
            ready!(self.poll_unsent(cx))?;
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        while self.is_server && self.discarded < DISCARDED {
            let mut scratch = self.buffers.scratch();
            match ready!(self.stream.poll_read_slice(cx, &mut scratch)) {
                Ok(0) | Err(_) => break,
                Ok(count) => self.discarded += count,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Flushes nothing: the library flushes after every frame, [`Tap::poll_send`] once after all of them.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_shutdown(cx)
    }
}
