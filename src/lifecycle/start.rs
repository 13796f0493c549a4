//! From a configuration to running workers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::{Address, Config};
use crate::entropy;
use crate::listener::accept::{self, BindError, Listening};
use crate::listener::server_tls::AcceptError;
use crate::observe::access_log::{AccessLog, WorkerLog};
use crate::observe::{self, Labels};
use crate::proxy::Proxy;
use crate::proxy::error::ProxyError;
use crate::snapshot::{CompileError, Snapshot};
use crate::tls::{Shared, TlsError};
use crate::upstream::registry::Registry;
use crate::worker::{self, Mail, Mailbox, Setup};

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot open the access log: {0}")]
    Log(#[source] io::Error),
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
}

/// Why a connection or a request is refused before routing.
const REFUSALS: [&str; AcceptError::LABELS.len() + ProxyError::LABELS.len()] = {
    let (tls, http) = (AcceptError::LABELS, ProxyError::LABELS);
    let mut all = [""; AcceptError::LABELS.len() + ProxyError::LABELS.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < tls.len() {
            tls[i]
        } else {
            http[i - tls.len()]
        };
        i += 1;
    }
    all
};

/// A running proxy.
pub struct Running {
    pub snapshot: Arc<Snapshot>,
    pub mailboxes: Arc<Vec<Mailbox>>,
    pub metrics: Arc<observe::Registry>,
    pub log: Option<AccessLog>,
    /// Name and bound address of every listener.
    pub listeners: Vec<(String, Address)>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Stops accepting and finishes what runs.
    pub fn drain(&self) {
        for mailbox in self.mailboxes.iter() {
            let _ = mailbox.inbox.send(Mail::Drain);
        }
    }

    /// Waits for every worker to end.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Compiles, binds and starts. Nothing is left running when it fails.
pub fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
    let config = Arc::new(config);
    let count = config
        .workers
        .map_or_else(cores, std::num::NonZeroUsize::get);
    let registry = Registry::default();
    let shared = Shared::new()?;
    let snapshot = Arc::new(Snapshot::compile(&config, 1, &registry, &shared)?);
    let listening = bind(&config, count)?;
    let listeners = listening
        .iter()
        .map(|one| (one.name.clone(), one.address.clone()))
        .collect();
    let (mailboxes, inboxes) = mailboxes(count);
    let labels = Labels {
        errors: ProxyError::LABELS,
        refusals: &REFUSALS,
    };
    let metrics = observe::Registry::new(count, labels, clock.now());
    let log = config
        .access_log
        .as_ref()
        .map(AccessLog::start)
        .transpose()
        .map_err(StartError::Log)?;
    let mut threads = Vec::with_capacity(count);
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let setup = Setup {
            index,
            clock,
            seed: entropy::system_seed(),
            snapshot: Arc::clone(&snapshot),
            inbox,
            mailboxes: Arc::clone(&mailboxes),
            metrics: Arc::clone(&metrics),
            log: log.as_ref().map_or(WorkerLog::OFF, AccessLog::worker),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(setup, Proxy::new))
            .map_err(StartError::Worker)?;
        threads.push(thread);
    }
    for one in listening {
        let several = one.sockets.len() > 1;
        for (index, socket) in one.sockets.into_iter().enumerate() {
            let mailbox = if several { index } else { one.index % count };
            let _ = mailboxes[mailbox].inbox.send(Mail::Listen {
                socket,
                listener: one.index,
                gate: Arc::clone(&one.gate),
            });
        }
    }
    Ok(Running {
        snapshot,
        mailboxes,
        metrics,
        log,
        listeners,
        threads,
    })
}

fn bind(config: &Config, workers: usize) -> Result<Vec<Listening>, BindError> {
    let each = config.listeners.iter().enumerate();
    each.map(|(index, (name, listener))| {
        accept::bind(
            name,
            index,
            &listener.address,
            workers,
            listener.limits.connections,
            true,
        )
    })
    .collect()
}

type Inboxes = Vec<mpsc::UnboundedReceiver<Mail>>;

fn mailboxes(count: usize) -> (Arc<Vec<Mailbox>>, Inboxes) {
    let (boxes, inboxes) = (0..count)
        .map(|_| {
            let (inbox, receiver) = mpsc::unbounded_channel();
            (
                Mailbox {
                    inbox,
                    connections: AtomicUsize::new(0),
                    beat: AtomicU64::new(0),
                },
                receiver,
            )
        })
        .unzip();
    (Arc::new(boxes), inboxes)
}

/// Cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
