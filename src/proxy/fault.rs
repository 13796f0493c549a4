//! Faults that a route injects on purpose, carried out: the wait and the error. The slow answer is `brake`'s.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Downstream;
use crate::observe::FaultsMet;
use crate::route::{self, Action};
use crate::worker::View;

/// Lets a request meet what its route injects. `total` ends a wait, as it would end that for an endpoint.
pub async fn inject(
    exchange: &mut Exchange,
    down: &mut Downstream,
    injection: &route::Injection,
    total: Duration,
) -> Result<(), ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let injected = injection.decide(&exchange.request(), &mut worker.random.borrow_mut());
    exchange.faults = FaultsMet {
        delay: injected.delay.is_some(),
        abort: injected.abort.is_some(),
        bandwidth: injected.bandwidth.is_some(),
    };
    exchange.bandwidth = injected.bandwidth;
    if let Some(span) = injected.delay {
        delay(exchange, down, span, total).await?;
    }
    match injected.abort {
        Some(status) => Err(ProxyError::FaultAbort(status)),
        None => Ok(()),
    }
}

/// How long a request of this route may take up to the head of its answer.
pub fn total(view: &View, route: &route::Route) -> Duration {
    let of = |index: usize| view.upstreams[index].shared.timeouts.total;
    match &route.action {
        Action::Upstream(index) => of(*index),
        // Which one it will be is drawn later.
        Action::Split(split) => {
            let arms = split.shares().map(|(index, _)| of(index));
            arms.max().unwrap_or(Duration::MAX)
        }
        Action::Redirect(_) | Action::Respond(_) => Duration::MAX,
    }
}

async fn delay(
    exchange: &mut Exchange,
    down: &mut Downstream,
    span: Duration,
    total: Duration,
) -> Result<(), ProxyError> {
    let wheel = &exchange.worker.wheel;
    let begun = wheel.now();
    let end = exchange.started + total;
    let timer = wheel.timer();
    timer.set((begun + span).min(end));
    let waited = poll_fn(|cx| {
        // Its body is not read yet, and behind what is not read nobody sees a client leave.
        if let Some(responder) = &mut down.responder
            && down.body.is_done()
            && responder.poll_gone(cx).is_ready()
        {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        timer.poll(cx).map(Ok)
    })
    .await;
    let now = wheel.now();
    exchange.waited_in_vain(begun, now);
    waited?;
    if now >= end {
        return Err(ProxyError::TotalTimeout);
    }
    Ok(())
}
