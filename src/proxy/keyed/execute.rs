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
use crate::proxy::apart::{self, Gathering, Large};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::Downstream;
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
        Ok(Gathering::Whole(answer)) => {
            let answer = Arc::new(answer);
            if let Err(claim) = claim.complete(now, &guard.limits, &answer) {
                end(claim, Why::TooLarge);
            }
            What::Answered(answer)
        }
        Ok(Gathering::Large(large)) => {
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
) -> Result<Gathering, ProxyError> {
    let plan = plan(exchange, upstream, guard);
    let begun = apart::begin(exchange, down, route, upstream, Some(plan)).await?;
    let room = guard.rules.body_bytes;
    begun.gather(exchange, down, route, upstream, room).await
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
