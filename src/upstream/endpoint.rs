//! One address of an upstream and its live numbers.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::Switch;
use super::connect::Target;
use super::health::Health;
use super::outlier::Conduct;
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
    /// Its breaker, where each endpoint has one.
    pub breaker: Arc<Switch>,
    /// What outlier detection compares, where it is on.
    pub conduct: Conduct,
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
            breaker: Arc::default(),
            conduct: Conduct::default(),
            against: AtomicU8::new(0),
            health: Mutex::new(None),
        }
    }

    /// The same endpoint at another address: what is known of it stays, its connections do not. Its breaker is closed, since
    /// it was the old address that failed.
    pub fn moved(&self, authority: &str, target: Target) -> Self {
        let against = self.against.load(Relaxed) & !bit(Exclusion::BreakerOpen);
        let breaker: Arc<Switch> = Arc::default();
        breaker.begin(self.signals.ends().0);
        Self {
            breaker,
            signals: Arc::clone(&self.signals),
            against: AtomicU8::new(against),
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

    /// Whether this is held against its health.
    ///
    /// # Panics
    /// When the reason is none of health.
    pub fn is_held(&self, reason: Exclusion) -> bool {
        self.against.load(Relaxed) & bit(reason) > 0
    }

    /// Holds something against its health, or no longer. Its slow start begins when nothing is left. Takes effect with the
    /// next look at its upstream.
    ///
    /// # Panics
    /// When the reason is none of health.
    pub fn hold(&self, reason: Exclusion, is_held: bool, now: Instant) {
        let bit = bit(reason);
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

/// The bit of a reason of health.
fn bit(reason: Exclusion) -> u8 {
    let place = AGAINST.iter().position(|known| *known == reason);
    1 << place.expect("a reason of health")
}
