//! The journey of one request as one function that reads top to bottom:
//!
//! 1. the exchange starts; 2. the target is brought into its canonical form; 3. the route table names an action;
//! 4. a direct answer or a redirect is given at once; 5. for an upstream, attempts are made as the plan says until one
//!    has a response head; 6. the answer streams back; 7. dropping the exchange records it.

use std::rc::Rc;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{self, Attempt, Clocks, Downstream, Link, Slot};
use super::respond::{self, Local};
use super::stream::{self, Flow, Pace};
use crate::clock::Instant;
use crate::http::body::{Body, Pump};
use crate::http::buffers::Lent;
use crate::http::fields::{Fields, Name, Names};
use crate::http::head::{RequestHead, ResponseHead};
use crate::http::{Incoming, Outgoing, Peer, RequestLine, Refusal, Responder, headers, target};
use crate::route;
use crate::worker::{UpstreamView, Worker};

/// Carries one exchange from its request head to the end of its answer.
pub async fn handle(worker: &Rc<Worker>, incoming: Incoming) {
    let Incoming { head, body, responder, peer } = incoming;
    // 1.
    let mut exchange = Exchange::start(worker, head, peer);
    let limit = exchange.view.snapshot.listeners[exchange.peer.listener].limits.body_bytes;
    let pump = Pump::limited(limit);
    let mut down = Downstream { responder: Some(responder), body, pump };
    let outcome = answer(&mut exchange, &mut down).await;
    exchange.bytes_in = down.pump.bytes;
    if let Err(error) = outcome {
        fail(&mut exchange, &mut down, error).await;
    }
    // 7. happens here.
}

/// Answers a request that could not be understood.
pub async fn refuse(worker: &Rc<Worker>, refusal: Refusal, responder: Responder, peer: Rc<Peer>) {
    let mut exchange = Exchange::start(worker, worker.buffers.request_head(), peer);
    let error = match refusal {
        Refusal::Parse(error) => ProxyError::Request(error),
        Refusal::SlowHead => ProxyError::SlowHead,
    };
    let mut down = Downstream { responder: Some(responder), body: Body::Empty, pump: Pump::default() };
    fail(&mut exchange, &mut down, error).await;
}

/// Tells the client of an error if there is still a way to; else the connection says it by being cut.
async fn fail(exchange: &mut Exchange, down: &mut Downstream, error: ProxyError) {
    if let Some(mut responder) = down.responder.take()
        && error != ProxyError::ClientGone
    {
        if error.side() == super::error::Side::Downstream {
            responder.close_after();
        }
        let json = exchange.head.fields.get(Name::Accept).is_some_and(|accept| accept.starts_with(b"application/json"));
        let local = Local::error(&error, &exchange.id(), json);
        exchange.status = local.status;
        let head_only = exchange.head.method == ::http::Method::HEAD;
        exchange.bytes_out = respond::send(&exchange.worker, responder, local, head_only).await;
    }
    exchange.error = Some(error);
}

async fn answer(exchange: &mut Exchange, down: &mut Downstream) -> Result<(), ProxyError> {
    let view = Rc::clone(&exchange.view);
    // 2. and 3.
    let Some(route) = find(exchange, &view.snapshot.routes)? else { return Err(ProxyError::NoRoute) };
    exchange.route = Some(route.index);
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
            };
            return local_answer(exchange, down, local).await;
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
            };
            return local_answer(exchange, down, local).await;
        }
    };
    // 5. and 6.
    let upstream = &view.upstreams[index];
    exchange.upstream = Some(index);
    if exchange.head.method == ::http::Method::CONNECT && exchange.head.upgrade.is_none() {
        return Err(ProxyError::Method);
    }
    forward_to(exchange, down, route, upstream).await
}

/// Makes attempts until one has a response head, and streams its answer.
async fn forward_to(
    exchange: &mut Exchange,
    down: &mut Downstream,
    route: &route::Route,
    upstream: &Rc<UpstreamView>,
) -> Result<(), ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let timeouts = &upstream.shared.timeouts;
    let body = exchange.view.snapshot.listeners[exchange.peer.listener].timeouts.body;
    let clocks = Clocks { first_byte: timeouts.first_byte, total: timeouts.total, body };
    let timer = worker.wheel.timer();
    let mut tried: Vec<usize> = Vec::new();
    let mut again: Option<(usize, Slot)> = None;
    let mut last = ProxyError::NoEndpoint;
    let (attempt, response) = loop {
        let fresh = again.is_some();
        let picked = match again.take() {
            Some(picked) => Some(picked),
            None => forward::pick(&worker, upstream, &tried),
        };
        let Some((index, slot)) = picked else { return Err(last) };
        exchange.endpoint = Some(index);
        exchange.attempts += 1;
        let left = (exchange.started + timeouts.total).since(worker.wheel.now());
        let (link, reused) = match forward::link(&worker, upstream, &slot, fresh, timeouts.connect.min(left)).await {
            Ok(linked) => linked,
            Err(error) => {
                // Nothing was sent: any method may go elsewhere.
                tried.push(index);
                last = error;
                continue;
            }
        };
        exchange.reused = reused;
        exchange.connected = worker.wheel.now();
        let mut attempt = send(exchange, down, route, upstream, link, reused, slot);
        match forward::head(exchange, &mut attempt, down, &timer, &clocks).await {
            Ok(response) => break (attempt, response),
            Err(failure) if failure.stale && down.pump.bytes == 0 && may_replay(&exchange.head) => {
                down.pump = Pump::limited(down.pump.limit);
                again = Some((index, attempt.slot));
            }
            Err(failure) => return Err(failure.error),
        }
    };
    let pace = Pace {
        idle: timeouts.idle,
        end: timeouts.max_duration.map_or(Instant::FAR, |span| exchange.started + span),
    };
    deliver(exchange, down, route, upstream, attempt, response, &timer, pace).await
}

/// Whether a request that an endpoint may have seen can be sent again (RFC 9110, 9.2.2): its method is idempotent and
/// no body of it was consumed.
fn may_replay(head: &RequestHead) -> bool {
    use ::http::Method;
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    idempotent.contains(&head.method) && head.length.is_empty()
}

/// The route of a request. An empty host stands for a request without one, which only HTTP/1.0 allows.
fn find<'t>(exchange: &Exchange, routes: &'t route::Table) -> Result<Option<&'t route::Route>, ProxyError> {
    let head = &exchange.head;
    let mut buffer = exchange.worker.buffers.take();
    let found = target::canonical(&head.target, &mut buffer).map(|canonical| {
        routes.find(&route::Request {
            listener: exchange.peer.listener,
            host: head.fields.get(Name::Host).unwrap_or_default(),
            path: canonical.path,
            query: canonical.query,
            method: &head.method,
            headers: &RouteHeaders(&head.fields),
        })
    });
    exchange.worker.buffers.give(buffer);
    found.map_err(|_| ProxyError::Target)
}

/// The fields of a request as the route table asks for them.
struct RouteHeaders<'a>(&'a Fields);

impl route::Headers for RouteHeaders<'_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.all_by_bytes(name.as_bytes()).any(test)
    }
}

async fn local_answer(exchange: &mut Exchange, down: &mut Downstream, local: Local) -> Result<(), ProxyError> {
    let Some(responder) = down.responder.take() else { return Ok(()) };
    exchange.status = local.status;
    let head_only = exchange.head.method == ::http::Method::HEAD;
    exchange.bytes_out = respond::send(&exchange.worker, responder, local, head_only).await;
    Ok(())
}

/// Writes the head of a request towards the endpoint, anew from the client's.
fn send(
    exchange: &Exchange,
    down: &Downstream,
    route: &route::Route,
    upstream: &UpstreamView,
    mut link: Link,
    reused: bool,
    slot: Slot,
) -> Attempt {
    let worker = &exchange.worker;
    let head = &exchange.head;
    let listener = &exchange.view.snapshot.listeners[exchange.peer.listener];
    let mut omit = headers::nominated(&head.fields);
    let mut extra = worker.buffers.fields();
    let mut skip = Names::NONE;
    if let Some(host) = &route.host {
        skip = skip.and(Names::of(&[Name::Host]));
        let name: &[u8] = match host {
            route::HostRewrite::Endpoint => slot.0.endpoint.authority.as_bytes(),
            route::HostRewrite::To(name) => name,
        };
        extra.push_known(Name::Host, b"host", name);
    }
    let trusted = exchange.peer.address.is_some_and(|address| listener.trusted_proxies.iter().any(|network| network.contains(address)));
    let forward = headers::Forward {
        peer: exchange.peer.address,
        port: exchange.peer.port,
        tls: exchange.peer.tls,
        trusted,
        version: head.version,
        x_forwarded: listener.forwarding.x_forwarded,
        forwarded: listener.forwarding.forwarded,
        via: listener.forwarding.via.as_deref(),
    };
    skip = skip.and(headers::forwarding(&head.fields, &forward, &mut extra));
    edit(&route.request_edits, &mut omit, &mut extra);
    let mut rewritten = worker.buffers.take();
    let target = match &route.rewrite {
        None => &head.target,
        Some(rewrite) => {
            rewrite_target(worker, rewrite, &head.target, &mut rewritten);
            &rewritten
        }
    };
    let line = RequestLine { method: &head.method, target, upgrade: head.upgrade.as_deref() };
    let outgoing = Outgoing { fields: &head.fields, skip, omit: &omit, extra: &extra, length: head.length };
    let sink = match &mut link {
        Link::H1(connected) => connected.client.send(&line, &outgoing),
        Link::H2 { client, pending } => {
            let scheme = if upstream.shared.tls { "https" } else { "http" };
            match client.send(&line, scheme, &outgoing) {
                Ok((sink, answer)) => {
                    *pending = Some(answer);
                    sink
                }
                Err(_) => crate::http::body::Sink::Nowhere,
            }
        }
    };
    worker.buffers.give(rewritten);
    let _ = down;
    Attempt { link, sink, reused, slot }
}

fn rewrite_target(worker: &Worker, rewrite: &route::Rewrite, raw: &[u8], out: &mut Vec<u8>) {
    let mut buffer = worker.buffers.take();
    if let Ok(canonical) = target::canonical(raw, &mut buffer) {
        rewrite.apply(raw, canonical.path, out);
    }
    worker.buffers.give(buffer);
}

/// Carries a route's edits out: remove, set, add.
fn edit(edits: &route::FieldEdits, omit: &mut Vec<Vec<u8>>, extra: &mut Fields) {
    omit.extend(edits.remove.iter().map(|name| name.to_vec()));
    omit.extend(edits.set.iter().map(|edit| edit.name.to_vec()));
    for edit in edits.set.iter().chain(&edits.add) {
        extra.push(&edit.name, &edit.value);
    }
}

/// Writes the head of the answer towards the client and streams its body.
#[expect(clippy::too_many_arguments, reason = "the parts of one exchange at its last step")]
async fn deliver(
    exchange: &mut Exchange,
    down: &mut Downstream,
    route: &route::Route,
    upstream: &UpstreamView,
    mut attempt: Attempt,
    response: Lent<ResponseHead>,
    timer: &crate::clock::wheel::Timer,
    mut pace: Pace,
) -> Result<(), ProxyError> {
    let Some(responder) = down.responder.take() else { return Ok(()) };
    let switched = exchange.head.upgrade.is_some() && (response.status == 101 || response.version == crate::http::head::Version::Http2 && response.status == 200);
    if response.status == 101 && exchange.head.upgrade.is_none() {
        down.responder = Some(responder);
        return Err(ProxyError::UnaskedSwitch);
    }
    exchange.status = response.status;
    let mut flow = {
        let head = answer_head(exchange, route, &response);
        let outgoing = Outgoing {
            fields: &response.fields,
            skip: Names::NONE,
            omit: &head.omit,
            extra: &head.extra,
            length: response.length,
        };
        if switched {
            let client = responder.switch(&outgoing, &mut down.body);
            let (answer, sink) = attempt.link.tunnel(&response, std::mem::replace(&mut attempt.sink, crate::http::body::Sink::Nowhere));
            attempt.sink = sink;
            down.pump = Pump::default();
            pace.idle = upstream.shared.timeouts.tunnel_idle;
            Flow { answer, client, tunnel: true }
        } else {
            let client = responder.respond(response.status, &response.reason, &outgoing);
            Flow { answer: attempt.link.body(&response), client, tunnel: false }
        }
    };
    drop(response);
    let outcome = stream::stream(exchange, &mut attempt, down, &mut flow, timer, pace).await;
    drop(flow);
    if outcome.is_ok() {
        stream::give_back(exchange, attempt, upstream);
    }
    outcome
}

struct AnswerHead {
    omit: Vec<Vec<u8>>,
    extra: Lent<Fields>,
}

/// What is left out of an answer and what is added to it.
fn answer_head(exchange: &Exchange, route: &route::Route, response: &ResponseHead) -> AnswerHead {
    let worker = &exchange.worker;
    let mut omit = headers::nominated(&response.fields);
    let mut extra = worker.buffers.fields();
    if !response.fields.contains(Name::Date) {
        extra.push_known(Name::Date, b"date", worker.date(exchange.answered).as_bytes());
    }
    if let Some(via) = &exchange.view.snapshot.listeners[exchange.peer.listener].forwarding.via {
        headers::via(response.version, via, &mut extra);
    }
    edit(&route.response_edits, &mut omit, &mut extra);
    AnswerHead { omit, extra }
}
