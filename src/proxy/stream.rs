//! From the response head to the end: the answer streams back, the rest of the request streams on.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Attempt, Downstream, Link, request_error};
use crate::clock::Instant;
use crate::clock::wheel::Timer;
use crate::http::body::{Body, BodyError, Pump, PumpError, Sink};
use crate::worker::UpstreamView;

/// The timeouts that hold after the response head.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// No byte either way for so long ends the exchange.
    pub idle: Duration,
    /// The exchange ends here, whatever moves.
    pub end: Instant,
}

/// Both directions of an answered exchange.
pub struct Flow {
    pub answer: Body,
    pub client: Sink,
    /// Both ends may close their direction before the other: WebSocket and CONNECT.
    pub tunnel: bool,
}

/// Moves both bodies until the answer is complete (a tunnel: until both directions are).
pub async fn stream(
    exchange: &mut Exchange,
    attempt: &mut Attempt,
    down: &mut Downstream,
    flow: &mut Flow,
    timer: &Timer,
    pace: Pace,
) -> Result<(), ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let mut answer = Pump::default();
    let mut moved = u64::MAX;
    let mut upload_failed = false;
    let outcome = poll_fn(|cx| {
        if !answer.is_done() {
            match answer.poll(cx, &mut flow.answer, &mut flow.client, &worker.buffers) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(PumpError::Source(error))) => return Poll::Ready(Err(response_error(&error))),
                Poll::Ready(Err(PumpError::Sink(_))) => return Poll::Ready(Err(ProxyError::ClientGone)),
                Poll::Pending => {}
            }
        }
        if !down.pump.is_done() && !upload_failed && !(answer.is_done() && !flow.tunnel) {
            match down.pump.poll(cx, &mut down.body, &mut attempt.sink, &worker.buffers) {
                Poll::Ready(Err(PumpError::Source(error))) => return Poll::Ready(Err(request_error(&error))),
                // The endpoint reads no more; its answer still counts.
                Poll::Ready(Err(PumpError::Sink(_))) => upload_failed = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if answer.is_done() && (!flow.tunnel || down.pump.is_done() || upload_failed) {
            return Poll::Ready(Ok(()));
        }
        if flow.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        let total = answer.bytes + down.pump.bytes;
        if total != moved {
            moved = total;
            timer.set((worker.wheel.now() + pace.idle).min(pace.end));
        }
        if timer.poll(cx).is_ready() {
            let ended = worker.wheel.now() >= pace.end;
            return Poll::Ready(Err(if ended { ProxyError::MaxDuration } else { ProxyError::IdleTimeout }));
        }
        Poll::Pending
    })
    .await;
    exchange.bytes_out += answer.bytes;
    if outcome.is_err() {
        flow.client.abort();
    }
    outcome
}

/// Gives the connection back for the next exchange if this one left it fit.
pub fn give_back(exchange: &Exchange, attempt: Attempt, upstream: &UpstreamView) {
    let Attempt { link, sink, slot, .. } = attempt;
    drop(sink);
    let Link::H1(connected) = link else { return };
    let worker = &exchange.worker;
    if slot.0.pool.give(worker.wheel.now(), connected, &upstream.limits, &worker.idle) {
        worker.sweep();
    }
}

fn response_error(error: &BodyError) -> ProxyError {
    match error {
        BodyError::Malformed(_) | BodyError::WrongLength | BodyError::TooLarge => ProxyError::ResponseBody,
        BodyError::Truncated | BodyError::Io(_) => ProxyError::Closed,
        BodyError::Reset(_) => ProxyError::Reset,
    }
}
