//! The one fake upstream: a server of HTTP/1.1 and HTTP/2 whose delays, failures and answers are chosen.
//!
//! It stands behind the proxy in all tests, in the benches and in `plimsoll backend`. Both protocols are served on
//! one port, told apart by HTTP/2's preface or by ALPN. Every request first waits for a slot and for its drawn
//! latency, may draw a failure, and is then answered by its path:
//!
//! | path | answer |
//! |---|---|
//! | `/echo` | the request's body and trailers, streamed |
//! | `/headers` | the head as received, as JSON: method, target, fields in order, repeated ones kept |
//! | `/bytes/N` | N bytes of [`pattern`] with their length announced |
//! | `/chunked/N/SIZE/MS` | the same in pieces of SIZE, without a length, a pause of MS before each but the first |
//! | `/checksum` | length, xxh3 and trailers of the request's body, as JSON |
//! | `/trailers` | 1000 bytes of the pattern, then `X-Length` and `X-Checksum` |
//! | `/status/NNN`, `/delay/MS` | that status; the label after that time |
//! | `/sse/N/MS` | N server-sent events, a pause of MS before each but the first |
//! | `/early/MS` | 103 Early Hints, and after MS the label (HTTP/2: only the label) |
//! | `/expect/NNN` | that final status without having read the body; without NNN as `/checksum` |
//! | `/healthz` | the label, or the status that its health was set to |
//! | `/ws` | WebSocket echo, over HTTP/2 by extended CONNECT |
//! | `/upgrade`, any CONNECT | a tunnel that echoes bytes, to whichever protocol was asked for |
//! | `/drop/N`, `/drop/N/chunked` | breaks off after N bytes of a longer body |
//! | `/reset/N` | the same by a TCP reset or RST_STREAM; without N before any byte of the answer |
//! | `/gone` | closes without an answer (HTTP/2: REFUSED_STREAM) |
//! | `/hang` | never answers |
//! | `/identified/N` | N bytes that only the `X-Request-Id` of the request has; a request body that has others is 400 |
//! | `/close` | the label, and the connection ends after it (HTTP/2: GOAWAY) |
//! | any other | `X-Backend` with the label, which is also the body, or a body of the chosen size |
//!
//! A [`Fault`] stands above all of that while it is in force.

mod answer;
mod ask;
mod connection;
mod fault;
mod fifo;
mod misbehave;
mod payload;
mod raw;
mod received;
mod service;
mod socket;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use rustls::ServerConfig;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::AbortHandle;

use super::distribution::{Latency, StatusShare};
use crate::clock::Clock;
use crate::config::schema::Address;
use crate::entropy::Random;

pub use fault::{Executions, Fault, PIECES, UnknownFault, identified};
use fifo::Fifo;
pub use payload::pattern;

/// How a backend answers; may be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Sent as `X-Backend` and as the body, so that it can be seen who answered.
    pub label: String,
    /// Time before each answer. The runtime's timer rounds up to whole milliseconds.
    pub latency: Latency,
    /// Answers of these statuses instead of the one asked for; the shares add up to at most 1.
    pub statuses: Vec<StatusShare>,
    /// The status of `/healthz`, so that checks can find it unhealthy while it serves.
    pub health: StatusCode,
    /// Bytes of the label's answer, at most 16 MiB; `None`: the label itself.
    pub size: Option<usize>,
    /// Requests worked on at once; further ones wait. `None`: no limit.
    pub slots: Option<usize>,
    /// Makes the draws repeatable; `None`: seeded by the system.
    pub seed: Option<u64>,
    /// How it misbehaves.
    pub fault: Option<Fault>,
    /// It works on one request after the other, each for this long, whether or not its client still waits.
    pub service: Option<Duration>,
}

impl Behaviour {
    /// Answers at once, always, with this label.
    pub fn labelled(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            latency: Latency::NONE,
            statuses: Vec::new(),
            health: StatusCode::OK,
            size: None,
            slots: None,
            seed: None,
            fault: None,
            service: None,
        }
    }
}

/// Where and how a backend serves.
#[derive(Debug, Clone)]
pub struct Settings {
    pub address: Address,
    pub behaviour: Behaviour,
    /// `None`: clear text. Its ALPN protocols decide between HTTP/1.1 and HTTP/2. TCP only.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who keeps count of what was carried out; shared by backends that are told apart by nobody.
    pub executions: Option<Arc<Executions>>,
}

impl Settings {
    /// On a free port of the loopback interface, in clear text.
    pub fn local(behaviour: Behaviour) -> Self {
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self {
            address,
            behaviour,
            tls: None,
            executions: None,
        }
    }
}

/// What a backend has seen.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    in_flight: AtomicU64,
    accepted: AtomicU64,
    open: AtomicU64,
    malformed: AtomicU64,
}

impl Counters {
    /// Requests whose head was read.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Requests whose answer has neither ended nor been given up; an open tunnel counts as one.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Connections ever accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }

    /// Connections that ended because the client broke the protocol.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Acquire)
    }
}

/// A running backend; it stops, and cuts its connections, when dropped.
#[derive(Debug)]
pub struct Backend {
    address: Address,
    state: Arc<State>,
    accepting: AbortHandle,
}

impl Backend {
    /// Binds and serves on the caller's runtime.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = connection::Listener::bind(&settings.address).await?;
        let address = listener.address(&settings.address)?;
        let listens = settings.behaviour.fault != Some(Fault::Refuse);
        let state = Arc::new(State {
            prepared: ArcSwap::from_pointee(Prepared::new(settings.behaviour)?),
            counters: Counters::default(),
            cut: Notify::new(),
            listens: watch::Sender::new(listens),
            executions: settings.executions,
            clock: Clock::system(),
            fifo: Mutex::default(),
        });
        let accepting =
            connection::accept(listener, address.clone(), Arc::clone(&state), settings.tls);
        let accepting = tokio::spawn(accepting).abort_handle();
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it has seen so far.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// Requests whose head comes in from now on are answered like this.
    pub fn change(&self, behaviour: Behaviour) -> io::Result<()> {
        let listens = behaviour.fault != Some(Fault::Refuse);
        let prepared = Arc::new(Prepared::new(behaviour)?);
        self.state.prepared.store(prepared);
        self.state.listens.send_replace(listens);
        Ok(())
    }

    /// Where it works on one request after the other, it stands still for so long.
    pub fn stall(&self, span: Duration) {
        let now = self.state.clock.now();
        let fifo = &self.state.fifo;
        let mut fifo = fifo.lock().unwrap_or_else(PoisonError::into_inner);
        fifo.stall(now, span);
    }

    /// Cuts every open connection, idle or not, and goes on accepting.
    pub fn cut_connections(&self) {
        self.state.cut.notify_one();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Address::Unix(path) = &self.address {
            // Already gone is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Backends that share one thread of their own, apart from the caller's runtime.
#[derive(Debug)]
pub struct Group {
    backends: Vec<Backend>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Group {
    /// Starts all of them, or none.
    pub fn start(settings: Vec<Settings>) -> io::Result<Self> {
        let (started, wait) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("lab-backend".to_owned())
            .spawn(move || run_group(settings, &started, stopped))?;
        let gone = |_| io::Error::other("the thread of the backends ended early");
        let backends = wait.recv().map_err(gone)??;
        Ok(Self {
            backends,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// In the order in which they were asked for.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.backends.clear();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already printed by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run_group(
    settings: Vec<Settings>,
    started: &std::sync::mpsc::SyncSender<io::Result<Vec<Backend>>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let mut backends = Vec::with_capacity(settings.len());
        for one in settings {
            match Backend::start(one).await {
                Ok(backend) => backends.push(backend),
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            }
        }
        if started.send(Ok(backends)).is_ok() {
            // Ends when the sender is dropped, too.
            let _ = stopped.await;
        }
    });
}

/// What the tasks of one backend share.
#[derive(Debug)]
struct State {
    prepared: ArcSwap<Prepared>,
    counters: Counters,
    cut: Notify,
    /// Whether it is to be reached.
    listens: watch::Sender<bool>,
    executions: Option<Arc<Executions>>,
    clock: Clock,
    fifo: Mutex<Fifo>,
}

impl State {
    /// How long a request waits that is worked on for `service` after all that came before it.
    fn turn(&self, service: Duration) -> Duration {
        let now = self.clock.now();
        let mut fifo = self.fifo.lock().unwrap_or_else(PoisonError::into_inner);
        fifo.admit(now, service).since(now)
    }
}

/// A behaviour with all that can be made ready before a request comes.
#[derive(Debug)]
struct Prepared {
    behaviour: Behaviour,
    label: HeaderValue,
    body: Bytes,
    slots: Option<Arc<Semaphore>>,
    random: Mutex<Random>,
    /// Neither slots nor latency nor failures: the label can be answered on the spot.
    prompt: bool,
}

impl Prepared {
    fn new(behaviour: Behaviour) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let label = HeaderValue::try_from(&behaviour.label).map_err(invalid)?;
        let body = match behaviour.size {
            None => Bytes::from(format!("{}\n", behaviour.label)),
            Some(size) => payload::pattern_piece(0, size as u64),
        };
        let slots = behaviour
            .slots
            .map(|slots| slots.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self {
            label,
            body,
            slots: slots.map(|slots| Arc::new(Semaphore::new(slots))),
            random: Mutex::new(match behaviour.seed {
                Some(seed) => Random::seeded(seed),
                None => Random::from_system(),
            }),
            prompt: behaviour.fault.is_none()
                && behaviour.service.is_none()
                && slots.is_none()
                && behaviour.statuses.is_empty()
                && behaviour.latency == Latency::NONE,
            behaviour,
        })
    }
}

/// The mark of one running exchange; it ends when this is dropped.
struct InFlight {
    state: Arc<State>,
    slot: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    fn begin(state: &Arc<State>) -> Self {
        state.counters.requests.fetch_add(1, Ordering::AcqRel);
        state.counters.in_flight.fetch_add(1, Ordering::AcqRel);
        Self {
            state: Arc::clone(state),
            slot: None,
        }
    }

    /// Another part of the same exchange, which runs on when the first has ended. Not another request.
    fn begin_again(&self) -> Self {
        self.state.counters.in_flight.fetch_add(1, Ordering::AcqRel);
        Self {
            state: Arc::clone(&self.state),
            slot: None,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        drop(self.slot.take());
        self.state.counters.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
