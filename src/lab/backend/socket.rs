//! The transport under one connection of a backend: rewound after a look at its first bytes, and tapped.
//!
//! The tap keeps the bytes of the latest request as they came in, because `/headers` must show the order and the
//! spelling of fields, which the server library does not keep.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// What a client of HTTP/2 with prior knowledge says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that the tap keeps of one request; a longer head is shown as the library saw it.
const KEPT: usize = 64 * 1024;

pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Makes the close that follows a reset, which loses what was not yet acknowledged.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Tls(stream) => stream.get_ref().0.set_zero_linger(),
            Self::Unix(_) => Ok(()),
        }
    }
}

/// The bytes that came in since the last answer began.
#[derive(Clone, Default)]
pub(super) struct Tap(Arc<Mutex<Tapped>>);

#[derive(Default)]
struct Tapped {
    on: bool,
    bytes: Vec<u8>,
    /// An answer was written, so that the next byte in belongs to the next request.
    answered: bool,
}

impl Tap {
    fn with<T>(&self, change: impl FnOnce(&mut Tapped) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, bytes: &[u8]) {
        self.with(|tapped| {
            if !tapped.on {
                return;
            }
            if std::mem::take(&mut tapped.answered) {
                tapped.bytes.clear();
            }
            let room = KEPT - tapped.bytes.len();
            tapped
                .bytes
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
    }

    /// What came in since the last answer began: the latest request, unless requests were pipelined.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.with(|tapped| tapped.bytes.clone())
    }
}

/// A transport that can be given back bytes already read.
pub(super) struct Socket {
    ahead: Bytes,
    pub(super) transport: Transport,
    pub(super) tap: Tap,
}

impl Socket {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            ahead: Bytes::new(),
            transport,
            tap: Tap::default(),
        }
    }

    /// `bytes` are read again before anything else.
    pub(super) fn rewind(&mut self, bytes: Bytes) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
        } else {
            let mut joined = BytesMut::from(&bytes[..]);
            joined.extend_from_slice(&self.ahead);
            self.ahead = joined.freeze();
        }
    }

    /// Reads until it is clear whether the client speaks HTTP/2, and rewinds.
    pub(super) async fn begins_with_preface(&mut self) -> io::Result<bool> {
        let mut seen = BytesMut::with_capacity(4096);
        let preface = loop {
            let compared = seen.len().min(PREFACE.len());
            if seen[..compared] != PREFACE[..compared] {
                break false;
            }
            if compared == PREFACE.len() {
                break true;
            }
            if self.read_buf(&mut seen).await? == 0 {
                break false;
            }
        };
        self.rewind(seen.freeze());
        self.tap.with(|tapped| tapped.on = !preface);
        Ok(preface)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            ready!(match &mut self.transport {
                Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
                Transport::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
                Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            })?;
        } else {
            let count = buffer.remaining().min(self.ahead.len());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
        }
        self.tap.record(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tap.with(|tapped| tapped.answered = true);
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tap.with(|tapped| tapped.answered = true);
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
