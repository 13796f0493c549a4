//! The proxy under test, started within the test's process.

use std::net::SocketAddr;

use plimsoll::clock::Clock;
use plimsoll::config::Address;
use plimsoll::config::read::from_text;
use plimsoll::lifecycle::start::{self, Running};

/// A running proxy; it drains when dropped.
pub(crate) struct Proxy(Running);

impl Proxy {
    pub(crate) async fn start(yaml: &str) -> Self {
        Self::start_on(Clock::system(), yaml).await
    }

    pub(crate) async fn start_on(clock: Clock, yaml: &str) -> Self {
        let config = match from_text("test.yaml", yaml, &|_| None) {
            Ok(loaded) => loaded.config,
            Err(refusal) => panic!("{refusal}"),
        };
        let started = tokio::task::spawn_blocking(move || start::start(config, clock));
        Self(started.await.unwrap().unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match &self.0.listeners[0].1 {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("a Unix socket"),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.drain();
    }
}
