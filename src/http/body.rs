//! How a body flows: from a [`Body`] to a [`Sink`], whichever protocol either side speaks, by a [`Pump`].
//!
//! Nothing is buffered whole. A source gives a piece only when the sink has room, a sink holds at most one piece
//! that its peer has not taken, and no buffer is held while both wait.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::buffers::Buffers;
use super::fields::{Fields, Names, is_read_as};
use super::gathered::Gathered;
use super::h1;
use super::h2;
use super::head::Length;
use super::kept::Kept;
use super::pipe::Pipe;

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
    /// Any of the others with what was read of it, so that it can be sent again.
    Kept(Box<Kept>),
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
            Self::Kept(kept) => {
                let polled = kept.poll_frame(cx, scratch);
                if let Some(source) = kept.released() {
                    *self = source;
                }
                polled
            }
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
            Self::Kept(kept) => kept.length(),
        }
    }

    /// Whether it was read to its end, so that its peer has nothing more to say.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Fixed(_) => false,
            Self::H1(reader) => reader.is_done(),
            Self::H2(reader) => reader.is_done(),
            Self::Kept(kept) => kept.is_done(),
        }
    }
}

/// Where a body goes to.
pub enum Sink {
    /// Takes everything and sends nothing: there is no body on this side (HEAD, 204, a request without one).
    Nowhere,
    /// Keeps it in memory.
    Gathered(Box<Gathered>),
    H1(h1::Writer),
    H2(h2::Writer),
}

impl Sink {
    /// Ready when another piece may be sent.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Nowhere => Poll::Ready(Ok(())),
            Self::Gathered(gathered) => Poll::Ready(gathered.ready()),
            Self::H1(writer) => writer.poll_ready(cx),
            Self::H2(writer) => writer.poll_ready(cx),
        }
    }

    /// Bytes that the next piece should not exceed, once it is ready for one: what is taken beyond them is held all the
    /// same. `None`: as many as there are.
    fn room(&self) -> Option<usize> {
        match self {
            Self::Nowhere | Self::Gathered(_) | Self::H1(_) => None,
            Self::H2(writer) => Some(writer.room()),
        }
    }

    /// Takes the whole piece; what the peer does not take at once is kept, and `poll_ready` waits for it.
    pub fn send(&mut self, cx: &mut Context<'_>, chunk: Chunk<'_>) -> Result<(), BodyError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Gathered(gathered) => {
                gathered.push(&chunk);
                Ok(())
            }
            Self::H1(writer) => writer.send(cx, chunk.as_slice()),
            Self::H2(writer) => writer.send(chunk.into_bytes()),
        }
    }

    /// Marks the end of the body. Followed by `poll_flush` until it is ready.
    pub fn finish(&mut self, trailers: Option<Box<Fields>>) -> Result<(), BodyError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Gathered(gathered) => {
                gathered.finish(trailers);
                Ok(())
            }
            Self::H1(writer) => writer.finish(trailers),
            Self::H2(writer) => writer.finish(trailers),
        }
    }

    /// Hands everything to the operating system (to the connection's task in HTTP/2).
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::Nowhere | Self::Gathered(_) => Poll::Ready(Ok(())),
            Self::H1(writer) => writer.poll_flush(cx),
            Self::H2(writer) => writer.poll_flush(cx),
        }
    }

    /// After `finish`: ready once the end was handed on, which lets an HTTP/1 connection carry another message.
    pub fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match self {
            Self::H1(writer) => writer.complete(cx),
            Self::Nowhere | Self::Gathered(_) | Self::H2(_) => self.poll_flush(cx),
        }
    }

    /// Ready when the client no longer wants what is sent: it reset the stream, or closed its connection. Only for the
    /// sink of a response, once the request was read.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Nowhere | Self::Gathered(_) => Poll::Pending,
            Self::H1(writer) => writer.poll_gone(cx),
            Self::H2(writer) => writer.poll_reset(cx).map(|_| ()),
        }
    }

    /// Bytes that the peer took so far: of HTTP/1 its socket, of HTTP/2 those of the body that were written of its
    /// stream; of an HTTP/2 endpoint none are told.
    pub fn written(&self) -> u64 {
        match self {
            Self::Nowhere | Self::Gathered(_) => 0,
            Self::H1(writer) => writer.connection().sent.get(),
            Self::H2(writer) => writer.written(),
        }
    }

    /// A number that changes when the peer takes something: a slow reader moves something too. A stream of HTTP/2 also
    /// comes forward while others of its connection have their turn before it.
    pub fn progress(&self) -> u64 {
        match self {
            Self::Nowhere | Self::Gathered(_) | Self::H1(_) => self.written(),
            Self::H2(writer) => writer.progress(),
        }
    }

    /// Ends the message as an error that the peer can see, never as a clean end.
    pub fn abort(&mut self) {
        match self {
            Self::Nowhere | Self::Gathered(_) => {}
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

/// What is left of a body from which on it pays to move it through a pipe.
const SPLICED: u64 = 64 * 1024;
/// Bytes that one exchange may move before others have their turn.
const TURN: u64 = 1024 * 1024;

/// Moves one body from a source to a sink and counts it.
#[derive(Default)]
pub struct Pump {
    state: State,
    /// Holds bytes that the sink has not taken yet. Given back while the source is waited for.
    pipe: Option<Pipe>,
    /// Bytes of body moved so far, framing not counted.
    pub bytes: u64,
    /// `Some`: more than so many bytes is an error of the source.
    pub limit: Option<u64>,
    /// Trailers that are left out: those that are known, and others by what they could be read as.
    pub without: Names,
    pub reserved: Vec<Box<[u8]>>,
    /// What it waits for is the source, not the sink.
    pub is_starved: bool,
    /// `Some`: no more than so many bytes may have been moved for now.
    pub allowance: Option<u64>,
    /// What it waits for is its allowance.
    pub is_held: bool,
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

    /// The same pump before it moved anything.
    pub fn anew(&self) -> Self {
        Self {
            limit: self.limit,
            without: self.without,
            reserved: self.reserved.clone(),
            ..Self::default()
        }
    }

    /// Whether nothing was moved yet, not even the end of an empty body.
    pub fn is_untouched(&self) -> bool {
        self.state == State::Moving && self.bytes == 0 && self.pipe.is_none()
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
        self.is_held = false;
        let turn = self.bytes + TURN;
        while self.state == State::Moving {
            if self.bytes >= turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let room = match self.allowance {
                None => usize::MAX,
                Some(allowed) if self.bytes >= allowed => {
                    self.is_held = true;
                    ready!(sink.poll_flush(cx)).map_err(PumpError::Sink)?;
                    return Poll::Pending;
                }
                Some(allowed) => usize::try_from(allowed - self.bytes).unwrap_or(usize::MAX),
            };
            // Within the kernel nobody sees how much is moved.
            if room == usize::MAX && ready!(self.splice(cx, body, sink, buffers))? {
                continue;
            }
            ready!(sink.poll_ready(cx)).map_err(PumpError::Sink)?;
            let mut scratch = buffers.scratch();
            let room = room
                .min(scratch.len())
                .min(sink.room().unwrap_or(usize::MAX));
            let is_bounded = self.allowance.is_some() || sink.room().is_some();
            let polled = match &mut *body {
                // It would give all of it at once.
                Body::Fixed(bytes) if is_bounded && bytes.len() > room => {
                    let piece = Chunk::Shared(bytes.split_to(room));
                    Poll::Ready(Ok(Frame::Data(piece)))
                }
                _ => body.poll_frame(cx, &mut scratch[..room]),
            };
            let frame = match polled {
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
                Frame::End(mut trailers) => {
                    if let Some(fields) = &mut trailers {
                        self.cleanse(fields);
                    }
                    sink.finish(trailers).map_err(PumpError::Sink)?;
                    self.state = State::Flushing;
                }
            }
        }
        ready!(sink.poll_complete(cx)).map_err(PumpError::Sink)?;
        self.state = State::Done;
        Poll::Ready(Ok(()))
    }

    /// Takes out the trailers that are left out.
    fn cleanse(&self, trailers: &mut Fields) {
        if trailers.present().meets(self.without) {
            trailers.remove_if(|name, _, _| self.without.contains(name));
        }
        if !self.reserved.is_empty() {
            let is_reserved = |spelt: &[u8]| self.reserved.iter().any(|one| is_read_as(spelt, one));
            trailers.remove_if(|_, spelt, _| is_reserved(spelt));
        }
    }

    /// Moves a piece of a large body from socket to socket within the kernel. False: it has to be copied.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        sink: &mut Sink,
        buffers: &Buffers,
    ) -> Poll<Result<bool, PumpError>> {
        let (Body::H1(reader), Sink::H1(writer)) = (body, sink) else {
            return Poll::Ready(Ok(false));
        };
        if let Some(pipe) = &mut self.pipe
            && pipe.held() > 0
        {
            self.bytes += ready!(writer.poll_drain(cx, pipe)).map_err(PumpError::Sink)?;
            return Poll::Ready(Ok(true));
        }
        if reader.run() < SPLICED || !writer.can_drain() {
            self.pipe = None;
            return Poll::Ready(Ok(false));
        }
        if self.pipe.is_none() {
            self.pipe = buffers.pipe();
        }
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(false));
        };
        match reader.poll_fill(cx, pipe) {
            Poll::Ready(filled) => filled.map_err(PumpError::Source)?,
            Poll::Pending => {
                self.pipe = None;
                self.is_starved = true;
                return Poll::Pending;
            }
        }
        if self
            .limit
            .is_some_and(|limit| self.bytes + pipe.held() as u64 > limit)
        {
            return Poll::Ready(Err(PumpError::Source(BodyError::TooLarge)));
        }
        Poll::Ready(Ok(true))
    }
}
