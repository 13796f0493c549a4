//! One address of an upstream and its live numbers.

use std::sync::atomic::AtomicUsize;

use super::connect::Target;
use crate::balance::Signals;

/// One address of an upstream. Lives as long as its identity (upstream, id) is configured.
#[derive(Debug)]
pub struct Endpoint {
    pub upstream: String,
    pub id: String,
    /// The address as written: what `host: endpoint` puts into `Host`.
    pub authority: String,
    pub target: Target,
    /// What is known of how it fares.
    pub signals: Signals,
    /// Connections open to it, idle ones included.
    pub open: AtomicUsize,
}

impl Endpoint {
    /// An endpoint that nothing is known of yet.
    pub fn new(upstream: &str, id: &str, authority: &str, target: Target) -> Self {
        Self {
            upstream: upstream.to_owned(),
            id: id.to_owned(),
            authority: authority.to_owned(),
            target,
            signals: Signals::default(),
            open: AtomicUsize::new(0),
        }
    }
}
