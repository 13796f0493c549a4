//! A connection in memory, and the polling of what runs on it: everything is ready at once, so nothing has to wake.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// Turns after which a loop is taken to have no end.
const TURNS: usize = 1000;

/// A stream that holds all it will ever receive and forgets what is sent.
pub struct Memory {
    input: Vec<u8>,
    at: usize,
    /// Whether the peer speaks now.
    speaks: bool,
}

impl Memory {
    /// Of a peer that speaks first.
    pub fn of_client(input: &[u8]) -> Self {
        Self {
            input: input.to_vec(),
            at: 0,
            speaks: true,
        }
    }

    /// Of a peer that speaks once it was spoken to.
    pub fn of_server(input: &[u8]) -> Self {
        Self {
            speaks: false,
            ..Self::of_client(input)
        }
    }

    /// Bytes that nobody read.
    pub fn unread(&self) -> &[u8] {
        &self.input[self.at..]
    }
}

/// Calls `turn` until it gives something.
pub fn drive<T>(mut turn: impl FnMut() -> Poll<T>) -> Option<T> {
    for _ in 0..TURNS {
        if let Poll::Ready(value) = turn() {
            return Some(value);
        }
    }
    None
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.speaks {
            return Poll::Pending;
        }
        let count = buffer.remaining().min(self.input.len() - self.at);
        let at = self.at;
        buffer.put_slice(&self.input[at..at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.speaks = true;
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
