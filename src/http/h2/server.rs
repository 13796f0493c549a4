//! The server side of an HTTP/2 connection: many requests at once, a task for each.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::h2::server::{Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use ::http::{HeaderMap, Method, Request, Response, StatusCode};

use super::exchanges::Exchanges;
use super::outbox::{Outbox, Piece};
use super::tap::Tap;
use super::transfer::{Reader, Writer};
use super::{End, FRAME, REMEMBERED_RESETS, SEND_BUFFER, Unheard, fields};
use crate::clock::Instant;
use crate::clock::wheel::Timer;
use crate::config::{ListenerLimits, ListenerTimeouts};
use crate::http::body::{Body, Sink};
use crate::http::buffers::Buffers;
use crate::http::drain::Drain;
use crate::http::head::Length;
use crate::http::in_force::InForce;
use crate::http::outgoing::Outgoing;
use crate::http::responder::{Handler, Incoming, Peer, Refusal};
use crate::stream::Stream;

/// How long a closing connection may take to say its last word, and a client to close after it.
const LINGER: Duration = Duration::from_secs(2);
/// How far beyond what a listener takes the library reads on, so that a head that is too large gets our answer and not
/// the library's. It holds no more than one head that is not complete, and what is complete is judged at once.
const HEAD_MARGIN: usize = 4;
/// What the size of a field list counts per field beyond its bytes (RFC 9113, 10.5.1).
const FIELD_OVERHEAD: usize = 32;

/// What a listener asks of its HTTP/2 connections.
#[derive(Debug, Clone)]
pub struct Settings {
    pub limits: ListenerLimits,
    pub timeouts: ListenerTimeouts,
    /// Bytes of a request body that a client may send before any is passed on. Default 256 KiB: 5 MB/s per stream
    /// at a round trip of 50 ms.
    pub stream_window: u32,
    /// The same for all bodies of a connection together: the most that a connection can make us hold. Default 1 MiB.
    pub connection_window: u32,
}

impl Settings {
    /// With the default windows.
    pub fn new(limits: ListenerLimits, timeouts: ListenerTimeouts) -> Self {
        Self {
            limits,
            timeouts,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
        }
    }

    fn builder(&self) -> ::h2::server::Builder {
        let limits = &self.limits;
        let head = limits
            .head_bytes
            .saturating_add(limits.fields.saturating_mul(FIELD_OVERHEAD))
            .saturating_mul(HEAD_MARGIN);
        let mut builder = ::h2::server::Builder::new();
        builder
            .max_concurrent_streams(limits.streams)
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_frame_size(FRAME)
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            // A browser that leaves a page cancels all that it just asked for.
            .max_pending_accept_reset_streams(limits.streams as usize)
            // Counted by the tap, which forgets with time: a connection may live for days.
            .max_local_error_reset_streams(None)
            .enable_connect_protocol();
        builder
    }
}

/// Serves requests until the connection ends, and says why it did. What was agreed on with the client at the beginning stays:
/// its windows, how many streams it may open and how far the library reads a head. For all else the `settings` count that
/// are in force when a head begins, or the rest between two requests. `unread` are the bytes that were read from the
/// stream already, from the preface on; `timer` is the connection's one timer.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one thing that a connection needs and none belong together"
)]
pub async fn serve<H: Handler>(
    stream: Stream,
    unread: Vec<u8>,
    peer: Rc<Peer>,
    settings: InForce<Settings>,
    timer: Timer,
    drain: Drain,
    buffers: Buffers,
    handler: H,
) -> End {
    let agreed = settings.now();
    let streams = agreed.limits.streams;
    let wheel = timer.wheel().clone();
    let tap = Tap::server(stream, unread, streams, buffers.clone(), wheel);
    let connection = match handshake(&tap, &agreed, &timer).await {
        Ok(connection) => connection,
        Err(end) => return end,
    };
    let mut session = Session {
        connection,
        exchanges: Exchanges::default(),
        outbox: Outbox::new(tap.delayed()),
        tap,
        phase: Phase::Open,
        end: End::Closed,
        is_told: false,
        is_idle: false,
        peer,
        settings,
        timer,
        block: None,
        drain,
        buffers,
        handler,
    };
    let end = poll_fn(|cx| session.poll(cx)).await;
    session.tell(end);
    end
}

/// Sends SETTINGS and reads the preface, within the time of a head.
async fn handshake(
    tap: &Tap,
    settings: &Settings,
    timer: &Timer,
) -> Result<Connection<Tap, Piece>, End> {
    timer.set(timer.wheel().now() + settings.timeouts.head);
    let mut handshake = pin!(settings.builder().handshake(tap.clone()));
    poll_fn(|cx| {
        if let Poll::Ready(connection) = handshake.as_mut().poll(cx) {
            return Poll::Ready(connection.map_err(|_| End::Failed));
        }
        match tap.poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(End::Failed)),
            _ => timer.poll(cx).map(|()| Err(End::Slow)),
        }
    })
    .await
}

/// How far a connection is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// GOAWAY was sent; what runs is finished.
    Closing,
    /// Nothing but the last bytes is left; the timer cuts the connection.
    Last,
}

struct Session<H> {
    /// Dropped before the exchanges are, so that they find their streams closed.
    connection: Connection<Tap, Piece>,
    exchanges: Exchanges,
    outbox: Outbox,
    tap: Tap,
    phase: Phase,
    end: End,
    /// The handler knows why.
    is_told: bool,
    /// No exchange runs, and the timer is set for that.
    is_idle: bool,
    peer: Rc<Peer>,
    settings: InForce<Settings>,
    timer: Timer,
    /// While a header block is under way: since when, and its deadline.
    block: Option<(Instant, Timer)>,
    drain: Drain,
    buffers: Buffers,
    handler: H,
}

impl<H: Handler> Session<H> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            while let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
                match accepted {
                    Some(Ok((request, response))) => self.start(request, response),
                    Some(Err(error)) if self.end == End::Closed => {
                        return Poll::Ready(self.failed(&error));
                    }
                    Some(Err(_)) | None => return Poll::Ready(self.end),
                }
            }
            if let Poll::Ready(Err(_)) = self.tap.poll_send(cx) {
                return Poll::Ready(if self.end == End::Closed {
                    End::Failed
                } else {
                    self.end
                });
            }
            if !self.poll_change(cx) {
                return if self.timer.poll(cx).is_ready() && self.phase == Phase::Last {
                    Poll::Ready(self.end)
                } else {
                    Poll::Pending
                };
            }
        }
    }

    /// Looks at all that may end the connection. True: the library has to be polled again.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..self.tap.take_malformed() {
            self.handler.unheard(Unheard::Malformed, &self.peer);
        }
        for _ in 0..self.tap.take_oversized() {
            self.handler.unheard(Unheard::TooLarge, &self.peer);
        }
        if self.phase == Phase::Last {
            return false;
        }
        if let Some(flood) = self.tap.flood() {
            self.cut(End::Flood(flood));
            return true;
        }
        if self.is_head_slow(cx) {
            self.cut(End::SlowHead);
            return true;
        }
        if let Some(end) = self.tap.farewell() {
            // By the library. It may take long until the client closes, and more until it has to.
            self.end = end;
            self.tell(end);
        }
        if self.tap.is_closing() {
            // The library ends it: for an error of the client, or because all is done.
            self.exchanges.cancel();
            self.set(Phase::Last, LINGER);
            return false;
        }
        if self.phase == Phase::Open && self.drain.poll(cx).is_ready() {
            self.close(End::Drained);
            return true;
        }
        if !self.exchanges.are_done(cx) {
            if self.is_idle {
                self.is_idle = false;
                self.timer.clear();
            }
            return false;
        }
        if !self.is_idle {
            self.is_idle = true;
            self.drain.rest();
            let span = if self.phase == Phase::Open {
                self.settings.now().timeouts.keep_alive
            } else {
                LINGER
            };
            self.timer.set(self.timer.wheel().now() + span);
        }
        let has_rested = self.phase == Phase::Open && self.drain.poll_rest(cx).is_ready();
        if self.timer.poll(cx).is_pending() && !has_rested {
            return false;
        }
        match self.phase {
            Phase::Open => self.close(End::Idle),
            Phase::Closing | Phase::Last => self.last(Reason::NO_ERROR),
        }
        true
    }

    /// Whether a header block has been under way for longer than a head may take. Until its end nothing else can come
    /// on this connection, so that no other deadline would be of any use.
    fn is_head_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(since) = self.tap.in_block_since() else {
            self.block = None;
            return false;
        };
        let known = self.block.take().filter(|(begun, _)| *begun == since);
        let (_, timer) = self.block.insert(known.unwrap_or_else(|| {
            let timer = self.timer.wheel().timer();
            timer.set(since + self.settings.now().timeouts.head);
            (since, timer)
        }));
        timer.poll(cx).is_ready()
    }

    /// Cuts everything short because of what the client did.
    fn cut(&mut self, end: End) {
        self.end = end;
        self.tell(end);
        self.last(Reason::ENHANCE_YOUR_CALM);
    }

    /// Tells the handler why the connection was cut, once, as soon as that is known.
    fn tell(&mut self, end: End) {
        let is_cut = matches!(end, End::Flood(_) | End::Broken | End::SlowHead);
        if is_cut && !std::mem::replace(&mut self.is_told, true) {
            self.handler.cut(end, &self.peer);
        }
    }

    /// Why the library gave the connection up, where it could not tell the client any more.
    fn failed(&self, error: &::h2::Error) -> End {
        if let Some(end) = self.tap.farewell() {
            return end;
        }
        if !error.is_library() {
            return End::Failed;
        }
        match error.reason() {
            Some(Reason::ENHANCE_YOUR_CALM) => End::Flood(self.tap.suspect()),
            _ => End::Broken,
        }
    }

    /// Takes nothing new and finishes what runs.
    fn close(&mut self, end: End) {
        self.end = end;
        self.connection.graceful_shutdown();
        self.is_idle = false;
        self.phase = Phase::Closing;
        self.timer.clear();
    }

    /// Cuts everything short.
    fn last(&mut self, reason: Reason) {
        self.exchanges.cancel();
        self.connection.abrupt_shutdown(reason);
        self.set(Phase::Last, LINGER);
    }

    fn set(&mut self, phase: Phase, span: Duration) {
        self.phase = phase;
        self.timer.set(self.timer.wheel().now() + span);
    }

    /// Starts the exchange of a request.
    fn start(&self, request: Request<RecvStream>, mut response: SendResponse<Piece>) {
        self.tap.took(response.stream_id().as_u32());
        // All that has come was read before the first request is handed out: what was cancelled in the same breath, or
        // made us reset the stream, must cost no endpoint anything (CVE-2023-44487, CVE-2025-8671).
        let reset = response.poll_reset(&mut Context::from_waker(Waker::noop()));
        if reset.is_ready() {
            self.handler.unheard(Unheard::Cancelled, &self.peer);
            return;
        }
        let (parts, stream) = request.into_parts();
        let mut responder = Responder {
            response: Some(response),
            outbox: self.outbox.clone(),
            is_head: parts.method == Method::HEAD,
            is_connect: parts.method == Method::CONNECT,
        };
        let mut head = self.buffers.request_head();
        let settings = self.settings.now();
        let ends = stream.is_end_stream();
        let peer = Rc::clone(&self.peer);
        let handler = self.handler.clone();
        if let Err(error) = fields::read_request(parts, ends, &settings.limits, &mut head) {
            responder.is_connect = false;
            let responder = crate::http::Responder::H2(responder);
            let refusal = Refusal::Parse(error);
            self.exchanges.start(Box::pin(async move {
                handler.refuse(refusal, None, responder, peer).await;
            }));
            return;
        }
        let body = if ends {
            Body::Empty
        } else {
            Body::H2(Reader::new(stream, head.length, None))
        };
        let responder = crate::http::Responder::H2(responder);
        let incoming = Incoming {
            head,
            begun: None,
            body,
            responder,
            peer,
        };
        self.exchanges.start(handler.exchange(incoming));
    }
}

/// Writes the answer of one request.
pub struct Responder {
    /// `None` once it was answered.
    response: Option<SendResponse<Piece>>,
    outbox: Outbox,
    is_head: bool,
    is_connect: bool,
}

impl Responder {
    /// Writes an interim response. 101 has no meaning in HTTP/2 (RFC 9113, 8.6).
    pub fn interim(&mut self, status: u16, head: &Outgoing<'_>) {
        let Ok(code) = StatusCode::from_u16(status) else {
            return;
        };
        if let Some(response) = &mut self.response
            && code.is_informational()
            && code != StatusCode::SWITCHING_PROTOCOLS
        {
            // Fails when the client has gone, which the final response will find too.
            let _ = response.send_informational(message(code, fields::write_interim(head)));
        }
    }

    /// Writes the final head. Whoever asked for a tunnel (CONNECT) takes a success for one, and must not get it here.
    pub fn respond(self, status: u16, head: &Outgoing<'_>) -> Sink {
        debug_assert!(
            !(self.is_connect && (200..300).contains(&status)),
            "only `switch` agrees to a tunnel"
        );
        self.answer(status, head, false)
    }

    /// Agrees to the tunnel that was asked for.
    pub fn switch(self, head: &Outgoing<'_>) -> Sink {
        self.answer(200, head, true)
    }

    fn answer(mut self, status: u16, head: &Outgoing<'_>, is_tunnel: bool) -> Sink {
        let Some(mut response) = self.response.take() else {
            return Sink::H2(Writer::closed());
        };
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let bodiless = self.is_head || matches!(status, 204 | 304);
        let ends = (bodiless || head.length.is_empty()) && !is_tunnel;
        let map = fields::write_response(status, head, bodiless, is_tunnel);
        match response.send_response(message(code, map), ends) {
            Err(_) => Sink::H2(Writer::closed()),
            Ok(_) if ends => Sink::Nowhere,
            Ok(stream) => {
                let length = if is_tunnel {
                    Length::Close
                } else {
                    head.length
                };
                Sink::H2(Writer::new(
                    stream,
                    length,
                    Reason::INTERNAL_ERROR,
                    Some(self.outbox.share()),
                    None,
                ))
            }
        }
    }

    /// Ready when the client has reset the stream, or its connection ended.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.response.as_mut().map_or(Poll::Ready(()), |response| {
            response.poll_reset(cx).map(|_| ())
        })
    }
}

impl Drop for Responder {
    /// A request that was not answered is not silently forgotten.
    fn drop(&mut self) {
        if let Some(response) = &mut self.response {
            response.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

fn message(status: StatusCode, map: HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = map;
    response
}
