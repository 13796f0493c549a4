//! TLS with clients: which certificate a client is shown, which protocol is agreed on, and the handshake.

mod certificates;
mod client_auth;
mod error;
mod in_force;
mod opening;
#[cfg(test)]
mod tests;
mod turns;

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::server::{Accepted, Acceptor};
use rustls::{CertificateError, HandshakeKind, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::refusal::Refusal;
use crate::clock;
use crate::clock::wheel::Wheel;
use crate::observe::ListenerCells;
use crate::stream::Stream;
use crate::tls::{self, Identity, Shared, TlsError};
pub use error::AcceptError;
pub use in_force::{InForce, ServerTls, Shown};
use opening::{Noting, Opening, PLAIN_HTTP_ANSWER};
pub use turns::Turns;

/// What a certificate of the configuration holds. Blocks on files.
pub fn inspect(
    written: &crate::config::Certificate,
    shared: &Shared,
    now: i64,
) -> Result<Shown, TlsError> {
    certificates::Pair::read(written, shared, now).map(|pair| pair.shown)
}

/// What stands for the chain that a file holds now. Blocks on it.
pub fn print(file: &Path) -> Result<u64, TlsError> {
    tls::certificates(file).map(|chain| certificates::print(&chain))
}

/// A connection that is encrypted, and what the handshake told of the client.
pub struct Secured {
    pub stream: Stream,
    /// The name that it asked for, in lower case.
    pub sni: Option<Box<str>>,
    /// Who it is, where it showed a certificate that is believed.
    pub identity: Option<Rc<Identity>>,
}

/// Does the handshake within `span`, when it has its turn, and counts how it went. `None` when there is nobody left to serve.
pub async fn serve(
    stream: Stream,
    tls: &ServerTls,
    turns: &Turns,
    span: Duration,
    wheel: &Wheel,
    cells: &ListenerCells,
) -> Option<Secured> {
    // A Unix socket never has TLS: compiling the snapshot refuses it.
    let Stream::Tcp(tcp) = stream else {
        return None;
    };
    let begun = wheel.now();
    let queue = Queue {
        turns,
        limit: tls.written().handshakes,
        cells,
        is_waiting: Cell::new(false),
    };
    let accepted = wheel
        .timeout(span, queued(tcp, &tls.now().config, &queue))
        .await;
    let accepted = accepted.unwrap_or(Err(AcceptError::Timeout));
    match accepted.and_then(secured) {
        Ok((secured, was_resumed)) => {
            let took = wheel.now().since(begun).as_nanos();
            cells.handshake(u64::try_from(took).unwrap_or(u64::MAX));
            cells.handshakes_resumed.add(u64::from(was_resumed));
            Some(secured)
        }
        Err(error) => {
            cells.handshake_failures.add(1);
            let has_waited = matches!(error, AcceptError::Timeout) && queue.is_waiting.get();
            cells.refused(if has_waited {
                Refusal::HandshakesFull.label()
            } else {
                error.label()
            });
            None
        }
    }
}

/// What a handshake told; and whether it resumed a session.
fn secured(stream: Box<TlsStream<TcpStream>>) -> Result<(Secured, bool), AcceptError> {
    let connection = stream.get_ref().1;
    let was_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let sni = connection.server_name().map(Into::into);
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    let identity = leaf
        .map(|leaf| Identity::of(leaf).ok_or(AcceptError::UntoldCertificate))
        .transpose()?;
    // A session that is resumed brings its certificate along, and nobody looked at its date.
    let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
    if identity.as_ref().is_some_and(|one| one.not_after < now) {
        return Err(AcceptError::BadCertificate(CertificateError::Expired));
    }
    let secured = Secured {
        sni,
        identity: identity.map(Rc::new),
        stream: Stream::Server(stream),
    };
    Ok((secured, was_resumed))
}

/// Where a handshake waits for its turn.
struct Queue<'a> {
    turns: &'a Turns,
    limit: usize,
    cells: &'a ListenerCells,
    is_waiting: Cell<bool>,
}

impl Queue<'_> {
    async fn pass(&self) {
        let turn = std::pin::pin!(self.turns.take(self.limit));
        let mut turn = turn;
        let mut waits = None;
        std::future::poll_fn(|cx| {
            let polled = turn.as_mut().poll(cx);
            if polled.is_pending() && waits.is_none() {
                waits = Some(Waits::new(self));
            }
            polled
        })
        .await;
        self.is_waiting.set(false);
    }
}

/// Counts one that waits, however that ends.
struct Waits<'a>(&'a ListenerCells);

impl<'a> Waits<'a> {
    fn new(queue: &Queue<'a>) -> Self {
        queue.is_waiting.set(true);
        queue.cells.handshakes_queued.add(1);
        Self(queue.cells)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.handshakes_called.add(1);
    }
}

/// Does the handshake on an accepted connection, in its turn. The caller bounds its time; dropping the future closes the
/// connection.
async fn queued(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    queue: &Queue<'_>,
) -> Result<Box<TlsStream<TcpStream>>, AcceptError> {
    // Only once the client has said hello: one that says nothing takes no turn from others.
    let accepted = hello(&stream).await?;
    queue.pass().await;
    finish(accepted, stream, config).await
}

async fn finish(
    accepted: Accepted,
    stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> Result<Box<TlsStream<TcpStream>>, AcceptError> {
    let tls = StartHandshake::from_parts(accepted, stream)
        .into_stream(Arc::clone(config))
        .await?;
    Ok(Box::new(tls))
}

/// Reads the client's first message, and tells apart what is not TLS.
async fn hello(stream: &TcpStream) -> Result<Accepted, AcceptError> {
    let mut acceptor = Acceptor::default();
    let mut opening = Opening::default();
    loop {
        stream.readable().await?;
        match acceptor.read_tls(&mut Noting {
            stream,
            opening: &mut opening,
        }) {
            Ok(0) => return Err(AcceptError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some(error) = opening.foreign() {
            if matches!(error, AcceptError::PlainHttp) {
                // Whether it still reaches the client is of no consequence.
                let _ = stream.try_write(PLAIN_HTTP_ANSWER);
            }
            return Err(error);
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                // An alert is a few bytes; a client whose window is full does without.
                let _ = alert.write_all(&mut Trying(stream));
                return Err(AcceptError::from_tls(error));
            }
        }
    }
}

/// Writes what the socket takes at once.
struct Trying<'a>(&'a TcpStream);

impl Write for Trying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
