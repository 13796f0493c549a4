//! Requests with an idempotency key: executed once, and answered as often as they are repeated.
//!
//! 1. The whole request is read, so that a repeat can be told from another request, and so that it no longer needs its
//!    client. 2. The store is asked for its key. 3. The first request with it is carried out by a task of its own
//!    (`execute`); its client waits as those of its repeats do. 4. Everybody is given the same result (`give`).
//!
//! Not here: which state a key is in, and what follows ([`crate::attempt::idempotency`]).

mod execute;
mod give;
mod read;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::error::ProxyError;
use super::exchange::{Exchange, Seen};
use super::forward::Downstream;
use super::handle;
use crate::asked::Asked;
use crate::attempt::idempotency::{
    Begun, Claim, Ended, Guard, Hash, Hold, Met, Scope, Why, content,
};
use crate::clock::Instant;
use crate::config::{OnDuplicate, OnStoreFailure};
use crate::http::body::Body;
use crate::http::fields::Name;
use crate::http::target;
use crate::worker::{UpstreamView, View};
pub use give::give;

use execute::{Leave, Told, What, Work};

/// The key of a request, where its route looks for one.
pub fn key(exchange: &Exchange, guard: Option<&Arc<Guard>>) -> Result<Option<Vec<u8>>, ProxyError> {
    let Some(guard) = guard.filter(|guard| guard.is_for(&exchange.head.method)) else {
        return Ok(None);
    };
    let request = exchange.request();
    let key = guard.key(&|name, each| request.each_header(name, each));
    key.map_err(ProxyError::Key)
}

/// Answers a request with a key. `route` is an index.
pub async fn answer(
    exchange: &mut Exchange,
    down: &mut Downstream,
    view: Rc<View>,
    route: usize,
    upstream: &Rc<UpstreamView>,
    guard: &Arc<Guard>,
    key: &[u8],
) -> Result<(), ProxyError> {
    // 1.
    let counts = &guard.store.counts;
    let read = read::read(exchange, down, guard).await;
    let (body, hold) = read.inspect_err(|error| {
        if *error == ProxyError::NoRoomForKey {
            counts.met(Met::Refused);
        }
    })?;
    let (key, content) = hashes(exchange, guard, key, &body)?;
    let worker = Rc::clone(&exchange.worker);
    let until = exchange.now + upstream.shared.timeouts.total;
    loop {
        // 2.
        exchange.now = worker.wheel.now();
        let begun = guard.store.begin(exchange.now, &guard.limits, key, content);
        let (met, error) = match begun {
            // 3.
            Begun::First(claim) => {
                counts.met(Met::Executed);
                let ticket = Ticket {
                    view,
                    route,
                    upstream,
                    guard,
                };
                return first(exchange, down, ticket, claim, (body, hold), until).await;
            }
            Begun::Running(mut waiting) if guard.rules.on_duplicate == OnDuplicate::Wait => {
                let asked = exchange.now;
                let waited = wait(exchange, down, until, waiting.ended()).await;
                exchange.waited_in_vain(asked, exchange.now);
                match waited? {
                    Some(Ended::Stored(answer)) => {
                        counts.met(Met::Replayed);
                        drop((body, hold));
                        return give::replay(exchange, down, guard, &answer).await;
                    }
                    Some(Ended::Unknown(why)) => (Met::Unknown, ProxyError::KeyUnknown(why)),
                    Some(Ended::Forgotten) => continue,
                    None => (Met::InUse, ProxyError::KeyInUse),
                }
            }
            Begun::Running(_) => (Met::InUse, ProxyError::KeyInUse),
            // 4.
            Begun::Stored(answer) => {
                counts.met(Met::Replayed);
                drop((body, hold));
                return give::replay(exchange, down, guard, &answer).await;
            }
            Begun::Unknown(why) => (Met::Unknown, ProxyError::KeyUnknown(why)),
            Begun::Mismatch => (Met::Mismatch, ProxyError::KeyMismatch),
            Begun::Full if guard.rules.on_store_failure == OnStoreFailure::Open => {
                counts.met(Met::Unprotected);
                (down.body, down.pump) = (whole(body), down.pump.anew());
                return handle::forward_to(exchange, down, view, route, upstream).await;
            }
            Begun::Full => (Met::Refused, ProxyError::NoRoomForKey),
        };
        counts.met(met);
        return Err(error);
    }
}

/// What a request is looked up by, and what its repeats must agree with it in.
fn hashes(
    exchange: &Exchange,
    guard: &Guard,
    key: &[u8],
    body: &[u8],
) -> Result<(Hash, Hash), ProxyError> {
    let head = &exchange.head;
    let request = exchange.request();
    let mut buffer = exchange.worker.buffers.take();
    let canonical = target::canonical(&head.target, &mut buffer);
    let scoped = canonical.map(|canonical| {
        let scope = Scope {
            method: &head.method,
            host: head.fields.get(Name::Host).unwrap_or_default(),
            path: canonical.path,
            key,
        };
        guard.scoped(&scope, &|name, each| request.each_header(name, each))
    });
    let scoped = scoped.map_err(|_| ProxyError::Target);
    exchange.worker.buffers.give(buffer);
    Ok((scoped?, content(&head.target, body)))
}

fn whole(bytes: Bytes) -> Body {
    if bytes.is_empty() {
        Body::Empty
    } else {
        Body::Fixed(bytes)
    }
}

/// Where a request is to go.
struct Ticket<'a> {
    view: Rc<View>,
    route: usize,
    upstream: &'a Rc<UpstreamView>,
    guard: &'a Arc<Guard>,
}

/// Has the request carried out, and waits for what comes of it.
async fn first(
    exchange: &mut Exchange,
    down: &mut Downstream,
    ticket: Ticket<'_>,
    claim: Claim,
    (body, hold): (Bytes, Hold),
    until: Instant,
) -> Result<(), ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let seen = Rc::new(Cell::new(Seen::default()));
    let (tell, told) = oneshot::channel();
    let leave = Leave::new(&worker, ticket.guard.rules.result_wait);
    let work = Work {
        exchange: exchange.set_apart(exchange.now, &seen),
        down: Downstream::apart(whole(body)),
        view: Rc::clone(&ticket.view),
        route: ticket.route,
        upstream: Rc::clone(ticket.upstream),
        guard: Arc::clone(ticket.guard),
        claim,
        hold,
        executing: worker.executing(),
        left: leave.timer(),
    };
    tokio::task::spawn_local(execute::execute(work, tell));
    let told = match wait(exchange, down, until, told).await {
        Ok(Some(told)) => told.map_err(|_| ProxyError::Panicked)?,
        Ok(None) => {
            exchange.leave(seen.get());
            return Err(ProxyError::TotalTimeout);
        }
        Err(error) => {
            exchange.leave(seen.get());
            return Err(error);
        }
    };
    let Told {
        exchange: mut apart,
        down: rest,
        what,
    } = told;
    exchange.adopt(&mut apart);
    match what {
        What::Answered(answer) => {
            // From here on it is the client that takes its time.
            drop(ticket);
            give::result(exchange, down, &answer).await
        }
        What::Failed(error) => Err(error),
        What::Large(large) => give::large(exchange, down, rest, ticket, *large).await,
    }
}

/// Waits for something that happens without this client. `None`: not until then. It is an error that the client leaves.
async fn wait<T>(
    exchange: &mut Exchange,
    down: &mut Downstream,
    until: Instant,
    what: impl Future<Output = T>,
) -> Result<Option<T>, ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let timer = worker.wheel.timer();
    timer.set(until);
    let mut what = std::pin::pin!(what);
    let waited = poll_fn(|cx| {
        if let Poll::Ready(output) = what.as_mut().poll(cx) {
            return Poll::Ready(Ok(Some(output)));
        }
        if let Some(responder) = &mut down.responder
            && responder.poll_gone(cx).is_ready()
        {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        timer.poll(cx).map(|()| Ok(None))
    })
    .await;
    exchange.now = worker.wheel.now();
    waited
}

/// Why nobody knows what came of an attempt that ended with this error.
fn why(error: &ProxyError) -> Why {
    match error {
        ProxyError::FirstByteTimeout
        | ProxyError::TotalTimeout
        | ProxyError::IdleTimeout
        | ProxyError::MaxDuration => Why::Late,
        _ => Why::Broken,
    }
}
