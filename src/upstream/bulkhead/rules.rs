//! What a configuration asks of a bulkhead.

use std::sync::Arc;
use std::time::Duration;

use super::{Bulkhead, adaptive, queue};
use crate::config::{self, Priority};

/// What a configuration asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub max_in_flight: u32,
    /// Attempts at once at each endpoint.
    pub per_endpoint: u32,
    pub queue: queue::Rules,
    pub queue_timeout: Duration,
    /// How late a worker is that refuses what is of low, and of normal priority.
    pub shed: [Option<Duration>; 2],
    pub adaptive: Option<adaptive::Rules>,
}

impl From<&config::Bulkhead> for Rules {
    fn from(written: &config::Bulkhead) -> Self {
        Self {
            max_in_flight: adaptive::count(written.max_in_flight),
            per_endpoint: adaptive::count(written.per_endpoint),
            queue: queue::Rules {
                capacity: written.queue,
                order: written.order,
                standing_after: written.standing.after,
                standing_timeout: written.standing.timeout,
            },
            queue_timeout: written.queue_timeout,
            shed: [written.shed.low, written.shed.normal],
            adaptive: written.adaptive.as_ref().map(adaptive::Rules::from),
        }
    }
}

impl Rules {
    /// Whether a request of this class is refused by a worker that runs late by so much.
    pub fn sheds(&self, class: Priority, late: Duration) -> bool {
        let bound = self.shed.get(class as usize).copied().flatten();
        bound.is_some_and(|bound| late >= bound)
    }

    /// Whether there are workers that refuse requests of this class.
    pub fn may_shed(&self, class: Priority) -> bool {
        self.shed.get(class as usize).is_some_and(Option::is_some)
    }

    fn initial(&self) -> u32 {
        let adaptive = self.adaptive.as_ref();
        adaptive.map_or(self.max_in_flight, |rules| rules.initial)
    }
}

/// The bulkhead of one upstream as it is configured.
#[derive(Debug)]
pub struct Configured {
    pub state: Arc<Bulkhead>,
    pub rules: Rules,
}

impl Configured {
    /// What is known of it goes on under these rules, from the next look on.
    pub fn new(state: Arc<Bulkhead>, rules: Rules) -> Self {
        if state.limit() == 0 {
            // It was never looked at.
            state.obey(&rules, rules.initial());
        }
        Self { state, rules }
    }
}
