//! One accepted connection, from its socket to its end: TLS, and which protocol it speaks.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::panics::Watched;
use super::{LAST_CHANCE, Worker};
use crate::http::drain::Drain;
use crate::http::{Handler, Peer, h1, h2};
use crate::listener::accept::Accepted;
use crate::listener::server_tls::{self, ServerTls};
use crate::observe::ListenerCells;
use crate::stream::Stream;

/// Counts an accepted connection at its begin and end.
struct Counted(Arc<ListenerCells>);

impl Counted {
    fn new(cells: &Arc<ListenerCells>) -> Self {
        cells.accepted.add(1);
        Self(Arc::clone(cells))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.closed.add(1);
    }
}

/// Carries one accepted connection to its end.
pub(super) async fn serve<H: Handler>(worker: &Rc<Worker>, accepted: Accepted, handler: H) {
    let view = worker.view();
    let Some(listener) = view.listener(accepted.listener).map(Rc::clone) else {
        return;
    };
    drop(view);
    let settings = Rc::clone(&listener.h1);
    let mut peer = Peer {
        address: accepted.ip(),
        port: accepted.peer.as_ref().map_or(0, SocketAddr::port),
        listener: accepted.listener,
        tls: false,
        sni: None,
        identity: None,
        text: accepted
            .ip()
            .map_or_else(|| "unix".to_owned(), |address| address.to_string()),
    };
    let unix = accepted.peer.is_none();
    let Accepted { socket, pass, .. } = accepted;
    let counted = Counted::new(&listener.cells);
    let tls = listener.shared.tls.clone();
    let (h2_settings, drain) = (Rc::clone(&listener.h2), listener.drain.clone());
    drop(listener);
    let Ok(mut stream) = register(socket, unix) else {
        return;
    };
    if let Some(tls) = tls {
        // Boxed: the state of a handshake is large, and the task outlives it.
        let span = settings.timeouts.handshake;
        let secured = secure(worker, stream, &tls, span, &counted.0, &mut peer);
        let Some(secured) = Box::pin(secured).await else {
            return;
        };
        stream = secured;
    }
    // One deadline for the first head, whatever is found out about the protocol on the way.
    let timer = worker.wheel.after(settings.timeouts.head);
    let found = match stream.alpn() {
        // The preface is then part of the protocol that was agreed on (RFC 9113, 3.4).
        Some(b"h2") => Some((Sniffed::H2, Vec::new())),
        _ => sniff(&mut stream, worker, &timer, &drain).await,
    };
    let Some((protocol, unread)) = found else {
        return;
    };
    let peer = Rc::new(peer);
    match protocol {
        Sniffed::H1 => {
            let connection = h1::Connection::new(stream, &unread, worker.buffers.clone());
            worker.buffers.give(unread);
            h1::server::serve(connection, peer, settings, timer, drain, handler).await;
        }
        Sniffed::H2 => {
            let buffers = worker.buffers.clone();
            let worker = Rc::clone(worker);
            let handler = Watched { worker, handler };
            let served = h2::server::serve(
                stream,
                unread,
                peer,
                h2_settings,
                timer,
                drain,
                buffers,
                handler,
            );
            Box::pin(served).await;
        }
    }
    drop(pass);
}

/// Does TLS with the client, and notes in `peer` what that shows; `None` when nothing came of it, which is counted.
async fn secure(
    worker: &Worker,
    stream: Stream,
    tls: &ServerTls,
    span: Duration,
    cells: &ListenerCells,
    peer: &mut Peer,
) -> Option<Stream> {
    let (turns, wheel) = (&worker.turns, &worker.wheel);
    let secured = server_tls::serve(stream, tls, turns, span, wheel, cells).await?;
    peer.tls = true;
    peer.sni = secured.sni;
    peer.identity = secured.identity;
    Some(secured.stream)
}

fn register(socket: OwnedFd, unix: bool) -> std::io::Result<Stream> {
    Ok(if unix {
        Stream::Unix(UnixStream::from_std(socket.into())?)
    } else {
        Stream::Tcp(TcpStream::from_std(socket.into())?)
    })
}

enum Sniffed {
    H1,
    H2,
}

/// Tells HTTP/2 with prior knowledge (RFC 9113, 3.3) from HTTP/1 by the first bytes, which are given back.
async fn sniff(
    stream: &mut Stream,
    worker: &Worker,
    timer: &crate::clock::wheel::Timer,
    drain: &Drain,
) -> Option<(Sniffed, Vec<u8>)> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut unread = Vec::new();
    let mut last_chance = None;
    std::future::poll_fn(|cx| {
        loop {
            let mut scratch = worker.buffers.scratch();
            let count = match stream.poll_read_slice(cx, &mut scratch[..16 * 1024]) {
                std::task::Poll::Ready(Ok(0) | Err(_)) => return std::task::Poll::Ready(None),
                std::task::Poll::Ready(Ok(count)) => count,
                std::task::Poll::Pending if timer.poll(cx).is_ready() => {
                    return std::task::Poll::Ready(None);
                }
                std::task::Poll::Pending if drain.poll(cx).is_ready() => {
                    let chance = last_chance.get_or_insert_with(|| worker.wheel.after(LAST_CHANCE));
                    return chance.poll(cx).map(|()| None);
                }
                std::task::Poll::Pending => return std::task::Poll::Pending,
            };
            if unread.capacity() == 0 {
                unread = worker.buffers.take();
            }
            unread.extend_from_slice(&scratch[..count]);
            let seen = unread.len().min(PREFACE.len());
            if unread[..seen] != PREFACE[..seen] {
                return std::task::Poll::Ready(Some((Sniffed::H1, std::mem::take(&mut unread))));
            }
            if seen == PREFACE.len() {
                return std::task::Poll::Ready(Some((Sniffed::H2, std::mem::take(&mut unread))));
            }
        }
    })
    .await
}
