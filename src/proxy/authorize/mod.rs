//! Judges who the client is: carries out what the gate of a route asks ([`crate::limit::auth`]).
//!
//! What only the proxy may say of a client is taken out of its request first, so that nobody is who he says.

mod forward;
mod login;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::entry::Field;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Downstream;
use crate::clock::Instant;
use crate::http::fields::is_read_as;
use crate::limit::auth::claim::Unclaimed;
use crate::limit::auth::{ApiKey, Gate, Verdict, Way};
use crate::route::Route;
use crate::worker::View;

/// Whether the route asks who its clients are, or must not believe what they say of it.
pub fn asks(exchange: &Exchange) -> bool {
    exchange
        .route
        .as_ref()
        .is_some_and(|route| route.gate.is_some())
}

/// What came of it.
enum Judged {
    /// It may enter, under this name if it has one.
    Entered(Option<Box<str>>),
    /// It may enter, since nobody could say.
    FailedOpen,
    /// It may not, for this reason.
    Turned(Verdict),
    /// It may not, and was told so by the service that was asked; it is counted.
    Answered,
}

impl Judged {
    fn of(unclaimed: Unclaimed) -> Self {
        Self::Turned(match unclaimed {
            Unclaimed::Absent => Verdict::Absent,
            Unclaimed::Malformed => Verdict::Malformed,
        })
    }

    /// By whom it is, if it is anybody.
    fn by_name(name: Option<impl Into<Box<str>>>) -> Self {
        match name {
            Some(name) => Self::Entered(Some(name.into())),
            None => Self::Turned(Verdict::Wrong),
        }
    }
}

/// Finds out who the client is, and whether it may come in. False: it was answered.
pub async fn judge(
    exchange: &mut Exchange,
    down: &mut Downstream,
    view: &View,
    route: &Route,
) -> Result<bool, ProxyError> {
    let gate = exchange.route.as_ref().and_then(|route| route.gate.clone());
    let Some(gate) = gate else {
        return Ok(true);
    };
    take_away(exchange, &gate);
    let judged = match &gate.way {
        None => return Ok(true),
        Some(Way::Basic(basic)) => login::judge(exchange, down, basic).await?,
        Some(Way::ApiKey(api_key)) => by_key(exchange, api_key),
        Some(Way::Forward(forward)) => {
            forward::judge(exchange, down, view, route, &gate, forward).await?
        }
    };
    match judged {
        Judged::Entered(name) => {
            gate.counts.judged(Verdict::Allowed);
            enter(exchange, &gate, name);
            Ok(true)
        }
        Judged::FailedOpen => {
            gate.counts.judged(Verdict::FailedOpen);
            Ok(true)
        }
        Judged::Answered => Ok(false),
        Judged::Turned(verdict) => {
            gate.counts.judged(verdict);
            Err(turned(exchange, &gate, verdict))
        }
    }
}

/// Names of fields in which the client must not say anything to an endpoint: on a route that asks nothing, only a stranger.
pub fn reserved(exchange: &Exchange) -> impl Iterator<Item = &str> {
    let gate = exchange
        .route
        .as_ref()
        .and_then(|route| route.gate.as_ref());
    let gate = gate.filter(|gate| !is_believed(exchange, gate)).into_iter();
    gate.flat_map(|gate| gate.reserved.iter().chain(&gate.hidden))
        .map(|name| &**name)
}

/// Whether it may say who its client is: a proxy that is trusted, where nobody is asked.
fn is_believed(exchange: &Exchange, gate: &Gate) -> bool {
    gate.way.is_none() && exchange.request().is_trusted()
}

/// Notes which of the client's fields must not reach an endpoint, in every spelling that could be read as one of them. Who is
/// believed says it by the name as it is written.
fn take_away(exchange: &mut Exchange, gate: &Gate) {
    let is_believed = is_believed(exchange, gate);
    let names = gate.reserved.iter().chain(&gate.hidden);
    let is_taken = |spelt: &[u8]| {
        let mut names = names.clone().map(|name| name.as_bytes());
        names.any(|name| {
            is_read_as(spelt, name) && !(is_believed && spelt.eq_ignore_ascii_case(name))
        })
    };
    let fields = exchange.head.fields.iter();
    let found: Vec<Box<[u8]>> = fields
        .map(|(_, spelt, _)| spelt)
        .filter(|spelt| is_taken(spelt))
        .map(Into::into)
        .collect();
    if !found.is_empty() {
        let entry = exchange.entry.get_or_insert_default();
        entry.omitted.extend(found);
    }
}

/// Notes who it is, for logs and limits and for the endpoint.
fn enter(exchange: &mut Exchange, gate: &Gate, name: Option<Box<str>>) {
    let Some(name) = name else {
        return;
    };
    let entry = exchange.entry.get_or_insert_default();
    if let Some(header) = &gate.identity_header {
        entry.tell([Field::new(header.as_bytes(), name.as_bytes())]);
    }
    entry.identity = Some(name);
}

/// What the client is told that may not enter.
fn turned(exchange: &mut Exchange, gate: &Gate, verdict: Verdict) -> ProxyError {
    if verdict == Verdict::Unavailable {
        return ProxyError::AuthUnavailable;
    }
    let challenge = match &gate.way {
        Some(Way::Basic(basic)) => basic.challenge(),
        Some(Way::ApiKey(api_key)) => api_key.challenge(),
        Some(Way::Forward(_)) | None => return ProxyError::Unauthenticated,
    };
    let entry = exchange.entry.get_or_insert_default();
    let told = Field::new(b"www-authenticate", challenge);
    entry.downstream.push(told);
    ProxyError::Unauthenticated
}

/// By a key. One in the query is taken out of the target, whatever comes of it: nobody is to read it in a log.
fn by_key(exchange: &mut Exchange, api_key: &ApiKey) -> Judged {
    let head = &mut *exchange.head;
    let of_header = match &api_key.header {
        Some(header) => api_key.of_header(head.fields.all_by_bytes(header.as_bytes())),
        None => Err(Unclaimed::Absent),
    };
    let of_query = match &api_key.query {
        Some(name) => api_key.of_query(name, &mut head.target),
        None => Err(Unclaimed::Absent),
    };
    let found: Result<Option<Arc<str>>, Unclaimed> = match of_header {
        Err(Unclaimed::Absent) => of_query,
        of_header => of_header,
    };
    found.map_or_else(Judged::of, |name| Judged::by_name(name.as_deref()))
}

/// Waits for something beside the client. `None`: not until then. It is an error that the client leaves.
async fn wait<T>(
    exchange: &mut Exchange,
    down: &mut Downstream,
    until: Instant,
    what: impl Future<Output = T>,
) -> Result<Option<T>, ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let begun = worker.wheel.now();
    let timer = worker.wheel.timer();
    timer.set(until);
    let mut what = std::pin::pin!(what);
    let waited = poll_fn(|cx| {
        if let Poll::Ready(output) = what.as_mut().poll(cx) {
            return Poll::Ready(Ok(Some(output)));
        }
        if down.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        timer.poll(cx).map(|()| Ok(None))
    })
    .await;
    exchange.waited_in_vain(begun, worker.wheel.now());
    waited
}
