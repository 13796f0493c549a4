//! Admission of one attempt: a permit of the upstream, and under it a slot of an endpoint. Who gets none waits for it in the
//! queue of the upstream.
//!
//! 1. a worker that runs late refuses what matters least; 2. where nobody waits and there are both, the attempt has them at once;
//! 3. else it queues, and picks each time it is let in until it has a slot, its time is up, or its client is gone.
//!
//! Not here: who of those that wait is next ([`crate::upstream::bulkhead`]).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Downstream;
use super::pick::{self, Slot};
use crate::asked::Asked;
use crate::attempt::{Plan, Tried};
use crate::balance::Lack;
use crate::clock::Instant;
use crate::config::Priority;
use crate::route::Route;
use crate::upstream::bulkhead::{Ask, Configured, Grant, Refusal, Wait};
use crate::worker::{UpstreamView, Worker};

/// One attempt among those that an upstream may have under way. Dropping it gives it back, and lets in who waits for it.
pub struct Permit {
    /// How many were under way with it.
    pub number: u32,
    upstream: Rc<UpstreamView>,
    worker: Rc<Worker>,
}

impl Permit {
    fn new(number: u32, exchange: &Exchange, upstream: &Rc<UpstreamView>) -> Self {
        Self {
            number,
            upstream: Rc::clone(upstream),
            worker: Rc::clone(&exchange.worker),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(bulkhead) = &self.upstream.shared.bulkhead {
            bulkhead.state.give(|| self.worker.wheel.now());
        }
    }
}

/// Why an attempt is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Nobody can be picked.
    Lack(Lack),
    Refused(Refusal),
    /// A deadline of the plan passed.
    TimedOut,
    ClientGone,
}

/// What is to be let in.
pub struct Admission<'a> {
    pub exchange: &'a mut Exchange,
    pub down: &'a mut Downstream,
    pub route: &'a Route,
    pub upstream: &'a Rc<UpstreamView>,
    pub plan: &'a Plan,
}

impl Admission<'_> {
    /// Lets one attempt in, at once or in its turn.
    pub async fn admit(mut self) -> Result<(usize, Box<Slot>), Denied> {
        let upstream = self.upstream;
        let Some(bulkhead) = &upstream.shared.bulkhead else {
            let picked = self.pick(None).await;
            return picked.map_err(|lack| self.denied(lack));
        };
        // 1.
        self.shed(bulkhead)?;
        // 2.
        if let Some(number) = bulkhead.state.take() {
            let permit = Permit::new(number, self.exchange, upstream);
            match self.pick(None).await {
                Ok((index, slot)) => return Ok((index, slot.under(Some(permit)))),
                Err(Lack::Capacity) if !self.is_about_connections() => {}
                Err(lack) => return Err(self.denied(lack)),
            }
        }
        if let Some(lack) = pick::hopeless(self.exchange, upstream) {
            return Err(Denied::Lack(lack));
        }
        // 3. Boxed: it is rare, and the task outlives it.
        let begun = self.exchange.worker.wheel.now();
        self.exchange.queues(begun);
        let waited = Box::pin(self.wait(bulkhead, begun)).await;
        let now = self.exchange.worker.wheel.now();
        self.exchange.has_queued(now);
        waited
    }

    /// A request that was let in before is not refused because this worker is late since. Of most requests it need not be known
    /// whether it is.
    fn shed(&self, bulkhead: &Configured) -> Result<(), Denied> {
        let rules = &bulkhead.rules;
        let may_say = self.route.priority_header.is_some();
        // Any of the classes may turn out to be the one, where requests say it themselves.
        let may_shed = if may_say {
            Priority::ALL.into_iter().any(|class| rules.may_shed(class))
        } else {
            rules.may_shed(self.route.priority)
        };
        if self.exchange.attempts > 0 || !may_shed {
            return Ok(());
        }
        let class = self.class();
        if rules.may_shed(class) && rules.sheds(class, self.exchange.worker.late()) {
            bulkhead.state.count_refusal(Refusal::Lag);
            return Err(Denied::Refused(Refusal::Lag));
        }
        Ok(())
    }

    /// How much the request matters: by its route, or by what it says of itself. It may say less, more only where it comes from a
    /// proxy that is believed.
    fn class(&self) -> Priority {
        let given = self.route.priority;
        let Some(header) = &self.route.priority_header else {
            return given;
        };
        let request = self.exchange.request();
        let mut said = None;
        request.each_header(header, &mut |value| {
            let named = |class: &Priority| class.name().as_bytes() == value.trim_ascii();
            said = said.or_else(|| Priority::ALL.into_iter().find(named));
        });
        said.filter(|said| *said <= given || request.is_trusted())
            .unwrap_or(given)
    }

    /// Picks an endpoint and takes a slot of it, if need be after others have closed a connection.
    async fn pick(&mut self, grant: Option<&mut Grant>) -> Result<(usize, Box<Slot>), Lack> {
        let (upstream, tried) = (self.upstream, self.plan.tried());
        let picked = pick::pick(self.exchange, upstream, tried);
        let Err(Lack::Capacity) = picked else {
            return picked;
        };
        let asked = self.exchange.worker.wheel.now();
        if let Some(grant) = grant
            && self.is_about_connections()
        {
            grant.takes_long(asked);
        }
        let until = self.plan.deadline().0;
        let picking = pick::pick_with_room(self.exchange, upstream, tried, until);
        let picked = Box::pin(picking).await;
        let now = self.exchange.worker.wheel.now();
        self.exchange.waited_for_room(asked, now);
        picked
    }

    fn is_about_connections(&self) -> bool {
        pick::is_about_connections(self.exchange, self.upstream, self.plan.tried())
    }

    async fn wait(
        &mut self,
        bulkhead: &Configured,
        begun: Instant,
    ) -> Result<(usize, Box<Slot>), Denied> {
        let span = bulkhead.rules.queue_timeout;
        let left = span.saturating_sub(self.exchange.queued);
        let deadline = (begun + left).min(self.plan.deadline().0);
        let refused = |refusal| {
            bulkhead.state.count_refusal(refusal);
            Denied::Refused(refusal)
        };
        let ask = Ask {
            class: self.class(),
            since: begun,
            deadline,
        };
        let timer = self.exchange.worker.wheel.timer();
        timer.set(deadline);
        let mut wait = bulkhead.state.enter(ask, begun).map_err(refused)?;
        loop {
            let called = poll_fn(|cx| {
                let called = self.poll(cx, &mut wait);
                if called.is_pending() && timer.poll(cx).is_ready() {
                    return Poll::Ready(Err(Denied::Refused(Refusal::Timeout)));
                }
                called
            });
            let called = called.await.map_err(|denied| match denied {
                // `total` is the shorter one: the plan knows what to say.
                Denied::Refused(Refusal::Timeout) if self.is_over() => Denied::TimedOut,
                Denied::Refused(refusal) => refused(refusal),
                denied => denied,
            });
            let mut grant = called?;
            self.exchange.now = self.exchange.worker.wheel.now();
            match self.pick(Some(&mut grant)).await {
                Ok((index, slot)) => {
                    let permit =
                        Permit::new(grant.keep(self.exchange.now), self.exchange, self.upstream);
                    return Ok((index, slot.under(Some(permit))));
                }
                Err(Lack::Capacity) if !self.is_about_connections() => {
                    let now = self.exchange.worker.wheel.now();
                    wait = grant.again(now).map_err(refused)?;
                }
                Err(lack) => return Err(self.denied(lack)),
            }
        }
    }

    /// What it means that nobody was picked: where room was waited for until a deadline of the plan, the plan knows.
    fn denied(&self, lack: Lack) -> Denied {
        if lack == Lack::Capacity && self.plan.deadline().0 <= self.exchange.now {
            Denied::TimedOut
        } else {
            Denied::Lack(lack)
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, wait: &mut Wait) -> Poll<Result<Grant, Denied>> {
        if let Poll::Ready(verdict) = Pin::new(wait).poll(cx) {
            return Poll::Ready(verdict.map_err(Denied::Refused));
        }
        self.down.poll_gone(cx).map(|()| Err(Denied::ClientGone))
    }

    /// Whether a deadline of the plan has passed.
    fn is_over(&self) -> bool {
        self.plan.deadline().0 <= self.exchange.worker.wheel.now()
    }
}

/// Lets one attempt in that waits for nobody: a hedge, which is of no use later.
pub fn admit_now(
    exchange: &mut Exchange,
    upstream: &Rc<UpstreamView>,
    tried: &Tried,
) -> Result<(usize, Box<Slot>), Lack> {
    let mut permit = None;
    if let Some(bulkhead) = &upstream.shared.bulkhead {
        let number = bulkhead.state.take().ok_or(Lack::Capacity)?;
        permit = Some(Permit::new(number, exchange, upstream));
    }
    let (index, slot) = pick::pick(exchange, upstream, tried)?;
    Ok((index, slot.under(permit)))
}

impl From<Refusal> for ProxyError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::QueueFull,
            Refusal::Timeout => Self::QueueTimeout,
            Refusal::PushedOut | Refusal::Lag => Self::Shed,
        }
    }
}
