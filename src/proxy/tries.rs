//! The tries of one request: carries the actions of its plan out, one function for each, until an attempt has a
//! response head or the plan gives up.
//!
//! Not here: what to do next ([`crate::attempt`]), and what becomes of the answer ([`super::handle`]).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::admit::{Admission, Denied};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{self, Attempt, Awaited, Downstream, Failure, Linked, Wait};
use super::heads::{self, Told};
use super::hedge::{self, Raced, Rival, Track};
use super::link;
use super::pick::{self, Died, Slot};
use super::stream;
use crate::attempt::hedge::Hedged;
use crate::attempt::retry::Repeat;
use crate::attempt::{Action, Deadlines, Death, Event, Plan, Refusal};
use crate::balance::Lack;
use crate::clock::wheel::Timer;
use crate::config;
use crate::http::buffers::Lent;
use crate::http::fields::Name;
use crate::http::head::ResponseHead;
use crate::http::{grpc, retry_after};
use crate::observe::{AttemptKind, AttemptOutcome};
use crate::route;
use crate::upstream::Upstream;
use crate::worker::{UpstreamView, Worker};

/// The tries of one request.
pub struct Tries<'a> {
    exchange: &'a mut Exchange,
    down: &'a mut Downstream,
    route: &'a route::Route,
    upstream: &'a Rc<UpstreamView>,
    worker: Rc<Worker>,
    pub plan: Plan,
    pub timer: Timer,
    /// Held between a pick and its connection.
    slot: Option<Box<Slot>>,
    /// Where the last attempt broke, so that it can be replayed there.
    died: Option<Died>,
    /// Held between a connection and the request on it.
    linked: Option<Linked>,
    /// What the client is told if nothing else comes of it.
    last: ProxyError,
    /// The body is to be read from its first byte again by the next attempt.
    is_body_used: bool,
    answered: Option<Answered>,
}

/// An attempt with its response head.
pub struct Answered {
    pub attempt: Box<Attempt>,
    pub response: Lent<ResponseHead>,
    /// Whether what follows is no body, but a tunnel.
    pub tunnel: bool,
}

impl<'a> Tries<'a> {
    /// Before the first one. What the request asks of the pick is known already.
    pub fn new(
        exchange: &'a mut Exchange,
        down: &'a mut Downstream,
        route: &'a route::Route,
        upstream: &'a Rc<UpstreamView>,
    ) -> Self {
        let worker = Rc::clone(&exchange.worker);
        let shared = &upstream.shared;
        let mut plan = Plan::new(
            repeat(exchange, shared),
            shared.endpoints.len(),
            Deadlines::new(&shared.timeouts, exchange.started),
            shared.tries,
        );
        if let Some(span) = hedge::after(exchange, upstream) {
            plan.hedge_after(span);
        }
        Self {
            plan,
            timer: worker.wheel.timer(),
            exchange,
            down,
            route,
            upstream,
            worker,
            slot: None,
            died: None,
            linked: None,
            last: ProxyError::Unreachable,
            is_body_used: false,
            answered: None,
        }
    }

    /// Makes attempts as the plan says until one has a response head.
    pub async fn run(&mut self) -> Result<Answered, ProxyError> {
        let mut action = self.plan.step(self.exchange.now, Event::Admitted);
        loop {
            let event = match action {
                Action::Pick => self.pick().await,
                Action::Connect { fresh, .. } => self.connect(fresh).await,
                Action::Send => self.send().await,
                Action::Answer => match self.answered.take() {
                    Some(answered) => {
                        self.down.body.forget();
                        return Ok(answered);
                    }
                    None => None,
                },
                Action::Ask => Some(self.ask()),
                // Boxed: it is rare, and the task outlives it.
                Action::Pause => Some(Box::pin(self.pause()).await),
                Action::GiveUp(failure) => return Err(heads::given_up(failure, self.last.clone())),
                // What happens while a head is awaited is carried out there.
                Action::Abandon | Action::Hedge | Action::Wait => None,
            };
            let Some(event) = event else {
                return Err(self.last.clone());
            };
            action = self.plan.step(self.exchange.now, event);
            if !matches!(action, Action::Connect { .. }) {
                // What is not replayed holds no place among those under way.
                self.died = None;
            }
            if let Some(decision) = self.plan.decision() {
                self.upstream.cells.decided(decision as usize);
            }
        }
    }

    /// Has one attempt let in, at an endpoint that is picked for it.
    async fn pick(&mut self) -> Option<Event> {
        self.slot = None;
        let admission = Admission {
            exchange: self.exchange,
            down: self.down,
            route: self.route,
            upstream: self.upstream,
            plan: &self.plan,
        };
        Some(match admission.admit().await {
            Ok((index, taken)) => {
                self.slot = Some(taken);
                self.exchange.endpoint = Some(index);
                Event::Picked(index)
            }
            Err(Denied::Lack(lack)) => {
                if let Some(error) = pick::absent(self.exchange, self.upstream, lack) {
                    self.last = error;
                }
                Event::Refused(refusal(lack))
            }
            Err(Denied::Refused(refusal)) => {
                self.last = refusal.into();
                Event::Refused(Refusal::Full)
            }
            Err(Denied::TimedOut) => Event::Timer,
            Err(Denied::ClientGone) => {
                self.last = ProxyError::ClientGone;
                Event::ClientGone
            }
        })
    }

    /// Gets a connection to the endpoint whose slot is held; for a replay, to the one where the last attempt broke.
    async fn connect(&mut self, fresh: bool) -> Option<Event> {
        let mut taken = match (self.slot.take(), self.died.take()) {
            (Some(taken), _) => taken,
            (None, Some(died)) => {
                self.exchange.replays += 1;
                Slot::again(self.exchange, self.upstream, died)?
            }
            (None, None) => return None,
        };
        if std::mem::take(&mut self.is_body_used) {
            self.down.replay();
        }
        self.exchange.attempt();
        let until = self.plan.deadline().0;
        Some(
            match link::link(self.exchange, self.upstream, &mut taken, fresh, until).await {
                Ok((link, reused)) => self.connected(link, reused, taken),
                Err(error) => self.unconnected(error, taken),
            },
        )
    }

    fn connected(&mut self, link: link::Link, reused: bool, mut slot: Box<Slot>) -> Event {
        let exchange = &mut *self.exchange;
        if !reused {
            exchange.now = self.worker.wheel.now();
        }
        exchange.steps.reused = reused;
        exchange.steps.connected = exchange.now;
        slot.record.reused = reused;
        self.linked = Some(Linked {
            link,
            slot,
            steps: exchange.steps,
        });
        Event::Connected { reused }
    }

    fn unconnected(&mut self, error: ProxyError, mut slot: Box<Slot>) -> Event {
        let exchange = &mut *self.exchange;
        if error == ProxyError::Full {
            exchange.is_bound_full |= exchange.endpoint == exchange.selection.ask.bound;
        }
        let failure = forward::unconnected(error);
        let now = self.worker.wheel.now();
        slot.failed(&failure, now);
        exchange.attempt_failed(now);
        self.last = failure.error;
        failure.event
    }

    /// Sends the request on its connection and awaits the head of the answer.
    async fn send(&mut self) -> Option<Event> {
        let linked = self.linked.take()?;
        let was_in_doubt = std::mem::replace(&mut self.exchange.in_doubt, true);
        self.timer.set(self.plan.deadline().0);
        self.is_body_used = true;
        let told = Told {
            attempt: self.plan.attempt(),
            time_left: self.plan.time_left(self.exchange.now),
        };
        let sent = heads::send(self.exchange, self.route, self.upstream, linked, &told);
        let mut attempt = match sent {
            Ok(attempt) => attempt,
            Err(unsent) => {
                let (error, slot) = *unsent;
                self.exchange.in_doubt = was_in_doubt;
                return Some(self.failed(forward::unsent(error), slot));
            }
        };
        let down = &mut *self.down;
        let mut wait = Wait::new(self.exchange, &attempt, down, &self.plan);
        loop {
            let (exchange, down) = (&*self.exchange, &mut *self.down);
            let head = wait.head(exchange, &mut attempt, down, &self.timer, &mut self.plan);
            match head.await {
                Awaited::Head => return self.headed(attempt, wait.response),
                Awaited::Failed(failure) => {
                    if let Event::Died(Death { written: false, .. }) = failure.event {
                        self.exchange.in_doubt = was_in_doubt;
                    }
                    return Some(self.failed(failure, attempt.slot));
                }
                // Beside a probe the breaker would never find out.
                Awaited::Hedge if attempt.slot.is_probe() => continue,
                Awaited::Hedge => {}
            }
            let rival = hedge::rival(self.exchange, self.upstream, self.down, &mut self.plan);
            if let Some(rival) = rival {
                // Boxed: it is rare, and the task outlives it.
                return Box::pin(self.race(attempt, wait, rival)).await;
            }
        }
    }

    /// Two attempts at once.
    async fn race(
        &mut self,
        mut attempt: Box<Attempt>,
        mut wait: Wait,
        rival: Rival,
    ) -> Option<Event> {
        let call = grpc::is_call(&self.exchange.head.fields);
        let track = Track {
            exchange: self.exchange,
            route: self.route,
            upstream: self.upstream,
            timer: &self.timer,
        };
        let upstream = self.upstream;
        let (down, plan) = (&mut *self.down, &mut self.plan);
        let is_good = |head: &ResponseHead| !is_failing(&upstream.shared.retry, call, head);
        match hedge::race(track, &mut attempt, &mut wait, down, plan, rival, is_good).await {
            Raced::First(first) => {
                upstream.cells.hedged(Hedged::Lost as usize);
                match first {
                    Ok(()) => self.headed(attempt, wait.response),
                    Err(failure) => Some(self.failed(failure, attempt.slot)),
                }
            }
            Raced::Rival(won) => {
                upstream.cells.hedged(Hedged::Won as usize);
                let waited = won.attempt.steps.answered.since(attempt.steps.sent);
                hedge::note(upstream, waited);
                drop((wait, attempt));
                self.exchange.take_over(won.endpoint, won.attempt.steps);
                self.plan = won.plan;
                self.down.take_over(won.down);
                self.headed(won.attempt, won.response)
            }
        }
    }

    /// The attempt has a head: the exchange takes over how it fared.
    fn headed(&mut self, mut attempt: Box<Attempt>, response: Lent<ResponseHead>) -> Option<Event> {
        let exchange = &mut *self.exchange;
        exchange.steps = attempt.steps;
        attempt.slot.head_came(attempt.steps.answered, &response);
        if attempt.slot.record.kind == AttemptKind::First {
            let waited = attempt.steps.answered.since(attempt.steps.sent);
            hedge::note(self.upstream, waited);
        }
        match attempt.switch.agrees(&exchange.head, &response) {
            Ok(tunnel) => {
                exchange.now = attempt.steps.answered;
                let event = self.judge(&response, tunnel);
                self.answered = Some(Answered {
                    attempt,
                    response,
                    tunnel,
                });
                Some(event)
            }
            Err(error) => {
                attempt.slot.record.outcome = AttemptOutcome::Failed;
                attempt.slot.record.error = Some(error.label());
                self.last = error;
                None
            }
        }
    }

    /// What a head means for the plan. One that is good funds the budget.
    fn judge(&self, response: &ResponseHead, tunnel: bool) -> Event {
        let retry = &self.upstream.shared.retry;
        let harmless = !retry.grpc_on.is_empty()
            && grpc::is_call(&self.exchange.head.fields)
            && is_failed_call(retry, response);
        if !harmless && !is_failing(retry, false, response) {
            if response.status < 500 {
                self.upstream.cells.successes.add(1);
            }
            return Event::Head { tunnel };
        }
        let asked = response.fields.get(Name::RetryAfter);
        let now = || self.worker.unix_seconds(self.exchange.now);
        Event::Failing {
            kept: self.down.is_kept(),
            harmless,
            retry_after: asked.and_then(|asked| retry_after::parse(asked, now())),
        }
    }

    /// Asks the budget for a token.
    fn ask(&self) -> Event {
        let shared = &self.upstream.shared;
        match shared.terms {
            Some(terms) if !shared.retries.take(terms) => Event::Denied,
            _ => Event::Granted(self.worker.random.borrow_mut().next_u64()),
        }
    }

    /// Lets go of the attempt, and waits until the next may begin, or the client leaves.
    async fn pause(&mut self) -> Event {
        self.died = None;
        if let Some(Answered {
            attempt, response, ..
        }) = self.answered.take()
        {
            self.last = ProxyError::Failing(response.status);
            stream::discard(self.exchange, attempt, &response, self.upstream, self.down).await;
        }
        let asked = self.worker.wheel.now();
        self.timer.set(self.plan.deadline().0);
        let down = &mut *self.down;
        let event = poll_fn(|cx| {
            if down.poll_gone(cx).is_ready() {
                return Poll::Ready(Event::ClientGone);
            }
            self.timer.poll(cx).map(|()| Event::Timer)
        })
        .await;
        self.exchange.waited_in_vain(asked, self.worker.wheel.now());
        if event == Event::ClientGone {
            self.last = ProxyError::ClientGone;
        }
        event
    }

    /// The attempt ended without a head.
    fn failed(&mut self, failure: Failure, mut slot: Box<Slot>) -> Event {
        let now = self.worker.wheel.now();
        slot.failed(&failure, now);
        self.exchange.attempt_failed(now);
        self.last = failure.error;
        self.died = Some(slot.died());
        failure.event
    }
}

/// Whether a request may be sent again. Of calls of gRPC it depends on their answer, where the upstream lists any.
fn repeat(exchange: &Exchange, upstream: &Upstream) -> Repeat {
    let head = &exchange.head;
    if !upstream.retry.grpc_on.is_empty() && grpc::is_call(&head.fields) {
        return Repeat::WhenHarmless;
    }
    Repeat::from(&head.method)
}

/// Whether an answer is one after which another attempt may do better.
fn is_failing(retry: &config::Retry, call: bool, response: &ResponseHead) -> bool {
    let is_listed = response.status >= 400 && retry.on.contains(&response.status);
    is_listed || call && is_failed_call(retry, response)
}

fn is_failed_call(retry: &config::Retry, response: &ResponseHead) -> bool {
    let status = grpc::status_alone(&response.fields);
    status.is_some_and(|status| retry.grpc_on.iter().any(|on| on.code() == status))
}

fn refusal(lack: Lack) -> Refusal {
    match lack {
        Lack::Endpoint | Lack::Panic | Lack::Subset | Lack::BreakerOpen => Refusal::NoEndpoint,
        Lack::Capacity => Refusal::Full,
        Lack::Untried => Refusal::AllTried,
    }
}
