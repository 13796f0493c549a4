//! Writing heads anew: the request's towards the endpoint, the answer's towards the client.

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Attempt, Link, Slot};
use crate::attempt::{ConnectFailure, Failure, Timeout};
use crate::http::body::Sink;
use crate::http::buffers::Lent;
use crate::http::fields::{Fields, Name, Names};
use crate::http::head::{Length, ResponseHead};
use crate::http::{Outgoing, RequestLine, Responder, headers, target};
use crate::route;
use crate::worker::{UpstreamView, Worker};

/// Writes the head of a request towards the endpoint. It leaves together with what the sink gets first.
pub fn send(
    exchange: &Exchange,
    route: &route::Route,
    upstream: &UpstreamView,
    mut link: Link,
    slot: Slot,
) -> Attempt {
    let worker = &exchange.worker;
    let head = &exchange.head;
    let listener = &exchange.view.snapshot.listeners[exchange.peer.listener];
    let mut omit = Vec::new();
    headers::nominated(&head.fields, &mut omit);
    let mut extra = worker.buffers.fields();
    let trusted = !listener.trusted_proxies.is_empty()
        && exchange.peer.address.is_some_and(|address| {
            listener
                .trusted_proxies
                .iter()
                .any(|network| network.contains(address))
        });
    let forward = headers::Forward {
        peer: exchange.peer.address,
        tls: exchange.peer.tls,
        trusted,
        version: head.version,
        x_forwarded: listener.forwarding.x_forwarded,
        forwarded: listener.forwarding.forwarded,
        via: listener.forwarding.via.as_deref(),
    };
    let mut skip = forward.skip();
    if let Some(host) = &route.host {
        skip = skip.and(Names::of(&[Name::Host]));
        let name: &[u8] = match host {
            route::HostRewrite::Endpoint => slot.reach.endpoint.authority.as_bytes(),
            route::HostRewrite::To(name) => name,
        };
        extra.push_known(Name::Host, b"host", name);
    }
    forward.write(&head.fields, &mut extra);
    edit(&route.request_edits, &mut omit, &mut extra);
    let mut rewritten = worker.buffers.take();
    let target = match &route.rewrite {
        None => &head.target,
        Some(rewrite) => {
            rewrite_target(worker, rewrite, &head.target, &mut rewritten);
            &rewritten
        }
    };
    let line = RequestLine {
        method: &head.method,
        target,
        upgrade: head.upgrade.as_deref(),
    };
    let outgoing = Outgoing {
        fields: &head.fields,
        skip,
        omit: &omit,
        extra: &extra,
        length: head.length,
    };
    let sink = match &mut link {
        Link::H1(connected) => connected.client.send(&line, &outgoing),
        Link::H2 { client, pending } => {
            let scheme = if upstream.shared.tls.is_some() {
                "https"
            } else {
                "http"
            };
            match client.send(&line, scheme, &outgoing) {
                Ok((sink, answer)) => {
                    *pending = Some(answer);
                    sink
                }
                // The missing answer tells.
                Err(_) => Sink::Nowhere,
            }
        }
    };
    worker.buffers.give(rewritten);
    Attempt { link, sink, slot }
}

/// The target that a route's rewrite makes of a raw one.
pub fn rewrite_target(worker: &Worker, rewrite: &route::Rewrite, raw: &[u8], out: &mut Vec<u8>) {
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

/// What is left out of an answer and what is added to it.
pub struct Answer {
    pub omit: Vec<Vec<u8>>,
    pub extra: Lent<Fields>,
}

/// Prepares the head of an answer towards the client.
pub fn answer(exchange: &Exchange, route: &route::Route, response: &ResponseHead) -> Answer {
    let worker = &exchange.worker;
    let mut omit = Vec::new();
    headers::nominated(&response.fields, &mut omit);
    let mut extra = worker.buffers.fields();
    if !response.fields.contains(Name::Date) {
        // RFC 9110, 6.6.1: a recipient with a clock adds what an endpoint without one left out.
        extra.push_known(
            Name::Date,
            b"date",
            worker.date(exchange.answered).as_bytes(),
        );
    }
    if let Some(via) = &exchange.view.snapshot.listeners[exchange.peer.listener]
        .forwarding
        .via
    {
        headers::via(response.version, via, &mut extra);
    }
    edit(&route.response_edits, &mut omit, &mut extra);
    Answer { omit, extra }
}

/// Passes an interim response on.
pub fn pass_interim(worker: &Worker, responder: &mut Responder, response: &ResponseHead) {
    let mut omit = Vec::new();
    headers::nominated(&response.fields, &mut omit);
    let none = worker.buffers.fields();
    let outgoing = Outgoing {
        fields: &response.fields,
        skip: Names::NONE,
        omit: &omit,
        extra: &none,
        length: Length::Empty,
    };
    responder.interim(response.status, &outgoing);
}

/// What the client is told when a plan gives up. `last` is the error of the last attempt.
pub fn given_up(failure: Failure, last: ProxyError) -> ProxyError {
    match failure {
        Failure::NoEndpoint => ProxyError::NoEndpoint,
        Failure::NoCapacity => ProxyError::Full,
        Failure::Connect(ConnectFailure::Refused) => ProxyError::Refused,
        Failure::Connect(ConnectFailure::TimedOut) => ProxyError::ConnectTimeout,
        Failure::Connect(ConnectFailure::Tls) => ProxyError::Tls,
        Failure::Connect(ConnectFailure::Unreachable) if last == ProxyError::Full => {
            ProxyError::Full
        }
        Failure::Connect(ConnectFailure::Unreachable) => ProxyError::Unreachable,
        Failure::TimedOut(Timeout::Connect) => ProxyError::ConnectTimeout,
        Failure::TimedOut(Timeout::FirstByte) => ProxyError::FirstByteTimeout,
        Failure::TimedOut(Timeout::Total) => ProxyError::TotalTimeout,
        Failure::TimedOut(Timeout::Idle | Timeout::TunnelIdle) => ProxyError::IdleTimeout,
        Failure::TimedOut(Timeout::MaxDuration) => ProxyError::MaxDuration,
        Failure::Died | Failure::ClientGone => last,
    }
}
