//! One accepted connection, from its socket to its end: who it is from, TLS, and which protocol it speaks.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::panics::Watched;
use super::{LAST_CHANCE, ListenerView, Worker};
use crate::config::units::masked;
use crate::http::drain::Drain;
use crate::http::{Handler, Peer, h1, h2};
use crate::listener::accept::{Accepted, Pass};
use crate::listener::crowd::Place;
use crate::listener::prologue::{self, Opening};
use crate::listener::refusal::Refusal;
use crate::listener::server_tls::{self, ServerTls};
use crate::observe::ListenerCells;
use crate::proxy_protocol::Header;
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

/// A connection that a client may speak on.
struct Opened {
    stream: Stream,
    peer: Peer,
    listener: Rc<ListenerView>,
    /// Held for its drop, at the end of the connection.
    _held: (Counted, Pass, Option<Place>),
}

/// Carries one accepted connection to its end.
pub(super) async fn serve<H: Handler>(worker: &Rc<Worker>, accepted: Accepted, handler: H) {
    if let Some(opened) = open(worker, accepted).await {
        carry(worker, opened, handler).await;
    }
}

/// What comes before HTTP:
///
/// 1. the socket is registered with this worker; 2. a PROXY header is read where one is due; 3. the address is judged that
///    it tells, or that the connection comes from; 4. the TLS handshake.
///
/// `None` when there is nobody left to serve, or nobody that is to be served, which is counted.
async fn open(worker: &Rc<Worker>, accepted: Accepted) -> Option<Opened> {
    let view = worker.view();
    let listener = Rc::clone(view.listener(accepted.listener)?);
    drop(view);
    let counted = Counted::new(&listener.cells);
    // 1.
    let unix = accepted.peer.is_none();
    let (address, port) = (
        accepted.ip(),
        accepted.peer.as_ref().map_or(0, SocketAddr::port),
    );
    let number = accepted.listener;
    let Accepted { socket, pass, .. } = accepted;
    let mut stream = register(socket, unix).ok()?;
    let local = match &stream {
        Stream::Tcp(tcp) => tcp.local_addr().ok(),
        _ => None,
    };
    let mut peer = Peer {
        address,
        port,
        listener: number,
        tls: false,
        sni: None,
        identity: None,
        text: shown(address),
        local,
        proxy: None,
    };
    // 2. and 3.
    let place = match admit(worker, &listener, &pass, &stream, &mut peer).await {
        Ok(Some(place)) => place,
        Ok(None) => return None,
        Err(refusal) => {
            listener.cells.refused(refusal.label());
            return None;
        }
    };
    // 4.
    if let Some(tls) = &listener.shared.tls {
        // Boxed: the state of a handshake is large, and the task outlives it.
        let span = listener.shared.timeouts.handshake;
        let secured = secure(worker, stream, tls, span, &counted.0, &mut peer);
        stream = Box::pin(secured).await?;
    }
    Some(Opened {
        stream,
        peer,
        listener,
        _held: (counted, pass, place),
    })
}

/// The address of a peer as logs show it.
fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "unix".to_owned(), |address| address.to_string())
}

/// Reads the PROXY header that is due, and judges whose connection it is. Gives its place among those of its address,
/// where they are counted; `None` when the peer has left.
async fn admit(
    worker: &Worker,
    listener: &ListenerView,
    pass: &Pass,
    stream: &Stream,
    peer: &mut Peer,
) -> Result<Option<Option<Place>>, Refusal> {
    let opening = Opening::of(&listener.shared.proxy_protocol, peer.address);
    // Whoever tells of another is not judged, but who it tells of; from all others nothing has to be waited for.
    if opening == Opening::Header && !hear(worker, listener, stream, opening, peer).await? {
        return Ok(None);
    }
    let place = judge(listener, pass, peer.address)?;
    let waits = matches!(opening, Opening::NoHeader | Opening::Refused);
    if waits && !hear(worker, listener, stream, opening, peer).await? {
        return Ok(None);
    }
    Ok(Some(place))
}

/// Reads what comes before the client, and believes it. False when there is nobody left to serve.
async fn hear(
    worker: &Worker,
    listener: &ListenerView,
    stream: &Stream,
    opening: Opening,
    peer: &mut Peer,
) -> Result<bool, Refusal> {
    // Boxed: few listeners ask for it, and the task outlives it.
    let reading = Box::pin(prologue::read(stream, opening));
    match before(worker, listener, reading).await {
        Came::Done(header) => match header? {
            Some(header) => believe(peer, header),
            None => return Ok(false),
        },
        Came::Draining => return Ok(false),
        Came::Late if opening == Opening::Header => return Err(Refusal::HeaderTimeout),
        // Nothing was due from who is not believed, and the time for a request is over.
        Came::Late => return Ok(false),
    }
    Ok(true)
}

/// By the lists and the cap of the listener. Gives a place where connections are counted by address.
fn judge(
    listener: &ListenerView,
    pass: &Pass,
    address: Option<IpAddr>,
) -> Result<Option<Place>, Refusal> {
    let rules = &listener.shared;
    if let Some(addresses) = &rules.addresses
        && !addresses.admit(address)
    {
        return Err(Refusal::AddressDenied);
    }
    let (Some(cap), Some(address)) = (rules.limits.per_address, address) else {
        return Ok(None);
    };
    let prefix = &rules.limits.per_address_prefix;
    let prefix = if address.is_ipv4() {
        prefix.v4
    } else {
        prefix.v6
    };
    let place = pass.place(masked(address, prefix), cap);
    place.map(Some).ok_or(Refusal::AddressFull)
}

/// From here on the client is who a header tells.
fn believe(peer: &mut Peer, header: Header) {
    if let Header::Told {
        source,
        destination,
    } = header
    {
        let address = Some(source.ip().to_canonical());
        peer.proxy = Some(std::mem::replace(&mut peer.text, shown(address)).into());
        peer.address = address;
        peer.port = source.port();
        peer.local = Some(SocketAddr::new(
            destination.ip().to_canonical(),
            destination.port(),
        ));
    }
}

/// How waiting on a connection that has not spoken yet has ended.
enum Came<T> {
    Done(T),
    Late,
    /// Draining has begun, and what was waited for did not come soon.
    Draining,
}

/// Waits for something that comes before the client.
async fn before<T>(
    worker: &Worker,
    listener: &ListenerView,
    awaited: impl Future<Output = T>,
) -> Came<T> {
    let timer = worker.wheel.after(listener.shared.timeouts.head);
    let drain = listener.drain.clone();
    let mut last_chance = None;
    let mut awaited = pin!(awaited);
    poll_fn(|cx| {
        if let Poll::Ready(done) = awaited.as_mut().poll(cx) {
            return Poll::Ready(Came::Done(done));
        }
        if timer.poll(cx).is_ready() {
            return Poll::Ready(Came::Late);
        }
        if drain.poll(cx).is_ready() {
            let chance = last_chance.get_or_insert_with(|| worker.wheel.after(LAST_CHANCE));
            return chance.poll(cx).map(|()| Came::Draining);
        }
        Poll::Pending
    })
    .await
}

/// Finds out which protocol the client speaks, and serves it to the end.
async fn carry<H: Handler>(worker: &Rc<Worker>, opened: Opened, handler: H) {
    let Opened {
        mut stream,
        peer,
        listener,
        _held,
    } = opened;
    let (settings, h2_settings) = (listener.h1.clone(), listener.h2.clone());
    let drain = listener.drain.clone();
    // A connection outlives many configurations: of its own it keeps what it needs.
    drop(listener);
    // One deadline for the first head, whatever is found out about the protocol on the way.
    let timer = worker.wheel.after(settings.now().timeouts.head);
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
    poll_fn(|cx| {
        loop {
            let mut scratch = worker.buffers.scratch();
            let count = match stream.poll_read_slice(cx, &mut scratch[..16 * 1024]) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(count)) => count,
                Poll::Pending if timer.poll(cx).is_ready() => {
                    return Poll::Ready(None);
                }
                Poll::Pending if drain.poll(cx).is_ready() => {
                    let chance = last_chance.get_or_insert_with(|| worker.wheel.after(LAST_CHANCE));
                    return chance.poll(cx).map(|()| None);
                }
                Poll::Pending => return Poll::Pending,
            };
            if unread.capacity() == 0 {
                unread = worker.buffers.take();
            }
            unread.extend_from_slice(&scratch[..count]);
            let seen = unread.len().min(PREFACE.len());
            if unread[..seen] != PREFACE[..seen] {
                return Poll::Ready(Some((Sniffed::H1, std::mem::take(&mut unread))));
            }
            if seen == PREFACE.len() {
                return Poll::Ready(Some((Sniffed::H2, std::mem::take(&mut unread))));
            }
        }
    })
    .await
}
