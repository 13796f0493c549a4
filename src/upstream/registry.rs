//! Endpoints by identity: the State that survives a reload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::connect::Target;
use super::endpoint::Endpoint;

/// Endpoints by (upstream, id). What no snapshot refers to any more is forgotten.
#[derive(Debug, Default)]
pub struct Registry {
    /// Guards the map only; never taken while a request runs.
    known: Mutex<HashMap<(String, String), Weak<Endpoint>>>,
}

impl Registry {
    /// The endpoint of this identity: the known one if it is still reached the same way, else a new one.
    pub fn endpoint(
        &self,
        upstream: &str,
        id: &str,
        authority: &str,
        target: Target,
    ) -> Arc<Endpoint> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, endpoint| endpoint.strong_count() > 0);
        let key = (upstream.to_owned(), id.to_owned());
        if let Some(endpoint) = known.get(&key).and_then(Weak::upgrade)
            && endpoint.target == target
        {
            return endpoint;
        }
        let endpoint = Arc::new(Endpoint::new(upstream, id, authority, target));
        known.insert(key, Arc::downgrade(&endpoint));
        endpoint
    }
}
