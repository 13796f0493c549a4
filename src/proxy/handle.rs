//! The journey of one request as one function that reads top to bottom:
//!
//! 1. the exchange starts; 2. the target is brought into its canonical form; 3. the route table names an action, and the
//!    client is judged ([`entry`]);
//! 4. a direct answer or a redirect is given at once; 5. for an upstream, attempts are made as the plan says until one
//!    has a response head; 6. the answer streams back; 7. dropping the exchange records it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::Method;

use super::entry;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::fault;
use super::forward::{Attempt, Downstream};
use super::heads;
use super::keyed;
use super::respond::{self, Local};
use super::select::Selection;
use super::stream::{self, Flow};
use super::switch::{self, Switch};
use super::tries::{Answered, Tries};
use crate::clock::Instant;
use crate::http::body::{Body, Pump, Sink};
use crate::http::buffers::Lent;
use crate::http::fields::{Name, Names};
use crate::http::head::{Length, ResponseHead, Version};
use crate::http::{Incoming, Outgoing, Peer, Refusal, Responder, accept, headers};
use crate::route;
use crate::worker::{UpstreamView, View, Worker};

/// Carries one exchange from its request head to the end of its answer.
pub async fn handle(worker: &Rc<Worker>, incoming: Incoming) {
    let Incoming {
        head,
        begun,
        body,
        responder,
        peer,
    } = incoming;
    // 1.
    let view = worker.view();
    // Every connection has a listener, as long as it is open.
    let Some(listener) = view.listener(peer.listener) else {
        return;
    };
    let mut exchange = Exchange::start(worker, listener, head, begun, peer);
    let mut down = Downstream::new(&exchange, responder, body);
    if !matches!(down.body, Body::Empty) {
        down.pump.without = exchange.request().distrusted();
    }
    if exchange.head.method == Method::CONNECT {
        down.held = std::mem::replace(&mut down.body, Body::Empty);
    }
    let outcome = answer(&mut exchange, &mut down, view).await;
    exchange.bytes_in = down.received();
    match outcome {
        Ok(()) => exchange.error = None,
        Err(error) => fail(&mut exchange, &mut down, error).await,
    }
    // 7. happens here.
}

/// Answers a request that could not be understood.
pub async fn refuse(
    worker: &Rc<Worker>,
    refusal: Refusal,
    begun: Option<Instant>,
    responder: Responder,
    peer: Rc<Peer>,
) {
    let head = worker.buffers.request_head();
    let view = worker.view();
    let Some(listener) = view.listener(peer.listener) else {
        return;
    };
    let mut exchange = Exchange::start(worker, listener, head, begun, peer);
    let error = match refusal {
        Refusal::Parse(error) => ProxyError::Request(error),
        Refusal::SlowHead => ProxyError::SlowHead,
    };
    let mut down = Downstream::new(&exchange, responder, Body::Empty);
    fail(&mut exchange, &mut down, error).await;
}

/// Tells the client of an error if there is still a way to; else the connection says it by being cut.
async fn fail(exchange: &mut Exchange, down: &mut Downstream, error: ProxyError) {
    if let Some(mut responder) = down.responder.take()
        && error != ProxyError::ClientGone
    {
        if error.closes() {
            responder.close_after();
        }
        let json = accept::prefers_json(&exchange.head.fields);
        let local = Local::error(&error, &exchange.id(), json);
        exchange.status = local.status;
        let head_only = exchange.head.method == Method::HEAD;
        // Whether it was sent whole or not: the error is what the exchange came to.
        let sent = respond::send(
            &exchange.worker,
            responder,
            local,
            head_only,
            patience(exchange),
            |extra| {
                if let Some(seconds) = error.retry_after() {
                    let mut number = itoa::Buffer::new();
                    extra.push(b"retry-after", number.format(seconds).as_bytes());
                }
                heads::tell(exchange, extra);
                entry::write_downstream(exchange, extra);
            },
        )
        .await;
        exchange.bytes_out = sent.bytes;
    }
    count_refusal(exchange, &error);
    exchange.error = Some(error);
}

/// A request that was refused before it had a route is counted by its listener; any other by its route.
fn count_refusal(exchange: &Exchange, error: &ProxyError) {
    if exchange.route.is_none() && *error != ProxyError::ClientGone {
        exchange.listener.cells.refused(error.label());
    }
}

async fn answer(
    exchange: &mut Exchange,
    down: &mut Downstream,
    view: Rc<View>,
) -> Result<(), ProxyError> {
    let head = &exchange.head;
    if head.method == Method::CONNECT && (head.upgrade.is_none() || head.version != Version::Http2)
    {
        return Err(ProxyError::Method);
    }
    if let (Length::Exact(length), Some(limit)) = (head.length, down.pump.limit)
        && length > limit
    {
        return Err(ProxyError::TooLarge);
    }
    exchange.request().check_names()?;
    entry::before_route(exchange)?;
    // 2. and 3.
    let Some(route) = find(exchange, &view.snapshot.routes)? else {
        return Err(ProxyError::NoRoute);
    };
    exchange.route = Some(Rc::clone(&view.routes[route.index]));
    if !entry::admit(exchange, down, &view, route).await? {
        return Ok(());
    }
    if let Some(injection) = &route.fault {
        // Boxed: it is rare, and the task outlives it.
        let total = fault::total(&view, route);
        Box::pin(fault::inject(exchange, down, injection, total)).await?;
    }
    // 4.
    let index = match &route.action {
        route::Action::Upstream(index) => *index,
        route::Action::Split(split) => split.pick(&mut exchange.worker.random.borrow_mut()),
        route::Action::Respond(respond) => {
            let local = Local {
                status: respond.status,
                content_type: respond.content_type.to_vec().into(),
                body: respond.body.clone(),
                location: None,
                proxy_status: None,
                request_id: None,
            };
            return local_answer(exchange, down, route, local).await;
        }
        route::Action::Redirect(redirect) => {
            let scheme = if exchange.peer.tls { "https" } else { "http" };
            let host = exchange.head.fields.get(Name::Host).unwrap_or_default();
            let local = Local {
                status: redirect.status,
                content_type: (&b"text/plain; charset=utf-8"[..]).into(),
                body: bytes::Bytes::new(),
                location: Some(redirect.location(scheme, host, &exchange.head.target)),
                proxy_status: None,
                request_id: None,
            };
            return local_answer(exchange, down, route, local).await;
        }
    };
    if headers::forwards_left(&exchange.head.method, &exchange.head.fields) == Some(0) {
        return last_recipient(exchange, down, route).await;
    }
    // 5. and 6.
    let upstream = Rc::clone(&view.upstreams[index]);
    exchange.upstream = Some(Rc::clone(&upstream));
    let route = route.index;
    let guard = view.snapshot.guards[route].as_ref();
    if let Some(key) = keyed::key(exchange, guard)?
        && let Some(guard) = guard.map(Arc::clone)
    {
        let answering = keyed::answer(exchange, down, view, route, &upstream, &guard, &key);
        // Boxed: it is rare, and larger than what others need.
        return Box::pin(answering).await;
    }
    forward_to(exchange, down, view, route, &upstream).await
}

/// Makes attempts as the plan says until one has a response head, and streams its answer. `route` is an index.
pub(super) async fn forward_to(
    exchange: &mut Exchange,
    down: &mut Downstream,
    view: Rc<View>,
    route: usize,
    upstream: &Rc<UpstreamView>,
) -> Result<(), ProxyError> {
    let route = &view.snapshot.routes.routes()[route];
    let worker = Rc::clone(&exchange.worker);
    let shared = &upstream.shared;
    exchange.selection = Selection::of(
        &exchange.request(),
        shared,
        route,
        &mut worker.random.borrow_mut(),
        || worker.unix_seconds(exchange.started),
    )?;
    let mut tries = Tries::new(exchange, down, route, upstream);
    let Answered {
        mut attempt,
        response,
        tunnel,
    } = tries.run().await?;
    let Tries {
        timer, mut plan, ..
    } = tries;
    let Some(mut flow) = deliver(exchange, down, route, &mut attempt, response, tunnel) else {
        return Ok(());
    };
    // What follows may last for days: it must not keep a configuration that is long out of force.
    drop(view);
    let outcome = stream::stream(exchange, &mut attempt, down, &mut flow, &timer, &mut plan).await;
    drop(flow);
    stream::end(exchange, attempt, upstream, down.pump.bytes, &outcome);
    outcome
}

/// The route of a request.
fn find<'t>(
    exchange: &Exchange,
    routes: &'t route::Table,
) -> Result<Option<&'t route::Route>, ProxyError> {
    let mut buffer = exchange.worker.buffers.take();
    let request = exchange.request();
    let found = request.with_routes(&mut buffer, |request| routes.find(request));
    exchange.worker.buffers.give(buffer);
    found
}

/// How long this client may leave an answer of our own unread.
fn patience(exchange: &Exchange) -> Duration {
    exchange.listener.shared.timeouts.body
}

/// Answers a request that may be forwarded no further (RFC 9110, 7.6.2). A TRACE is not echoed, since it would show what
/// proxies before this one have added.
async fn last_recipient(
    exchange: &mut Exchange,
    down: &mut Downstream,
    route: &route::Route,
) -> Result<(), ProxyError> {
    if exchange.head.method == Method::TRACE {
        return Err(ProxyError::Method);
    }
    let local = Local {
        status: 204,
        content_type: (&b""[..]).into(),
        body: bytes::Bytes::new(),
        location: None,
        proxy_status: None,
        request_id: None,
    };
    local_answer(exchange, down, route, local).await
}

async fn local_answer(
    exchange: &mut Exchange,
    down: &mut Downstream,
    route: &route::Route,
    local: Local,
) -> Result<(), ProxyError> {
    if exchange.head.method == Method::CONNECT && (200..300).contains(&local.status) {
        // It would look as if an endpoint had agreed to the tunnel.
        return Err(ProxyError::Method);
    }
    let Some(responder) = down.responder.take() else {
        return Ok(());
    };
    exchange.status = local.status;
    let head_only = exchange.head.method == Method::HEAD;
    let sent = respond::send(
        &exchange.worker,
        responder,
        local,
        head_only,
        patience(exchange),
        |extra| heads::edit_local(exchange, route, extra),
    )
    .await;
    exchange.bytes_out = sent.bytes;
    if sent.is_whole {
        Ok(())
    } else {
        Err(ProxyError::ClientGone)
    }
}

/// Writes the head of the answer towards the client; what it gives then streams. `None` when it was answered already.
fn deliver(
    exchange: &mut Exchange,
    down: &mut Downstream,
    route: &route::Route,
    attempt: &mut Attempt,
    mut response: Lent<ResponseHead>,
    tunnel: bool,
) -> Option<Flow> {
    let responder = down.responder.take()?;
    let skip = if tunnel {
        switch::translate(&exchange.head, &mut response)
    } else {
        Names::NONE
    };
    exchange.status = match (tunnel, exchange.head.version) {
        (false, _) => response.status,
        (true, Version::Http2) => 200,
        (true, _) => 101,
    };
    exchange.passed_on = true;
    attempt.slot.record.status = response.status;
    let head = heads::answer(exchange, route, &response);
    let outgoing = Outgoing {
        fields: &response.fields,
        skip,
        omit: &head.omit,
        extra: &head.extra,
        length: heads::length_to_client(exchange.head.version, &response),
    };
    if tunnel {
        down.body = std::mem::replace(&mut down.held, Body::Empty);
        let client = responder.switch(&outgoing, &mut down.body);
        let sink = match std::mem::replace(&mut attempt.switch, Switch::No) {
            Switch::Connect(sink) => sink,
            Switch::No | Switch::Upgrade { .. } => Sink::Nowhere,
        };
        let (answer, sink) = attempt.link.tunnel(&response, sink);
        attempt.sink = sink;
        down.pump = Pump::default();
        Some(Flow {
            answer,
            client,
            tunnel: true,
        })
    } else {
        let client = responder.respond(response.status, &response.reason, &outgoing);
        Some(Flow {
            answer: attempt.link.body(&response),
            client,
            tunnel: false,
        })
    }
}
