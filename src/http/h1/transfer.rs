//! The body of one message on an HTTP/1 connection, read and written.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::body::{Decoder, State};
use super::connection::Connection;
use super::write;
use crate::http::body::{BodyError, Chunk, Frame};
use crate::http::fields::Fields;
use crate::http::head::Length;
use crate::http::pipe::Pipe;

/// Reads a body off a connection.
pub struct Reader {
    connection: Rc<Connection>,
    decoder: Decoder,
    length: Length,
}

impl Reader {
    /// The body that follows a head of this length.
    pub(super) fn new(connection: Rc<Connection>, length: Length) -> Self {
        connection.read_whole.set(length.is_empty());
        Self {
            connection,
            decoder: Decoder::new(length),
            length,
        }
    }

    /// Goes on with a message whose first reader was dropped.
    pub(super) fn resume(connection: Rc<Connection>, decoder: Decoder) -> Self {
        Self {
            connection,
            decoder,
            length: Length::Marked,
        }
    }

    /// How the end is told.
    pub fn length(&self) -> Length {
        self.length
    }

    /// Whether the end was read.
    pub fn is_done(&self) -> bool {
        self.connection.read_whole.get()
    }

    /// The next piece. Everything that one read brought is decoded at once: the data of many small chunks is moved
    /// together, so that the work does not grow with their number times the size of the buffer.
    pub fn poll_frame<'s>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &'s mut [u8],
    ) -> Poll<Result<Frame<'s>, BodyError>> {
        loop {
            if self.connection.read_whole.get() {
                return Poll::Ready(Ok(Frame::End(self.decoder.take_trailers())));
            }
            let count = match ready!(self.connection.poll_bytes(cx, scratch)) {
                Ok(count) => count,
                // A reset is a cut message, however the operating system names it.
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            if count == 0 {
                if self.length == Length::Close {
                    self.connection.read_whole.set(true);
                    continue;
                }
                return Poll::Ready(Err(BodyError::Truncated));
            }
            let data = self.decode(&mut scratch[..count])?;
            if !data.is_empty() {
                return Poll::Ready(Ok(Frame::Data(Chunk::Borrowed(&scratch[data]))));
            }
        }
    }

    /// Bytes that are announced as data and can be taken by a pipe.
    pub fn run(&self) -> u64 {
        if self.connection.can_fill() {
            self.decoder.run()
        } else {
            0
        }
    }

    /// Data of a [`Self::run`] into an empty pipe.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<(), BodyError>> {
        let most = usize::try_from(self.decoder.run()).unwrap_or(usize::MAX);
        let count = ready!(self.connection.poll_fill(cx, pipe, most))?;
        if count == 0 {
            return Poll::Ready(Err(BodyError::Truncated));
        }
        self.decoder.skip(count as u64);
        self.connection.read_whole.set(self.decoder.is_done());
        Poll::Ready(Ok(()))
    }

    /// Decodes a whole read in place; gives the range of its data. What follows the message goes back.
    fn decode(&mut self, bytes: &mut [u8]) -> Result<std::ops::Range<usize>, BodyError> {
        let mut consumed = 0;
        let mut data = 0..0;
        while consumed < bytes.len() {
            let step = self
                .decoder
                .decode(&bytes[consumed..])
                .map_err(BodyError::Malformed)?;
            let piece = consumed + step.data.start..consumed + step.data.end;
            if data.is_empty() {
                data = piece;
            } else if !piece.is_empty() {
                let end = data.end + piece.len();
                bytes.copy_within(piece, data.end);
                data.end = end;
            }
            consumed += step.consumed;
            match step.state {
                State::More => {}
                State::NeedInput => break,
                State::End => {
                    self.connection.read_whole.set(true);
                    self.connection.put_back(&bytes[consumed..]);
                    break;
                }
            }
        }
        Ok(data)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.is_done() {
            let decoder = std::mem::replace(&mut self.decoder, Decoder::new(Length::Empty));
            self.connection.abandoned.set(Some(decoder));
        }
    }
}

/// Writes a body onto a connection whose head was written.
pub struct Writer {
    connection: Rc<Connection>,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Exact { left: u64 },
    Chunked,
    Close,
}

impl Writer {
    /// For the body after a head of this length.
    pub(super) fn new(connection: Rc<Connection>, length: Length) -> Self {
        let framing = match length {
            Length::Empty => Framing::Exact { left: 0 },
            Length::Exact(left) => Framing::Exact { left },
            Length::Marked => Framing::Chunked,
            Length::Close => Framing::Close,
        };
        connection.written_whole.set(false);
        Self {
            connection,
            framing,
        }
    }

    /// The connection that it writes.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Ready while little waits to be written.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.connection.poll_room(cx).map_err(BodyError::Io)
    }

    /// Takes all of `data`.
    pub fn send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), BodyError> {
        match &mut self.framing {
            Framing::Exact { left } => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(BodyError::WrongLength)?;
                self.connection.write(cx, data)?;
            }
            Framing::Close => self.connection.write(cx, data)?,
            Framing::Chunked => {
                self.connection
                    .write_later(|out| write::chunk_prefix(data.len(), out));
                self.connection.write(cx, data)?;
                self.connection
                    .write_later(|out| out.extend_from_slice(b"\r\n"));
            }
        }
        Ok(())
    }

    /// Whether data may come out of a pipe: it needs no framing, and nothing waits to be written before it.
    pub fn can_drain(&self) -> bool {
        self.framing != Framing::Chunked && self.connection.can_drain()
    }

    /// Takes data out of a pipe; gives how many bytes.
    pub fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<u64, BodyError>> {
        if let Framing::Exact { left } = self.framing
            && pipe.held() as u64 > left
        {
            return Poll::Ready(Err(BodyError::WrongLength));
        }
        let count = ready!(self.connection.poll_drain(cx, pipe))? as u64;
        if count == 0 {
            return Poll::Ready(Err(
                std::io::Error::from(std::io::ErrorKind::WriteZero).into()
            ));
        }
        if let Framing::Exact { left } = &mut self.framing {
            *left -= count;
        }
        Poll::Ready(Ok(count))
    }

    /// Marks the end. Trailers are written only where chunks are: elsewhere HTTP/1 has no place for them.
    pub fn finish(&mut self, trailers: Option<Box<Fields>>) -> Result<(), BodyError> {
        match self.framing {
            Framing::Exact { left: 0 } | Framing::Close => {}
            Framing::Exact { .. } => return Err(BodyError::WrongLength),
            Framing::Chunked => self
                .connection
                .write_later(|out| write::last_chunk(trailers.as_deref(), out)),
        }
        Ok(())
    }

    /// Ready once everything was handed to the operating system.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.connection.poll_flush(cx).map_err(BodyError::Io)
    }

    /// Called after the last flush: the message is complete. Of a body that ends with the connection, the own direction
    /// is closed.
    pub(in crate::http) fn complete(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        if self.framing == Framing::Close {
            ready!(self.connection.poll_shutdown(cx))?;
        } else {
            ready!(self.connection.poll_flush(cx))?;
        }
        self.connection.written_whole.set(true);
        Poll::Ready(Ok(()))
    }

    /// Ready when the peer closed. Only while no message of it is being read.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.read_whole.get() {
            self.connection.poll_gone(cx)
        } else {
            Poll::Pending
        }
    }

    /// The message will not be completed; its connection must not look as if it were.
    pub fn abort(&mut self) {
        self.connection.reset_on_close();
    }
}
