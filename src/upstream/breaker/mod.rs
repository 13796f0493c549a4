//! Breakers: stop sending where too much fails.
//!
//! **Closed**, a breaker lets attempts through. It opens after so many failures in a row, or when the share of failures or of
//! slow attempts in its window is too high. **Open**, it refuses: an endpoint is not picked, an upstream or a route
//! answers at once, and no connection is made. When it was open for long enough it is **half-open**: a few probes at once go
//! through, each with a place that is reserved when it is picked and given back when it comes to nothing. Enough that succeed
//! close it, one that fails opens it for longer. After it has closed its share of the traffic grows.
//!
//! What a failure is, is judged by whoever carries attempts. [`Machine`] holds the rules, [`Switch`] shares one among the
//! workers, [`Breaker`] says which switches are asked by which rules. A switch is State and survives a reload, the rules
//! come with each call: other rules apply to what is known. An endpoint that moves to another address begins with a closed
//! one, since what failed was the old address.

mod machine;
mod pass;
mod row;
mod switch;
#[cfg(test)]
mod tests;
mod told;
mod window;

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::balance::Exclusion;
use crate::clock::Instant;
use crate::config;
use crate::observe::event::{Events, Kind};

pub use machine::{Change, Facts, Machine, Why};
pub use pass::{Outcome, Pass};
pub use switch::Switch;
pub use told::span;
pub use window::Counts;

/// What goes through at least while the share grows.
pub const LEAST_SHARE: f64 = 0.1;

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    #[default]
    Closed,
    HalfOpen,
    Open,
}

impl Phase {
    /// All, in the order of their numbers, which metrics show.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The word in metrics and the status.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rules {
    pub consecutive: Option<u32>,
    pub failure_rate: Option<f64>,
    pub slow_call: Option<Duration>,
    pub slow_rate: f64,
    pub min_samples: u32,
    pub window: Duration,
    pub open_for: Duration,
    pub open_for_max: Duration,
    pub jitter: f64,
    pub probes: u32,
    pub ramp: Duration,
    pub count_500: bool,
}

impl Rules {
    /// Whether an attempt that took so long is slow.
    pub fn is_slow(&self, spent: Duration) -> bool {
        self.slow_call.is_some_and(|limit| spent > limit)
    }

    /// How long it stays open after so many openings before, its jitter aside.
    fn stay(&self, openings: u32) -> Duration {
        let doubled = self.open_for.saturating_mul(1 << openings.min(31));
        doubled.min(self.open_for_max.max(self.open_for))
    }
}

/// The rules of both blocks, whose keys are the same.
macro_rules! rules {
    ($written:expr) => {{
        let written = $written;
        Rules {
            consecutive: written.consecutive_failures,
            failure_rate: written.failure_rate.map(|rate| rate.fraction()),
            slow_call: written.slow_call,
            slow_rate: written.slow_rate.fraction(),
            min_samples: written.min_samples,
            window: written.window,
            open_for: written.open_for,
            open_for_max: written.open_for_max,
            jitter: written.jitter.fraction(),
            probes: written.probes,
            ramp: written.ramp.unwrap_or_default(),
            count_500: written.count_500,
        }
    }};
}

impl From<&config::Breaker> for Rules {
    fn from(written: &config::Breaker) -> Self {
        rules!(written)
    }
}

impl From<&config::RouteBreaker> for Rules {
    fn from(written: &config::RouteBreaker) -> Self {
        rules!(written)
    }
}

/// A breaker as it is configured, of all endpoints of an upstream or of one whole.
#[derive(Debug)]
pub struct Breaker {
    pub rules: Rules,
    /// Of the whole; each endpoint has its own else.
    pub shared: Option<Arc<Switch>>,
    owner: Owner,
    events: Arc<Events>,
}

/// Whose it is.
#[derive(Debug)]
enum Owner {
    Upstream(String),
    Route(String),
}

impl Breaker {
    /// Of an upstream. `shared` is asked for where it has one for all endpoints.
    pub fn of_upstream(
        name: &str,
        written: &config::Breaker,
        events: Arc<Events>,
        shared: impl FnOnce() -> Arc<Switch>,
    ) -> Self {
        Self {
            rules: Rules::from(written),
            shared: match written.scope {
                config::BreakerScope::Endpoint => None,
                config::BreakerScope::Upstream => Some(shared()),
            },
            owner: Owner::Upstream(name.to_owned()),
            events,
        }
    }

    /// Of a route.
    pub fn of_route(
        name: &str,
        written: &config::RouteBreaker,
        events: Arc<Events>,
        switch: Arc<Switch>,
    ) -> Self {
        Self {
            rules: Rules::from(written),
            shared: Some(switch),
            owner: Owner::Route(name.to_owned()),
            events,
        }
    }

    /// Lets an attempt through, or refuses it, before anything is picked. `None`: there is nothing to ask.
    pub fn admit(&self, now: Instant) -> Option<Result<Pass, Refused>> {
        let switch = self.shared.as_ref()?;
        Some(switch.admit_shared(now, &self.rules).ok_or(Refused))
    }

    /// The label of a response status that is a failure.
    pub fn failing(&self, status: u16) -> Option<&'static str> {
        match status {
            500 if self.rules.count_500 => Some("status_500"),
            status => gateway_failure(status),
        }
    }

    /// Takes note of how an attempt came out in the switch of the whole.
    pub fn record_shared(&self, pass: &mut Pass, now: Instant, outcome: Outcome) {
        let Some(switch) = &self.shared else {
            return;
        };
        if let Some(change) = switch.record(pass, now, &self.rules, outcome) {
            self.tell(now, None, &change);
        }
    }

    /// The same in that of an endpoint. Whether it may be picked has changed then.
    pub fn record(
        &self,
        endpoint: &Endpoint,
        pass: &mut Pass,
        now: Instant,
        outcome: Outcome,
    ) -> bool {
        let change = endpoint.breaker.record(pass, now, &self.rules, outcome);
        if let Some(change) = &change {
            self.apply(endpoint, now, change);
        }
        change.is_some()
    }

    /// Looks at the time and at the rates of the whole. `ended`: attempts so far, where somebody else counts them.
    pub fn look_shared(&self, now: Instant, ended: Option<u32>) {
        let Some(switch) = &self.shared else {
            return;
        };
        let ended = ended.unwrap_or_else(|| switch.ended());
        if let Some(change) = switch.look(now, &self.rules, ended) {
            self.tell(now, None, &change);
        }
    }

    /// The same for an endpoint.
    pub fn look(&self, endpoint: &Endpoint, now: Instant) {
        let (ended, _) = endpoint.signals.ends();
        match endpoint.breaker.look(now, &self.rules, ended) {
            Some(change) => self.apply(endpoint, now, &change),
            None => keep_out(endpoint, now),
        }
    }

    fn apply(&self, endpoint: &Endpoint, now: Instant, change: &Change) {
        keep_out(endpoint, now);
        if change.to == Phase::Closed {
            endpoint.signals.ramp(now);
            endpoint.signals.recover(now, self.rules.ramp);
        }
        self.tell(now, Some(&endpoint.id), change);
    }

    fn tell(&self, now: Instant, endpoint: Option<&str>, change: &Change) {
        let text = change.text(&self.rules);
        match &self.owner {
            Owner::Upstream(name) => self.events.note(now, Kind::Breaker, name, endpoint, text),
            Owner::Route(name) => {
                self.events.note_route(now, Kind::Breaker, name, text);
            }
        }
    }
}

/// A breaker refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// The label of a status with which a gateway says that what is behind it cannot serve.
pub fn gateway_failure(status: u16) -> Option<&'static str> {
    match status {
        502 => Some("status_502"),
        503 => Some("status_503"),
        504 => Some("status_504"),
        _ => None,
    }
}

/// Closes the breaker of an endpoint that has none any more, or one with others together.
pub fn release(endpoint: &Endpoint, now: Instant) {
    endpoint.breaker.reset(now);
    keep_out(endpoint, now);
}

/// Holds an open breaker against its endpoint, and no other. Asked for with each tick too: of two threads that follow two
/// changes the slower must not have the last word.
fn keep_out(endpoint: &Endpoint, now: Instant) {
    let is_open = endpoint.breaker.phase() == Phase::Open;
    let reason = Exclusion::BreakerOpen;
    if endpoint.breaker.has_changed() && endpoint.is_held(reason) != is_open {
        endpoint.hold(reason, is_open, now);
    }
}
