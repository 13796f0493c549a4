//! Endpoints by identity: the State that survives a reload.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::bulkhead::Bulkhead;
use super::census::Census;
use super::connect::Target;
use super::endpoint::Endpoint;
use super::hedging::Hedging;
use super::retries::Retries;
use crate::balance::{HashKey, Totals};
use crate::clock::Instant;
use crate::entropy;
use crate::observe::decision::Decisions;
use crate::observe::event::Events;

/// Endpoints by (upstream, id).
type Known = HashMap<(String, String), Entry>;

#[derive(Debug)]
struct Entry {
    endpoint: Weak<Endpoint>,
    /// Else something still runs on it, and it may be put in force again.
    is_in_force: bool,
}

/// The endpoints in force, and those that something still runs on. What nothing refers to any more is forgotten.
#[derive(Debug, Default)]
pub struct Registry {
    /// Guards the map only; never taken while a request runs.
    known: Mutex<Known>,
    /// The numbers of whole upstreams by name.
    totals: Shared<String, Totals>,
    /// The budgets of whole upstreams by name.
    retries: Shared<String, Retries>,
    /// What is known for hedging in whole upstreams by name.
    hedging: Shared<String, Hedging>,
    /// What was decided in whole upstreams by name.
    decisions: Shared<String, Decisions>,
    /// The keys that upstreams were asked for, by name and by what they hash: other keys are counted anew.
    censuses: Shared<(String, HashKey), Census>,
    /// Permits and queues of upstreams by name.
    bulkheads: Shared<String, Bulkhead>,
    /// What changed by itself, in all upstreams.
    events: Arc<Events>,
    chance: Chance,
}

/// What the upstreams that are in use share with those of the same name that follow them.
type Shared<K, T> = Mutex<HashMap<K, Weak<T>>>;

/// Drawn once for the life of the process.
struct Chance {
    seed: u64,
    secret: [u8; 32],
}

/// A secret is not for logs.
impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance")
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self {
            seed: entropy::system_seed(),
            secret: entropy::system_secret(),
        }
    }
}

impl Registry {
    /// The endpoint of this identity: the known one if it is still reached the same way, else one with its numbers, or a
    /// new one, which is not known before it is put in force: a configuration that is refused in the end changes nothing.
    pub fn endpoint(
        &self,
        upstream: &str,
        id: &str,
        authority: &str,
        target: Target,
    ) -> Arc<Endpoint> {
        let key = (upstream.to_owned(), id.to_owned());
        let known = self.known();
        let known = known.get(&key).and_then(|entry| entry.endpoint.upgrade());
        match known {
            Some(endpoint) if endpoint.target == target => endpoint,
            Some(endpoint) => Arc::new(endpoint.moved(authority, target)),
            None => Arc::new(Endpoint::new(upstream, id, authority, target)),
        }
    }

    /// These are the endpoints in force from now on. `now` is given when others were before: whoever is new then begins
    /// its slow start.
    pub fn put_in_force<'a>(
        &self,
        endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
        now: Option<Instant>,
    ) {
        let mut known = self.known();
        let mut before = std::mem::take(&mut *known);
        for endpoint in endpoints {
            let key = (endpoint.upstream.clone(), endpoint.id.clone());
            let entry = Entry {
                endpoint: Arc::downgrade(endpoint),
                is_in_force: true,
            };
            let is_kept = before.remove(&key).is_some_and(|before| {
                before.is_in_force && Weak::ptr_eq(&before.endpoint, &entry.endpoint)
            });
            if let (false, Some(now)) = (is_kept, now) {
                endpoint.signals.ramp(now);
            }
            known.insert(key, entry);
        }
        before.retain(|_, entry| entry.endpoint.strong_count() > 0);
        before
            .values_mut()
            .for_each(|entry| entry.is_in_force = false);
        known.extend(before);
    }

    /// What is known of all endpoints of an upstream together.
    pub fn totals(&self, upstream: &str) -> Arc<Totals> {
        of(&self.totals, upstream.to_owned())
    }

    /// The budget of an upstream's retries and hedges.
    pub fn retries(&self, upstream: &str) -> Arc<Retries> {
        of(&self.retries, upstream.to_owned())
    }

    /// What is known for hedging in an upstream.
    pub fn hedging(&self, upstream: &str) -> Arc<Hedging> {
        of(&self.hedging, upstream.to_owned())
    }

    /// What was decided in an upstream.
    pub fn decisions(&self, upstream: &str) -> Arc<Decisions> {
        of(&self.decisions, upstream.to_owned())
    }

    /// The keys of this kind that an upstream was asked for.
    pub fn census(&self, upstream: &str, key: &HashKey) -> Arc<Census> {
        of(&self.censuses, (upstream.to_owned(), key.clone()))
    }

    /// The permits and the queue of an upstream.
    pub fn bulkhead(&self, upstream: &str) -> Arc<Bulkhead> {
        of(&self.bulkheads, upstream.to_owned())
    }

    /// Where it is noted what changes by itself.
    pub fn events(&self) -> Arc<Events> {
        Arc::clone(&self.events)
    }

    /// By which this process draws the endpoints that it uses of many.
    pub fn seed(&self) -> u64 {
        self.chance.seed
    }

    /// With which this process signs where it was given no secret.
    pub fn secret(&self) -> &[u8] {
        &self.chance.secret
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of<K: Eq + Hash, T: Default>(shared: &Shared<K, T>, identity: K) -> Arc<T> {
    let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, weak| weak.strong_count() > 0);
    if let Some(found) = known.get(&identity).and_then(Weak::upgrade) {
        return found;
    }
    let new = Arc::<T>::default();
    known.insert(identity, Arc::downgrade(&new));
    new
}
