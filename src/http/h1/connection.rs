//! One HTTP/1 connection: the socket, what was read ahead and what waits to be written. Both sides use it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::http::buffers::Buffers;
use crate::http::h1::body::Decoder;
use crate::http::h1::parse::ParseError;
use crate::http::pipe::Pipe;
use crate::stream::{Stream, poll_readable, poll_writable};

/// Read at once while a head is awaited. Smaller than the scratch buffer: what follows the head has to be copied.
const HEAD_WINDOW: usize = 16 * 1024;
/// Writes up to this size are gathered into one; larger ones go straight from where they were read.
pub const GATHERED: usize = 4 * 1024;
/// Unwritten bytes from which on a writer has to wait.
const BLOCKED: usize = 16 * 1024;
/// Bytes read ahead of a message that is not wanted yet.
const AHEAD: usize = 64 * 1024;

/// Why no head was read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The connection ended within a head.
    #[error("the connection ended within a message head")]
    Truncated,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Shared by the reader and the writer of a connection; one task drives both.
pub struct Connection {
    stream: RefCell<Stream>,
    /// Read and not consumed: the rest of a head, the start of a body, a pipelined request.
    unread: RefCell<Pending>,
    /// To be written before anything else.
    unwritten: RefCell<Pending>,
    ended: Cell<bool>,
    /// The message being read, and the one being written, were carried to their end.
    pub(super) read_whole: Cell<bool>,
    pub(super) written_whole: Cell<bool>,
    /// Of a server: another request may follow the one that is being answered.
    pub(super) keep_alive: Cell<bool>,
    /// What decodes the rest of a message whose reader was dropped before its end.
    pub(super) abandoned: Cell<Option<Decoder>>,
    /// Bytes read from and written to the socket.
    pub received: Cell<u64>,
    pub sent: Cell<u64>,
    pub(super) buffers: Buffers,
}

/// Bytes with a front that moves.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    start: usize,
}

impl Pending {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Gives the memory back once everything is consumed.
    fn advance(&mut self, count: usize, buffers: &Buffers) {
        self.start += count;
        if self.is_empty() {
            self.start = 0;
            buffers.give(std::mem::take(&mut self.bytes));
        }
    }

    fn push(&mut self, bytes: &[u8], buffers: &Buffers) {
        if bytes.is_empty() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = buffers.take();
        }
        if self.start > 0 && self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The buffer to append to.
    fn open(&mut self, buffers: &Buffers) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = buffers.take();
        }
        &mut self.bytes
    }
}

impl Connection {
    /// Takes over a connected stream; `unread` was read from it already.
    pub fn new(stream: Stream, unread: &[u8], buffers: Buffers) -> Rc<Self> {
        let connection = Self {
            stream: RefCell::new(stream),
            unread: RefCell::default(),
            unwritten: RefCell::default(),
            ended: Cell::new(false),
            read_whole: Cell::new(true),
            written_whole: Cell::new(true),
            keep_alive: Cell::new(true),
            abandoned: Cell::new(None),
            received: Cell::new(unread.len() as u64),
            sent: Cell::new(0),
            buffers,
        };
        connection
            .unread
            .borrow_mut()
            .push(unread, &connection.buffers);
        Rc::new(connection)
    }

    /// The buffers of the worker.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Whether bytes of the next message were read already.
    pub fn has_unread(&self) -> bool {
        !self.unread.borrow().is_empty()
    }

    /// Bytes of memory that it holds for what was read ahead and what waits to be written.
    pub fn held(&self) -> usize {
        self.unread.borrow().bytes.capacity() + self.unwritten.borrow().bytes.capacity()
    }

    /// Whether the peer will send nothing more.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.ended.get() {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(self.stream.borrow_mut().poll_read_slice(cx, buffer))?;
        if count == 0 {
            self.ended.set(true);
        }
        self.received.set(self.received.get() + count as u64);
        Poll::Ready(Ok(count))
    }

    /// Reads until `parse` finds a whole head: `Some` with what it made, `None` when the peer closed between messages.
    /// `parse` gives the length of the head, or `None` while it is incomplete, and refuses one that is too long.
    pub fn poll_head(
        &self,
        cx: &mut Context<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, ParseError>,
    ) -> Poll<Result<Option<()>, HeadError>> {
        let mut unread = self.unread.borrow_mut();
        if !unread.is_empty()
            && let Some(length) = parse(unread.as_slice())?
        {
            unread.advance(length, &self.buffers);
            return Poll::Ready(Ok(Some(())));
        }
        loop {
            let mut scratch = self.buffers.scratch();
            let count = ready!(self.poll_read(cx, &mut scratch[..HEAD_WINDOW]))?;
            if count == 0 {
                return Poll::Ready(if unread.is_empty() {
                    Ok(None)
                } else {
                    Err(HeadError::Truncated)
                });
            }
            let bytes = &scratch[..count];
            if unread.is_empty() {
                match parse(bytes)? {
                    Some(length) => unread.push(&bytes[length..], &self.buffers),
                    None => {
                        unread.push(bytes, &self.buffers);
                        continue;
                    }
                }
            } else {
                unread.push(bytes, &self.buffers);
                let Some(length) = parse(unread.as_slice())? else {
                    continue;
                };
                unread.advance(length, &self.buffers);
            }
            return Poll::Ready(Ok(Some(())));
        }
    }

    /// Some bytes of a body: those read ahead first. 0 is the end of the stream.
    pub(super) fn poll_bytes(
        &self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut unread = self.unread.borrow_mut();
        if unread.is_empty() {
            drop(unread);
            return self.poll_read(cx, scratch);
        }
        let count = unread.as_slice().len().min(scratch.len());
        scratch[..count].copy_from_slice(&unread.as_slice()[..count]);
        unread.advance(count, &self.buffers);
        Poll::Ready(Ok(count))
    }

    /// Whether what comes next may be taken by a pipe: a plain socket with nothing read ahead.
    pub(super) fn can_fill(&self) -> bool {
        self.stream.borrow().plain().is_some() && self.unread.borrow().is_empty()
    }

    /// Whether what goes next may come out of a pipe: a plain socket with nothing gathered.
    pub(super) fn can_drain(&self) -> bool {
        self.stream.borrow().plain().is_some() && self.unwritten.borrow().is_empty()
    }

    /// Up to `most` bytes of a body into an empty pipe; 0 is the end of the stream. Only while it [`Self::can_fill`].
    pub(super) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream.borrow();
        let Some(tcp) = stream.plain() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        if self.ended.get() {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(poll_readable(tcp, cx, || pipe.fill(tcp, most)))?;
        self.ended.set(count == 0);
        self.received.set(self.received.get() + count as u64);
        Poll::Ready(Ok(count))
    }

    /// Bytes out of a pipe; gives how many. Only while it [`Self::can_drain`].
    pub(super) fn poll_drain(
        &self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream.borrow();
        let Some(tcp) = stream.plain() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let count = ready!(poll_writable(tcp, cx, || pipe.drain(tcp)))?;
        self.sent.set(self.sent.get() + count as u64);
        Poll::Ready(Ok(count))
    }

    /// Puts bytes back that belong to the next message. Only right after `poll_bytes` gave them.
    pub(super) fn put_back(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut unread = self.unread.borrow_mut();
        if unread.is_empty() {
            unread.push(bytes, &self.buffers);
        } else if unread.start >= bytes.len() {
            unread.start -= bytes.len();
            let start = unread.start;
            unread.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        } else {
            let rest = unread.as_slice().to_vec();
            unread.bytes.clear();
            unread.start = 0;
            unread.bytes.extend_from_slice(bytes);
            unread.bytes.extend_from_slice(&rest);
        }
    }

    /// Ready when the peer closed, or sent what nobody asked for on an idle connection. Bytes of a next message are
    /// kept up to a bound; beyond it the socket is left alone. No system call while nothing happened.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.unread.borrow().as_slice().len() >= AHEAD {
                return Poll::Pending;
            }
            let mut scratch = self.buffers.scratch();
            match ready!(self.poll_read(cx, &mut scratch[..HEAD_WINDOW])) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(count) => self
                    .unread
                    .borrow_mut()
                    .push(&scratch[..count], &self.buffers),
            }
        }
    }

    /// Appends to what is to be written, without writing.
    pub fn write_later(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.unwritten.borrow_mut().open(&self.buffers));
    }

    /// Takes all of `bytes`: written at once if they are many, gathered if they are few. What the socket does not
    /// take is kept.
    pub(super) fn write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut unwritten = self.unwritten.borrow_mut();
        if bytes.len() <= GATHERED {
            unwritten.push(bytes, &self.buffers);
            return Ok(());
        }
        let mut stream = self.stream.borrow_mut();
        let before = unwritten.as_slice().len();
        let slices = [IoSlice::new(unwritten.as_slice()), IoSlice::new(bytes)];
        let slices = if before == 0 {
            &slices[1..]
        } else {
            &slices[..]
        };
        let written = match Pin::new(&mut *stream).poll_write_vectored(cx, slices) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.sent.set(self.sent.get() + written as u64);
        unwritten.advance(written.min(before), &self.buffers);
        let rest = &bytes[written.saturating_sub(before)..];
        unwritten.push(rest, &self.buffers);
        Ok(())
    }

    /// Ready while little waits to be written.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unwritten.borrow().as_slice().len() < BLOCKED {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    /// Ready once everything was handed to the operating system.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut unwritten = self.unwritten.borrow_mut();
        let mut stream = self.stream.borrow_mut();
        while !unwritten.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, unwritten.as_slice()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent.set(self.sent.get() + written as u64);
            unwritten.advance(written, &self.buffers);
        }
        Pin::new(&mut *stream).poll_flush(cx)
    }

    /// Ends the own direction cleanly.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }

    /// Makes closing a reset.
    pub fn reset_on_close(&self) {
        self.stream.borrow().reset_on_close();
    }

    /// Reads and throws away what still comes until the peer closes or `limit` bytes were received in all.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>, limit: u64) -> Poll<()> {
        loop {
            let mut scratch = self.buffers.scratch();
            match ready!(self.poll_read(cx, &mut scratch)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) if self.received.get() >= limit => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }
}
