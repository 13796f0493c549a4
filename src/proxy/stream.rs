//! From the response head to the end: the answer streams back, the rest of the request streams on.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::brake::Brake;
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
use crate::http::head::ResponseHead;
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
    let mut brake = Brake::of(exchange);
    let mut pace = Pace::new(exchange.listener.shared.limits.min_rate);
    let mut moved = u64::MAX;
    let mut was_awaited = false;
    let mut upload_failed = false;
    let outcome = poll_fn(|cx| {
        if !answer.is_done() {
            let polled = match &mut brake {
                None => answer.poll(cx, &mut flow.answer, &mut flow.client, &worker.buffers),
                Some(brake) => {
                    let (body, sink) = (&mut flow.answer, &mut flow.client);
                    brake.poll(cx, &mut answer, body, sink, &worker.buffers)
                }
            };
            match polled {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(response_error(&error))),
                Poll::Pending => {}
            }
        }
        let is_wanted = !answer.is_done() || flow.tunnel;
        if !down.pump.is_done() && !upload_failed && is_wanted {
            match down.poll(cx, &mut attempt.sink, &worker.buffers) {
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
        let taken = flow.client.progress() + attempt.sink.progress();
        let total = answer.bytes + down.pump.bytes + taken;
        let has_moved = std::mem::replace(&mut moved, total) != total;
        // The client is waited for, not the endpoint.
        let is_awaited = !flow.tunnel && !answer.is_done() && !answer.is_starved && !answer.is_held;
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
                let owes = !flow.tunnel && !upload_failed && down.pump.is_starved;
                let error = heads::given_up(failure, ProxyError::IdleTimeout);
                let error = stalled(error, is_awaited, owes && !down.pump.is_done());
                if error.side() != Side::Downstream {
                    attempt.link.doubt();
                }
                return Poll::Ready(Err(error));
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

/// Who it was that let an exchange stand still: a client that does not take the answer, or does not send the rest of its body,
/// makes the endpoint wait as well.
fn stalled(error: ProxyError, is_awaited: bool, owes: bool) -> ProxyError {
    match error {
        ProxyError::IdleTimeout if is_awaited => ProxyError::SlowRead,
        ProxyError::IdleTimeout if owes => ProxyError::SlowBody,
        error => error,
    }
}

/// Bytes of an answer that nobody gets which are read for the sake of its connection.
const DISCARDED: u64 = 64 * 1024;

/// Drops an answer that nobody gets. If all of it has come already, its connection carries another request.
pub async fn discard(
    exchange: &Exchange,
    mut attempt: Box<Attempt>,
    response: &ResponseHead,
    upstream: &UpstreamView,
    down: &Downstream,
) {
    let mut body = attempt.link.body(response);
    let mut pump = Pump::limited(Some(DISCARDED));
    let buffers = &exchange.worker.buffers;
    let read = poll_fn(|cx| Poll::Ready(pump.poll(cx, &mut body, &mut Sink::Nowhere, buffers)));
    let is_whole = matches!(read.await, Poll::Ready(Ok(()))) && down.pump.is_done();
    drop(body);
    attempt.slot.record.status = response.status;
    attempt.slot.record.outcome = if is_whole {
        AttemptOutcome::Answered
    } else {
        AttemptOutcome::Cancelled
    };
    let bytes = (down.pump.bytes, pump.bytes);
    close(exchange, attempt, upstream, bytes, is_whole);
}

/// Notes how the attempt ended, and gives its connection back if that left it fit for another.
pub fn end(
    exchange: &mut Exchange,
    mut attempt: Box<Attempt>,
    upstream: &UpstreamView,
    sent: u64,
    outcome: &Result<(), ProxyError>,
) {
    attempt.slot.record.outcome = match outcome {
        Ok(()) => AttemptOutcome::Answered,
        Err(error) if error.side() == Side::Downstream => AttemptOutcome::Cancelled,
        Err(_) => AttemptOutcome::Broken,
    };
    attempt.slot.record.error = outcome.as_ref().err().map(ProxyError::label);
    let bytes = (sent, exchange.bytes_out);
    exchange.ended = close(exchange, attempt, upstream, bytes, outcome.is_ok());
}

/// Gives the connection back, if it is fit for another request, and the slot. `bytes` are those sent and received. Gives when
/// it ended.
fn close(
    exchange: &Exchange,
    attempt: Box<Attempt>,
    upstream: &UpstreamView,
    bytes: (u64, u64),
    is_fit: bool,
) -> Instant {
    let Attempt {
        link,
        sink,
        mut slot,
        steps,
        ..
    } = *attempt;
    drop(sink);
    (slot.record.bytes_sent, slot.record.bytes_received) = bytes;
    slot.record.times = Times {
        first_byte: nanos(steps.sent, steps.answered),
        ..Times::default()
    };
    if !steps.reused {
        slot.record.times.connect = nanos(steps.picked, steps.connected);
    }
    let worker = &exchange.worker;
    let now = worker.wheel.now();
    slot.end_at(now);
    let pool = &slot.reach.pool;
    match link {
        Link::H1(connected) => {
            if is_fit && pool.give(now, connected, &upstream.limits, &worker.idle) {
                worker.sweep();
            }
        }
        Link::H2 { client, pending } => {
            drop(pending);
            pool.rest(now, &client, &upstream.limits, &worker.idle);
        }
    }
    now
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
    fn whoever_is_waited_for_let_the_exchange_stand_still() {
        for (is_awaited, owes, error) in [
            (false, false, ProxyError::IdleTimeout),
            (false, true, ProxyError::SlowBody),
            (true, false, ProxyError::SlowRead),
            (true, true, ProxyError::SlowRead),
        ] {
            assert_eq!(stalled(ProxyError::IdleTimeout, is_awaited, owes), error);
        }
        for other in [ProxyError::MaxDuration, ProxyError::TunnelIdleTimeout] {
            assert_eq!(stalled(other.clone(), true, true), other);
        }
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
