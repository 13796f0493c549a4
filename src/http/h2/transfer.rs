//! The body of one message on an HTTP/2 stream, read and written.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;

use super::fields;
use super::slots::Slot;
use crate::http::body::{BodyError, Chunk, Frame};
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

/// Writes a body onto a stream whose head was written.
pub struct Writer {
    /// `None` once the stream was given up.
    stream: Option<SendStream<Bytes>>,
    /// The last piece: it waits until it is known whether another follows, to carry END_STREAM itself if none does.
    last: Option<Bytes>,
    /// Bytes of the announced length that are still to come.
    left: Option<u64>,
    /// Something was handed to the library, which from then on says when there is room.
    is_started: bool,
    is_finished: bool,
    /// What the peer is told when the body does not come to its end.
    aborted_with: Reason,
    /// Bytes that the socket of the connection took, whichever stream they were of. Only towards clients, of whom a
    /// least rate is asked as well: an endpoint that reads one stream and not another must not seem to move.
    sent: Option<Rc<Cell<u64>>>,
    _slot: Option<Rc<Slot>>,
}

impl Writer {
    pub(super) fn new(
        stream: SendStream<Bytes>,
        length: Length,
        aborted_with: Reason,
        sent: Option<Rc<Cell<u64>>>,
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
            sent,
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
            sent: None,
            _slot: None,
        }
    }

    /// Bytes that the client's socket took so far, whichever stream they were of; 0 towards an endpoint.
    pub fn written(&self) -> u64 {
        self.sent.as_ref().map_or(0, |sent| sent.get())
    }

    fn stream(&mut self) -> Result<&mut SendStream<Bytes>, BodyError> {
        self.stream.as_mut().ok_or(BodyError::Reset(Reason::CANCEL))
    }

    /// Ready while the peer's windows and the send buffer have room.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let is_started = self.is_started;
        let stream = self.stream()?;
        if !is_started {
            // The first piece is taken in any case: most bodies are one, and need no accounting.
            return Poll::Ready(Ok(()));
        }
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        // No more than a byte: what is reserved is kept from the other streams of the connection.
        stream.reserve_capacity(1);
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => Poll::Ready(Ok(())),
            Some(Err(error)) => Poll::Ready(Err(body_error(error))),
            // The stream is closed for sending: by a reset, which says why.
            None => match stream.poll_reset(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(body_error(error))),
                Poll::Ready(Ok(reason)) => Poll::Ready(Err(BodyError::Reset(reason))),
                Poll::Pending => Poll::Ready(Err(BodyError::Reset(Reason::STREAM_CLOSED))),
            },
        }
    }

    /// Takes all of `data`.
    pub fn send(&mut self, data: Bytes) -> Result<(), BodyError> {
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(data.len() as u64)
                .ok_or(BodyError::WrongLength)?;
        }
        self.hand_on()?;
        self.last = Some(data);
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
        let last = self.last.take().unwrap_or_default();
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
