//! By a service: it is asked with a request of its own, which makes the tries of its upstream, apart from the client's.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use ::http::Method;

use super::{Judged, wait};
use crate::attempt::Plan;
use crate::attempt::idempotency::Answer;
use crate::clock::wheel::Timer;
use crate::config::{OnAuthFailure, Priority};
use crate::http::body::{Body, Sink};
use crate::http::buffers::Lent;
use crate::http::fields::{Fields, Name, Names};
use crate::http::gathered::Gathered;
use crate::http::head::{Length, ResponseHead};
use crate::limit::auth::{Forward, Gate, Verdict};
use crate::proxy::entry::{Entry, Field};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Exchange, Seen};
use crate::proxy::forward::{Attempt, Downstream};
use crate::proxy::keyed;
use crate::proxy::select::Selection;
use crate::proxy::stream::{self, Flow};
use crate::proxy::tries::{Answered, Tries};
use crate::route::{Action, FieldEdits, Route};
use crate::worker::{UpstreamView, View};

/// Bytes of an answer that is passed on to the client: a page that asks for a password is smaller.
const ANSWER: usize = 256 * 1024;

/// What the head of the service's answer says.
enum Said {
    /// It may enter; with the fields that the request is forwarded with.
    Enter {
        name: Option<Box<str>>,
        fields: Vec<Field>,
    },
    /// It may not, and is to be told so.
    Refuse(Box<Refusing>),
}

/// An answer that refuses, of which the head is there. Whatever becomes of the rest, it refuses.
struct Refusing {
    question: Exchange,
    down: Downstream,
    attempt: Box<Attempt>,
    response: Lent<ResponseHead>,
    timer: Timer,
    plan: Plan,
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
    let question = question(exchange, gate, forward, &upstream);
    let until = now + forward.timeout;
    let asking = Box::pin(ask(question, &upstream, route, forward));
    let said = wait(exchange, down, until, asking).await?;
    match said {
        Some(Ok(Said::Enter { name, fields })) => {
            if !fields.is_empty() {
                let entry = exchange.entry.get_or_insert_default();
                entry.upstream.extend(fields);
            }
            Ok(Judged::Entered(name))
        }
        Some(Ok(Said::Refuse(mut refusing))) => {
            gate.counts.judged(Verdict::Refused);
            let bare = refusing.bare(route);
            let gathering = Box::pin(refusing.gather(&upstream, route));
            let gathered = wait(exchange, down, until, gathering).await?;
            // A body that is late, broken or too large changes nothing about what was said.
            let answer = gathered.and_then(Result::ok).unwrap_or(bare);
            // What becomes of it is the client's affair; it does not enter.
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
fn question(
    exchange: &Exchange,
    gate: &Gate,
    forward: &Forward,
    upstream: &Rc<UpstreamView>,
) -> Exchange {
    let now = exchange.worker.wheel.now();
    let mut question = exchange.set_apart(now, &Rc::new(Cell::new(Seen::default())));
    let mut entry = Entry {
        omitted: gate
            .reserved
            .iter()
            .map(|name| name.as_bytes().into())
            .collect(),
        ..Entry::default()
    };
    let original = &exchange.head;
    for (name, value) in [
        ("x-forwarded-method", original.method.as_str().as_bytes()),
        ("x-forwarded-uri", &original.target),
    ] {
        entry.upstream.push(Field::new(name.as_bytes(), value));
    }
    question.entry = Some(entry.into());
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
        GONE.contains(known)
            || OTHERS_GONE
                .iter()
                .any(|gone| name.eq_ignore_ascii_case(gone))
    });
    question
}

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

/// Makes the tries, and reads the head of the answer. An error: nobody can say.
async fn ask(
    mut question: Exchange,
    upstream: &Rc<UpstreamView>,
    route: &Route,
    forward: &Forward,
) -> Result<Said, ProxyError> {
    let worker = Rc::clone(&question.worker);
    let mut down = Downstream::apart(Body::Empty);
    let plain = plain_route(route, forward);
    question.selection = Selection::of(
        &question.request(),
        &upstream.shared,
        &plain,
        &mut worker.random.borrow_mut(),
        || worker.unix_seconds(question.started),
    )?;
    let mut tries = Tries::new(&mut question, &mut down, &plain, upstream);
    let Answered {
        attempt,
        response,
        tunnel,
    } = tries.run().await?;
    let Tries { timer, plan, .. } = tries;
    if tunnel {
        return Err(ProxyError::UnaskedSwitch);
    }
    let status = response.status;
    if (200..300).contains(&status) {
        let enter = enter(&response.fields, forward);
        stream::discard(&question, attempt, &response, upstream, &down).await;
        return Ok(enter);
    }
    if status >= 500 {
        stream::discard(&question, attempt, &response, upstream, &down).await;
        return Err(ProxyError::Failing(status));
    }
    Ok(Said::Refuse(Box::new(Refusing {
        question,
        down,
        attempt,
        response,
        timer,
        plan,
    })))
}

impl Refusing {
    /// The answer without its body, and without what speaks of one.
    fn bare(&mut self, route: &Route) -> Answer {
        let (question, response) = (&mut self.question, &self.response);
        let mut answer = keyed::kept(question, route, response, &mut Gathered::default());
        answer.fields.retain(|(name, _)| {
            let mut of_a_body = OF_A_BODY.iter();
            !of_a_body.any(|gone| name.eq_ignore_ascii_case(gone))
        });
        answer
    }

    /// Reads the body. An error: there is more of it than is passed on, or not all of it came.
    async fn gather(
        mut self: Box<Self>,
        upstream: &UpstreamView,
        route: &Route,
    ) -> Result<Answer, ProxyError> {
        let (question, mut attempt) = (&mut self.question, self.attempt);
        attempt.slot.record.status = self.response.status;
        let mut flow = Flow {
            answer: attempt.link.body(&self.response),
            client: Sink::Gathered(Box::new(Gathered::new(ANSWER))),
            tunnel: false,
        };
        let outcome = stream::stream(
            question,
            &mut attempt,
            &mut self.down,
            &mut flow,
            &self.timer,
            &mut self.plan,
        )
        .await;
        let Flow { answer, client, .. } = flow;
        drop(answer);
        let sent = self.down.pump.bytes;
        stream::end(question, attempt, upstream, sent, &outcome);
        outcome?;
        let Sink::Gathered(mut gathered) = client else {
            return Err(ProxyError::Panicked);
        };
        Ok(keyed::kept(question, route, &self.response, &mut gathered))
    }
}

/// Fields that are wrong where the body is missing.
const OF_A_BODY: [&[u8]; 9] = [
    b"content-type",
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"content-digest",
    b"repr-digest",
    b"digest",
    b"content-md5",
    b"etag",
];

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
