//! The fake upstream as a test says it: `Backend::labelled("a").latency("5ms").start()`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll::config::schema::Address;
use plimsoll::lab::backend::{self, Behaviour, Counters, Executions, Fault, Group, Settings};
use serde_json::Value;

/// The known pattern of `/bytes/N`, of as many bytes. Not the backend's own, so that it is tested, too.
pub fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// The only value of a field in the answer of `/headers`; panics when it is repeated.
pub fn field<'a>(told: &'a Value, name: &str) -> Option<&'a str> {
    let values = fields(told, name);
    assert!(values.len() < 2, "{name} is repeated: {told}");
    values.first().copied()
}

/// Every value of it.
pub fn fields<'a>(told: &'a Value, name: &str) -> Vec<&'a str> {
    let pairs = told["fields"].as_array().unwrap().iter();
    let pairs = pairs.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
    let named = pairs.filter(|(spelt, _)| spelt.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value).collect()
}

/// A running backend on a thread of its own, so that a test that blocks does not block it.
pub struct Backend {
    group: Group,
}

/// A backend that is not started yet.
#[derive(Clone)]
pub struct Planned(Settings);

impl Backend {
    /// Answers at once with this label.
    pub fn start(label: &str) -> Self {
        Self::labelled(label).start()
    }

    /// To be described further and then started.
    pub fn labelled(label: &str) -> Planned {
        Planned(Settings::local(Behaviour::labelled(label)))
    }

    /// Where it listens over TCP.
    pub fn address(&self) -> SocketAddr {
        match self.running().address() {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("this backend listens on {}", path.display()),
        }
    }

    /// Its address as an endpoint is written in the configuration.
    pub fn endpoint(&self) -> String {
        match self.running().address() {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    pub fn counters(&self) -> &Counters {
        self.running().counters()
    }

    /// Answers like this from the next request on.
    pub fn change(&self, planned: Planned) {
        self.running().change(planned.0.behaviour).unwrap();
    }

    /// Cuts every open connection, idle or not, and goes on accepting.
    pub fn cut_connections(&self) {
        self.running().cut_connections();
    }

    fn running(&self) -> &backend::Backend {
        &self.group.backends()[0]
    }
}

impl Planned {
    /// `5ms`, `exp:20ms`, ...
    pub fn latency(mut self, text: &str) -> Self {
        self.0.behaviour.latency = text.parse().unwrap();
        self
    }

    /// `503:5%`; `503:1` for every answer. May be repeated.
    pub fn status(mut self, text: &str) -> Self {
        self.0.behaviour.statuses.push(text.parse().unwrap());
        self
    }

    /// Misbehaves like this.
    pub fn fault(mut self, fault: impl Into<Option<Fault>>) -> Self {
        self.0.behaviour.fault = fault.into();
        self
    }

    /// What it carries out is counted here. Not by [`Backend::change`].
    pub fn counted(mut self, executions: &Arc<Executions>) -> Self {
        self.0.executions = Some(Arc::clone(executions));
        self
    }

    /// What `/healthz` answers.
    pub fn health(mut self, status: u16) -> Self {
        self.0.behaviour.health = status.try_into().unwrap();
        self
    }

    /// Bytes of the label's answer.
    pub fn size(mut self, bytes: usize) -> Self {
        self.0.behaviour.size = Some(bytes);
        self
    }

    /// Requests worked on at once.
    pub fn slots(mut self, slots: usize) -> Self {
        self.0.behaviour.slots = Some(slots);
        self
    }

    /// Makes draws repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.behaviour.seed = Some(seed);
        self
    }

    /// Instead of a free port.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.0.address = Address::Tcp(address);
        self
    }

    pub fn at_unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.address = Address::Unix(path.into());
        self
    }

    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.0.tls = Some(config);
        self
    }

    pub fn start(self) -> Backend {
        let group = Group::start(vec![self.0]).unwrap();
        Backend { group }
    }
}
