//! From a configuration to running workers.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::control::{Running, WorkerEnd};
use super::doors::Doors;
use super::inherited::Inherited;
use super::privileges::{Identity, PrivilegeError};
use crate::admin::auth::{TokenError, Tokens};
use crate::admin::live::{Live, Parts};
use crate::attempt::hedge::Hedged;
use crate::attempt::idempotency::Stores;
use crate::attempt::retry::Decision;
use crate::balance::Reason;
use crate::clock::{Clock, Instant};
use crate::config::{Config, LogTarget};
use crate::discovery::supply::{self, Means};
use crate::entropy::{self, Random};
use crate::http::Handler;
use crate::limit::{self, auth};
use crate::listener::accept::BindError;
use crate::listener::refusal;
use crate::listener::server_tls::AcceptError;
use crate::observe::access_log::{AccessLog, WorkerLog};
use crate::observe::{self, Labels};
use crate::proxy::Proxy;
use crate::proxy::error::ProxyError;
use crate::snapshot::{CompileError, Snapshot, State};
use crate::tls::{Shared, TlsError};
use crate::upstream::registry::Registry;
use crate::watch::FromFile;
use crate::worker::{self, Mail, Mailbox, Setup, Worker};

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("access_log.path: cannot write to {target}: {source}")]
    Log { target: String, source: io::Error },
    #[error("cannot start a worker: {0}")]
    Worker(#[source] io::Error),
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error("cannot ask for names: {0}")]
    Names(#[source] io::Error),
}

/// The State that every later configuration finds again.
pub(super) struct Kept {
    /// Endpoints by identity.
    pub(super) endpoints: Registry,
    /// Idempotency keys by route.
    pub(super) keys: Stores,
    /// Which passwords were judged lately, and how requests fared at the gates of routes.
    pub(super) entries: auth::Ledger,
    /// Ticket keys: a reload must not make clients start over.
    pub(super) tls: Shared,
    /// What is known of clients, by limiter.
    pub(super) limiters: limit::Registry,
    /// What is bound, by listener.
    pub(super) doors: Doors,
}

impl Kept {
    /// What a configuration is compiled with.
    pub(super) fn state(&self) -> State<'_> {
        State {
            endpoints: &self.endpoints,
            keys: &self.keys,
            ledger: &self.entries,
            tls: &self.tls,
            limiters: &self.limiters,
        }
    }

    /// With what names and files of endpoints are asked.
    pub(super) fn means(&self, clock: Clock) -> Means {
        Means {
            supply: Arc::clone(self.endpoints.supply()),
            clock,
            events: self.endpoints.events(),
        }
    }
}

/// Compiles, binds and starts the workers; the caller then lets the control loop run. Nothing is left behind when it
/// fails.
pub fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
    start_with(config, clock, Proxy::new)
}

/// The same with sockets that were bound before.
pub fn start_from(
    config: Config,
    clock: Clock,
    inherited: Inherited,
) -> Result<Running, StartError> {
    start_all(config, clock, inherited, Proxy::new)
}

/// The same with other code that answers requests: `handler` makes it for each worker, on the worker's own thread.
pub fn start_with<H: Handler>(
    config: Config,
    clock: Clock,
    handler: impl Fn(&Rc<Worker>) -> H + Clone + Send + 'static,
) -> Result<Running, StartError> {
    start_all(config, clock, Inherited::none(), handler)
}

fn start_all<H: Handler>(
    config: Config,
    clock: Clock,
    inherited: Inherited,
    handler: impl Fn(&Rc<Worker>) -> H + Clone + Send + 'static,
) -> Result<Running, StartError> {
    let config = Arc::new(config);
    let identity = Identity::find(&config)?;
    let count = config.workers.map_or_else(cores, NonZeroUsize::get);
    let endpoints = Registry::default();
    let kept = Arc::new(Kept {
        keys: Stores::new(endpoints.events()),
        entries: auth::Ledger::default(),
        limiters: limit::Registry::new(count, entropy::system_seed(), endpoints.events()),
        endpoints,
        tls: Shared::new()?,
        doors: Doors::new(count, inherited),
    });
    // What does not answer now is asked again while the process runs: a name server that is late must not keep it from starting.
    kept.means(clock)
        .ask_missing_and_wait(supply::upstreams(&config), &HashSet::new())
        .map_err(StartError::Names)?;
    let plan = kept.doors.plan(&config)?;
    let snapshot = Arc::new(Snapshot::compile(
        &config,
        1,
        &plan.numbers(),
        kept.state(),
    )?);
    kept.endpoints.put_in_force(snapshot.endpoints(), None);
    enroll(&snapshot, clock.now());
    let tokens = tokens(&config)?;
    let log = open_log(&config, identity.as_ref())?;
    let admin = match &config.admin {
        Some(admin) => Some(kept.doors.admin(&admin.address)?),
        None => None,
    };
    let unused = kept.doors.leave_unwanted();
    // All is bound and read that may need it; nobody is served yet.
    if let Some(identity) = identity {
        identity.assume()?;
    }
    let (mailboxes, inboxes) = mailboxes(count);
    let (orders, ordered) = mpsc::unbounded_channel();
    let live = Live::new(Parts {
        clock,
        snapshot,
        metrics: observe::Registry::new(count, LABELS, clock.now()),
        mailboxes,
        admin: admin.as_ref().map(|admin| admin.address.clone()),
        log,
        events: kept.endpoints.events(),
        orders,
        tokens,
    });
    let (ended, ends) = mpsc::unbounded_channel();
    let threads = spawn(&live, inboxes, &ended, &handler)?;
    kept.doors.adopt(plan, &live.mailboxes);
    live.listeners.store(Arc::new(kept.doors.bound(&config)));
    Ok(Running::new(
        live, kept, admin, unused, threads, ends, ordered,
    ))
}

/// Says of every endpoint how it stands, before anybody can pick it: in active checks, and in its slow start.
pub(super) fn enroll(snapshot: &Snapshot, now: Instant) {
    let mut random = Random::from_system();
    for upstream in &snapshot.upstreams {
        upstream.enroll(now, &mut random);
        upstream.look(now);
    }
}

/// The words by which errors are counted.
const LABELS: Labels = Labels {
    errors: ProxyError::LABELS,
    refusals: &REFUSALS,
    reasons: &Reason::LABELS,
    decisions: &Decision::LABELS,
    hedges: &Hedged::LABELS,
};

/// Why a connection or a request is refused before routing.
const REFUSALS: [&str; observe::counter::total(EARLY)] = observe::counter::joined(EARLY);
const EARLY: &[&[&str]] = &[&refusal::LABELS, AcceptError::LABELS, ProxyError::REFUSALS];

/// Those that the admin API asks for, when it does. Blocks.
pub(super) fn tokens(config: &Config) -> Result<Option<Arc<FromFile<Tokens>>>, TokenError> {
    let file = config
        .admin
        .as_ref()
        .and_then(|admin| admin.token_file.as_ref());
    file.map(|file| FromFile::open(file)).transpose()
}

fn open_log(config: &Config, identity: Option<&Identity>) -> Result<Option<AccessLog>, StartError> {
    let Some(written) = &config.access_log else {
        return Ok(None);
    };
    let log = AccessLog::start(written, identity.map(Identity::numbers)).map_err(|source| {
        let target = match &written.path {
            LogTarget::Stdout => "stdout".to_owned(),
            LogTarget::Stderr => "stderr".to_owned(),
            LogTarget::File(path) => path.display().to_string(),
        };
        StartError::Log { target, source }
    })?;
    Ok(Some(log))
}

type Inboxes = Vec<mpsc::UnboundedReceiver<Mail>>;

fn mailboxes(count: usize) -> (Arc<Vec<Mailbox>>, Inboxes) {
    let (boxes, inboxes) = (0..count)
        .map(|_| {
            let (inbox, receiver) = mpsc::unbounded_channel();
            let mailbox = Mailbox::new(inbox);
            (mailbox, receiver)
        })
        .unzip();
    (Arc::new(boxes), inboxes)
}

/// Starts all workers, or none.
fn spawn<H: Handler>(
    live: &Arc<Live>,
    inboxes: Inboxes,
    ended: &mpsc::UnboundedSender<WorkerEnd>,
    handler: &(impl Fn(&Rc<Worker>) -> H + Clone + Send + 'static),
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut threads = Vec::with_capacity(inboxes.len());
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let setup = Setup {
            index,
            clock: live.clock,
            seed: entropy::system_seed(),
            snapshot: live.snapshot.load_full(),
            inbox,
            mailboxes: Arc::clone(&live.mailboxes),
            metrics: Arc::clone(&live.metrics),
            log: live.log.as_ref().map_or(WorkerLog::OFF, AccessLog::worker),
        };
        let (ended, handler) = (ended.clone(), handler.clone());
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || carry(index, setup, &ended, handler));
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                for mailbox in live.mailboxes.iter() {
                    let _ = mailbox.inbox.send(Mail::Stop);
                }
                return Err(StartError::Worker(error));
            }
        }
    }
    Ok(threads)
}

/// The life of a worker's thread. However it ends, the control loop is told.
fn carry<H: Handler>(
    index: usize,
    setup: Setup,
    ended: &mpsc::UnboundedSender<WorkerEnd>,
    handler: impl FnOnce(&Rc<Worker>) -> H,
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| worker::run(setup, handler)));
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Some(format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    // Nobody listens when the control loop has already gone.
    let _ = ended.send(WorkerEnd { index, failure });
}

/// Cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
