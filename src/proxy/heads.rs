//! Writing heads anew: the request's towards the endpoint, the answer's towards the client.

use std::time::Duration;

use super::audience::{EXPLAIN, may_ask};
use super::entry;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Attempt, Linked};
use super::link::Link;
use super::pick::Slot;
use super::switch::{Ask, Switch};
use crate::attempt::{ConnectFailure, Failure, Timeout};
use crate::config::Underscores;
use crate::http::body::Sink;
use crate::http::buffers::Lent;
use crate::http::fields::{Fields, Name, Names};
use crate::http::head::{Length, ResponseHead, Version};
use crate::http::{Outgoing, RequestLine, Responder, grpc, headers, target};
use crate::route;
use crate::upstream::connect::Address;
use crate::worker::{UpstreamView, Worker};

/// Writes the head of a request towards the endpoint. It leaves together with what the sink gets first.
pub fn send(
    exchange: &Exchange,
    route: &route::Route,
    upstream: &UpstreamView,
    linked: Linked,
    told: &Told,
) -> Result<Box<Attempt>, Box<(ProxyError, Box<Slot>)>> {
    let Linked {
        mut link,
        slot,
        steps,
    } = linked;
    let worker = &exchange.worker;
    let head = &exchange.head;
    let listener = &exchange.listener.shared;
    let mut omit = Vec::new();
    headers::nominated(&head.fields, &mut omit);
    if head.fields.all_by_bytes(EXPLAIN).next().is_some() && !may_ask(exchange) {
        // The next proxy may trust this one, and must not tell a stranger through it.
        omit.push(EXPLAIN.to_vec());
    }
    let mut extra = worker.buffers.fields();
    let forward = headers::Forward {
        peer: exchange.peer.address,
        tls: exchange.peer.tls,
        trusted: exchange.request().is_trusted(),
        underscores: listener.underscores == Underscores::Pass,
        version: head.version,
        x_forwarded: listener.forwarding.x_forwarded,
        forwarded: listener.forwarding.forwarded,
        via: listener.forwarding.via.as_deref(),
    };
    let mut skip = forward.skip();
    let host: Option<&[u8]> = match &route.host {
        Some(route::HostRewrite::To(name)) => Some(name),
        Some(route::HostRewrite::Endpoint) => Some(authority(&slot)),
        // HTTP/1.0 knows requests without a host, the versions that endpoints get do not.
        None if !head.fields.contains(Name::Host) => Some(authority(&slot)),
        None => None,
    };
    if let Some(host) = host {
        skip = skip.and(Names::of(&[Name::Host]));
        extra.push_known(Name::Host, b"host", host);
    }
    if let Some(left) = headers::forwards_left(&head.method, &head.fields) {
        skip = skip.and(Names::of(&[Name::MaxForwards]));
        extra.push_written(Name::MaxForwards, b"max-forwards", |out| {
            out.extend_from_slice(
                itoa::Buffer::new()
                    .format(left.saturating_sub(1))
                    .as_bytes(),
            );
        });
    }
    forward.write(&head.fields, &mut extra);
    entry::write_upstream(exchange, &mut omit, &mut extra);
    edit(&route.request_edits, &mut omit, &mut extra);
    skip = skip.and(tell_endpoint(
        exchange, upstream, told, &mut omit, &mut extra,
    ));
    let to_h2 = matches!(link, Link::H2 { .. });
    let ask = Ask::of(head, to_h2, &mut worker.random.borrow_mut(), &mut extra);
    let mut rewritten = Vec::new();
    let target = match &route.rewrite {
        None => &head.target,
        Some(rewrite) => {
            rewritten = worker.buffers.take();
            rewrite_target(worker, rewrite, &head.target, &mut rewritten);
            &rewritten
        }
    };
    let line = RequestLine {
        method: &ask.method,
        target,
        upgrade: ask.upgrade,
    };
    let outgoing = Outgoing {
        fields: &head.fields,
        skip: skip.and(ask.skip),
        omit: &omit,
        extra: &extra,
        length: if to_h2 {
            ask.length
        } else {
            length_for_h1(ask.length, head.version, &head.fields)
        },
    };
    let sent = match &mut link {
        Link::H1(connected) => Ok(connected.client.send(&line, &outgoing)),
        Link::H2 { client, pending } => {
            let scheme = if upstream.shared.tls.is_some() {
                "https"
            } else {
                "http"
            };
            client
                .send(&line, scheme, &outgoing)
                .map(|(sink, answer)| {
                    *pending = Some(answer);
                    sink
                })
                .map_err(ProxyError::from)
        }
    };
    let is_asked = ask.upgrade.is_some();
    let (key, method) = (ask.key, ask.method);
    worker.buffers.give(rewritten);
    let sink = match sent {
        Ok(sink) => sink,
        Err(error) => return Err(Box::new((error, slot))),
    };
    let (sink, switch) = match (is_asked, to_h2) {
        (false, _) => (sink, Switch::No),
        (true, false) => (sink, Switch::Upgrade { key }),
        (true, true) => (Sink::Nowhere, Switch::Connect(sink)),
    };
    Ok(Box::new(Attempt {
        link,
        sink,
        slot,
        steps,
        switch,
        method,
    }))
}

/// What an endpoint may be told of an attempt.
pub struct Told {
    /// Counted from 1.
    pub attempt: u32,
    /// Until the client is told that it took too long.
    pub time_left: Option<Duration>,
}

/// Tells the endpoint of the attempt what its upstream asks for, in place of what the client said of it. Gives what is left
/// out of the client's fields.
fn tell_endpoint(
    exchange: &Exchange,
    upstream: &UpstreamView,
    told: &Told,
    omit: &mut Vec<Vec<u8>>,
    extra: &mut Fields,
) -> Names {
    let shared = &upstream.shared;
    if let Some(name) = &shared.retry.attempt_header {
        omit.push(name.clone().into_bytes());
        let mut number = itoa::Buffer::new();
        extra.push(name.as_bytes(), number.format(told.attempt).as_bytes());
    }
    let Some((name, left)) = shared.timeouts.deadline_header.as_ref().zip(told.time_left) else {
        return Names::NONE;
    };
    omit.push(name.clone().into_bytes());
    let millis = left.as_millis();
    let mut number = itoa::Buffer::new();
    extra.push(name.as_bytes(), number.format(millis).as_bytes());
    let fields = &exchange.head.fields;
    let own = fields.get(Name::GrpcTimeout).and_then(grpc::parse_timeout);
    if !grpc::is_call(fields) || own.is_some_and(|own| own <= left) {
        return Names::NONE;
    }
    let timeout = grpc::format_timeout(left);
    extra.push_known(Name::GrpcTimeout, b"grpc-timeout", timeout.as_bytes());
    Names::of(&[Name::GrpcTimeout])
}

/// How the end of a body is told to a peer that speaks HTTP/1.1. There only chunks have a place for trailers behind
/// them, in HTTP/2 a body of announced length has one too: where such trailers are announced (RFC 9110, 6.6.2), the length
/// gives way to them.
pub fn length_for_h1(length: Length, from: Version, fields: &Fields) -> Length {
    match length {
        Length::Exact(_) if from == Version::Http2 && fields.contains(Name::Trailer) => {
            Length::Marked
        }
        length => length,
    }
}

/// How the end of an answer's body is told to a client of this version.
pub fn length_to_client(client: Version, response: &ResponseHead) -> Length {
    match response.length {
        // The client is told where the body ends, so that it can tell a whole one from one cut short.
        Length::Close => Length::Marked,
        length if client == Version::Http11 => {
            length_for_h1(length, response.version, &response.fields)
        }
        length => length,
    }
}

/// The endpoint's address as a host. A Unix socket has none; `localhost` is what its clients say.
fn authority(slot: &Slot) -> &[u8] {
    match &slot.reach.endpoint.target.address {
        Address::Unix(_) => b"localhost",
        Address::Tcp(_) => slot.reach.endpoint.authority.as_bytes(),
    }
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
    if edits.remove.is_empty() && edits.set.is_empty() && edits.add.is_empty() {
        return;
    }
    let gone = edits
        .remove
        .iter()
        .chain(edits.set.iter().map(|edit| &edit.name));
    let gone: Vec<Vec<u8>> = gone.map(|name| name.to_vec()).collect();
    // What the proxy itself added is edited too.
    extra.remove_if(|_, spelt, _| gone.iter().any(|name| spelt.eq_ignore_ascii_case(name)));
    omit.extend(gone);
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
            worker.date(exchange.steps.answered).as_bytes(),
        );
    }
    if let Some(via) = &exchange.listener.shared.forwarding.via {
        headers::via(response.version, via, &mut extra);
    }
    if let Some(upstream) = &exchange.upstream {
        for cookie in exchange.selection.cookies(exchange, upstream) {
            extra.push(b"set-cookie", &cookie);
        }
    }
    entry::write_downstream(exchange, &mut extra);
    edit(&route.response_edits, &mut omit, &mut extra);
    tell(exchange, &mut extra);
    Answer { omit, extra }
}

/// Adds why the endpoints were picked, for a client that asked and may know.
pub fn tell(exchange: &Exchange, extra: &mut Fields) {
    for told in &exchange.told {
        extra.push(DECISION, told.as_bytes());
    }
}

/// The field that tells a client of a decision: JSON in one line.
const DECISION: &[u8] = b"plimsoll-decision";

/// Adds to an answer of the proxy's own what its route asks for. Nobody has sent it: `Via` tells of our own version.
pub fn edit_local(exchange: &Exchange, route: &route::Route, extra: &mut Fields) {
    let listener = &exchange.listener.shared;
    if let Some(via) = &listener.forwarding.via {
        headers::via(Version::Http11, via, extra);
    }
    entry::write_downstream(exchange, extra);
    edit(&route.response_edits, &mut Vec::new(), extra);
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
        // It tells who is out, and why.
        Failure::NoEndpoint => last,
        // Which of the bounds it was.
        Failure::NoCapacity if last.is_overload() => last,
        Failure::NoCapacity => ProxyError::Full,
        Failure::Connect(ConnectFailure::Refused) => ProxyError::Refused,
        Failure::Connect(ConnectFailure::TimedOut) => ProxyError::ConnectTimeout,
        // It tells what was wrong.
        Failure::Connect(ConnectFailure::Tls) => last,
        Failure::Connect(ConnectFailure::Protocol) => ProxyError::NotHttp2,
        Failure::Connect(ConnectFailure::Unreachable) if last == ProxyError::Full => {
            ProxyError::Full
        }
        Failure::Connect(ConnectFailure::Unreachable) => ProxyError::Unreachable,
        Failure::TimedOut(Timeout::Connect) => ProxyError::ConnectTimeout,
        Failure::TimedOut(Timeout::FirstByte) => ProxyError::FirstByteTimeout,
        Failure::TimedOut(Timeout::Total) => ProxyError::TotalTimeout,
        Failure::TimedOut(Timeout::Idle) => ProxyError::IdleTimeout,
        Failure::TimedOut(Timeout::TunnelIdle) => ProxyError::TunnelIdleTimeout,
        Failure::TimedOut(Timeout::MaxDuration) => ProxyError::MaxDuration,
        Failure::Died | Failure::Failing | Failure::ClientGone => last,
    }
}
