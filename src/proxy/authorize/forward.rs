//! By a service: it is asked with a request of its own, which makes the tries of its upstream, apart from the client's.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use ::http::Method;

use super::{Judged, wait};
use crate::attempt::idempotency::Answer;
use crate::config::{OnAuthFailure, Priority};
use crate::http::body::Body;
use crate::http::fields::{Fields, Name, Names, is_read_as};
use crate::http::head::Length;
use crate::limit::auth::{Forward, Gate, Verdict};
use crate::proxy::apart::{self, Begun, Gathering, Large};
use crate::proxy::entry::Field;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Exchange, Seen};
use crate::proxy::forward::Downstream;
use crate::proxy::keyed;
use crate::proxy::stream;
use crate::route::{Action, FieldEdits, Route};
use crate::worker::{UpstreamView, View};

/// Bytes of an answer that is passed on to the client: a page that asks for a password is smaller.
const ANSWER: usize = 256 * 1024;

/// What the service said.
enum Said {
    /// It may enter; with the fields that the request is forwarded with.
    Enter {
        name: Option<Box<str>>,
        fields: Vec<Field>,
    },
    /// It may not, and is to be told so.
    Refuse(Answer),
}

pub(super) async fn judge(
    exchange: &mut Exchange,
    down: &mut Downstream,
    view: &View,
    route: &Route,
    gate: &Gate,
    forward: &Forward,
) -> Result<Judged, ProxyError> {
    let now = exchange.worker.wheel.now();
    let upstream = Rc::clone(&view.upstreams[forward.upstream]);
    let question = question(exchange, forward, &upstream);
    let asking = Box::pin(ask(question, &upstream, route, forward));
    let said = wait(exchange, down, now + forward.timeout, asking).await?;
    if let Some(route) = &exchange.route {
        let took = exchange.worker.wheel.now().since(now).as_nanos();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        route.cells.asked_service(took);
    }
    match said {
        Some(Ok(Said::Enter { name, fields })) => {
            if !fields.is_empty() {
                let entry = exchange.entry.get_or_insert_default();
                entry.tell_all(fields);
            }
            Ok(Judged::Entered(name))
        }
        Some(Ok(Said::Refuse(answer))) => {
            // What becomes of it is the client's affair; it does not enter.
            gate.counts.judged(Verdict::Refused);
            keyed::give(exchange, down, &answer, None, &Fields::default()).await?;
            Ok(Judged::Answered)
        }
        Some(Err(_)) | None => Ok(match forward.on_failure {
            OnAuthFailure::Open => Judged::FailedOpen,
            OnAuthFailure::Closed => Judged::Turned(Verdict::Unavailable),
        }),
    }
}

/// The request that asks about the client's: its fields, without its body and what speaks of one.
fn question(exchange: &Exchange, forward: &Forward, upstream: &Rc<UpstreamView>) -> Exchange {
    let now = exchange.worker.wheel.now();
    let mut question = exchange.set_apart(now, &Rc::new(Cell::new(Seen::default())));
    // What an endpoint is told of the client, and what the client may not say, holds for the service as well.
    let entry = question.entry.get_or_insert_default();
    let original = &exchange.head;
    let method = original.method.as_str().as_bytes();
    entry.tell([
        Field::new(METHOD, method),
        Field::new(URI, &original.target),
    ]);
    // A breaker of the route is for its own endpoints.
    question.route = None;
    question.upstream = Some(Rc::clone(upstream));
    let head = &mut *question.head;
    head.method = Method::GET;
    head.target.clear();
    head.target.extend_from_slice(forward.path.as_bytes());
    head.length = Length::Empty;
    head.expects_continue = false;
    head.upgrade = None;
    head.fields.remove_if(|known, name, _| {
        let mut others = OTHERS_GONE.iter();
        GONE.contains(known)
            || others.any(|gone| name.eq_ignore_ascii_case(gone))
            || [METHOD, URI].iter().any(|told| is_read_as(name, told))
    });
    question
}

/// By which the service is told what was asked for.
const METHOD: &[u8] = b"x-forwarded-method";
const URI: &[u8] = b"x-forwarded-uri";

/// Fields that speak of a body, or of one particular answer.
const GONE: Names = Names::of(&[
    Name::ContentLength,
    Name::ContentType,
    Name::ContentEncoding,
    Name::Expect,
    Name::Trailer,
    Name::IdempotencyKey,
    Name::MaxForwards,
    Name::SecWebSocketKey,
    Name::SecWebSocketVersion,
]);
const OTHERS_GONE: [&[u8]; 9] = [
    b"range",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
    b"if-range",
    b"sec-websocket-extensions",
    b"sec-websocket-protocol",
    b"content-range",
];

/// Makes the tries, and reads the answer. An error: nobody can say.
async fn ask(
    mut question: Exchange,
    upstream: &Rc<UpstreamView>,
    route: &Route,
    forward: &Forward,
) -> Result<Said, ProxyError> {
    let mut down = Downstream::apart(Body::Empty);
    let plain = plain_route(route, forward);
    let begun = apart::begin(&mut question, &mut down, &plain, upstream, None).await?;
    let status = begun.response.status;
    if (200..300).contains(&status) || status >= 500 {
        let Begun {
            attempt, response, ..
        } = begun;
        let enter = enter(&response.fields, forward);
        stream::discard(&question, attempt, &response, upstream, &down).await;
        return if status < 300 {
            Ok(enter)
        } else {
            Err(ProxyError::Failing(status))
        };
    }
    let gathering = begun.gather(&mut question, &mut down, route, upstream, ANSWER);
    match gathering.await? {
        Gathering::Whole(answer) => Ok(Said::Refuse(answer)),
        Gathering::Large(large) => {
            let Large {
                attempt, answer, ..
            } = *large;
            drop(answer);
            // It answered well; nobody is there for so much of it.
            let outcome = Err(ProxyError::ClientGone);
            stream::end(&mut question, attempt, upstream, down.pump.bytes, &outcome);
            Err(ProxyError::ClientGone)
        }
    }
}

/// The service's own: nothing that the client's route edits or rewrites is for it.
fn plain_route(route: &Route, forward: &Forward) -> Route {
    Route {
        index: route.index,
        name: Arc::clone(&route.name),
        action: Action::Upstream(forward.upstream),
        rewrite: None,
        host: None,
        subset: None,
        priority: route.priority.max(Priority::Normal),
        priority_header: None,
        request_edits: FieldEdits::default(),
        response_edits: FieldEdits::default(),
        fault: None,
    }
}

/// What is taken of the answer that lets a client in.
fn enter(fields: &Fields, forward: &Forward) -> Said {
    let mut copied = Vec::new();
    for name in &forward.copy {
        for value in fields.all_by_bytes(name.as_bytes()) {
            copied.push(Field::new(name.as_bytes(), value));
        }
    }
    let name = forward.identity.as_ref().and_then(|identity| {
        let value = fields.all_by_bytes(identity.as_bytes()).next()?;
        let text = std::str::from_utf8(value).ok()?;
        (!text.is_empty()).then(|| text.into())
    });
    Said::Enter {
        name,
        fields: copied,
    }
}
