//! One attempt: reserve, connect, send, await the response head.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::error::ProxyError;
use super::exchange::Exchange;
use crate::balance;
use crate::clock::Instant;
use crate::clock::wheel::Timer;
use crate::config::Protocol;
use crate::http::body::{Body, BodyError, Pump, PumpError, Sink};
use crate::http::buffers::Lent;
use crate::http::h1::connection::HeadError;
use crate::http::h1::parse::Limits;
use crate::http::head::ResponseHead;
use crate::http::{Outgoing, Responder, h1, h2};
use crate::upstream::connect::{DialError, dial};
use crate::upstream::pool::{Connected, Open};
use crate::worker::{Reach, UpstreamView, Worker};

/// Bounds of a response head. An endpoint is trusted more than a client, not without end.
const RESPONSE_LIMITS: Limits = Limits { head_bytes: 64 * 1024, fields: 256 };

/// The client's side of an exchange while it is being answered.
pub struct Downstream {
    /// Taken when the final head is written.
    pub responder: Option<Responder>,
    pub body: Body,
    pub pump: Pump,
}

/// A slot of an endpoint, given back on drop.
pub struct Slot(pub Rc<Reach>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.endpoint.in_flight.release();
    }
}

/// What an attempt runs on.
pub enum Link {
    H1(Connected),
    H2 { client: h2::Client, pending: Option<h2::client::Pending> },
}

/// One try of a request at one endpoint.
pub struct Attempt {
    pub link: Link,
    /// Where the request body goes.
    pub sink: Sink,
    /// The connection had carried an exchange before.
    pub reused: bool,
    pub slot: Slot,
}

/// How an attempt failed before its response head.
#[derive(Debug)]
pub struct Failure {
    pub error: ProxyError,
    /// The connection was used before, and no byte of a response came over it.
    pub stale: bool,
}

impl From<DialError> for ProxyError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused => Self::Refused,
            DialError::Unreachable(_) => Self::Unreachable,
        }
    }
}

impl From<h2::client::ClientError> for ProxyError {
    fn from(_: h2::client::ClientError) -> Self {
        Self::Reset
    }
}

/// The live numbers that a pick asks for.
pub struct Live<'a> {
    pub upstream: &'a UpstreamView,
    pub tried: &'a [usize],
}

impl balance::Load for Live<'_> {
    fn load(&self, i: usize) -> u32 {
        self.upstream.reaches[i].endpoint.in_flight.load()
    }

    fn full(&self, i: usize) -> bool {
        let reach = &self.upstream.reaches[i];
        crate::upstream::pool::open(&reach.endpoint) >= self.upstream.shared.connections.max && reach.pool.is_empty()
    }

    fn tried(&self, i: usize) -> bool {
        self.tried.contains(&i)
    }
}

/// Picks an endpoint and takes a slot of it.
pub fn pick(worker: &Worker, upstream: &UpstreamView, tried: &[usize]) -> Option<(usize, Slot)> {
    let live = Live { upstream, tried };
    let view = balance::View::new(&upstream.shared.members, &live);
    let mut memory = upstream.memory.borrow_mut();
    let mut random = worker.random.borrow_mut();
    let index = upstream.shared.policy.pick(&mut memory, &view, None, &mut random, None)?;
    let reach = Rc::clone(&upstream.reaches[index]);
    reach.endpoint.in_flight.reserve(u32::MAX);
    Some((index, Slot(reach)))
}

/// Finds or makes a connection to the endpoint of `slot`. `fresh` takes no idle one.
pub async fn link(worker: &Rc<Worker>, upstream: &UpstreamView, slot: &Slot, fresh: bool, span: Duration) -> Result<(Link, bool), ProxyError> {
    let reach = &slot.0;
    let now = worker.wheel.now();
    if upstream.shared.protocol != Protocol::H2
        && !fresh
        && let Some(connected) = reach.pool.take(now, &upstream.limits)
    {
        worker.idle.remove(1);
        return Ok((Link::H1(connected), true));
    }
    if upstream.shared.protocol != Protocol::H1
        && !fresh
        && let Some(client) = reach.pool.multiplexed(now, &upstream.limits)
    {
        return Ok((Link::H2 { client, pending: None }, true));
    }
    match worker.wheel.timeout(span, connect(worker, upstream, reach)).await {
        Some(linked) => linked.map(|link| (link, false)),
        None => Err(ProxyError::ConnectTimeout),
    }
}

/// Dials. Of several requests that need an HTTP/2 connection at once, one dials and the others wait for it.
async fn connect(worker: &Rc<Worker>, upstream: &UpstreamView, reach: &Rc<Reach>) -> Result<Link, ProxyError> {
    let shared = &upstream.shared;
    if shared.protocol == Protocol::H2 {
        let _turn = reach.dialling.lock().await;
        if let Some(client) = reach.pool.multiplexed(worker.wheel.now(), &upstream.limits) {
            return Ok(Link::H2 { client, pending: None });
        }
        return establish(worker, upstream, reach).await;
    }
    establish(worker, upstream, reach).await
}

async fn establish(worker: &Rc<Worker>, upstream: &UpstreamView, reach: &Rc<Reach>) -> Result<Link, ProxyError> {
    let open = Open::reserve(&reach.endpoint, upstream.shared.connections.max).ok_or(ProxyError::Full)?;
    let stream = dial(&reach.endpoint.target).await?;
    let now = worker.wheel.now();
    let multiplexed = match upstream.shared.protocol {
        Protocol::H1 => false,
        Protocol::H2 => true,
        Protocol::Auto => stream.alpn() == Some(b"h2"),
    };
    if !multiplexed {
        let connection = h1::Connection::new(stream, &[], worker.buffers.clone());
        return Ok(Link::H1(Connected { client: h1::Client::new(connection), born: now, open }));
    }
    let (client, driver) = h2::client::connect(stream, worker.buffers.clone()).await.map_err(|_| ProxyError::Closed)?;
    tokio::task::spawn_local(async move {
        driver.await;
        drop(open);
    });
    reach.pool.add(now, client.clone());
    worker.sweep();
    Ok(Link::H2 { client, pending: None })
}

/// Sends the request and waits for the head of its answer; interim responses are passed on as they come.
pub async fn head(
    exchange: &mut Exchange,
    attempt: &mut Attempt,
    down: &mut Downstream,
    timer: &Timer,
    clocks: &Clocks,
) -> Result<Lent<ResponseHead>, Failure> {
    let worker = Rc::clone(&exchange.worker);
    let mut response = worker.buffers.response_head();
    let mut received = false;
    let mut write_failed = false;
    let mut moved = u64::MAX;
    let outcome = poll_fn(|cx| {
        if !down.pump.is_done() && !write_failed {
            match down.pump.poll(cx, &mut down.body, &mut attempt.sink, &worker.buffers) {
                Poll::Ready(Ok(())) => {
                    exchange.sent = worker.wheel.now();
                    timer.set(clocks.head_by(exchange.started, exchange.sent, down.pump.bytes > 0));
                }
                Poll::Ready(Err(PumpError::Source(error))) => return Poll::Ready(Err(request_error(&error))),
                // The endpoint may have answered before it stopped reading.
                Poll::Ready(Err(PumpError::Sink(_))) => write_failed = true,
                Poll::Pending if down.pump.bytes != moved => {
                    moved = down.pump.bytes;
                    timer.set(worker.wheel.now() + clocks.body);
                }
                Poll::Pending => {}
            }
        }
        loop {
            match attempt.link.poll_head(cx, exchange, &mut response) {
                Poll::Ready(Ok(true)) if response.is_interim() => {
                    received = true;
                    if let Some(responder) = &mut down.responder {
                        pass_interim(&worker, responder, &response);
                        let _ = responder.poll_flush(cx);
                    }
                    response.clear();
                }
                Poll::Ready(Ok(true)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) => return Poll::Ready(Err(ProxyError::Closed)),
                Poll::Ready(Err(error)) => {
                    received |= matches!(error, ProxyError::Response(_));
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => break,
            }
        }
        if let Some(responder) = &mut down.responder
            && down.body.is_done()
            && responder.poll_gone(cx).is_ready()
        {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        if timer.poll(cx).is_ready() {
            return Poll::Ready(Err(late(cx, exchange, attempt, down, clocks, worker.wheel.now())));
        }
        Poll::Pending
    })
    .await;
    match outcome {
        Ok(()) => {
            exchange.answered = worker.wheel.now();
            Ok(response)
        }
        Err(error) => {
            let stale = attempt.reused && !received && error == ProxyError::Closed;
            Err(Failure { error, stale })
        }
    }
}

/// Names the clock that fired before the response head.
fn late(
    cx: &mut std::task::Context<'_>,
    exchange: &Exchange,
    attempt: &mut Attempt,
    down: &Downstream,
    clocks: &Clocks,
    now: Instant,
) -> ProxyError {
    if !down.pump.is_done() {
        // Whoever is waited for is late: the endpoint if it takes nothing, else the client.
        return if attempt.sink.poll_ready(cx).is_pending() { ProxyError::IdleTimeout } else { ProxyError::SlowBody };
    }
    if now >= exchange.sent + clocks.first_byte { ProxyError::FirstByteTimeout } else { ProxyError::TotalTimeout }
}

/// What a failed request body means for the exchange.
pub fn request_error(error: &BodyError) -> ProxyError {
    match error {
        BodyError::Malformed(_) | BodyError::WrongLength => ProxyError::RequestBody,
        BodyError::TooLarge => ProxyError::TooLarge,
        BodyError::Truncated | BodyError::Reset(_) | BodyError::Io(_) => ProxyError::ClientGone,
    }
}

fn pass_interim(worker: &Worker, responder: &mut Responder, response: &ResponseHead) {
    let omit = crate::http::headers::nominated(&response.fields);
    let none = worker.buffers.fields();
    let outgoing = Outgoing {
        fields: &response.fields,
        skip: crate::http::headers::HOP_BY_HOP,
        omit: &omit,
        extra: &none,
        length: crate::http::head::Length::Empty,
    };
    responder.interim(response.status, &outgoing);
}

/// The timeouts that hold until the response head.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    pub first_byte: Duration,
    pub total: Duration,
    /// Between two pieces of the request body.
    pub body: Duration,
}

impl Clocks {
    /// When the response head is due, the request having been sent at `sent`. An upload is not counted against
    /// `total`: while it moves, its own clock holds, so that nothing cuts a healthy stream.
    fn head_by(&self, started: Instant, sent: Instant, streamed: bool) -> Instant {
        let from = if streamed { sent } else { started };
        (sent + self.first_byte).min(from + self.total)
    }
}

impl Link {
    /// Ready with true when a head was read, false when the endpoint closed without one.
    fn poll_head(&mut self, cx: &mut std::task::Context<'_>, exchange: &Exchange, response: &mut ResponseHead) -> Poll<Result<bool, ProxyError>> {
        match self {
            Self::H1(connected) => match connected.client.poll_head(cx, &exchange.head.method, &RESPONSE_LIMITS, response) {
                Poll::Ready(Ok(head)) => Poll::Ready(Ok(head.is_some())),
                Poll::Ready(Err(HeadError::Parse(error))) => Poll::Ready(Err(ProxyError::Response(error))),
                Poll::Ready(Err(HeadError::Truncated)) => Poll::Ready(Err(ProxyError::ResponseBody)),
                Poll::Ready(Err(HeadError::Io(_))) => Poll::Ready(Ok(false)),
                Poll::Pending => Poll::Pending,
            },
            Self::H2 { pending, .. } => match pending {
                Some(pending) => pending.poll_head(cx, response).map(|head| head.map(|()| true).map_err(ProxyError::from)),
                None => Poll::Ready(Ok(false)),
            },
        }
    }

    /// Leaves HTTP: what comes from the endpoint, and where to it.
    pub fn tunnel(&mut self, response: &ResponseHead, sink: Sink) -> (Body, Sink) {
        match self {
            Self::H1(connected) => connected.client.switch(),
            Self::H2 { .. } => (self.body(response), sink),
        }
    }

    /// The body that follows the final head.
    pub fn body(&mut self, response: &ResponseHead) -> Body {
        match self {
            Self::H1(connected) => connected.client.body(response.length),
            Self::H2 { pending, .. } => pending.as_mut().map_or(Body::Empty, h2::client::Pending::body),
        }
    }
}
