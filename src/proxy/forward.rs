//! One attempt: send, await the response head.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::brake::Brake;
use super::error::ProxyError;
use super::exchange::{Exchange, Steps};
use super::heads;
use super::link::Link;
use super::pick::Slot;
use super::switch::Switch;
use crate::attempt::{Action, ConnectFailure, Death, Event, Keep, Pace, Plan};
use crate::clock::Instant;
use crate::clock::wheel::Timer;
use crate::http::Responder;
use crate::http::body::{Body, BodyError, Pump, PumpError, Sink};
use crate::http::buffers::{Buffers, Lent};
use crate::http::h1::body::DecodeError;
use crate::http::h1::connection::GATHERED;
use crate::http::head::{Length, ResponseHead, Version};

/// Interim responses to one request. More are a way to make us write for ever.
const INTERIM: u32 = 32;

/// The client's side of an exchange while it is being answered.
pub struct Downstream {
    /// Taken when the final head is written.
    pub responder: Option<Responder>,
    pub body: Body,
    /// What follows an extended CONNECT: nothing of it is read until the endpoint has agreed to a tunnel.
    pub held: Body,
    pub pump: Pump,
    /// Bytes of the body that an attempt had read before a replay took its place, which begins with the same.
    pub replayed: u64,
    /// How fast the body comes, while it is the client's to send.
    pace: Pace,
    /// How fast it may come.
    pub brake: Option<Box<Brake>>,
}

impl Downstream {
    /// Before anything was read of the body.
    pub fn new(exchange: &Exchange, responder: Responder, body: Body) -> Self {
        let limits = &exchange.listener.shared.limits;
        Self {
            responder: Some(responder),
            body,
            held: Body::Empty,
            pump: Pump::limited(limits.body_bytes),
            replayed: 0,
            pace: Pace::new(limits.min_rate),
            brake: None,
        }
    }

    /// Without a client: the body is all that there is, and the answer is for somebody else.
    pub fn apart(body: Body) -> Self {
        Self {
            responder: None,
            body,
            held: Body::Empty,
            pump: Pump::default(),
            replayed: 0,
            pace: Pace::new(None),
            brake: None,
        }
    }

    /// Moves the body, no faster than it may go.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Sink,
        buffers: &Buffers,
    ) -> Poll<Result<(), PumpError>> {
        let (pump, body) = (&mut self.pump, &mut self.body);
        match &mut self.brake {
            None => pump.poll(cx, body, sink, buffers),
            Some(brake) => brake.poll(cx, pump, body, sink, buffers),
        }
    }

    /// Whether the client drips its body. One whose length nobody knows may be a stream, and as slow as it likes.
    pub fn is_too_slow(&mut self, now: Instant) -> bool {
        let is_owed = self.pump.is_starved && matches!(self.body.length(), Length::Exact(_));
        self.pace.is_too_slow(now, self.received(), is_owed)
    }

    /// Bytes of the body that the client has sent, whoever got them.
    pub fn received(&self) -> u64 {
        self.pump.bytes.max(self.replayed)
    }

    /// Whether the request can be sent again: nothing of its body was read yet, or all that was is kept.
    pub fn is_kept(&self) -> bool {
        self.pump.is_untouched() || self.body.is_whole()
    }

    /// Ready when the client left, while nothing is read of its body and nothing is sent to it.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.responder {
            // Over HTTP/1 what a client still has to send stands between us and its end.
            Some(responder) if self.body.is_done() || responder.version() == Version::Http2 => {
                responder.poll_gone(cx)
            }
            _ => Poll::Pending,
        }
    }

    /// For another attempt beside the one under way, of a request whose body is this: it has no way to the client.
    pub fn beside(&self, body: Bytes) -> Self {
        Self {
            responder: None,
            body: if body.is_empty() {
                Body::Empty
            } else {
                Body::Fixed(body)
            },
            held: Body::Empty,
            pump: self.pump.anew(),
            replayed: 0,
            pace: self.pace.clone(),
            brake: None,
        }
    }

    /// Goes on with the body of another attempt, which is the same.
    pub fn take_over(&mut self, other: Self) {
        self.replayed = self.received();
        (self.body, self.pump) = (other.body, other.pump);
    }

    /// Begins with the first byte of the body again, which is counted and limited as if it came for the first time.
    pub fn replay(&mut self) {
        self.replayed = self.received();
        self.pump = self.pump.anew();
        self.body.rewind();
    }
}

/// One try of a request at one endpoint, before anything is sent.
pub struct Linked {
    pub link: Link,
    pub slot: Box<Slot>,
    pub steps: Steps,
}

/// One try of a request at one endpoint.
pub struct Attempt {
    pub link: Link,
    /// Where the request body goes.
    pub sink: Sink,
    pub slot: Box<Slot>,
    pub steps: Steps,
    /// Whether it asks to leave HTTP.
    pub switch: Switch,
    /// As the endpoint got it: it decides which body its answer has.
    pub method: ::http::Method,
}

/// Why an attempt has no response head: what to tell the client if it was the last, and what to tell the plan.
#[derive(Debug)]
pub struct Failure {
    pub error: ProxyError,
    pub event: Event,
}

/// What a failed connection means for the plan.
pub fn unconnected(error: ProxyError) -> Failure {
    let failure = match &error {
        ProxyError::ConnectTimeout => ConnectFailure::TimedOut,
        ProxyError::Refused => ConnectFailure::Refused,
        ProxyError::Certificate(_) | ProxyError::Tls(_) => ConnectFailure::Tls,
        ProxyError::NotHttp2 => ConnectFailure::Protocol,
        _ => ConnectFailure::Unreachable,
    };
    Failure {
        error,
        event: Event::ConnectFailed(failure),
    }
}

fn is_late(error: &ProxyError) -> bool {
    matches!(
        error,
        ProxyError::FirstByteTimeout | ProxyError::TotalTimeout | ProxyError::IdleTimeout
    )
}

/// Whether an attempt on an idle connection met its end: the endpoint may close those whenever it likes.
pub fn is_idle_race(event: &Event) -> bool {
    matches!(
        event,
        Event::Died(Death {
            received: false,
            late: false,
            ..
        })
    )
}

/// A request whose head could not be put on the connection. Nothing of it was sent.
pub fn unsent(error: ProxyError) -> Failure {
    let event = match error {
        ProxyError::Target | ProxyError::BadUpgrade => Event::ClientGone,
        _ => Event::Died(Death {
            written: false,
            received: false,
            kept: true,
            late: false,
        }),
    };
    Failure { error, event }
}

/// What came of waiting for a head.
pub enum Awaited {
    Head,
    /// It takes longer than its like, and is still waited for.
    Hedge,
    Failed(Failure),
}

/// Why a head is waited for no longer.
enum Stop {
    Hedge,
    Error(ProxyError),
}

impl From<ProxyError> for Stop {
    fn from(error: ProxyError) -> Self {
        Self::Error(error)
    }
}

/// Where an attempt stands before its response head.
pub struct Wait {
    /// The head of the answer, once it is there.
    pub response: Lent<ResponseHead>,
    received: bool,
    is_muted: bool,
    write_failed: bool,
    /// Interim responses passed on, and whether the last may not have left yet.
    interim: u32,
    is_unflushed: bool,
    moved: u64,
    was_starved: bool,
    /// Since when the client is waited for.
    starved: Instant,
    /// How long it may take between two pieces of its body, and the endpoint to say 100.
    patience: Duration,
    first_byte: Duration,
    /// The client sends no body before it is told to go on.
    awaits_continue: bool,
    /// Bytes that the connection had carried before this attempt.
    written: u64,
    /// What is kept of the body is of no use once the connection has carried more than that.
    keeps_unwritten: bool,
}

impl Wait {
    /// Waits for the head of the answer, which is then in `response`, while the request is being sent; interim responses are
    /// passed on as they come.
    pub async fn head(
        &mut self,
        exchange: &Exchange,
        attempt: &mut Attempt,
        down: &mut Downstream,
        timer: &Timer,
        plan: &mut Plan,
    ) -> Awaited {
        poll_fn(|cx| self.poll_head(cx, exchange, attempt, down, timer, plan)).await
    }

    /// The same, to be polled beside something else.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        attempt: &mut Attempt,
        down: &mut Downstream,
        timer: &Timer,
        plan: &mut Plan,
    ) -> Poll<Awaited> {
        let polled = self.poll(cx, exchange, attempt, down, timer, plan);
        polled.map(|stopped| match stopped {
            Ok(()) => {
                attempt.steps.answered = exchange.worker.wheel.now();
                Awaited::Head
            }
            Err(Stop::Hedge) => Awaited::Hedge,
            Err(Stop::Error(error)) => Awaited::Failed(self.failure(attempt, down, error)),
        })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        attempt: &mut Attempt,
        down: &mut Downstream,
        timer: &Timer,
        plan: &mut Plan,
    ) -> Poll<Result<(), Stop>> {
        if let Poll::Ready(error) = self.send(cx, exchange, attempt, down, timer, plan) {
            return Poll::Ready(Err(error.into()));
        }
        let awaited_continue = self.awaits_continue;
        if let Poll::Ready(read) = self.receive(cx, exchange, attempt, down) {
            return Poll::Ready(read.map_err(Stop::from));
        }
        if awaited_continue && !self.awaits_continue {
            // It is the client's turn, whose patience may be shorter.
            self.set(timer, plan, down);
        }
        self.flush(cx, down);
        if let Some(responder) = &mut down.responder
            && down.body.is_done()
            && responder.poll_gone(cx).is_ready()
        {
            return Poll::Ready(Err(ProxyError::ClientGone.into()));
        }
        while timer.poll(cx).is_ready() {
            let now = exchange.worker.wheel.now();
            if let Some(error) = self.stalled(down, now) {
                return Poll::Ready(Err(error.into()));
            }
            let action = plan.step(now, Event::Timer);
            self.set(timer, plan, down);
            match action {
                Action::GiveUp(failure) => {
                    let error = heads::given_up(failure, ProxyError::TotalTimeout);
                    return Poll::Ready(Err(Stop::Error(match error {
                        // The endpoint would go on; it is the client that does not.
                        ProxyError::IdleTimeout if down.pump.is_starved => ProxyError::SlowBody,
                        error => error,
                    })));
                }
                Action::Abandon => return Poll::Ready(Err(ProxyError::FirstByteTimeout.into())),
                // An endpoint that has begun to answer is waited for.
                Action::Hedge if !self.received => return Poll::Ready(Err(Stop::Hedge)),
                _ => {}
            }
        }
        Poll::Pending
    }

    /// What it means that there is no head.
    fn failure(&self, attempt: &Attempt, down: &Downstream, error: ProxyError) -> Failure {
        if is_late(&error) {
            attempt.link.doubt();
        }
        let event = match error {
            ProxyError::ClientGone
            | ProxyError::SlowBody
            | ProxyError::RequestBody(_)
            | ProxyError::TooLarge => Event::ClientGone,
            _ => Event::Died(Death {
                // A stream that was opened counts as written: only the endpoint can say that it did nothing with it.
                written: error != ProxyError::Unprocessed
                    && (matches!(attempt.link, Link::H2 { .. })
                        || attempt.written() != self.written),
                received: self.received,
                // Whoever floods with interim responses would do it again.
                kept: down.is_kept() && error != ProxyError::TooManyInterim,
                late: is_late(&error),
            }),
        };
        Failure { error, event }
    }

    /// Passes no more interim responses on: another attempt may win.
    pub fn mute(&mut self) {
        self.is_muted = true;
    }
}

impl Wait {
    /// Of an attempt whose head was written. Begins to keep what the plan may need again of its body.
    pub fn new(exchange: &Exchange, attempt: &Attempt, down: &mut Downstream, plan: &Plan) -> Self {
        let mut wait = Self::begun(exchange, attempt.written());
        if !matches!(down.body, Body::Empty) {
            wait.keep(exchange, attempt, down, plan);
        }
        wait
    }

    fn begun(exchange: &Exchange, written: u64) -> Self {
        let upstream = exchange.upstream.as_ref().map(|upstream| &upstream.shared);
        Self {
            response: exchange.worker.buffers.response_head(),
            received: false,
            is_muted: false,
            write_failed: false,
            interim: 0,
            is_unflushed: false,
            moved: u64::MAX,
            was_starved: false,
            starved: Instant::FAR,
            patience: exchange.listener.shared.timeouts.body,
            first_byte: upstream.map_or(Duration::MAX, |upstream| upstream.timeouts.first_byte),
            awaits_continue: exchange.head.expects_continue,
            written,
            keeps_unwritten: false,
        }
    }

    /// Begins to keep what the plan may need again.
    fn keep(&mut self, exchange: &Exchange, attempt: &Attempt, down: &mut Downstream, plan: &Plan) {
        let upstream = exchange.upstream.as_ref();
        let buffer = upstream.map_or(0, |upstream| upstream.shared.retry.buffer.unwrap_or(0));
        let room = match (plan.keep(), &attempt.link) {
            (Keep::Nothing, _) => 0,
            // An endpoint can refuse a stream until it answers on it.
            (Keep::All, _) | (Keep::Unwritten, Link::H2 { .. }) => buffer,
            // Only what is gathered with the head can have been read while nothing is written.
            (Keep::Unwritten, Link::H1(_)) => {
                self.keeps_unwritten = true;
                let room = buffer.min(GATHERED);
                match down.body.length() {
                    Length::Exact(length) if length > room as u64 => 0,
                    _ => room,
                }
            }
        };
        down.body.keep(room);
    }

    /// When the client, or the endpoint that it waits for, has stalled for too long.
    fn deadline(&self, down: &Downstream) -> Instant {
        if !down.pump.is_starved {
            Instant::FAR
        } else if self.awaits_continue {
            self.starved + self.first_byte
        } else {
            self.starved + self.patience
        }
    }

    fn stalled(&self, down: &Downstream, now: Instant) -> Option<ProxyError> {
        (self.deadline(down) <= now).then_some(if self.awaits_continue {
            ProxyError::FirstByteTimeout
        } else {
            ProxyError::SlowBody
        })
    }

    fn set(&self, timer: &Timer, plan: &Plan, down: &Downstream) {
        timer.set(plan.deadline().0.min(self.deadline(down)));
    }

    /// Hands interim responses on.
    fn flush(&mut self, cx: &mut Context<'_>, down: &mut Downstream) {
        if self.is_unflushed
            && let Some(responder) = &mut down.responder
        {
            self.is_unflushed = responder.poll_flush(cx).is_pending();
        }
    }

    /// Moves the request body. Ready only with an error of the client.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        attempt: &mut Attempt,
        down: &mut Downstream,
        timer: &Timer,
        plan: &mut Plan,
    ) -> Poll<ProxyError> {
        if down.pump.is_done() || self.write_failed {
            return Poll::Pending;
        }
        let polled = down.poll(cx, &mut attempt.sink, &exchange.worker.buffers);
        if self.keeps_unwritten && attempt.written() != self.written {
            self.keeps_unwritten = false;
            down.body.forget();
        }
        let total = down.pump.bytes + attempt.sink.written();
        let moved = std::mem::replace(&mut self.moved, total) != total;
        let is_starved = down.pump.is_starved;
        let turned = std::mem::replace(&mut self.was_starved, is_starved) != is_starved;
        match polled {
            Poll::Ready(Ok(())) => {
                attempt.steps.sent = exchange.worker.wheel.now();
                plan.step(attempt.steps.sent, Event::Sent);
                timer.set(plan.deadline().0);
            }
            Poll::Ready(Err(error)) => match request_error(&error) {
                Some(error) => return Poll::Ready(error),
                // The endpoint may have answered before it stopped reading.
                None => self.write_failed = true,
            },
            Poll::Pending if moved || turned => {
                self.starved = exchange.worker.wheel.now();
                self.awaits_continue &= down.pump.bytes == 0;
                if !self.awaits_continue && down.is_too_slow(self.starved) {
                    return Poll::Ready(ProxyError::SlowBody);
                }
                plan.progress(self.starved);
                self.set(timer, plan, down);
            }
            Poll::Pending => {}
        }
        Poll::Pending
    }

    /// Reads heads until a final one; interim ones are passed on.
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        attempt: &mut Attempt,
        down: &mut Downstream,
    ) -> Poll<Result<(), ProxyError>> {
        let response = &mut self.response;
        loop {
            match attempt.link.poll_head(cx, &attempt.method, response) {
                Poll::Ready(Ok(true)) if response.is_interim() => {
                    self.received = true;
                    self.interim += 1;
                    if self.interim > INTERIM {
                        return Poll::Ready(Err(ProxyError::TooManyInterim));
                    }
                    if response.status == 100 && self.awaits_continue {
                        self.awaits_continue = false;
                        self.starved = exchange.worker.wheel.now();
                    }
                    if let Some(responder) = &mut down.responder
                        && !self.is_muted
                    {
                        heads::pass_interim(&exchange.worker, responder, response);
                        self.is_unflushed = true;
                    }
                    response.clear();
                }
                Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) => {
                    self.received |= attempt.link.was_heard();
                    return Poll::Ready(Err(ProxyError::Closed));
                }
                Poll::Ready(Err(error)) => {
                    self.received |= match error {
                        // Whoever resets a stream has looked at it.
                        ProxyError::Response(_) | ProxyError::Reset => true,
                        // A connection on which others were answered meanwhile was not dead before.
                        ProxyError::Closed => attempt.link.was_heard(),
                        _ => false,
                    };
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// What it means for the exchange that a request body could not be passed on. `None`: it is the endpoint that takes no
/// more of it, which its answer may explain.
pub fn request_error(error: &PumpError) -> Option<ProxyError> {
    match error {
        PumpError::Source(error) => Some(match error {
            BodyError::Malformed(error) => ProxyError::RequestBody(*error),
            BodyError::WrongLength => ProxyError::RequestBody(DecodeError::WrongLength),
            BodyError::TooLarge => ProxyError::TooLarge,
            BodyError::Truncated | BodyError::Reset(_) | BodyError::Io(_) => ProxyError::ClientGone,
        }),
        // The endpoint was promised what the client had announced.
        PumpError::Sink(BodyError::WrongLength) => {
            Some(ProxyError::RequestBody(DecodeError::WrongLength))
        }
        PumpError::Sink(_) => None,
    }
}

impl Attempt {
    /// Bytes that the connection has carried to the endpoint, where that can be told.
    fn written(&self) -> u64 {
        match &self.link {
            Link::H1(connected) => connected.client.connection().sent.get(),
            Link::H2 { .. } => 0,
        }
    }
}
