//! The running process as an operator sees it: what is in force, who serves it, and how the last reload went.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::command::Orders;
use super::memory::Memory;
use super::readiness::{self, Reason};
use crate::clock::{Clock, Instant};
use crate::config::Address;
use crate::listener::accept::Gate;
use crate::observe::Registry;
use crate::observe::access_log::AccessLog;
use crate::observe::event::Events;
use crate::snapshot::Snapshot;
use crate::worker::Mailbox;

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

/// How one reload went.
#[derive(Debug, Clone)]
pub struct Reload {
    pub at: SystemTime,
    pub applied: bool,
    /// What changed, or why nothing did.
    pub text: String,
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
    /// Where what operators ask for is sent.
    pub orders: Orders,
    /// How memory stands.
    pub memory: Memory,
    draining: AtomicBool,
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
            orders: parts.orders,
            memory: Memory::default(),
            draining: AtomicBool::new(false),
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
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on it does.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why no traffic should be sent here; nothing when it should.
    pub fn reasons(&self) -> Vec<Reason> {
        let (now, clock) = (self.clock.now(), &self.clock);
        let beats = self
            .mailboxes
            .iter()
            .map(|mailbox| Instant(mailbox.beat.load(Ordering::Relaxed)));
        let mut reasons = readiness::judge(self.is_draining(), beats, self.started, |since| {
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
        reloads.last = Some(reload);
    }
}
