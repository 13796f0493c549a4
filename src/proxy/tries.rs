//! The tries of one request: carries the actions of its plan out, one function for each, until an attempt has a
//! response head or the plan gives up.
//!
//! Not here: what to do next ([`crate::attempt`]), and what becomes of the answer ([`super::handle`]).

use std::rc::Rc;

use super::admit::{Admission, Denied};
use super::error::{ProxyError, Side};
use super::exchange::Exchange;
use super::forward::{self, Attempt, Downstream, Failure, Linked};
use super::heads;
use super::link;
use super::pick::{self, Died, Slot};
use crate::attempt::{self, Action, Deadlines, Event, Plan, Refusal};
use crate::balance::Lack;
use crate::clock::wheel::Timer;
use crate::http::buffers::Lent;
use crate::http::head::ResponseHead;
use crate::observe::AttemptOutcome;
use crate::route;
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
    slot: Option<Slot>,
    /// Where the last attempt broke, so that it can be replayed there.
    died: Option<Died>,
    /// Held between a connection and the request on it.
    linked: Option<Linked>,
    /// What the client is told if nothing else comes of it.
    last: ProxyError,
    answered: Option<Answered>,
}

/// An attempt with its response head.
pub struct Answered {
    pub attempt: Attempt,
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
        let plan = Plan::new(
            attempt::retry::idempotent(&exchange.head.method),
            shared.endpoints.len(),
            Deadlines::new(&shared.timeouts, exchange.started),
        );
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
                    Some(answered) => return Ok(answered),
                    None => None,
                },
                Action::GiveUp(failure) => return Err(heads::given_up(failure, self.last.clone())),
                Action::Wait => None,
            };
            let Some(event) = event else {
                return Err(self.last.clone());
            };
            action = self.plan.step(self.exchange.now, event);
            if !matches!(action, Action::Connect { .. }) {
                // What is not replayed holds no place among those under way.
                self.died = None;
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
        let taken = match (self.slot.take(), self.died.take()) {
            (Some(taken), _) => taken,
            (None, Some(died)) => {
                self.down.replay();
                self.exchange.replays += 1;
                Slot::again(self.exchange, self.upstream, died)?
            }
            (None, None) => return None,
        };
        self.exchange.attempt();
        let until = self.plan.deadline().0;
        Some(
            match link::link(self.exchange, self.upstream, &taken, fresh, until).await {
                Ok((link, reused)) => self.connected(link, reused, taken),
                Err(error) => self.unconnected(error, taken),
            },
        )
    }

    fn connected(&mut self, link: link::Link, reused: bool, mut slot: Slot) -> Event {
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

    fn unconnected(&mut self, error: ProxyError, mut slot: Slot) -> Event {
        let exchange = &mut *self.exchange;
        slot.record.outcome = AttemptOutcome::Failed;
        slot.record.error = Some(error.label());
        if error == ProxyError::Full {
            // The cap is ours, and says nothing of the endpoint.
            slot.excuse();
            exchange.is_bound_full |= exchange.endpoint == exchange.selection.ask.bound;
        }
        let failure = forward::connect_failure(&error);
        let now = self.worker.wheel.now();
        if error == ProxyError::ConnectTimeout {
            slot.timed_out(now);
        }
        exchange.attempt_failed(now);
        self.last = error;
        Event::ConnectFailed(failure)
    }

    /// Sends the request on its connection and awaits the head of the answer.
    async fn send(&mut self) -> Option<Event> {
        let linked = self.linked.take()?;
        self.timer.set(self.plan.deadline().0);
        let sent = heads::send(self.exchange, self.route, self.upstream, linked);
        let mut attempt = match sent {
            Ok(attempt) => attempt,
            Err(unsent) => {
                let (error, slot) = *unsent;
                return Some(self.failed(forward::unsent(error), slot));
            }
        };
        let (exchange, down) = (&*self.exchange, &mut *self.down);
        let head = forward::head(exchange, &mut attempt, down, &self.timer, &mut self.plan);
        match head.await {
            Ok(response) => self.headed(attempt, response),
            Err(failure) => Some(self.failed(failure, attempt.slot)),
        }
    }

    /// The attempt has a head: the exchange takes over how it fared.
    fn headed(&mut self, mut attempt: Attempt, response: Lent<ResponseHead>) -> Option<Event> {
        let exchange = &mut *self.exchange;
        exchange.steps = attempt.steps;
        attempt.slot.head_came(attempt.steps.answered, &response);
        match attempt.switch.agrees(&exchange.head, &response) {
            Ok(tunnel) => {
                exchange.now = attempt.steps.answered;
                self.answered = Some(Answered {
                    attempt,
                    response,
                    tunnel,
                });
                Some(Event::Head { tunnel })
            }
            Err(error) => {
                attempt.slot.record.outcome = AttemptOutcome::Failed;
                attempt.slot.record.error = Some(error.label());
                self.last = error;
                None
            }
        }
    }

    /// The attempt ended without a head.
    fn failed(&mut self, failure: Failure, mut slot: Slot) -> Event {
        slot.record.outcome = if failure.error.side() == Side::Downstream {
            AttemptOutcome::Cancelled
        } else {
            AttemptOutcome::Failed
        };
        slot.record.error = Some(failure.error.label());
        if slot.record.reused && forward::is_idle_race(&failure.event) {
            slot.excuse();
        }
        let now = self.worker.wheel.now();
        if let ProxyError::FirstByteTimeout | ProxyError::TotalTimeout = failure.error {
            slot.timed_out(now);
        }
        self.exchange.attempt_failed(now);
        self.last = failure.error;
        self.died = Some(slot.died());
        failure.event
    }
}

fn refusal(lack: Lack) -> Refusal {
    match lack {
        Lack::Endpoint | Lack::Panic | Lack::Subset | Lack::BreakerOpen => Refusal::NoEndpoint,
        Lack::Capacity => Refusal::Full,
        Lack::Untried => Refusal::AllTried,
    }
}
