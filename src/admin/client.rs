//! One client of the admin API as its connection sees it: when it last sent or took anything, and for how long it may take
//! nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::live::Live;
use crate::clock::Clock;

/// How long a client may take nothing of what it was sent. What the system holds for it comes before that.
const STALLED: Duration = Duration::from_secs(5);

/// What is known of a client from outside of its connection.
pub(super) struct Client {
    clock: Clock,
    /// When it last sent or took anything, in nanoseconds of the clock.
    last: AtomicU64,
    is_answered: AtomicBool,
}

impl Client {
    /// One that has just come.
    pub(super) fn new(live: &Live) -> Self {
        Self {
            last: AtomicU64::new(live.clock.now().0),
            clock: live.clock,
            is_answered: AtomicBool::new(false),
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// Whether it waits for us, and not we for it.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Relaxed)
    }

    /// It is being answered until what this gives is dropped.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.is_answered.store(true, Relaxed);
        Answering(self)
    }

    fn note(&self) {
        self.last.store(self.clock.now().0, Relaxed);
    }
}

/// See [`Client::answering`].
pub(super) struct Answering<'a>(&'a Client);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.is_answered.store(false, Relaxed);
    }
}

/// The stream of a client, which fails when the client takes nothing for too long.
pub(super) struct Watched<S> {
    stream: S,
    client: Arc<Client>,
    /// While it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, client: Arc<Client>) -> Self {
        Self {
            stream,
            client,
            stalled: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.client.note();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            self.stalled = None;
            self.client.note();
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
