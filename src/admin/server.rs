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
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::api;
use super::client::{Client, Watched};
use super::live::Live;
use crate::config::Address;

/// Connections at once.
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
/// Pause after accepting failed, most likely for want of descriptors, and until it is looked again who waits for his client.
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

/// Accepts and answers for ever. When all places are taken, a new client gets that of the one who keeps us waiting longest:
/// who asks whether the process lives must not have to wait for those who say nothing and read nothing.
pub async fn serve(socket: Socket, live: Arc<Live>) {
    let mut places = Places::default();
    loop {
        let accepted = match &socket {
            Socket::Tcp(listener) => match listener.accept().await {
                Ok((stream, _)) => {
                    // A socket that refuses the option still works, only with delay.
                    let _ = stream.set_nodelay(true);
                    places.take(stream, &live).await
                }
                Err(_) => false,
            },
            Socket::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => places.take(stream, &live).await,
                Err(_) => false,
            },
        };
        if !accepted {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The connections that are served.
struct Places {
    free: Arc<Semaphore>,
    taken: Vec<(Arc<Client>, AbortHandle)>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(CONNECTIONS)),
            taken: Vec::new(),
        }
    }
}

impl Places {
    /// Serves a connection once there is a place for it. False only when there never will be one.
    async fn take<S>(&mut self, stream: S, live: &Arc<Live>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let place = loop {
            if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
                break place;
            }
            self.make_room();
            // Where all are being answered, one of them has the next turn.
            let freed = Arc::clone(&self.free).acquire_owned();
            match tokio::time::timeout(PAUSE, freed).await {
                Ok(Ok(place)) => break place,
                Ok(Err(_)) => return false,
                Err(_) => {}
            }
        };
        let client = Arc::new(Client::new(live));
        let stream = Watched::new(stream, Arc::clone(&client));
        let (served, live) = (Arc::clone(&client), Arc::clone(live));
        let task = tokio::spawn(async move {
            serve_connection(stream, served, live).await;
            drop(place);
        });
        self.taken.retain(|(_, task)| !task.is_finished());
        self.taken.push((client, task.abort_handle()));
        true
    }

    /// Closes the connection that has waited longest for its client.
    fn make_room(&mut self) {
        self.taken.retain(|(_, task)| !task.is_finished());
        let waiting = self.taken.iter().enumerate();
        let waiting = waiting.filter(|(_, (client, _))| !client.is_answered());
        let longest = waiting.min_by_key(|(_, (client, _))| client.last());
        if let Some(at) = longest.map(|(at, _)| at) {
            self.taken.swap_remove(at).1.abort();
        }
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: Watched<S>,
    client: Arc<Client>,
    live: Arc<Live>,
) {
    let service = service_fn(|request| {
        let (live, client) = (Arc::clone(&live), Arc::clone(&client));
        async move {
            let _answering = client.answering();
            Ok::<_, Infallible>(api::answer(live, &request).await)
        }
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
