//! Carrying a keyed request out, apart from its client: whoever leaves meanwhile, the result is kept.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use super::why;
use crate::attempt::idempotency::{Answer, Claim, Guard, Hold, Why};
use crate::attempt::retry::Repeat;
use crate::attempt::{Deadlines, Plan};
use crate::clock::wheel::Timer;
use crate::config::UpstreamTimeouts;
use crate::http::body::{Body, Sink};
use crate::http::buffers::Lent;
use crate::http::fields::{Fields, Name, Names};
use crate::http::gathered::Gathered;
use crate::http::head::{Length, ResponseHead};
use crate::http::headers::HOP_BY_HOP;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::{Attempt, Downstream};
use crate::proxy::heads;
use crate::proxy::select::Selection;
use crate::proxy::stream::{self, Flow};
use crate::proxy::tries::{Answered, Tries};
use crate::route;
use crate::worker::{Executing, UpstreamView, View, Worker};

/// Everything that an execution needs.
pub(super) struct Work {
    pub(super) exchange: Exchange,
    pub(super) down: Downstream,
    pub(super) view: Rc<View>,
    /// An index.
    pub(super) route: usize,
    pub(super) upstream: Rc<UpstreamView>,
    pub(super) guard: Arc<Guard>,
    pub(super) claim: Claim,
    /// Counts the body while it is there.
    pub(super) hold: Hold,
    /// Keeps the worker from its end.
    pub(super) executing: Executing,
    /// Fires when its client has been gone for as long as the result is waited for.
    pub(super) left: Rc<Timer>,
}

/// What came of it, for the client that is there for it.
pub(super) struct Told {
    pub(super) exchange: Exchange,
    /// With what is left of the request.
    pub(super) down: Downstream,
    pub(super) what: What,
}

/// What there is to give.
pub(super) enum What {
    Answered(Arc<Answer>),
    Failed(ProxyError),
    Large(Box<Large>),
}

/// An answer that is too large to be kept, on its way.
pub(super) struct Large {
    pub(super) attempt: Box<Attempt>,
    pub(super) response: Lent<ResponseHead>,
    /// From its first byte.
    pub(super) answer: Body,
    pub(super) timer: Timer,
    pub(super) plan: Plan,
}

/// Held by the client: from when it is dropped on, the execution has only so much time.
pub(super) struct Leave {
    worker: Rc<Worker>,
    left: Rc<Timer>,
    wait: Duration,
}

impl Leave {
    pub(super) fn new(worker: &Rc<Worker>, wait: Duration) -> Self {
        Self {
            worker: Rc::clone(worker),
            left: Rc::new(worker.wheel.timer()),
            wait,
        }
    }

    pub(super) fn timer(&self) -> Rc<Timer> {
        Rc::clone(&self.left)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.left.set(self.worker.wheel.now() + self.wait);
    }
}

/// How an attempt that has an answer went on.
enum Carried {
    Whole(Answer),
    Large(Box<Large>),
}

/// Carries the request out and says what came of it: first to the store, then to its client.
pub(super) async fn execute(work: Work, tell: oneshot::Sender<Told>) {
    let Work {
        mut exchange,
        mut down,
        view,
        route,
        upstream,
        guard,
        claim,
        hold,
        executing: _executing,
        left,
    } = work;
    let worker = Rc::clone(&exchange.worker);
    let _counting = worker.count_panic();
    let route = &view.snapshot.routes.routes()[route];
    let carried = {
        let carrying = carry(&mut exchange, &mut down, route, &upstream, &guard);
        unless(&left, Box::pin(carrying)).await
    };
    drop(hold);
    let carried = carried.unwrap_or(Err(ProxyError::TotalTimeout));
    let now = worker.wheel.now();
    let end = |claim: Claim, why| {
        // An endpoint that looks at keys itself can be asked again.
        if guard.rules.backend_deduplicates {
            claim.forget();
        } else {
            claim.lose(now, why);
        }
    };
    let what = match carried {
        Ok(Carried::Whole(answer)) => {
            let answer = Arc::new(answer);
            if let Err(claim) = claim.complete(now, &guard.limits, &answer) {
                end(claim, Why::TooLarge);
            }
            What::Answered(answer)
        }
        Ok(Carried::Large(large)) => {
            end(claim, Why::TooLarge);
            What::Large(large)
        }
        Err(error) => {
            if exchange.in_doubt {
                end(claim, why(&error));
            } else {
                claim.forget();
            }
            What::Failed(error)
        }
    };
    // Whoever is gone does not need to know.
    let _ = tell.send(Told {
        exchange,
        down,
        what,
    });
}

/// What comes of it, unless the timer fires before.
async fn unless<T>(
    timer: &Timer,
    mut what: std::pin::Pin<Box<impl Future<Output = T>>>,
) -> Option<T> {
    poll_fn(|cx| match what.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}

/// Makes the tries and gathers the answer.
async fn carry(
    exchange: &mut Exchange,
    down: &mut Downstream,
    route: &route::Route,
    upstream: &Rc<UpstreamView>,
    guard: &Guard,
) -> Result<Carried, ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    exchange.selection = Selection::of(
        &exchange.request(),
        &upstream.shared,
        route,
        &mut worker.random.borrow_mut(),
        || worker.unix_seconds(exchange.started),
    )?;
    let plan = plan(exchange, upstream, guard);
    let mut tries = Tries::new(exchange, down, route, upstream);
    tries.plan = plan;
    let Answered {
        mut attempt,
        response,
        tunnel,
    } = tries.run().await?;
    let Tries {
        timer, mut plan, ..
    } = tries;
    if tunnel {
        return Err(ProxyError::UnaskedSwitch);
    }
    attempt.slot.record.status = response.status;
    let answer = attempt.link.body(&response);
    let room = guard.rules.body_bytes;
    if matches!(response.length, Length::Exact(length) if length > room as u64) {
        return Ok(Carried::Large(Box::new(Large {
            attempt,
            response,
            answer,
            timer,
            plan,
        })));
    }
    let mut flow = Flow {
        answer,
        client: Sink::Gathered(Box::new(Gathered::new(room))),
        tunnel: false,
    };
    let outcome = stream::stream(exchange, &mut attempt, down, &mut flow, &timer, &mut plan).await;
    let Flow { answer, client, .. } = flow;
    let Sink::Gathered(mut gathered) = client else {
        return Err(ProxyError::Panicked);
    };
    if gathered.is_over() {
        return Ok(Carried::Large(Box::new(Large {
            attempt,
            response,
            answer: Body::resumed(gathered.bytes, answer),
            timer,
            plan,
        })));
    }
    drop(answer);
    stream::end(exchange, attempt, upstream, down.pump.bytes, &outcome);
    outcome.map(|()| Carried::Whole(kept(exchange, route, &response, &mut gathered)))
}

/// The tries of a keyed request. It goes elsewhere only where nothing was sent, whatever its method, and is waited for
/// beyond the deadline of its client.
fn plan(exchange: &Exchange, upstream: &UpstreamView, guard: &Guard) -> Plan {
    let shared = &upstream.shared;
    let again = guard.rules.backend_deduplicates;
    let total = shared.timeouts.total + guard.rules.result_wait;
    let timeouts = UpstreamTimeouts {
        // To give up an endpoint that was sent the request helps nobody who may not ask another.
        first_byte: if again {
            shared.timeouts.first_byte
        } else {
            total
        },
        total,
        ..shared.timeouts.clone()
    };
    let deadlines = Deadlines::new(&timeouts, exchange.started);
    let repeat = if again { Repeat::Yes } else { Repeat::No };
    Plan::new(repeat, shared.endpoints.len(), deadlines, shared.tries)
}

/// The answer as every client will get it.
pub fn kept(
    exchange: &mut Exchange,
    route: &route::Route,
    response: &ResponseHead,
    gathered: &mut Gathered,
) -> Answer {
    // What this client is told of the pick and of itself is not for others.
    let told = std::mem::take(&mut exchange.told);
    let entry = exchange.entry.take();
    let head = heads::answer(exchange, route, response);
    (exchange.told, exchange.entry) = (told, entry);
    let mut gone = HOP_BY_HOP.and(Names::of(&[Name::ContentLength]));
    let trailers = gathered.trailers.take().unwrap_or_default();
    if trailers.is_empty() {
        gone = gone.and(Names::of(&[Name::Trailer]));
    }
    let mut fields = Fields::default();
    for (name, spelt, value) in response.fields.iter() {
        let is_omitted = |omit: &Vec<u8>| spelt.eq_ignore_ascii_case(omit);
        if !gone.contains(name) && !head.omit.iter().any(is_omitted) {
            fields.push_known(name, spelt, value);
        }
    }
    let owned = |fields: &Fields| {
        let pairs = fields.iter();
        let pairs = pairs.map(|(_, name, value)| (name.to_vec(), value.to_vec()));
        pairs.collect::<Vec<_>>()
    };
    Answer {
        status: response.status,
        reason: response.reason.clone(),
        fields: [owned(&fields), owned(&head.extra)].concat(),
        body: gathered.take_bytes(),
        trailers: owned(&trailers),
    }
}
