//! What an attempt says of its endpoint, its upstream and its route: asks the breakers before it, and tells them and the
//! outlier detection after it.
//!
//! A failure is what the endpoint is to blame for: no connection, one that broke, an answer that breaks the rules, a timeout,
//! 502, 503, 504. Not: what the client did, what the proxy refused by itself, and what was given up.

use std::rc::Rc;
use std::time::Duration;

use super::error::ProxyError;
use super::exchange::Exchange;
use crate::clock::Instant;
use crate::upstream::Upstream;
use crate::upstream::breaker::{self, Breaker, Outcome, Pass, Phase, Refused};
use crate::upstream::endpoint::Endpoint;
use crate::worker::RouteView;

/// What lets an attempt through, and takes note of how it came out. Dropped before, it decides nothing.
#[derive(Default)]
pub struct Verdict {
    /// Of the breaker of the endpoint, or of that of all endpoints together.
    own: Pass,
    /// Of the breaker of the route.
    route: Option<(Rc<RouteView>, Pass)>,
}

impl Verdict {
    /// Asks the breakers that decide before an endpoint is picked.
    pub fn ask(exchange: &Exchange, upstream: &Upstream) -> Result<Self, Refused> {
        let now = exchange.now;
        let mut verdict = Self::default();
        if let Some(route) = &exchange.route
            && let Some(asked) = route.breaker.as_ref().and_then(|b| b.admit(now))
        {
            verdict.route = Some((Rc::clone(route), asked?));
        }
        if let Some(asked) = upstream.breaker.as_ref().and_then(|b| b.admit(now)) {
            verdict.own = asked?;
        }
        Ok(verdict)
    }

    /// Asks the breaker of an endpoint that was picked. Not whether it is open: who is open is not picked.
    pub fn ask_endpoint(&mut self, now: Instant, upstream: &Upstream, endpoint: &Endpoint) -> bool {
        let Some(breaker) = of_endpoints(upstream) else {
            return true;
        };
        let pass = endpoint.breaker.admit(now, &breaker.rules);
        let is_let_through = pass.is_some();
        self.own = pass.unwrap_or_default();
        is_let_through
    }

    /// Of an attempt that repeats another one, whose say that had: it goes through, and counts where it is let through.
    pub fn anew(exchange: &Exchange, upstream: &Upstream, endpoint: &Endpoint) -> Self {
        let mut verdict = Self::ask(exchange, upstream).unwrap_or_else(|_| Self {
            own: Pass::without_say(),
            route: None,
        });
        if !verdict.ask_endpoint(exchange.now, upstream, endpoint) {
            verdict.own = Pass::without_say();
        }
        verdict
    }

    /// A response head came after so long.
    pub fn answered(
        &mut self,
        now: Instant,
        upstream: &Upstream,
        endpoint: &Endpoint,
        status: u16,
        spent: Duration,
    ) {
        self.tell(now, upstream, endpoint, |breaker| {
            let failure = breaker.failing(status);
            failure.map_or(Outcome::Answered(spent), |cause| {
                Outcome::Failed(spent, cause)
            })
        });
        self.count();
        if upstream.outlier.rules.is_some() {
            match status {
                500.. => endpoint
                    .conduct
                    .failed(breaker::gateway_failure(status).is_some()),
                _ => endpoint.conduct.answered(spent),
            }
        }
    }

    /// Another attempt answered first, after this one had waited for so long. Gives whether it counts, as a slow one.
    pub fn overtaken(
        &mut self,
        now: Instant,
        upstream: &Upstream,
        endpoint: &Endpoint,
        spent: Duration,
    ) -> bool {
        let route = self.route.as_ref();
        let of_route = route.and_then(|(route, _)| route.breaker.as_deref());
        let mut asked = of_route.into_iter().chain(&upstream.breaker);
        if !asked.any(|breaker| breaker.rules.is_slow(spent)) {
            return false;
        }
        self.tell(now, upstream, endpoint, |_| Outcome::Overtaken(spent));
        self.count();
        true
    }

    /// Whether the attempt is a probe of a breaker that is half-open.
    pub fn is_probe(&self) -> bool {
        let of_route = self.route.as_ref().map(|(_, pass)| pass);
        self.own.is_probe() || of_route.is_some_and(Pass::is_probe)
    }

    /// No response head came, for this reason, for so long.
    pub fn failed(
        &mut self,
        now: Instant,
        upstream: &Upstream,
        endpoint: &Endpoint,
        error: &'static str,
        spent: Duration,
    ) {
        if !is_to_blame(error, spent, upstream) {
            return;
        }
        self.tell(now, upstream, endpoint, |_| Outcome::Failed(spent, error));
        self.count();
        if upstream.outlier.rules.is_some() {
            endpoint.conduct.failed(true);
        }
    }

    /// An answer broke off, for which the endpoint is to blame.
    pub fn broke(
        &mut self,
        now: Instant,
        upstream: &Upstream,
        endpoint: &Endpoint,
        error: &'static str,
    ) {
        self.tell(now, upstream, endpoint, |_| Outcome::Broke(error));
        if upstream.outlier.rules.is_some() {
            endpoint.conduct.failed(true);
        }
    }

    fn tell(
        &mut self,
        now: Instant,
        upstream: &Upstream,
        endpoint: &Endpoint,
        outcome: impl Fn(&Breaker) -> Outcome,
    ) {
        if let Some(breaker) = &upstream.breaker {
            let outcome = outcome(breaker);
            if breaker.shared.is_some() {
                breaker.record_shared(&mut self.own, now, outcome);
            } else if breaker.record(endpoint, &mut self.own, now, outcome) {
                // At once: until the tick much would be sent where nothing is to be sent.
                upstream.groups.look(&upstream.endpoints, now);
            }
        }
        if let Some((route, pass)) = &mut self.route
            && let Some(breaker) = &route.breaker
        {
            breaker.record_shared(pass, now, outcome(breaker));
        }
    }

    /// Attempts of a route are counted by nobody else.
    fn count(&self) {
        let breaker = self
            .route
            .as_ref()
            .and_then(|(route, _)| route.breaker.as_ref());
        if let Some(switch) = breaker.and_then(|breaker| breaker.shared.as_ref()) {
            switch.count();
        }
    }
}

/// Whether a breaker that is asked before anything is picked is open.
pub fn is_open(exchange: &Exchange, upstream: &Upstream) -> bool {
    let route = exchange
        .route
        .as_ref()
        .and_then(|route| route.breaker.as_deref());
    let mut breakers = route.into_iter().chain(&upstream.breaker);
    breakers.any(|breaker| {
        let switch = breaker.shared.as_ref();
        switch.is_some_and(|switch| switch.phase() == Phase::Open)
    })
}

/// The breaker by whose rules each endpoint has its own.
fn of_endpoints(upstream: &Upstream) -> Option<&Breaker> {
    let breaker = upstream.breaker.as_ref();
    breaker.filter(|breaker| breaker.shared.is_none())
}

/// Whether the endpoint is to blame for an error of its side.
pub fn is_to_blame(error: &'static str, spent: Duration, upstream: &Upstream) -> bool {
    let excused = [
        // The client asked for what the endpoint may refuse.
        ProxyError::BadUpgrade,
        ProxyError::MaxDuration,
        // Of the two ends of a tunnel neither is known to owe the other anything.
        ProxyError::TunnelIdleTimeout,
    ];
    if excused.iter().any(|excused| excused.label() == error) {
        return false;
    }
    // Its time ran out: here, or before it came here.
    error != ProxyError::TotalTimeout.label() || spent * 2 >= upstream.timeouts.total
}
