//! The listener for operators: HTTP/1.1 by hyper, with few and short-lived connections, on the control thread.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api;
use super::live::Live;
use crate::config::Address;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 64;
/// For a request head, and for the next request of a connection that is kept. Short, so that connections left open do not
/// keep the probes of an orchestrator out; a scraper that comes every quarter of a minute connects anew.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// After it a connection ends with the request that it carries, so that a reader that stalls holds no place for ever.
const LIFETIME: Duration = Duration::from_secs(300);
/// What that last request may take.
const LAST: Duration = Duration::from_secs(10);
/// Bytes of a request head, and fields in it.
const HEAD_BYTES: usize = 16 * 1024;
const FIELDS: usize = 64;
/// Pause after accepting failed, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound socket of the admin API.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// Registers a listening, non-blocking socket with the reactor of the calling thread.
    pub fn new(socket: OwnedFd, address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(_) => Self::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
        })
    }
}

/// Accepts and answers for ever.
pub async fn serve(socket: Socket, live: Arc<Live>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = match &socket {
            Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                // A socket that refuses the option still works, only with delay.
                let _ = stream.set_nodelay(true);
                spawn(stream, place, Arc::clone(&live));
            }),
            Socket::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| spawn(stream, place, Arc::clone(&live))),
        };
        if accepted.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn spawn(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    place: OwnedSemaphorePermit,
    live: Arc<Live>,
) {
    tokio::spawn(async move {
        serve_connection(stream, live).await;
        drop(place);
    });
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, live: Arc<Live>) {
    let service = service_fn(|request| {
        let live = Arc::clone(&live);
        async move { Ok::<_, Infallible>(api::answer(live, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How the connection ends is the client's affair.
    if tokio::time::timeout(LIFETIME, connection.as_mut())
        .await
        .is_err()
    {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST, connection).await;
    }
}
