//! Endpoints by identity: the State that survives a reload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::connect::Target;
use super::endpoint::Endpoint;
use crate::balance::Totals;

/// Endpoints by (upstream, id).
type Known = HashMap<(String, String), Weak<Endpoint>>;

/// The endpoints in force, and those that something still runs on. What nothing refers to any more is forgotten.
#[derive(Debug, Default)]
pub struct Registry {
    /// Guards the map only; never taken while a request runs.
    known: Mutex<Known>,
    /// The numbers of whole upstreams by name.
    totals: Mutex<HashMap<String, Weak<Totals>>>,
}

impl Registry {
    /// The endpoint of this identity: the known one if it is still reached the same way, else a new one, which is not
    /// known before it is put in force: a configuration that is refused in the end changes nothing.
    pub fn endpoint(
        &self,
        upstream: &str,
        id: &str,
        authority: &str,
        target: Target,
    ) -> Arc<Endpoint> {
        let key = (upstream.to_owned(), id.to_owned());
        let known = self.known().get(&key).and_then(Weak::upgrade);
        known
            .filter(|endpoint| endpoint.target == target)
            .unwrap_or_else(|| Arc::new(Endpoint::new(upstream, id, authority, target)))
    }

    /// These are the endpoints in force from now on.
    pub fn put_in_force<'a>(&self, endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) {
        let mut known = self.known();
        known.retain(|_, endpoint| endpoint.strong_count() > 0);
        for endpoint in endpoints {
            let key = (endpoint.upstream.clone(), endpoint.id.clone());
            known.insert(key, Arc::downgrade(endpoint));
        }
    }

    /// What is known of all endpoints of an upstream together.
    pub fn totals(&self, upstream: &str) -> Arc<Totals> {
        let mut known = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, totals| totals.strong_count() > 0);
        if let Some(totals) = known.get(upstream).and_then(Weak::upgrade) {
            return totals;
        }
        let totals = Arc::<Totals>::default();
        known.insert(upstream.to_owned(), Arc::downgrade(&totals));
        totals
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
