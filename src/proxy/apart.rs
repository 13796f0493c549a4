//! Exchanges apart from their clients: the tries are made and the answer is gathered, whoever waits for it.

use std::rc::Rc;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Attempt, Downstream};
use super::heads;
use super::select::Selection;
use super::stream::{self, Flow};
use super::tries::{Answered, Tries};
use crate::attempt::Plan;
use crate::attempt::idempotency::Answer;
use crate::clock::wheel::Timer;
use crate::http::body::{Body, Sink};
use crate::http::buffers::Lent;
use crate::http::fields::{Fields, Name, Names};
use crate::http::gathered::Gathered;
use crate::http::head::{Length, ResponseHead};
use crate::http::headers::HOP_BY_HOP;
use crate::route;
use crate::worker::UpstreamView;

/// An answer whose head is there, and no more of it.
pub struct Begun {
    pub attempt: Box<Attempt>,
    pub response: Lent<ResponseHead>,
    timer: Timer,
    plan: Plan,
}

/// What came of gathering the rest.
pub enum Gathering {
    Whole(Answer),
    Large(Box<Large>),
}

/// An answer that is too large to be kept, on its way.
pub struct Large {
    pub attempt: Box<Attempt>,
    pub response: Lent<ResponseHead>,
    /// From its first byte.
    pub answer: Body,
    pub timer: Timer,
    pub plan: Plan,
}

/// Makes the tries, by the upstream's own plan where none is given.
pub async fn begin(
    exchange: &mut Exchange,
    down: &mut Downstream,
    route: &route::Route,
    upstream: &Rc<UpstreamView>,
    plan: Option<Plan>,
) -> Result<Begun, ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    exchange.selection = Selection::of(
        &exchange.request(),
        &upstream.shared,
        route,
        &mut worker.random.borrow_mut(),
        || worker.unix_seconds(exchange.started),
    )?;
    let mut tries = Tries::new(exchange, down, route, upstream);
    if let Some(plan) = plan {
        tries.plan = plan;
    }
    let Answered {
        attempt,
        response,
        tunnel,
    } = tries.run().await?;
    let Tries { timer, plan, .. } = tries;
    if tunnel {
        return Err(ProxyError::UnaskedSwitch);
    }
    Ok(Begun {
        attempt,
        response,
        timer,
        plan,
    })
}

impl Begun {
    /// Reads the whole answer, of so many bytes at most.
    pub async fn gather(
        self,
        exchange: &mut Exchange,
        down: &mut Downstream,
        route: &route::Route,
        upstream: &UpstreamView,
        room: usize,
    ) -> Result<Gathering, ProxyError> {
        let Self {
            mut attempt,
            response,
            timer,
            mut plan,
        } = self;
        attempt.slot.record.status = response.status;
        let answer = attempt.link.body(&response);
        if matches!(response.length, Length::Exact(length) if length > room as u64) {
            return Ok(Gathering::Large(Box::new(Large {
                attempt,
                response,
                answer,
                timer,
                plan,
            })));
        }
        let mut flow = Flow {
            answer,
            client: Sink::Gathered(Box::new(Gathered::new(room))),
            tunnel: false,
        };
        let outcome =
            stream::stream(exchange, &mut attempt, down, &mut flow, &timer, &mut plan).await;
        let Flow { answer, client, .. } = flow;
        let Sink::Gathered(mut gathered) = client else {
            return Err(ProxyError::Panicked);
        };
        if gathered.is_over() {
            return Ok(Gathering::Large(Box::new(Large {
                attempt,
                response,
                answer: Body::resumed(gathered.bytes, answer),
                timer,
                plan,
            })));
        }
        drop(answer);
        stream::end(exchange, attempt, upstream, down.pump.bytes, &outcome);
        outcome.map(|()| Gathering::Whole(kept(exchange, route, &response, &mut gathered)))
    }
}

/// The answer as every client will get it.
fn kept(
    exchange: &mut Exchange,
    route: &route::Route,
    response: &ResponseHead,
    gathered: &mut Gathered,
) -> Answer {
    // What this client is told of the pick and of itself is not for others.
    let told = std::mem::take(&mut exchange.told);
    let entry = exchange.entry.take();
    let head = heads::answer(exchange, route, response);
    (exchange.told, exchange.entry) = (told, entry);
    let mut gone = HOP_BY_HOP.and(Names::of(&[Name::ContentLength]));
    let trailers = gathered.trailers.take().unwrap_or_default();
    if trailers.is_empty() {
        gone = gone.and(Names::of(&[Name::Trailer]));
    }
    let mut fields = Fields::default();
    for (name, spelt, value) in response.fields.iter() {
        let is_omitted = |omit: &Vec<u8>| spelt.eq_ignore_ascii_case(omit);
        if !gone.contains(name) && !head.omit.iter().any(is_omitted) {
            fields.push_known(name, spelt, value);
        }
    }
    let owned = |fields: &Fields| {
        let pairs = fields.iter();
        let pairs = pairs.map(|(_, name, value)| (name.to_vec(), value.to_vec()));
        pairs.collect::<Vec<_>>()
    };
    Answer {
        status: response.status,
        reason: response.reason.clone(),
        fields: [owned(&fields), owned(&head.extra)].concat(),
        body: gathered.take_bytes(),
        trailers: owned(&trailers),
    }
}
