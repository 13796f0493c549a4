//! Accepting, telling the protocols apart, and serving one connection to its end.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::State;
use super::service::Answers;
use super::socket::{Socket, Transport};
use crate::config::schema::Address;

/// Large enough that a stream of a large body is never held up by this side.
const WINDOW: u32 = 1 << 20;

/// Connections that wait to be accepted. With the usual 128 a proxy that opens some hundred at once finds the queue
/// full, and its connection attempts time out before the system's first retransmission, a second later.
const BACKLOG: u32 = 4096;

pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::bound(address)?.listen(BACKLOG).map(Self::Tcp),
            Address::Unix(path) => UnixListener::bind(path).map(Self::Unix),
        }
    }

    fn bound(address: &SocketAddr) -> io::Result<TcpSocket> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(*address)?;
        Ok(socket)
    }

    /// The address asked for, with the port that the system chose.
    pub(super) fn address(&self, asked: &Address) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_) => Ok(asked.clone()),
        }
    }

    async fn accept(&self) -> io::Result<Transport> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Transport::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Transport::Unix(listener.accept().await?.0)),
        }
    }
}

/// Accepts until aborted. The connections end with it, since it owns their tasks.
pub(super) async fn accept(
    listener: Listener,
    address: Address,
    state: Arc<State>,
    tls: Option<Arc<ServerConfig>>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    let mut listens = state.listens.subscribe();
    let mut listener = Some(listener);
    loop {
        if !*listens.borrow_and_update() {
            connections.abort_all();
            drop(listener.take());
            let held = hold(&address).await;
            // Fails when the backend is gone, and this with it.
            let _ = listens.wait_for(|listens| *listens).await;
            drop(held);
        }
        let listener = match &mut listener {
            Some(listener) => listener,
            none => none.insert(bind_again(&address).await),
        };
        tokio::select! {
            _ = listens.changed() => {}
            accepted = listener.accept() => match accepted {
                Ok(transport) => {
                    let open = Open::begin(&state);
                    connections.spawn(serve(transport, tls.clone(), open));
                }
                // Out of descriptors, or a client gone before it was accepted: one must not turn into a busy loop.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = state.cut.notified() => connections.abort_all(),
        }
    }
}

/// Keeps a port, on which nobody listens, from being given to another.
async fn hold(address: &Address) -> Option<TcpSocket> {
    let Address::Tcp(address) = address else {
        return None;
    };
    // Until the listener that was dropped is gone.
    for _ in 0..100 {
        if let Ok(socket) = Listener::bound(address) {
            return Some(socket);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    None
}

async fn bind_again(address: &Address) -> Listener {
    if let Address::Unix(path) = address {
        // The file outlives its listener.
        let _ = std::fs::remove_file(path);
    }
    loop {
        match Listener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The mark of one open connection.
struct Open(Arc<State>);

impl Open {
    fn begin(state: &Arc<State>) -> Self {
        state.counters.accepted.fetch_add(1, Ordering::AcqRel);
        state.counters.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn serve(transport: Transport, tls: Option<TlsAcceptor>, open: Open) {
    let state = &open.0;
    let Ok((mut socket, negotiated_h2)) = secure(transport, tls).await else {
        return;
    };
    let ended = match socket.begins_with_preface().await {
        Ok(preface) if preface || negotiated_h2 => serve_h2(socket, state).await,
        Ok(_) => serve_h1(socket, state).await,
        Err(_) => return,
    };
    // Other ends are a client that left or a connection that was cut: nothing that the backend must tell.
    if ended.is_err_and(|error| broke_protocol(&error)) {
        state.counters.malformed.fetch_add(1, Ordering::AcqRel);
    }
}

/// Does the handshake where one is asked for; true when ALPN chose HTTP/2.
async fn secure(transport: Transport, tls: Option<TlsAcceptor>) -> io::Result<(Socket, bool)> {
    let (transport, h2) = match (transport, tls) {
        (Transport::Tcp(stream), Some(tls)) => {
            let stream = tls.accept(stream).await?;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Transport::Tls(Box::new(stream)), h2)
        }
        (transport, _) => (transport, false),
    };
    Ok((Socket::new(transport), h2))
}

fn broke_protocol(error: &hyper::Error) -> bool {
    let h2 = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_parse() || h2.is_some_and(|h2| h2.is_library() && !h2.is_io())
}

async fn serve_h2(socket: Socket, state: &Arc<State>) -> hyper::Result<()> {
    let answers = Answers::new(state, None, &Arc::default());
    let closing = answers.closing();
    let connection = http2::Builder::new(TokioExecutor::new())
        .enable_connect_protocol()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_concurrent_streams(1024)
        .serve_connection(TokioIo::new(socket), answers);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        () = closing.notified() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Serves requests by hyper until the end, or until one is answered by hand; then hyper starts anew.
async fn serve_h1(mut socket: Socket, state: &Arc<State>) -> hyper::Result<()> {
    let served = Arc::default();
    loop {
        let answers = Answers::new(state, Some(socket.tap.clone()), &served);
        let handover = answers.handover();
        let closing = answers.closing();
        let mut closing = pin!(closing.notified());
        let mut connection = http1::Builder::new().serve_connection(TokioIo::new(socket), answers);
        let mut asked_to_close = false;
        let ended = poll_fn(|cx| {
            if !asked_to_close && closing.as_mut().poll(cx).is_ready() {
                Pin::new(&mut connection).graceful_shutdown();
                asked_to_close = true;
            }
            if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(ended.map(|()| None));
            }
            let raw = handover
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            raw.map_or(Poll::Pending, |raw| Poll::Ready(Ok(Some(raw))))
        })
        .await;

        let parts = connection.into_parts();
        socket = parts.io.into_inner();
        match ended? {
            Some(raw) => {
                socket.rewind(parts.read_buf);
                match raw.perform(socket).await {
                    Ok(Some(kept)) => socket = kept,
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
            None => {
                // The other side may already be gone.
                let _ = socket.shutdown().await;
                return Ok(());
            }
        }
    }
}
