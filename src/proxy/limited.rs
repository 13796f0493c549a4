//! Judges a client by how much it asks for, slows its bytes down, and tells it what is left.

use std::net::IpAddr;
use std::rc::Rc;

use super::brake::Brake;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Downstream;
use super::request::Request;
use crate::asked::{self, Asked, HOST_BYTES};
use crate::http::buffers::Buffers;
use crate::http::fields::{Fields, Name};
use crate::http::target;
use crate::limit::{
    Attached, Client, Entered, Flow, Permit, Phase, Refusal, Refused, Standing, Way, Whose,
    retry_after,
};

/// What a client got of its limiters, and what it is told of them.
#[derive(Debug, Clone, Default)]
pub struct Limited {
    /// Given back when the exchange ends, and whatever goes on apart from it.
    permits: Vec<Rc<Permit>>,
    /// Of the rate that is used up the most.
    told: Option<(Place, Standing)>,
}

/// Whose limiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Listener,
    Route,
}

/// By the limits of the listener, before there is a route.
pub fn judge_listener(exchange: &mut Exchange) -> Result<(), ProxyError> {
    enter(exchange, Place::Listener, Phase::Early)
}

/// By those limits of the route that need not know who the client is.
pub fn judge(exchange: &mut Exchange) -> Result<(), ProxyError> {
    enter(exchange, Place::Route, Phase::Early)
}

/// By those limits that are kept for each identity.
pub fn judge_identity(exchange: &mut Exchange) -> Result<(), ProxyError> {
    if exchange.entry.is_none() {
        // Whoever has a limit was judged before.
        return Ok(());
    }
    enter(exchange, Place::Listener, Phase::Late)?;
    enter(exchange, Place::Route, Phase::Late)
}

/// Holds the body of a request to its bandwidth.
pub fn hold_upload(exchange: &Exchange, down: &mut Downstream) {
    if let Some(flow) = flow(exchange, Way::Up) {
        down.brake = Some(Box::new(Brake::of_flow(exchange, flow)));
    }
}

/// The limits on the bytes of an exchange in one direction.
pub fn flow(exchange: &Exchange, way: Way) -> Option<Flow> {
    // Whoever has a limit was judged.
    exchange.entry.as_ref()?;
    let mut flow = Flow::new(exchange.worker.index);
    for place in [Place::Listener, Place::Route] {
        if let Some(limiters) = attached(exchange, place) {
            limiters.hold(way, &Judged::of(exchange, place), &mut flow);
        }
    }
    (!flow.is_free()).then_some(flow)
}

/// Tells the client of its limits.
pub fn tell(exchange: &Exchange, limited: &Limited, extra: &mut Fields) {
    let both = [Place::Listener, Place::Route];
    let policies = both.map(|place| attached(exchange, place).map_or(&b""[..], Attached::policy));
    let told = policies.iter().filter(|policy| !policy.is_empty());
    let count = told.count();
    if count == 0 {
        return;
    }
    let name: &[u8] = b"ratelimit-policy";
    extra.push_written(Name::of(name), name, |out| {
        out.extend_from_slice(policies[0]);
        out.extend_from_slice(if count == 2 { b", " } else { b"" });
        out.extend_from_slice(policies[1]);
    });
    if let Some((place, standing)) = &limited.told
        && let Some(limiters) = attached(exchange, *place)
    {
        let name: &[u8] = b"ratelimit";
        extra.push_written(Name::of(name), name, |out| {
            limiters.write_standing(standing, out);
        });
    }
}

fn attached(exchange: &Exchange, place: Place) -> Option<&Attached> {
    match place {
        Place::Listener => exchange.listener.shared.limiters.as_deref(),
        Place::Route => exchange.route.as_ref()?.limiters.as_deref(),
    }
}

/// Asks the limiters of one place; a request without any goes by.
fn enter(exchange: &mut Exchange, place: Place, phase: Phase) -> Result<(), ProxyError> {
    let Some(limiters) = attached(exchange, place) else {
        return Ok(());
    };
    let worker = &exchange.worker;
    let now = match phase {
        Phase::Early => exchange.started,
        Phase::Late if !limiters.asks(phase) => return Ok(()),
        // It may have taken time to find out who the client is.
        Phase::Late => worker.wheel.now(),
    };
    let outcome = limiters.enter(phase, &Judged::of(exchange, place), now, worker.index);
    let limited = &mut exchange.entry.get_or_insert_default().limited;
    match outcome {
        Ok(Entered { standing, permits }) => {
            limited.permits.extend(permits.into_iter().map(Rc::new));
            limited.heed(place, standing);
            Ok(())
        }
        Err(Refused { why, standing }) => {
            // Nothing is left there, whatever is elsewhere.
            limited.told = standing.map(|standing| (place, standing));
            Err(match why {
                Refusal::Rate(_) => ProxyError::RateLimited {
                    retry_after: retry_after(&why),
                },
                Refusal::Concurrency => ProxyError::ConcurrencyLimited,
                Refusal::NoKey => ProxyError::Forbidden,
            })
        }
    }
}

impl Limited {
    fn heed(&mut self, place: Place, standing: Option<Standing>) {
        let known = self.told.map(|(_, standing)| standing);
        if let Some(standing) = standing
            && Standing::tighter(known, Some(standing)) == Some(standing)
        {
            self.told = Some((place, standing));
        }
    }
}

/// A request as limiters ask it: what a stranger may not write is not there, and what can be spelt in several ways is in
/// its canonical form, so that no spelling is a way around a limit.
pub struct Judged<'a> {
    /// Where the limiter is attached.
    pub whose: Whose<'a>,
    pub request: Request<'a>,
    pub identity: Option<&'a [u8]>,
    pub buffers: &'a Buffers,
}

impl<'a> Judged<'a> {
    fn of(exchange: &'a Exchange, place: Place) -> Self {
        let whose = match (place, &exchange.route) {
            (Place::Route, Some(route)) => Whose::Route(&route.name),
            _ => Whose::Listener(&exchange.listener.shared.name),
        };
        let entry = exchange.entry.as_ref();
        let identity = entry.and_then(|entry| entry.identity.as_deref());
        Self {
            whose,
            request: exchange.request(),
            identity: identity.map(str::as_bytes),
            buffers: &exchange.worker.buffers,
        }
    }
}

impl Client for Judged<'_> {
    fn whose(&self) -> Whose<'_> {
        self.whose
    }

    fn client_ip(&self) -> Option<IpAddr> {
        self.request.client()
    }

    fn identity(&self) -> Option<&[u8]> {
        self.identity
    }

    fn host(&self, with: &mut dyn FnMut(&[u8])) {
        let mut buffer = [0; HOST_BYTES];
        let host = Asked::host(&self.request);
        if let Some(name) = host.and_then(|host| asked::host_name(host, &mut buffer)) {
            with(name);
        }
    }

    fn path(&self, with: &mut dyn FnMut(&[u8])) {
        let mut buffer = self.buffers.take();
        if let Ok(canonical) = target::canonical(&self.request.head.target, &mut buffer) {
            with(canonical.path);
        }
        self.buffers.give(buffer);
    }

    fn header(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
        first(with, |each| self.request.each_header(name, each));
    }

    fn cookie(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
        first(with, |each| asked::each_cookie(&self.request, name, each));
    }

    fn query(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
        let query = Asked::query(&self.request);
        let Some(value) = query.and_then(|query| asked::parameter(query, name.as_bytes())) else {
            return;
        };
        match value.as_plain() {
            Some(plain) => with(plain),
            None => with(&value.bytes().collect::<Vec<u8>>()),
        }
    }
}

/// Calls `with` with the first value that is not empty.
fn first(with: &mut dyn FnMut(&[u8]), each_value: impl FnOnce(&mut dyn FnMut(&[u8]))) {
    let mut is_found = false;
    each_value(&mut |value| {
        if !is_found && !value.is_empty() {
            is_found = true;
            with(value);
        }
    });
}
