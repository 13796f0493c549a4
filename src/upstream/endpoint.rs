//! One address of an upstream and its live numbers.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connect::Target;
use super::health::Health;
use crate::balance::{Exclusion, Signals};
use crate::clock::Instant;

/// One address of an upstream. Lives as long as its identity (upstream, id) is configured.
#[derive(Debug)]
pub struct Endpoint {
    pub upstream: String,
    pub id: String,
    /// The address as written: what `host: endpoint` puts into `Host`.
    pub authority: String,
    pub target: Target,
    /// What is known of how it fares.
    pub signals: Arc<Signals>,
    /// Connections open to it, idle ones included.
    pub open: AtomicUsize,
    /// What is held against its health, a bit for each of [`AGAINST`].
    against: AtomicU8,
    /// What active checks say; empty where there are none. Guards reads and writes of moments, none of them on the way of
    /// a request.
    health: Mutex<Option<Health>>,
}

/// What can be held against the health of an endpoint, the one that is told first.
const AGAINST: [Exclusion; 3] = [
    Exclusion::Unhealthy,
    Exclusion::Ejected,
    Exclusion::BreakerOpen,
];

impl Endpoint {
    /// An endpoint that nothing is known of yet.
    pub fn new(upstream: &str, id: &str, authority: &str, target: Target) -> Self {
        Self {
            upstream: upstream.to_owned(),
            id: id.to_owned(),
            authority: authority.to_owned(),
            target,
            signals: Arc::default(),
            open: AtomicUsize::new(0),
            against: AtomicU8::new(0),
            health: Mutex::new(None),
        }
    }

    /// The same endpoint at another address: what is known of it stays, its connections do not.
    pub fn moved(&self, authority: &str, target: Target) -> Self {
        Self {
            signals: Arc::clone(&self.signals),
            against: AtomicU8::new(self.against.load(Relaxed)),
            health: Mutex::new(self.health().as_ref().map(Health::moved)),
            ..Self::new(&self.upstream, &self.id, authority, target)
        }
    }

    /// Why its health keeps it from being picked; `None`: it does not.
    pub fn out(&self) -> Option<Exclusion> {
        let bits = self.against.load(Relaxed);
        let mut held = AGAINST.into_iter().enumerate();
        held.find(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, reason)| reason)
    }

    /// What active checks say of it, where there are any.
    pub fn health(&self) -> MutexGuard<'_, Option<Health>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds something against its health, or no longer. Its slow start begins when nothing is left. Takes effect with the
    /// next look at its upstream.
    ///
    /// # Panics
    /// When the reason is none of health.
    pub fn hold(&self, reason: Exclusion, is_held: bool, now: Instant) {
        let bit = AGAINST.iter().position(|known| *known == reason);
        let bit = 1 << bit.expect("a reason of health");
        let before = if is_held {
            self.against.fetch_or(bit, Relaxed)
        } else {
            self.against.fetch_and(!bit, Relaxed)
        };
        if !is_held && before == bit {
            self.signals.ramp(now);
        }
    }
}
