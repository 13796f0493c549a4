//! Two attempts at once: a slow one, and another beside it at another endpoint. Whose head comes first, and is good, wins; the
//! other is dropped, which ends it, and nothing of it reaches the client.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::admit;
use super::error::ProxyError;
use super::exchange::{Exchange, Steps};
use super::forward::{self, Attempt, Awaited, Downstream, Failure, Linked, Wait};
use super::heads::{self, Told};
use super::link;
use super::pick::Slot;
use crate::attempt::hedge::Hedged;
use crate::attempt::{Event, Plan};
use crate::clock::Instant;
use crate::clock::wheel::Timer;
use crate::http::buffers::Lent;
use crate::http::head::ResponseHead;
use crate::observe::{AttemptKind, AttemptOutcome};
use crate::route;
use crate::upstream::{Hedge, Upstream};
use crate::worker::UpstreamView;

/// The attempt beside another, before it has a connection.
pub struct Rival {
    slot: Box<Slot>,
    endpoint: usize,
    plan: Plan,
    /// Its own copy of the request body, and no way to the client.
    down: Downstream,
}

/// A rival with a good head.
pub struct Won {
    pub attempt: Box<Attempt>,
    pub response: Lent<ResponseHead>,
    pub endpoint: usize,
    pub plan: Plan,
    pub down: Downstream,
}

/// What came of the two.
pub enum Raced {
    /// The head of the first, or why it has none.
    First(Result<(), Failure>),
    /// The first is over, whatever it had come to.
    Rival(Box<Won>),
}

/// How long to wait for an answer of this request before another attempt runs beside it; `None`: none does. A client that
/// is bound to its endpoint is asked to wait for it.
pub fn after(exchange: &Exchange, upstream: &UpstreamView) -> Option<Duration> {
    let hedge = upstream.shared.hedge.as_ref()?;
    let is_bound = exchange.selection.ask.bound.is_some();
    if is_bound || exchange.head.upgrade.is_some() {
        return None;
    }
    hedge.hedging.after()
}

/// Notes what an answer took, or how long it was waited for, where that decides about hedges.
pub fn note(upstream: &UpstreamView, span: Duration) {
    if let Some(latencies) = &upstream.latencies {
        latencies.record(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// A place at another endpoint for a request that was sent whole, if there is one at once and a budget pays for it. It counts
/// among those that the upstream may have under way, and does not queue.
pub fn rival(
    exchange: &mut Exchange,
    upstream: &Rc<UpstreamView>,
    down: &Downstream,
    plan: &mut Plan,
) -> Option<Rival> {
    let shared = &upstream.shared;
    let hedge = shared.hedge.as_ref()?;
    let body = down.body.copy().filter(|_| down.pump.is_done())?;
    if !pay(shared, hedge) {
        upstream.cells.hedged(Hedged::NoBudget as usize);
        return None;
    }
    let now = exchange.worker.wheel.now();
    let mut other = plan.rival(now);
    let before = std::mem::replace(&mut exchange.now, now);
    let picked = admit::admit_now(exchange, upstream, other.tried());
    exchange.now = before;
    let Ok((endpoint, mut slot)) = picked else {
        give_back(shared, hedge);
        upstream.cells.hedged(Hedged::NoEndpoint as usize);
        return None;
    };
    slot.record.kind = AttemptKind::Hedge;
    exchange.attempts += 1;
    plan.also_tried(endpoint);
    other.step(now, Event::Picked(endpoint));
    Some(Rival {
        slot,
        endpoint,
        plan: other,
        down: down.beside(body),
    })
}

/// Takes a token of hedges, and one of retries, which hedges are as well; or none of either.
pub(super) fn pay(upstream: &Upstream, hedge: &Hedge) -> bool {
    if !hedge.hedging.fund.take(hedge.terms) {
        return false;
    }
    let is_paid = upstream
        .terms
        .is_none_or(|terms| upstream.retries.take(terms));
    if !is_paid {
        hedge.hedging.fund.give_back(hedge.terms);
    }
    is_paid
}

/// The hedge that was paid for is not made.
pub(super) fn give_back(upstream: &Upstream, hedge: &Hedge) {
    hedge.hedging.fund.give_back(hedge.terms);
    if let Some(terms) = upstream.terms {
        upstream.retries.give_back(terms);
    }
}

impl Rival {
    /// Runs it until it has a head that is good. `None`: it failed, and has told its slot so.
    async fn run(
        self,
        exchange: &Exchange,
        route: &route::Route,
        upstream: &UpstreamView,
        is_good: impl Fn(&ResponseHead) -> bool,
    ) -> Option<Won> {
        let Self {
            mut slot,
            endpoint,
            mut plan,
            mut down,
        } = self;
        let wheel = &exchange.worker.wheel;
        let mut steps = Steps::begun(wheel.now());
        let until = plan.deadline().0;
        let linked = link::link(exchange, upstream, &mut slot, false, until).await;
        let (link, reused) = match linked {
            Ok(linked) => linked,
            Err(error) => {
                slot.failed(&forward::unconnected(error), wheel.now());
                return None;
            }
        };
        (steps.connected, steps.reused) = (wheel.now(), reused);
        slot.record.reused = reused;
        plan.step(steps.connected, Event::Connected { reused });
        let timer = wheel.timer();
        timer.set(plan.deadline().0);
        let told = Told {
            attempt: plan.attempt() + 1,
            time_left: plan.time_left(steps.connected),
        };
        let linked = Linked { link, slot, steps };
        let mut attempt = match heads::send(exchange, route, upstream, linked, &told) {
            Ok(attempt) => attempt,
            Err(unsent) => {
                let (error, mut slot) = *unsent;
                slot.failed(&forward::unsent(error), wheel.now());
                return None;
            }
        };
        let mut wait = Wait::new(exchange, &attempt, &mut down, &plan);
        match wait
            .head(exchange, &mut attempt, &mut down, &timer, &mut plan)
            .await
        {
            Awaited::Failed(failure) => {
                attempt.slot.failed(&failure, wheel.now());
                None
            }
            Awaited::Head if is_good(&wait.response) => Some(Won {
                attempt,
                response: wait.response,
                endpoint,
                plan,
                down,
            }),
            Awaited::Head => {
                let now = attempt.steps.answered;
                attempt.slot.head_came(now, &wait.response);
                attempt.slot.record.status = wait.response.status;
                attempt.slot.record.outcome = AttemptOutcome::Answered;
                None
            }
            // By its plan it is hedged itself no more.
            Awaited::Hedge => None,
        }
    }
}

/// What the race is run on.
pub struct Track<'a> {
    pub exchange: &'a Exchange,
    pub route: &'a route::Route,
    pub upstream: &'a UpstreamView,
    pub timer: &'a Timer,
}

/// Waits for the head of either. A first one that fails, or is not good, waits for the rival, and is what the request comes to
/// only if the rival fails as well.
pub async fn race(
    track: Track<'_>,
    attempt: &mut Attempt,
    wait: &mut Wait,
    down: &mut Downstream,
    plan: &mut Plan,
    rival: Rival,
    is_good: impl Fn(&ResponseHead) -> bool,
) -> Raced {
    wait.mute();
    let Track {
        exchange,
        route,
        upstream,
        timer,
    } = track;
    let running = rival.run(exchange, route, upstream, &is_good);
    let mut running = pin!(running);
    let mut first: Option<Result<(), Failure>> = None;
    let won = poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(awaited) = wait.poll_head(cx, exchange, attempt, down, timer, plan)
        {
            let is_over = match awaited {
                Awaited::Head => {
                    first = Some(Ok(()));
                    is_good(&wait.response)
                }
                Awaited::Failed(failure) => {
                    let is_over = failure.event == Event::ClientGone;
                    attempt.slot.failed(&failure, exchange.worker.wheel.now());
                    first = Some(Err(failure));
                    is_over
                }
                Awaited::Hedge => false,
            };
            if is_over {
                return Poll::Ready(None);
            }
        }
        if first.is_some()
            && let Some(responder) = &mut down.responder
            && responder.poll_gone(cx).is_ready()
        {
            first = Some(Err(Failure {
                error: ProxyError::ClientGone,
                event: Event::ClientGone,
            }));
            return Poll::Ready(None);
        }
        running.as_mut().poll(cx)
    })
    .await;
    match (won, first) {
        (Some(won), first) => {
            beaten(attempt, &wait.response, first, won.attempt.steps.answered);
            Raced::Rival(Box::new(won))
        }
        (None, Some(first)) => Raced::First(first),
        // The rival failed before the first had come to anything.
        (None, None) => loop {
            match wait.head(exchange, attempt, down, timer, plan).await {
                Awaited::Head => break Raced::First(Ok(())),
                Awaited::Failed(failure) => break Raced::First(Err(failure)),
                Awaited::Hedge => {}
            }
        },
    }
}

/// Notes how the first attempt had ended before the other won, at `now`. One that had not is cancelled, as it stands, and may
/// have been slow.
fn beaten(
    attempt: &mut Attempt,
    response: &ResponseHead,
    first: Option<Result<(), Failure>>,
    now: Instant,
) {
    match first {
        None => attempt.slot.overtaken(now),
        Some(Ok(())) => {
            attempt.slot.head_came(attempt.steps.answered, response);
            attempt.slot.record.status = response.status;
            attempt.slot.record.outcome = AttemptOutcome::Answered;
        }
        // It was told when it had.
        Some(Err(_)) => {}
    }
}
