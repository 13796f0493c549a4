//! One transport stream: TCP or Unix socket, plain or TLS, on either side.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Bytes that the system holds of a TCP connection without having sent them (TCP_NOTSENT_LOWAT). With the default, which
/// is no bound, a peer that reads slowly has megabytes before it, its socket takes nothing for minutes, and a healthy
/// stream looks as if it stood still; the memory is the system's, too. As much as a pipe holds: half of it gives a
/// megabyte more wake-ups, and with it a peer that takes 5 KB/s still moves within a minute.
pub const UNSENT: u32 = 256 * 1024;

/// A connected byte stream. An enum and not a trait object: the plain TCP case costs one branch.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A downstream connection with TLS.
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// A connection to an endpoint with TLS.
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether bytes are encrypted on the wire.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Client(_))
    }

    /// Whether its handshake resumed a session.
    pub fn was_resumed(&self) -> bool {
        let kind = match self {
            Self::Server(tls) => tls.get_ref().1.handshake_kind(),
            Self::Client(tls) => tls.get_ref().1.handshake_kind(),
            Self::Tcp(_) | Self::Unix(_) => None,
        };
        kind == Some(rustls::HandshakeKind::Resumed)
    }

    /// The protocol that ALPN settled on.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Server(tls) => tls.get_ref().1.alpn_protocol(),
            Self::Client(tls) => tls.get_ref().1.alpn_protocol(),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Makes closing send a reset instead of a clean end, so that a message cut short is never taken for a whole one.
    pub fn reset_on_close(&self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Server(tls) => tls.get_ref().0,
            Self::Client(tls) => tls.get_ref().0,
            Self::Unix(_) => return,
        };
        // A socket that refuses the option is closed already.
        let _ = socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO));
    }

    /// The socket itself, where nothing stands between it and the bytes of a message: plain TCP.
    pub fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) | Self::Server(_) | Self::Client(_) => None,
        }
    }

    /// Reads into `buffer`; 0 is the end of the stream. Makes no system call while the socket is known to be empty.
    pub fn poll_read_slice(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(buffer);
        match Pin::new(self).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(read.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Carries out a call that reads from `tcp`, once the socket is readable.
pub fn poll_readable<T>(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    mut call: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        match tcp.try_io(Interest::READABLE, &mut call) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Carries out a call that writes to `tcp`, once the socket is writable.
pub fn poll_writable<T>(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    mut call: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_io(Interest::WRITABLE, &mut call) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => $call,
            Stream::Unix($inner) => $call,
            Stream::Server($inner) => $call,
            Stream::Client($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
