//! From the response head to the end: the answer streams back, the rest of the request streams on.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::error::{ProxyError, Side};
use super::exchange::Exchange;
use super::forward::{Attempt, Downstream, request_error};
use super::heads;
use super::link::Link;
use crate::attempt::{Action, Event, Pace, Plan};
use crate::clock::Instant;
use crate::clock::wheel::Timer;
use crate::http::body::{Body, BodyError, Pump, PumpError, Sink};
use crate::http::h1::body::DecodeError;
use crate::observe::{AttemptOutcome, Times};
use crate::worker::UpstreamView;

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
    plan: &mut Plan,
) -> Result<(), ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let mut answer = Pump::default();
    let mut pace = Pace::new(exchange.listener.shared.limits.min_rate);
    let mut moved = u64::MAX;
    let mut was_awaited = false;
    let mut upload_failed = false;
    let outcome = poll_fn(|cx| {
        if !answer.is_done() {
            match answer.poll(cx, &mut flow.answer, &mut flow.client, &worker.buffers) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(response_error(&error))),
                Poll::Pending => {}
            }
        }
        let is_wanted = !answer.is_done() || flow.tunnel;
        if !down.pump.is_done() && !upload_failed && is_wanted {
            match down
                .pump
                .poll(cx, &mut down.body, &mut attempt.sink, &worker.buffers)
            {
                Poll::Ready(Err(error)) => match request_error(&error) {
                    Some(error) => return Poll::Ready(Err(error)),
                    // The endpoint reads no more; its answer still counts.
                    None => upload_failed = true,
                },
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if answer.is_done() && (!flow.tunnel || down.pump.is_done() || upload_failed) {
            return Poll::Ready(Ok(()));
        }
        // A client that has said all it has to say to a tunnel still listens.
        let may_leave = !(flow.tunnel && matches!(flow.client, Sink::H1(_)));
        if may_leave && flow.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        let written = flow.client.written() + attempt.sink.written();
        let total = answer.bytes + down.pump.bytes + written;
        let has_moved = std::mem::replace(&mut moved, total) != total;
        // The client is waited for, not the endpoint.
        let is_awaited = !flow.tunnel && !answer.is_done() && !answer.is_starved;
        let has_turned = std::mem::replace(&mut was_awaited, is_awaited) != is_awaited;
        if has_moved || has_turned {
            let now = worker.wheel.now();
            if pace.is_too_slow(now, answer.bytes, is_awaited) {
                return Poll::Ready(Err(ProxyError::SlowRead));
            }
            if !flow.tunnel && !upload_failed && down.is_too_slow(now) {
                return Poll::Ready(Err(ProxyError::SlowBody));
            }
            if has_moved {
                plan.progress(now);
                attempt.link.moved();
                timer.set(plan.deadline().0);
            }
        }
        if timer.poll(cx).is_ready() {
            if let Action::GiveUp(failure) = plan.step(worker.wheel.now(), Event::Timer) {
                attempt.link.doubt();
                return Poll::Ready(Err(heads::given_up(failure, ProxyError::IdleTimeout)));
            }
            timer.set(plan.deadline().0);
            let _ = timer.poll(cx);
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

/// Notes how the attempt ended, and gives its connection back if that left it fit for another.
pub fn end(
    exchange: &mut Exchange,
    attempt: Attempt,
    upstream: &UpstreamView,
    sent: u64,
    outcome: &Result<(), ProxyError>,
) {
    let Attempt {
        link,
        sink,
        mut slot,
        steps,
        ..
    } = attempt;
    drop(sink);
    slot.record.outcome = match outcome {
        Ok(()) => AttemptOutcome::Answered,
        Err(error) if error.side() == Side::Downstream => AttemptOutcome::Cancelled,
        Err(_) => AttemptOutcome::Broken,
    };
    slot.record.error = outcome.as_ref().err().map(ProxyError::label);
    slot.record.bytes_sent = sent;
    slot.record.bytes_received = exchange.bytes_out;
    slot.record.times = Times {
        first_byte: nanos(steps.sent, steps.answered),
        ..Times::default()
    };
    if !steps.reused {
        slot.record.times.connect = nanos(steps.picked, steps.connected);
    }
    let worker = &exchange.worker;
    let now = worker.wheel.now();
    exchange.ended = now;
    slot.end_at(now);
    let pool = &slot.reach.pool;
    match link {
        Link::H1(connected) => {
            if outcome.is_ok() && pool.give(now, connected, &upstream.limits, &worker.idle) {
                worker.sweep();
            }
        }
        Link::H2 { client, pending } => {
            drop(pending);
            pool.rest(now, &client, &upstream.limits, &worker.idle);
        }
    }
}

fn nanos(from: Instant, to: Instant) -> Option<u64> {
    (from < Instant::FAR && to < Instant::FAR)
        .then(|| u64::try_from(to.since(from).as_nanos()).unwrap_or(u64::MAX))
}

/// What it means for the exchange that an answer could not be passed on.
fn response_error(error: &PumpError) -> ProxyError {
    match error {
        PumpError::Source(error) => match error {
            BodyError::Malformed(error) => ProxyError::ResponseBody(*error),
            // Nothing bounds an answer but what its head announced.
            BodyError::WrongLength | BodyError::TooLarge => {
                ProxyError::ResponseBody(DecodeError::WrongLength)
            }
            BodyError::Truncated | BodyError::Io(_) => ProxyError::Closed,
            BodyError::Reset(_) => ProxyError::Reset,
        },
        // The client was promised what the endpoint had announced.
        PumpError::Sink(BodyError::WrongLength) => {
            ProxyError::ResponseBody(DecodeError::WrongLength)
        }
        PumpError::Sink(_) => ProxyError::ClientGone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_length_than_announced_is_the_endpoints_fault() {
        let wrong = ProxyError::ResponseBody(DecodeError::WrongLength);
        for error in [
            PumpError::Source(BodyError::WrongLength),
            PumpError::Sink(BodyError::WrongLength),
        ] {
            assert_eq!(response_error(&error), wrong);
        }
        let left = PumpError::Sink(BodyError::Io(std::io::ErrorKind::BrokenPipe.into()));
        assert_eq!(response_error(&left), ProxyError::ClientGone);
    }

    #[test]
    fn a_request_of_another_length_than_announced_is_the_clients_fault() {
        let wrong = ProxyError::RequestBody(DecodeError::WrongLength);
        for error in [
            PumpError::Source(BodyError::WrongLength),
            PumpError::Sink(BodyError::WrongLength),
        ] {
            assert_eq!(request_error(&error), Some(wrong.clone()));
        }
        let left = PumpError::Sink(BodyError::Io(std::io::ErrorKind::BrokenPipe.into()));
        assert_eq!(request_error(&left), None);
    }
}
