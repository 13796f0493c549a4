//! The control loop: keeps the tick, watches the workers, serves the admin API, obeys commands and signals, and ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::origin::Origin;
use super::reload::{Job, ReloadError, Reloader, Source};
use super::signal::Signals;
use super::start::Kept;
use super::{Changes, drain, memory, ordered};
use crate::admin::command::Order;
use crate::admin::live::{Cause, Live, url};
use crate::admin::{Reason, server};
use crate::config::Config;
use crate::listener::accept::Listening;
use crate::observe::event::Kind;
use crate::upstream::probe::Prober;

/// How often counters are folded and the workers looked at.
const TICK: Duration = Duration::from_millis(100);
/// What the writer of the access log may take for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the control loop can be asked for.
#[derive(Debug)]
pub enum Command {
    /// Put this configuration in force, or change nothing and say why.
    Reload(Box<Config>, oneshot::Sender<Result<Changes, ReloadError>>),
    /// Read the file again, put it in force, and open the access log anew.
    Reread,
    /// Finish what runs, then end.
    Drain,
    /// Drain; when that has begun already, end at once.
    End,
    /// End at once.
    Stop,
}

/// Where commands are sent.
pub type Commands = mpsc::UnboundedSender<Command>;

/// How a worker's thread ended.
#[derive(Debug)]
pub(super) struct WorkerEnd {
    pub(super) index: usize,
    /// `None` when it was told to end and did.
    pub(super) failure: Option<String>,
}

/// How it all ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As asked; so many connections were cut because they took too long, or because there was no time.
    Asked { cut: usize },
    /// Something that must not happen did.
    Failed(String),
}

/// Where what happens is told, a line or several at a time.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// What surrounds the control loop.
pub struct Options {
    /// The file that was read, with what it held: to be read again.
    pub file: Option<(PathBuf, String)>,
    /// Whether the signals of the process are obeyed.
    pub signals: bool,
    pub say: Say,
}

/// Running workers, and all that the control loop needs.
pub struct Running {
    pub live: Arc<Live>,
    kept: Arc<Kept>,
    admin: Option<Listening>,
    threads: Vec<JoinHandle<()>>,
    ends: mpsc::UnboundedReceiver<WorkerEnd>,
    commands: Commands,
    asked: mpsc::UnboundedReceiver<Command>,
    /// Through the admin API.
    ordered: mpsc::UnboundedReceiver<Order>,
}

impl Running {
    pub(super) fn new(
        live: Arc<Live>,
        kept: Arc<Kept>,
        admin: Option<Listening>,
        threads: Vec<JoinHandle<()>>,
        ends: mpsc::UnboundedReceiver<WorkerEnd>,
        ordered: mpsc::UnboundedReceiver<Order>,
    ) -> Self {
        let (commands, asked) = mpsc::unbounded_channel();
        Self {
            live,
            kept,
            admin,
            threads,
            ends,
            commands,
            asked,
            ordered,
        }
    }

    /// Where commands for the loop are sent.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Runs the control loop on the calling thread until all has ended.
    pub fn serve(mut self, options: Options) -> Ended {
        let live = Arc::clone(&self.live);
        let threads = std::mem::take(&mut self.threads);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let ended = match runtime {
            Ok(runtime) => {
                let ended = runtime.block_on(self.control(options));
                // A resolver that hangs must not hold up the end.
                runtime.shutdown_background();
                ended
            }
            Err(error) => Ended::Failed(format!("cannot start the control thread: {error}")),
        };
        for thread in threads {
            if thread.is_finished() {
                // Its panic, if any, was told already.
                let _ = thread.join();
            }
        }
        if let Some(log) = &live.log {
            log.sync(LAST_LINES);
        }
        ended
    }

    async fn control(mut self, mut options: Options) -> Ended {
        let mut left = self.live.mailboxes.len();
        let mut signals = match self.open(options.signals) {
            Ok(signals) => signals,
            Err(reason) => {
                drain::cut(&self.live, &mut self.ends, left).await;
                return Ended::Failed(reason);
            }
        };
        announce(&self.live, &options.say);
        let live = Arc::clone(&self.live);
        let kept = Arc::clone(&self.kept);
        let mut prober = Prober::new(live.clock);
        prober.follow(&live.snapshot.load().upstreams);
        // Ends with the runtime.
        tokio::spawn(memory::watch(Arc::clone(&self.live)));
        let origin = options.file.take();
        let origin = origin.map(|(path, text)| Arc::new(Origin::new(path, text)));
        let reloader = Reloader::start(live, kept, prober, origin, Arc::clone(&options.say));
        let mut watch = Watch::default();
        let mut told = 0;
        let mut deadline = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                _ = tick.tick() => {
                    let now = self.live.clock.now();
                    self.live.metrics.fold(now);
                    self.live.snapshot.load().look(now);
                    watch.look(&self.live, &options.say);
                    told = tell(&self.live, told, &options.say);
                    continue;
                }
                Some(end) = self.ends.recv() => {
                    left -= 1;
                    if let Some(failed) = failure(&end, self.live.is_draining()) {
                        drain::cut(&self.live, &mut self.ends, left).await;
                        return Ended::Failed(failed);
                    }
                    if left == 0 {
                        return Ended::Asked { cut: 0 };
                    }
                    continue;
                }
                () = passed(&mut deadline) => Command::Stop,
                command = next_signal(&mut signals) => command,
                Some(command) = self.asked.recv() => command,
                Some(order) = self.ordered.recv() => {
                    ordered::obey(order, &reloader);
                    continue;
                }
            };
            match command {
                Command::Reload(config, answer) => {
                    reloader.ask(Job {
                        source: Source::Given(config),
                        cause: Cause::Program,
                        answer: Some(answer),
                    });
                }
                Command::Reread => reloader.reread(),
                Command::Drain | Command::End if deadline.is_none() => {
                    let allowed = self.live.snapshot.load().config.drain_timeout;
                    // Before the sockets close, so that no other process finds the files stale and replaces them first.
                    self.kept.doors.unlink();
                    drain::begin(&self.live, allowed, &options.say);
                    let real = self.live.clock.real(allowed);
                    deadline = Some(Box::pin(tokio::time::sleep(real)));
                }
                Command::Drain => {}
                Command::End | Command::Stop => {
                    self.kept.doors.unlink();
                    let cut = drain::cut(&self.live, &mut self.ends, left).await;
                    return Ended::Asked { cut };
                }
            }
        }
    }

    /// Listens to what operators and the system ask for.
    fn open(&mut self, signals: bool) -> Result<Option<Signals>, String> {
        self.serve_admin()
            .map_err(|error| format!("cannot serve the admin API: {error}"))?;
        let signals = signals.then(Signals::listen).transpose();
        signals.map_err(|error| format!("cannot listen for signals: {error}"))
    }

    fn serve_admin(&mut self) -> std::io::Result<()> {
        let Some(listening) = &mut self.admin else {
            return Ok(());
        };
        for socket in std::mem::take(&mut listening.sockets) {
            let socket = server::Socket::new(socket, &listening.address)?;
            tokio::spawn(server::serve(socket, Arc::clone(&self.live)));
        }
        Ok(())
    }
}

/// Tells where clients and operators can connect, once they can.
fn announce(live: &Live, say: &Say) {
    for bound in live.listeners.load().iter() {
        say(&format!("listening on {} ({})", bound.url(), bound.name));
    }
    if let Some(admin) = &live.admin {
        say(&format!("admin on {}", url(admin, false)));
    }
}

/// Why the end of a worker is the end of the process; `None` when it was meant to end.
fn failure(end: &WorkerEnd, draining: bool) -> Option<String> {
    match &end.failure {
        Some(failure) => Some(format!("worker {} ended: {failure}", end.index)),
        None if draining => None,
        None => Some(format!("worker {} ended unasked", end.index)),
    }
}

/// Says what has changed by itself since `told`, and gives the sequence of the last of it.
fn tell(live: &Live, told: u64, say: &Say) -> u64 {
    let (events, last) = live.events.after(told);
    // Of reloads all is said where they happen.
    for event in events.iter().filter(|event| event.kind != Kind::Reload) {
        say(&format!("plimsoll: {event}"));
    }
    last
}

type Deadline = Option<std::pin::Pin<Box<tokio::time::Sleep>>>;

/// Waits for a deadline; for ever when there is none.
async fn passed(deadline: &mut Deadline) {
    match deadline {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> Command {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Says once when a worker stops showing itself, and once when it is back.
#[derive(Default)]
struct Watch {
    stuck: Vec<usize>,
}

impl Watch {
    fn look(&mut self, live: &Live, say: &Say) {
        let mut stuck = Vec::new();
        for reason in live.reasons() {
            if let Reason::Stuck { worker, .. } = reason {
                if !self.stuck.contains(&worker) {
                    say(&format!("plimsoll: {reason}"));
                }
                stuck.push(worker);
            }
        }
        for worker in self.stuck.iter().filter(|worker| !stuck.contains(worker)) {
            say(&format!("plimsoll: worker {worker} shows itself again"));
        }
        self.stuck = stuck;
    }
}
