//! The running process as an operator sees it: what is in force, who serves it, and how the last reload went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};

use super::auth::{Denied, Tokens};
use super::command::Orders;
use super::memory::Memory;
use super::readiness::{self, Reason};
use super::swaps::Swaps;
use crate::clock::{Clock, Instant};
use crate::config::Address;
use crate::listener::accept::Gate;
use crate::observe::Registry;
use crate::observe::access_log::AccessLog;
use crate::observe::console::Said;
use crate::observe::event::{Events, Kind};
use crate::snapshot::Snapshot;
use crate::watch::FromFile;
use crate::worker::{Mailbox, together};

/// A listener as it was bound.
#[derive(Debug, Clone)]
pub struct Bound {
    pub name: String,
    /// A configured port 0 became a real one.
    pub address: Address,
    pub tls: bool,
    /// Knows how many connections are open.
    pub gate: Arc<Gate>,
}

impl Bound {
    /// The address as a client writes it.
    pub fn url(&self) -> String {
        url(&self.address, self.tls)
    }
}

/// An address as a client writes it; a Unix socket stays `unix:/path`.
pub fn url(address: &Address, tls: bool) -> String {
    match address {
        Address::Tcp(address) if tls => format!("https://{address}"),
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(_) => address.to_string(),
    }
}

/// Who asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// HUP.
    Signal,
    /// Whoever posted to the admin API, as `plimsoll reload` does.
    Api,
    /// The file changed.
    Watch,
    /// The program that this one is a part of.
    Program,
}

impl Cause {
    /// The word in status and events.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Watch => "watch",
            Self::Program => "program",
        }
    }
}

/// What still runs on a configuration that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderGeneration {
    pub generation: u64,
    /// Requests, streams and tunnels.
    pub streams: usize,
    /// Since it was replaced.
    pub replaced_seconds: u64,
}

impl std::fmt::Display for OlderGeneration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            generation,
            streams,
            replaced_seconds,
        } = self;
        let plural = if *streams == 1 { "" } else { "s" };
        write!(
            f,
            "generation {generation}, replaced {replaced_seconds} s ago, still has {streams} stream{plural}"
        )
    }
}

/// How one reload went.
#[derive(Debug, Clone)]
pub struct Reload {
    pub at: SystemTime,
    pub cause: Cause,
    pub took: Duration,
    pub applied: bool,
    /// What changed, or why nothing did.
    pub text: String,
}

impl Reload {
    /// The word for how it went.
    pub const fn what(&self) -> &'static str {
        if self.applied { "applied" } else { "refused" }
    }
}

/// How all reloads went.
#[derive(Debug, Clone)]
pub struct Reloads {
    pub applied: u64,
    pub refused: u64,
    pub last: Option<Reload>,
    /// When the configuration in force was put in force.
    pub in_force_since: SystemTime,
}

/// The way to the end, once it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// From when on no traffic should be sent here.
    pub since: Instant,
    /// Until when connections are accepted nevertheless; none once nothing new is.
    pub closes: Option<Instant>,
    /// When what is left is cut; none while that is not known, or where it may take its time.
    pub deadline: Option<Instant>,
}

/// The running process.
pub struct Live {
    pub clock: Clock,
    pub started: Instant,
    pub snapshot: ArcSwap<Snapshot>,
    pub metrics: Arc<Registry>,
    pub mailboxes: Arc<Vec<Mailbox>>,
    /// In the order of their names; reloads change them.
    pub listeners: ArcSwap<Vec<Bound>>,
    /// Where the admin API is bound.
    pub admin: Option<Address>,
    pub log: Option<AccessLog>,
    pub events: Arc<Events>,
    /// What became of what was said on standard error.
    pub said: Arc<Said>,
    farewell: ArcSwapOption<Farewell>,
    /// What came of changes to the files of certificates.
    pub certificates: Swaps,
    /// The same of files of users, keys, tokens and secrets.
    pub credentials: Swaps,
    /// Where what operators ask for is sent.
    pub orders: Orders,
    /// How memory stands.
    pub memory: Memory,
    /// Whom the admin API lets in; without any it asks for none.
    pub tokens: ArcSwapOption<FromFile<Tokens>>,
    /// Requests to the admin API that were denied, in the order of the reasons.
    pub denied: [AtomicU64; Denied::ALL.len()],
    /// Guards what is shown of reloads, nothing that a reload depends on.
    reloads: Mutex<Reloads>,
}

/// What a process is built of before it lives.
pub struct Parts {
    pub clock: Clock,
    pub snapshot: Arc<Snapshot>,
    pub metrics: Arc<Registry>,
    pub mailboxes: Arc<Vec<Mailbox>>,
    pub admin: Option<Address>,
    pub log: Option<AccessLog>,
    pub events: Arc<Events>,
    pub orders: Orders,
    pub tokens: Option<Arc<FromFile<Tokens>>>,
}

impl Live {
    /// A process that has just begun to serve.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            started: parts.clock.now(),
            clock: parts.clock,
            snapshot: ArcSwap::new(parts.snapshot),
            metrics: parts.metrics,
            mailboxes: parts.mailboxes,
            listeners: ArcSwap::default(),
            admin: parts.admin,
            log: parts.log,
            events: parts.events,
            said: Arc::default(),
            farewell: ArcSwapOption::empty(),
            certificates: Swaps::default(),
            credentials: Swaps::default(),
            orders: parts.orders,
            memory: Memory::default(),
            tokens: ArcSwapOption::new(parts.tokens),
            denied: Default::default(),
            reloads: Mutex::new(Reloads {
                applied: 0,
                refused: 0,
                last: None,
                in_force_since: crate::clock::wall(),
            }),
        })
    }

    /// Whether the process finishes what it has and accepts nothing new.
    pub fn is_draining(&self) -> bool {
        self.farewell()
            .is_some_and(|farewell| farewell.closes.is_none())
    }

    /// The way to the end, once it has begun.
    pub fn farewell(&self) -> Option<Farewell> {
        self.farewell.load().as_deref().copied()
    }

    /// From now on the end is near, in this way.
    pub fn bid(&self, farewell: Farewell) {
        self.farewell.store(Some(Arc::new(farewell)));
    }

    /// Why no traffic should be sent here; nothing when it should.
    pub fn reasons(&self) -> Vec<Reason> {
        let (now, clock) = (self.clock.now(), &self.clock);
        let beats = self
            .mailboxes
            .iter()
            .map(|mailbox| Instant(mailbox.beat.load(Ordering::Relaxed)));
        let leaving = self.farewell().map(|farewell| match farewell.closes {
            Some(_) => Reason::Leaving,
            None => Reason::Draining,
        });
        let mut reasons = readiness::judge(leaving, beats, self.started, |since| {
            clock.real(now.since(since))
        });
        if self.memory.is_shedding() {
            reasons.push(Reason::Memory);
        }
        reasons
    }

    /// Downstream connections open now, over all workers.
    pub fn connections(&self) -> usize {
        self.mailboxes
            .iter()
            .map(|mailbox| mailbox.connections.load(Ordering::Relaxed))
            .sum()
    }

    /// What runs on configurations that were replaced, the oldest first; as of the last second.
    pub fn older(&self) -> Vec<OlderGeneration> {
        let now = self.clock.now();
        let each = self.mailboxes.iter().flat_map(|mailbox| {
            let older = mailbox.older.lock();
            older.unwrap_or_else(PoisonError::into_inner).clone()
        });
        let all = together(each).into_iter().map(|one| OlderGeneration {
            generation: one.generation,
            streams: one.streams,
            replaced_seconds: self.clock.real(now.since(one.replaced)).as_secs(),
        });
        all.collect()
    }

    /// How reloads went so far.
    pub fn reloads(&self) -> Reloads {
        self.reloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes how a reload went.
    pub fn record_reload(&self, reload: Reload) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        if reload.applied {
            reloads.applied += 1;
            reloads.in_force_since = reload.at;
        } else {
            reloads.refused += 1;
        }
        let (what, cause) = (reload.what(), reload.cause.label());
        let text = format!("{what} (by {cause}): {}", reload.text);
        self.events
            .note_process(self.clock.now(), Kind::Reload, text);
        reloads.last = Some(reload);
    }
}
