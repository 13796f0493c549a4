//! Which endpoints exist?
//!
//! What is written as a host name, as the name of SRV records or in a file of endpoints is a [`Source`]: it is asked at the
//! start, and again and again while the process runs. What it said last that could be used is kept in its [`Feed`], which
//! is State: [`Supply`] holds the feeds by (upstream, source) across reloads.
//!
//! Deciding is pure: [`merge`] makes one [`Answer`] of the records of several questions, [`last_good`] says whether it
//! replaces what was known, [`schedule`] when to ask again. Doing is [`dns`] and [`file`](mod@file), which ask, and
//! [`follow`], the task that goes on asking.
//!
//! Not here: what endpoints a list stands for (`upstream::members`), and putting it in force (`lifecycle`).

pub mod dns;
pub mod feed;
pub mod file;
pub mod follow;
pub mod last_good;
pub mod merge;
pub mod schedule;
pub mod supply;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use feed::{Feed, Reading};
pub use supply::Supply;

use crate::config::Endpoint;

/// Whom to ask for endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A host name, for its addresses.
    Host(String),
    /// The name of SRV records.
    Srv(String),
    /// A file of endpoints.
    File(PathBuf),
}

impl Source {
    /// What kind it is, in metrics and in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Srv(_) => "srv",
            Self::File(_) => "file",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Srv(name) => write!(f, "srv:{name}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// What a source lists.
#[derive(Debug, Clone, PartialEq)]
pub enum Listing {
    /// Of a host name; ascending, each once.
    Addresses(Vec<IpAddr>),
    /// Of SRV records; by priority, then by name.
    Services(Vec<Service>),
    /// Of a file, as written.
    Endpoints(Vec<Endpoint>),
}

/// What one SRV record leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    pub priority: u16,
    pub target: String,
    pub port: u16,
    pub weight: u16,
    /// Those of the target; ascending, each once, at least one.
    pub addresses: Vec<IpAddr>,
}

impl Listing {
    /// How much it lists: addresses, or entries of a file.
    pub fn len(&self) -> usize {
        match self {
            Self::Addresses(all) => all.len(),
            Self::Services(all) => all.iter().map(|service| service.addresses.len()).sum(),
            Self::Endpoints(all) => all.len(),
        }
    }

    /// Whether it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each part of it is called.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Addresses(all) => all.iter().map(ToString::to_string).collect(),
            Self::Services(all) => all
                .iter()
                .flat_map(|service| {
                    let place = format!("{}:{}", service.target, service.port);
                    let named = move |ip| format!("{place} ({ip})");
                    service.addresses.iter().map(named)
                })
                .collect(),
            Self::Endpoints(all) => all.iter().map(|one| one.identity().to_owned()).collect(),
        }
    }
}

/// Why a source gave no list that can be used, or only a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody answered as he should: no connection, no answer in time, a server that fails.
    #[error("{question}: {reason}")]
    NoAnswer { question: String, reason: String },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file has a mistake; the first one.
    #[error("{0}")]
    Mistake(String),
    /// It was asked for names, and none of them has an address.
    #[error("none of its {0} entries has an address")]
    Unresolved(usize),
    /// The answer is that there is nothing, which does not count (`allow_empty`).
    #[error("{0}")]
    Empty(Absence),
}

/// An answer that there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    #[error("there is no such name (NXDOMAIN)")]
    NoName,
    #[error("the name has no address")]
    NoAddress,
    #[error("the name has no SRV records")]
    NoService,
    #[error("the service is said not to exist here (an SRV record with the target `.`)")]
    Declined,
    #[error("the file lists nothing")]
    NoEntry,
}

/// What a source said when it was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A list, and how long it is valid; `None` where the source does not say.
    Complete(Listing, Option<Duration>),
    /// A part could not be found out; what was known of it before stands in the list.
    Partial(Listing, Failure),
    /// That there is nothing, and how long that is valid.
    Empty(Absence, Option<Duration>),
    /// Nothing that can be used.
    Failed(Failure),
}
