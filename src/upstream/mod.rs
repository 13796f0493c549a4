//! What do we know of the other side, and how do we reach it?
//!
//! An [`Upstream`] is compiled from the configuration; its [`endpoint::Endpoint`]s are State: they are taken from the
//! [`registry::Registry`] by identity, so that a new configuration finds their live numbers as they were.

pub mod client_tls;
pub mod connect;
pub mod endpoint;
pub mod pool;
pub mod registry;

use std::sync::Arc;

use crate::balance::appraisal::Rules;
use crate::balance::{Member, Members, Policy, Totals};
use crate::config;
use crate::tls::{Shared, TlsError};
use client_tls::ClientTls;
use connect::ResolveError;
use endpoint::Endpoint;
use registry::Registry;

/// A named group of interchangeable endpoints under one policy.
pub struct Upstream {
    pub name: String,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The endpoints as a policy sees them, in the same order.
    pub members: Members,
    pub policy: Policy,
    /// How much of its weight an endpoint gets.
    pub rules: Rules,
    /// The numbers of all endpoints together.
    pub totals: Arc<Totals>,
    pub protocol: config::Protocol,
    /// How endpoints are spoken to over TLS; off: clear text.
    pub tls: Option<ClientTls>,
    pub timeouts: config::UpstreamTimeouts,
    pub connections: config::Connections,
    /// Bytes of a request body kept for a replay.
    pub replay_buffer: usize,
}

/// Why an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(
        "upstreams.{upstream}: endpoint `{address}`: {reason}; write `host:port`, `[v6]:port` or `unix:/path`"
    )]
    Resolve {
        upstream: String,
        address: String,
        reason: ResolveError,
    },
    #[error("upstreams.{upstream}.tls: {source}")]
    Tls { upstream: String, source: TlsError },
}

impl Upstream {
    /// Resolves the endpoints of one upstream and finds what is known of them. Blocks on the system's resolver and on
    /// files.
    pub fn compile(
        name: &str,
        written: &config::Upstream,
        registry: &Registry,
        shared: &Shared,
    ) -> Result<Self, CompileError> {
        let failed = |source| CompileError::Tls {
            upstream: name.to_owned(),
            source,
        };
        let tls = written
            .tls
            .as_ref()
            .map(|tls| ClientTls::compile(tls, written.protocol, shared));
        let tls = tls.transpose().map_err(failed)?;
        let mut endpoints = Vec::new();
        let mut members = Vec::new();
        for endpoint in &written.endpoints {
            let id = endpoint.id.as_deref().unwrap_or(&endpoint.address);
            let resolved =
                connect::resolve(&endpoint.address).map_err(|reason| CompileError::Resolve {
                    upstream: name.to_owned(),
                    address: endpoint.address.clone(),
                    reason,
                })?;
            for (child, target) in resolved {
                if let Some(tls) = &tls {
                    tls.check(&target).map_err(failed)?;
                }
                // A host name expands to one endpoint per address, each with its own identity and the whole weight.
                let id = child.map_or_else(|| id.to_owned(), |ip| format!("{id}/{ip}"));
                members.push(Member {
                    identity: xxhash_rust::xxh3::xxh3_64(id.as_bytes()),
                    weight: endpoint.weight,
                    excluded: None,
                });
                endpoints.push(registry.endpoint(name, &id, &endpoint.address, target));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            endpoints,
            members: Members::new(&members),
            policy: Policy::compile(&written.balance),
            rules: Rules {
                slow_start: None,
                failure_window: Some(std::time::Duration::from_secs(10)),
                latency_decay: std::time::Duration::from_secs(10),
            },
            totals: registry.totals(name),
            protocol: written.protocol,
            tls,
            timeouts: written.timeouts.clone(),
            connections: written.connections.clone(),
            replay_buffer: written.retry.buffer.unwrap_or(0),
        })
    }
}
