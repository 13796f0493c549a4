//! The server side of an HTTP/1 connection: one request after the other.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::connection::{Connection, HeadError};
use super::parse::{self, Limits, ParseError};
use super::transfer::{Reader, Writer};
use super::write;
use crate::clock::Instant;
use crate::clock::wheel::Timer;
use crate::config::ListenerTimeouts;
use crate::http::body::{Body, Sink};
use crate::http::buffers::Lent;
use crate::http::drain::Drain;
use crate::http::head::{Length, RequestHead, Version};
use crate::http::in_force::InForce;
use crate::http::outgoing::Outgoing;
use crate::http::responder::{Handler, Incoming, Peer, Refusal};

/// Read and thrown away of a request body that nobody wants, so that the connection can go on.
const DRAINED: u64 = 256 * 1024;
/// How long a closing connection still listens, so that its last answer is not lost to a reset (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);
/// How long a connection that stands idle when draining begins may take for one more request. Clients under load take
/// less, and one that stood idle for longer is not hurt by the end of its connection.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// What a listener asks of its HTTP/1 connections.
#[derive(Debug, Clone)]
pub struct Settings {
    pub limits: Limits,
    pub timeouts: ListenerTimeouts,
}

/// How waiting for a request ended, and when its first bytes were read if the others did not come with them.
enum Next {
    Request(Lent<RequestHead>, Option<Instant>),
    Refuse(Refusal, Option<Instant>),
    /// The client closed, the connection failed or stood idle too long, or the process is draining.
    Close,
}

/// Serves requests until the connection ends. `timer` is the connection's one timer, set to when the first head must be
/// complete: the time of a head counts from when the client could speak, so that neither silence nor single bytes win
/// it more. Of `settings` each request is held to those that are in force when its first bytes come, and the rest before
/// it to those in force when it begins.
pub async fn serve<H: Handler>(
    connection: Rc<Connection>,
    peer: Rc<Peer>,
    settings: InForce<Settings>,
    timer: Timer,
    drain: Drain,
    handler: H,
) {
    let mut is_first = true;
    loop {
        let (head, begun) = match next(&connection, &settings, &timer, &drain, is_first).await {
            Next::Request(head, begun) => (head, begun),
            Next::Refuse(refusal, begun) => {
                timer.set(timer.wheel().now() + settings.now().timeouts.body);
                let responder = Responder::refusing(&connection);
                let responder = crate::http::Responder::H1(responder);
                let answer = Box::pin(handler.refuse(refusal, begun, responder, peer));
                tokio::select! { () = answer => {}, () = poll_fn(|cx| timer.poll(cx)) => return }
                linger(&connection, &timer).await;
                return;
            }
            Next::Close => return,
        };
        is_first = false;
        connection.keep_alive.set(head.keep_alive && !drain.is_on());
        let body = match head.length {
            Length::Empty => Body::Empty,
            length => Body::H1(Reader::new(Rc::clone(&connection), length)),
        };
        let responder = Responder::new(&connection, &head);
        let responder = crate::http::Responder::H1(responder);
        let incoming = Incoming {
            head,
            begun,
            body,
            responder,
            peer: Rc::clone(&peer),
        };
        handler.clone().exchange(incoming).await;
        if !connection.written_whole.get() {
            return;
        }
        if !connection.keep_alive.get() || !drained(&connection, &timer).await {
            linger(&connection, &timer).await;
            return;
        }
        // The exchange has just told the time, when it ended.
        timer.set(timer.wheel().recent() + settings.now().timeouts.keep_alive);
    }
}

/// Waits for the next request head. `is_timed` says that its deadline runs already.
async fn next(
    connection: &Rc<Connection>,
    settings: &InForce<Settings>,
    timer: &Timer,
    drain: &Drain,
    is_timed: bool,
) -> Next {
    let mut head: Option<Lent<RequestHead>> = None;
    // The first bytes of a head that is not complete start its own deadline, once.
    let mut is_timed = is_timed;
    let mut begun = None;
    let mut is_last = false;
    drain.rest();
    poll_fn(|cx| {
        let settings = settings.now();
        let read = connection.poll_head(cx, |bytes| {
            let head = head.get_or_insert_with(|| connection.buffers().request_head());
            parse::request(bytes, &settings.limits, head)
        });
        match read {
            Poll::Ready(Ok(Some(()))) => {}
            Poll::Ready(Err(HeadError::Parse(error))) => {
                return Poll::Ready(Next::Refuse(Refusal::Parse(error), begun));
            }
            Poll::Ready(Ok(None) | Err(HeadError::Truncated | HeadError::Io(_))) => {
                return Poll::Ready(Next::Close);
            }
            Poll::Pending => {
                let partial = connection.has_unread();
                if partial && begun.is_none() {
                    let now = timer.wheel().now();
                    begun = Some(now);
                    if !std::mem::replace(&mut is_timed, true) {
                        timer.set(now + settings.timeouts.head);
                    }
                }
                if !partial {
                    head = None;
                }
                if timer.poll(cx).is_ready() {
                    return Poll::Ready(if partial {
                        Next::Refuse(Refusal::SlowHead, begun)
                    } else {
                        Next::Close
                    });
                }
                if !partial && drain.poll_rest(cx).is_ready() && !is_last {
                    // A request that is on its way would meet a closed connection, and its client could not know
                    // whether it was carried out: it is still answered, and the answer says that it was the last.
                    is_last = true;
                    timer.set(timer.wheel().now() + LAST_REQUEST);
                    if timer.poll(cx).is_ready() {
                        return Poll::Ready(Next::Close);
                    }
                }
                return Poll::Pending;
            }
        }
        match head.take() {
            Some(head) => Poll::Ready(Next::Request(head, begun)),
            None => Poll::Ready(Next::Refuse(Refusal::Parse(ParseError::BadMethod), begun)),
        }
    })
    .await
}

/// Reads what is left of a request body that was not wanted. False when that would take too much.
async fn drained(connection: &Rc<Connection>, timer: &Timer) -> bool {
    let Some(decoder) = connection.abandoned.take() else {
        return connection.read_whole.get();
    };
    timer.set(timer.wheel().now() + LINGER);
    let mut reader = Reader::resume(Rc::clone(connection), decoder);
    let limit = connection.received.get() + DRAINED;
    poll_fn(|cx| {
        while !reader.is_done() {
            if connection.received.get() > limit || timer.poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            let mut scratch = connection.buffers().scratch();
            if ready!(reader.poll_frame(cx, &mut scratch)).is_err() {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    })
    .await
}

/// Closes the own direction and listens a little longer, so that the client can read what was sent.
async fn linger(connection: &Rc<Connection>, timer: &Timer) {
    timer.set(timer.wheel().now() + LINGER);
    let limit = connection.received.get() + DRAINED;
    poll_fn(|cx| {
        if timer.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if ready!(connection.poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        connection.poll_discard(cx, limit)
    })
    .await;
}

/// Writes the answer of one request.
pub struct Responder {
    connection: Rc<Connection>,
    version: Version,
    head_only: bool,
    /// The client waits for 100 before it sends its body: unless it got one, it is unknown whether the body follows.
    expects_continue: bool,
}

impl Responder {
    fn new(connection: &Rc<Connection>, head: &RequestHead) -> Self {
        connection.written_whole.set(false);
        Self {
            connection: Rc::clone(connection),
            version: head.version,
            head_only: head.method == ::http::Method::HEAD,
            expects_continue: head.expects_continue,
        }
    }

    /// For a request that was not understood: whatever follows on the connection is not read.
    fn refusing(connection: &Rc<Connection>) -> Self {
        connection.written_whole.set(false);
        connection.keep_alive.set(false);
        Self {
            connection: Rc::clone(connection),
            version: Version::Http11,
            head_only: false,
            expects_continue: false,
        }
    }

    /// Writes an interim response.
    pub fn interim(&mut self, status: u16, head: &Outgoing<'_>) {
        if self.version == Version::Http10 {
            return;
        }
        self.expects_continue &= status != 100;
        self.connection
            .write_later(|out| write::interim_head(out, status, head));
    }

    /// Ready once interim responses were handed on.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.poll_flush(cx).map(|_| ())
    }

    /// Writes the final head.
    pub fn respond(self, status: u16, reason: &[u8], head: &Outgoing<'_>) -> Sink {
        let mut length = head.length;
        if self.version == Version::Http10 && length == Length::Marked {
            // HTTP/1.0 knows no chunks: the end is told by closing.
            length = Length::Close;
        }
        let bodiless = self.head_only || matches!(status, 204 | 304);
        if (length == Length::Close && !bodiless) || self.expects_continue {
            self.connection.keep_alive.set(false);
        }
        let keep_alive = self.connection.keep_alive.get();
        self.connection.write_later(|out| {
            write::response_head(
                out,
                status,
                reason,
                head,
                length,
                bodiless,
                self.version,
                keep_alive,
            );
        });
        Sink::H1(Writer::new(
            self.connection,
            if bodiless { Length::Empty } else { length },
        ))
    }

    /// Writes 101 and leaves HTTP.
    pub fn switch(self, head: &Outgoing<'_>, body: &mut Body) -> Sink {
        self.connection.keep_alive.set(false);
        self.connection
            .write_later(|out| write::switch_head(out, head));
        *body = Body::H1(Reader::new(Rc::clone(&self.connection), Length::Close));
        Sink::H1(Writer::new(self.connection, Length::Close))
    }

    /// The connection is closed after this answer.
    pub fn close_after(&mut self) {
        self.connection.keep_alive.set(false);
    }

    /// Ready when the client has left.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.read_whole.get() {
            self.connection.poll_gone(cx)
        } else {
            Poll::Pending
        }
    }

    /// The version that the client speaks.
    pub fn version(&self) -> Version {
        self.version
    }
}
