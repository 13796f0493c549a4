//! Giving a result to a client: the first one, and everyone who repeats its request.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use ::http::Method;

use super::Ticket;
use crate::attempt::Pace;
use crate::attempt::idempotency::{Answer, Guard};
use crate::http::Outgoing;
use crate::http::body::{Body, Pump, Sink};
use crate::http::fields::{Fields, Names};
use crate::http::head::Length;
use crate::proxy::apart::Large;
use crate::proxy::brake::Brake;
use crate::proxy::entry;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::Downstream;
use crate::proxy::heads;
use crate::proxy::stream::{self, Flow};

/// Gives a result that was kept, and says so.
pub(super) async fn replay(
    exchange: &mut Exchange,
    down: &mut Downstream,
    guard: &Guard,
    answer: &Answer,
) -> Result<(), ProxyError> {
    let marker = guard.rules.replayed_header.as_deref();
    let mut extra = Fields::default();
    if let Some(marker) = marker {
        extra.push(marker.as_bytes(), b"true");
    }
    entry::write_downstream(exchange, &mut extra);
    give(exchange, down, answer, marker, &extra).await
}

/// Gives a result to the client whose request was executed.
pub(super) async fn result(
    exchange: &mut Exchange,
    down: &mut Downstream,
    answer: &Answer,
) -> Result<(), ProxyError> {
    let mut extra = Fields::default();
    heads::tell(exchange, &mut extra);
    entry::write_downstream(exchange, &mut extra);
    give(exchange, down, answer, None, &extra).await
}

/// Gives an answer that is there as a whole. A field of the name `marker` is left out of it.
pub async fn give(
    exchange: &mut Exchange,
    down: &mut Downstream,
    answer: &Answer,
    marker: Option<&str>,
    extra: &Fields,
) -> Result<(), ProxyError> {
    let Some(responder) = down.responder.take() else {
        return Ok(());
    };
    exchange.status = answer.status;
    exchange.passed_on = true;
    let mut fields = exchange.worker.buffers.fields();
    for (name, value) in &answer.fields {
        let is_marker = |marker: &str| name.eq_ignore_ascii_case(marker.as_bytes());
        if !marker.is_some_and(is_marker) {
            fields.push(name, value);
        }
    }
    let is_bodiless = matches!(answer.status, 204 | 304);
    let (body, length) = if is_bodiless {
        (Body::Empty, Length::Empty)
    } else if exchange.head.method == Method::HEAD {
        (Body::Empty, Length::Exact(answer.body.len() as u64))
    } else if answer.trailers.is_empty() {
        let length = Length::Exact(answer.body.len() as u64);
        (Body::Fixed(answer.body.clone()), length)
    } else {
        let mut trailers = Fields::default();
        for (name, value) in &answer.trailers {
            trailers.push(name, value);
        }
        let body = Body::whole(answer.body.to_vec(), trailers);
        (body, Length::Marked)
    };
    let head = Outgoing {
        fields: &fields,
        skip: Names::NONE,
        omit: &[],
        extra,
        length,
    };
    let sink = responder.respond(answer.status, &answer.reason, &head);
    send(exchange, body, sink).await
}

/// Sends a body that is there as a whole, as fast as its client takes it.
async fn send(exchange: &mut Exchange, body: Body, client: Sink) -> Result<(), ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let listener = &exchange.listener.shared;
    let patience = listener.timeouts.body;
    let mut pace = Pace::new(listener.limits.min_rate);
    let mut pump = Pump::default();
    let mut brake = Brake::of(exchange);
    let mut flow = Flow {
        answer: body,
        client,
        tunnel: false,
    };
    let mut moved = (u64::MAX, false);
    // Most answers leave at once and need no timer.
    let mut timer = None;
    let sent = poll_fn(|cx| {
        let polled = match &mut brake {
            None => pump.poll(cx, &mut flow.answer, &mut flow.client, &worker.buffers),
            Some(brake) => {
                let (body, sink) = (&mut flow.answer, &mut flow.client);
                brake.poll(cx, &mut pump, body, sink, &worker.buffers)
            }
        };
        if let Poll::Ready(sent) = polled {
            return Poll::Ready(sent.map_err(|_| ProxyError::ClientGone));
        }
        if flow.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        let timer = timer.get_or_insert_with(|| worker.wheel.timer());
        // While the brake holds it, nobody waits for the client.
        let is_awaited = !pump.is_held;
        let now_moved = (flow.client.progress(), is_awaited);
        if std::mem::replace(&mut moved, now_moved) != now_moved || !is_awaited {
            let now = worker.wheel.now();
            if pace.is_too_slow(now, flow.client.written(), is_awaited) {
                return Poll::Ready(Err(ProxyError::SlowRead));
            }
            timer.set(now + patience);
        }
        timer.poll(cx).map(|()| Err(ProxyError::SlowRead))
    })
    .await;
    exchange.bytes_out = pump.bytes;
    if sent.is_err() {
        flow.client.abort();
    }
    sent
}

/// Passes an answer on that is too large to be kept, as it comes. `rest` holds what is left of the request.
pub(super) async fn large(
    exchange: &mut Exchange,
    down: &mut Downstream,
    mut rest: Downstream,
    ticket: Ticket<'_>,
    large: Large,
) -> Result<(), ProxyError> {
    let Some(responder) = down.responder.take() else {
        return Ok(());
    };
    let Large {
        mut attempt,
        response,
        answer,
        timer,
        mut plan,
    } = large;
    exchange.status = response.status;
    exchange.passed_on = true;
    let Ticket {
        view,
        route,
        upstream,
        ..
    } = ticket;
    let route = &view.snapshot.routes.routes()[route];
    let head = heads::answer(exchange, route, &response);
    // What follows may take long: it must not keep a configuration that is out of force by then.
    drop(view);
    let outgoing = Outgoing {
        fields: &response.fields,
        skip: Names::NONE,
        omit: &head.omit,
        extra: &head.extra,
        length: heads::length_to_client(exchange.head.version, &response),
    };
    let client = responder.respond(response.status, &response.reason, &outgoing);
    drop(head);
    let mut flow = Flow {
        answer,
        client,
        tunnel: false,
    };
    let outcome = stream::stream(
        exchange,
        &mut attempt,
        &mut rest,
        &mut flow,
        &timer,
        &mut plan,
    )
    .await;
    drop(flow);
    stream::end(exchange, attempt, upstream, rest.pump.bytes, &outcome);
    outcome
}
