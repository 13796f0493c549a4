//! A proxy for an experiment, from the YAML that its arm shows.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;

use super::backend::Backend;
use crate::clock::Clock;
use crate::config::Address;
use crate::config::read::from_text;
use crate::lifecycle::{self, Handle};

/// A running proxy; it stops when dropped.
pub(super) struct Stage(Handle);

impl Stage {
    /// Starts with this configuration.
    pub(super) fn start(yaml: &str) -> anyhow::Result<Self> {
        let loaded = from_text("arm.yaml", yaml, &|_| None)
            .map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        let handle = lifecycle::start(loaded.config, Clock::system())?
            // What it has to say is where it listens.
            .spawn(Arc::new(|_| {}))
            .context("cannot start the proxy")?;
        Ok(Self(handle))
    }

    /// Where its only listener is.
    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        let listeners = self.0.live.listeners.load();
        let first = listeners.first();
        tcp(first.map(|bound| &bound.address)).context("the proxy has no listener")
    }
}

/// Where a backend listens.
pub(super) fn endpoint(backend: &Backend) -> anyhow::Result<SocketAddr> {
    tcp(Some(backend.address())).context("the backend listens on no port")
}

fn tcp(address: Option<&Address>) -> Option<SocketAddr> {
    match address {
        Some(Address::Tcp(address)) => Some(*address),
        _ => None,
    }
}
