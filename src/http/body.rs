//! How a body flows: from a [`Body`] to a [`Sink`], whichever protocol either side speaks, by a [`Pump`].
//!
//! Nothing is buffered whole. A source gives a piece only when the sink has room, a sink holds at most one piece
//! that its peer has not taken, and no buffer is held while both wait.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::buffers::Buffers;
use super::fields::Fields;
use super::h1;
use super::h2;
use super::head::Length;

/// A piece of a body, borrowed from the worker's scratch buffer where it was read or shared as HTTP/2 hands it out.
#[derive(Debug)]
pub enum Chunk<'a> {
    Borrowed(&'a [u8]),
    Shared(Bytes),
}

impl Chunk<'_> {
    /// The bytes, whoever owns them.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// The bytes to keep: copied only when they were borrowed.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }
}

/// What a body yields next.
#[derive(Debug)]
pub enum Frame<'a> {
    /// Never empty.
    Data(Chunk<'a>),
    /// The end, with trailers if there were any.
    End(Option<Box<Fields>>),
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The bytes do not follow the rules of the framing.
    #[error("the body is malformed: {0}")]
    Malformed(h1::body::DecodeError),
    /// The connection ended before the body did.
    #[error("the connection ended before the body")]
    Truncated,
    /// The peer gave the message up (RST_STREAM).
    #[error("the peer reset the stream")]
    Reset(::h2::Reason),
    /// The body is larger than the listener allows.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// More or fewer bytes than announced.
    #[error("the body is not as long as announced")]
    WrongLength,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Where a body comes from.
pub enum Body {
    Empty,
    Fixed(Bytes),
    H1(h1::Reader),
    H2(h2::Reader),
}

impl Body {
    /// The next piece, read into `scratch` where it comes from an HTTP/1 socket.
    pub fn poll_frame<'s>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &'s mut [u8],
    ) -> Poll<Result<Frame<'s>, BodyError>> {
        match self {
            Self::Empty => Poll::Ready(Ok(Frame::End(None))),
            Self::Fixed(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Ok(if bytes.is_empty() {
                    Frame::End(None)
                } else {
                    Frame::Data(Chunk::Shared(bytes))
                }))
            }
            Self::H1(reader) => reader.poll_frame(cx, scratch),
            Self::H2(reader) => reader.poll_frame(cx),
        }
    }

    /// Tells the source that the peer may send so many more bytes: they were passed on.
    pub fn passed_on(&mut self, bytes: usize) {
        if let Self::H2(reader) = self {
            reader.passed_on(bytes);
        }
    }

    /// How the end of this body is told, as far as it is known before reading it.
    pub fn length(&self) -> Length {
        match self {
            Self::Empty => Length::Empty,
            Self::Fixed(bytes) => Length::Exact(bytes.len() as u64),
            Self::H1(reader) => reader.length(),
            Self::H2(reader) => reader.length(),
        }
    }

    /// Whether it was read to its end.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Fixed(_) => false,
            Self::H1(reader) => reader.is_done(),
            Self::H2(reader) => reader.is_done(),
        }
    }
}

/// Where a body goes to.
pub enum Sink {
    /// Takes everything and sends nothing: there is no body on this side (HEAD, 204, a request without one).
    Nowhere,
    H1(h1::Writer),
    H2(h2::Writer),
}

impl Sink {
    /// Ready when another piece may be sent.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Nowhere => Poll::Ready(Ok(())),
            Self::H1(writer) => writer.poll_ready(cx),
            Self::H2(writer) => writer.poll_ready(cx),
        }
    }

    /// Takes the whole piece; what the peer does not take at once is kept, and `poll_ready` waits for it.
    pub fn send(&mut self, cx: &mut Context<'_>, chunk: Chunk<'_>) -> Result<(), BodyError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::H1(writer) => writer.send(cx, chunk.as_slice()),
            Self::H2(writer) => writer.send(chunk.into_bytes()),
        }
    }

    /// Marks the end of the body. Followed by `poll_flush` until it is ready.
    pub fn finish(&mut self, trailers: Option<Box<Fields>>) -> Result<(), BodyError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::H1(writer) => writer.finish(trailers),
            Self::H2(writer) => writer.finish(trailers),
        }
    }

    /// Hands everything to the operating system (to the connection's task in HTTP/2).
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Nowhere => Poll::Ready(Ok(())),
            Self::H1(writer) => writer.poll_flush(cx),
            Self::H2(writer) => writer.poll_flush(cx),
        }
    }

    /// After `finish`: ready once the end was handed on, which lets an HTTP/1 connection carry another message.
    pub fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::H1(writer) => writer.complete(cx),
            Self::Nowhere | Self::H2(_) => self.poll_flush(cx),
        }
    }

    /// Ready when the client no longer wants what is sent: it reset the stream, or closed its connection. Only for the
    /// sink of a response, once the request was read.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Nowhere => Poll::Pending,
            Self::H1(writer) => writer.poll_gone(cx),
            Self::H2(writer) => writer.poll_reset(cx).map(|_| ()),
        }
    }

    /// Ends the message as an error that the peer can see, never as a clean end.
    pub fn abort(&mut self) {
        match self {
            Self::Nowhere => {}
            Self::H1(writer) => writer.abort(),
            Self::H2(writer) => writer.abort(),
        }
    }
}

/// Which side of a pump failed.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    #[error("reading: {0}")]
    Source(#[source] BodyError),
    #[error("writing: {0}")]
    Sink(#[source] BodyError),
}

/// Moves one body from a source to a sink and counts it.
#[derive(Debug, Default)]
pub struct Pump {
    state: State,
    /// Bytes of body moved so far, framing not counted.
    pub bytes: u64,
    /// `Some`: more than so many bytes is an error of the source.
    pub limit: Option<u64>,
    /// What it waits for is the source, not the sink.
    pub is_starved: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Moving,
    Flushing,
    Done,
}

impl Pump {
    /// A pump that refuses more than `limit` bytes.
    pub fn limited(limit: Option<u64>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Whether the whole body and its end were handed on.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves what can be moved now. Ready once the end was handed on, or with the side that failed.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        sink: &mut Sink,
        buffers: &Buffers,
    ) -> Poll<Result<(), PumpError>> {
        self.is_starved = false;
        while self.state == State::Moving {
            ready!(sink.poll_ready(cx)).map_err(PumpError::Sink)?;
            let mut scratch = buffers.scratch();
            let frame = match body.poll_frame(cx, &mut scratch) {
                Poll::Ready(frame) => frame.map_err(PumpError::Source)?,
                Poll::Pending => {
                    drop(scratch);
                    // What was coalesced goes out before waiting: a server-sent event is not held back.
                    ready!(sink.poll_flush(cx)).map_err(PumpError::Sink)?;
                    self.is_starved = true;
                    return Poll::Pending;
                }
            };
            match frame {
                Frame::Data(chunk) => {
                    let length = chunk.as_slice().len();
                    self.bytes += length as u64;
                    if self.limit.is_some_and(|limit| self.bytes > limit) {
                        return Poll::Ready(Err(PumpError::Source(BodyError::TooLarge)));
                    }
                    sink.send(cx, chunk).map_err(PumpError::Sink)?;
                    body.passed_on(length);
                }
                Frame::End(trailers) => {
                    sink.finish(trailers).map_err(PumpError::Sink)?;
                    self.state = State::Flushing;
                }
            }
        }
        ready!(sink.poll_complete(cx)).map_err(PumpError::Sink)?;
        self.state = State::Done;
        Poll::Ready(Ok(()))
    }
}
