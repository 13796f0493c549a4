//! The body of one message on an HTTP/2 stream, read and written.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;

use super::fields;
use super::outbox::{MORSEL, Piece, Share};
use super::slots::Slot;
use crate::http::body::{BodyError, Chunk, Frame};
use crate::http::buffers::SCRATCH;
use crate::http::fields::Fields;
use crate::http::head::Length;

/// What the library says about a stream, as the reader or writer of its body sees it.
fn body_error(error: ::h2::Error) -> BodyError {
    match error.reason() {
        Some(reason) if error.is_reset() => BodyError::Reset(reason),
        Some(_) if error.is_go_away() => BodyError::Truncated,
        // What is neither is a use of a stream that has ended.
        _ => error
            .into_io()
            .map_or(BodyError::Reset(Reason::STREAM_CLOSED), BodyError::Io),
    }
}

/// Why a stream is closed for sending: a reset says it.
fn closed_by(stream: &mut SendStream<Piece>, cx: &mut Context<'_>) -> BodyError {
    match stream.poll_reset(cx) {
        Poll::Ready(Err(error)) => body_error(error),
        Poll::Ready(Ok(reason)) => BodyError::Reset(reason),
        Poll::Pending => BodyError::Reset(Reason::STREAM_CLOSED),
    }
}

/// Reads a body off a stream.
pub struct Reader {
    stream: RecvStream,
    length: Length,
    is_done: bool,
    /// Read and not yet passed on: the peer may not send as many bytes again.
    held: usize,
    /// Keeps the stream counted on a connection to an endpoint.
    _slot: Option<Rc<Slot>>,
}

impl Reader {
    pub(super) fn new(stream: RecvStream, length: Length, slot: Option<Rc<Slot>>) -> Self {
        Self {
            stream,
            length,
            is_done: false,
            held: 0,
            _slot: slot,
        }
    }

    /// How the end is told.
    pub fn length(&self) -> Length {
        self.length
    }

    /// Whether the end was read.
    pub fn is_done(&self) -> bool {
        self.is_done || self.stream.is_end_stream()
    }

    /// The next piece.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'static>, BodyError>> {
        if self.is_done {
            return Poll::Ready(Ok(Frame::End(None)));
        }
        while let Some(data) = ready!(self.stream.poll_data(cx)) {
            let data = data.map_err(body_error)?;
            // Empty frames are few: the library ends a connection that sends many.
            if !data.is_empty() {
                self.held += data.len();
                return Poll::Ready(Ok(Frame::Data(Chunk::Shared(data))));
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(body_error)?;
        self.is_done = true;
        let trailers = match trailers {
            Some(map) => fields::read_trailers(&map).map_err(BodyError::Malformed)?,
            None => None,
        };
        Poll::Ready(Ok(Frame::End(trailers)))
    }

    /// Lets the peer send so many bytes more.
    pub fn passed_on(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held);
        self.held -= bytes;
        // Fails only for more than was held.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }
}

impl Drop for Reader {
    /// The window of the connection is shared with other streams: nothing of it stays taken.
    fn drop(&mut self) {
        self.passed_on(self.held);
    }
}

/// A body that was announced with no more bytes than these is read without asking for windows first: most are.
const SMALL: u64 = 16 * 1024;

/// Writes a body onto a stream whose head was written.
pub struct Writer {
    /// `None` once the stream was given up.
    stream: Option<SendStream<Piece>>,
    /// The last piece: it waits until it is known whether another follows, to carry END_STREAM itself if none does.
    last: Option<Piece>,
    /// Bytes of the announced length that are still to come.
    left: Option<u64>,
    /// Something was handed to the library, which from then on says when there is room.
    is_started: bool,
    is_finished: bool,
    /// What the peer is told when the body does not come to its end.
    aborted_with: Reason,
    /// Its part in what the connection holds. Only towards clients: an endpoint is not bounded beyond its windows.
    share: Option<Share>,
    /// Bytes that the next piece should not exceed.
    room: usize,
    _slot: Option<Rc<Slot>>,
}

impl Writer {
    pub(super) fn new(
        stream: SendStream<Piece>,
        length: Length,
        aborted_with: Reason,
        share: Option<Share>,
        slot: Option<Rc<Slot>>,
    ) -> Self {
        let left = match length {
            Length::Exact(length) => Some(length),
            Length::Empty => Some(0),
            Length::Marked | Length::Close => None,
        };
        Self {
            stream: Some(stream),
            last: None,
            left,
            is_started: false,
            is_finished: false,
            aborted_with,
            share,
            room: SCRATCH,
            _slot: slot,
        }
    }

    /// For a stream that ended before its head was written.
    pub(super) fn closed() -> Self {
        Self {
            stream: None,
            last: None,
            left: None,
            is_started: false,
            is_finished: false,
            aborted_with: Reason::CANCEL,
            share: None,
            room: SCRATCH,
            _slot: None,
        }
    }

    /// Bytes of the body that were written to the client; 0 towards an endpoint.
    pub fn written(&self) -> u64 {
        self.share.as_ref().map_or(0, Share::written)
    }

    /// A number that changes when the client takes something, or may still come to take what waits for it; 0 towards an
    /// endpoint, of whom no least rate is asked: one that reads one stream and not another must not seem to move.
    pub fn progress(&self) -> u64 {
        self.share.as_ref().map_or(0, Share::progress)
    }

    fn stream(&mut self) -> Result<&mut SendStream<Piece>, BodyError> {
        self.stream.as_mut().ok_or(BodyError::Reset(Reason::CANCEL))
    }

    /// Bytes that the next piece should not exceed, once it is ready for one.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Ready while the peer's windows and the send buffers of the stream and its connection have room.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.room = SCRATCH;
        let is_full = self.share.as_ref().is_some_and(Share::is_full);
        if is_full && !self.is_empty() {
            self.hand_on()?;
            if let Some(share) = &self.share {
                share.wait(cx);
            }
            return Poll::Pending;
        }
        let (is_started, left) = (self.is_started, self.left);
        let stream = self.stream()?;
        if left == Some(0) {
            // Nothing but the end may follow, which needs no window.
            return Poll::Ready(Ok(()));
        }
        let is_small = left.is_some_and(|left| left <= SMALL);
        if !is_started && is_small && !is_full {
            return Poll::Ready(Ok(()));
        }
        if stream.capacity() == 0 {
            // No more than a byte: what is reserved is kept from the other streams of the connection.
            stream.reserve_capacity(1);
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(body_error(error))),
                Poll::Ready(None) => return Poll::Ready(Err(closed_by(stream, cx))),
                // The end of a body without bytes is told to a client without any window, too.
                Poll::Pending if !is_started && self.last.is_none() => self.room = MORSEL,
                Poll::Pending => return Poll::Pending,
            }
        }
        if is_full {
            self.room = MORSEL;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether nothing of this stream is held.
    fn is_empty(&self) -> bool {
        self.share.as_ref().is_none_or(Share::is_empty)
    }

    /// Takes all of `data`.
    pub fn send(&mut self, data: Bytes) -> Result<(), BodyError> {
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(data.len() as u64)
                .ok_or(BodyError::WrongLength)?;
        }
        self.hand_on()?;
        self.last = Some(match &self.share {
            Some(share) => share.put(data),
            None => Piece::uncounted(data),
        });
        Ok(())
    }

    /// Hands the held piece to the library; another may follow.
    fn hand_on(&mut self) -> Result<(), BodyError> {
        let Some(data) = self.last.take() else {
            return Ok(());
        };
        self.is_started = true;
        self.stream()?.send_data(data, false).map_err(body_error)
    }

    /// Marks the end.
    pub fn finish(&mut self, trailers: Option<Box<Fields>>) -> Result<(), BodyError> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(BodyError::WrongLength);
        }
        let trailers = trailers.and_then(|trailers| fields::write_trailers(&trailers));
        if trailers.is_some() {
            self.hand_on()?;
        }
        let last = self.last.take();
        let last = last.unwrap_or_else(|| Piece::uncounted(Bytes::new()));
        let stream = self.stream()?;
        match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(last, true),
        }
        .map_err(body_error)?;
        self.is_finished = true;
        Ok(())
    }

    /// Hands everything to the connection's task.
    pub fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        Poll::Ready(self.hand_on())
    }

    /// Ready when the peer gave the stream up, or its connection ended.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        match self.stream() {
            Err(error) => Poll::Ready(error),
            Ok(stream) => stream
                .poll_reset(cx)
                .map(|reset| reset.map_or_else(body_error, BodyError::Reset)),
        }
    }

    /// Ends the message by RST_STREAM, unless its end was sent.
    pub fn abort(&mut self) {
        self.last = None;
        if let Some(mut stream) = self.stream.take()
            && !self.is_finished
        {
            stream.send_reset(self.aborted_with);
        }
    }
}

impl Drop for Writer {
    /// A body that was not finished must not look as if it were.
    fn drop(&mut self) {
        self.abort();
    }
}
