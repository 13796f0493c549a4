//! The control loop: keeps the tick, watches the workers, serves the admin API, obeys commands and signals, and ends.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::ending::{Ending, Step, Wish};
use super::notify::{Pulse, Said, Standing};
use super::origin::Origin;
use super::reload::{Job, ReloadError, Reloader, Source};
use super::signal::Signals;
use super::start::Kept;
use super::succession::{self, Succession};
use super::upgrade::UpgradeError;
use super::{Changes, Notify, Predecessor, drain, ordered};
use crate::admin::command::Order;
use crate::admin::live::{Cause, Live, url};
use crate::admin::{Reason, server};
use crate::clock::Instant;
use crate::config::{Address, Config};
use crate::listener::SocketFile;
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
    /// Open the access log anew.
    ReopenLogs,
    /// Let another process of the program take over, then drain.
    Upgrade,
    /// Another process has taken over: finish what runs, then end.
    HandOver,
    /// Finish what runs, then end.
    Drain,
    /// Drain; when that was asked for already, end at once.
    End,
    /// Finish what runs, however long it takes, then end.
    Quit,
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
    /// The service manager, where there is one.
    pub notify: Notify,
    /// The process that this one is to take over from.
    pub predecessor: Option<Predecessor>,
}

/// Running workers, and all that the control loop needs.
pub struct Running {
    pub live: Arc<Live>,
    kept: Arc<Kept>,
    admin: Option<Listening>,
    /// Of the admin API, which this process and a successor accept from.
    admin_sockets: Vec<Arc<OwnedFd>>,
    admin_accepts: Vec<AbortHandle>,
    /// What was bound before this process began, and none of its listeners asks for.
    pub unused: Vec<(String, Address)>,
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
        unused: Vec<(String, Address)>,
        threads: Vec<JoinHandle<()>>,
        ends: mpsc::UnboundedReceiver<WorkerEnd>,
        ordered: mpsc::UnboundedReceiver<Order>,
    ) -> Self {
        let (commands, asked) = mpsc::unbounded_channel();
        Self {
            live,
            kept,
            admin,
            admin_sockets: Vec::new(),
            admin_accepts: Vec::new(),
            unused,
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
                drain::cut(&self.live, &mut self.ends, left, &options.say).await;
                return Ended::Failed(reason);
            }
        };
        announce(&self.live, &options.say);
        let live = Arc::clone(&self.live);
        let kept = Arc::clone(&self.kept);
        let mut prober = Prober::new(live.clock);
        prober.follow(&live.snapshot.load().upstreams);
        let origin = options.file.take();
        let origin = origin.map(|(path, text)| Arc::new(Origin::new(path, text)));
        let notify = Arc::new(options.notify);
        let say = Arc::clone(&options.say);
        let reloader = Reloader::start(live, kept, prober, origin, say, &notify);
        let mut watch = Watch::default();
        let mut pulse = Pulse::default();
        let mut succession = Succession::new(options.predecessor, std::mem::take(&mut self.unused));
        let mut told = 0;
        let mut ending = Ending::new();
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
                    if succession.take_over(&self.live, &self.kept) {
                        self.come_into_admin_file();
                    }
                    let standing = standing(&self.live, &ending, &succession);
                    let stuck = watch.is_any_stuck();
                    let said = pulse.due(&notify, self.live.clock, standing, stuck);
                    notify.tell(&said);
                    if said.iter().any(|one| matches!(one, Said::Extend(_))) {
                        notify.tell(&[Said::Status(&drain::status(&self.live))]);
                    }
                    continue;
                }
                Some(end) = self.ends.recv() => {
                    left -= 1;
                    if let Some(failed) = failure(&end, self.live.is_draining()) {
                        drain::cut(&self.live, &mut self.ends, left, &options.say).await;
                        return Ended::Failed(failed);
                    }
                    if left == 0 {
                        return Ended::Asked { cut: 0 };
                    }
                    continue;
                }
                () = passed(&mut deadline) => None,
                command = next_signal(&mut signals) => Some(command),
                Some(command) = self.asked.recv() => Some(command),
                Some(order) = self.ordered.recv() => {
                    ordered::obey(order, &reloader, &self.live)
                }
                upgraded = succession.done() => match upgraded {
                    Ok(successor) => {
                        succession.hand_over(successor, &notify, &options.say);
                        Some(Command::HandOver)
                    }
                    Err(error) => {
                        succession::refused(&self.live, &error);
                        continue;
                    }
                },
            };
            let wish = match command {
                None => None,
                Some(Command::Reload(config, answer)) => {
                    reloader.ask(Job {
                        source: Source::Given(config),
                        cause: Cause::Program,
                        answer: Some(answer),
                    });
                    continue;
                }
                Some(Command::Reread) => {
                    reloader.reread();
                    continue;
                }
                Some(Command::ReopenLogs) => {
                    reloader.reopen_logs();
                    continue;
                }
                Some(Command::Upgrade) => {
                    if let Err(error) = self.upgrade(&mut succession, &ending) {
                        succession::refused(&self.live, &error);
                    }
                    continue;
                }
                Some(Command::HandOver) => Some(Wish::HandOver),
                Some(Command::Drain) => Some(Wish::Drain),
                Some(Command::End) => Some(Wish::End),
                Some(Command::Quit) => Some(Wish::Quit),
                Some(Command::Stop) => Some(Wish::Stop),
            };
            if self.go(&mut ending, wish, &succession, &options.say, &notify) {
                let cut = drain::cut(&self.live, &mut self.ends, left, &options.say).await;
                return Ended::Asked { cut };
            }
            deadline = self.timer(ending.due());
        }
    }

    /// Goes as far to the end as is due now; whether what is left is to be cut.
    fn go(
        &mut self,
        ending: &mut Ending,
        wish: Option<Wish>,
        succession: &Succession,
        say: &Say,
        notify: &Notify,
    ) -> bool {
        let now = self.live.clock.now();
        let before = ending.deadline();
        if let Some(wish) = wish {
            ending.wish(now, wish, drain::spans(&self.live));
        }
        while let Some(step) = ending.next(now) {
            match step {
                Step::Leave => {
                    succession.cancel();
                    if succession.speaks_for_the_service() {
                        notify.tell(&[Said::Stopping, Said::Status("draining")]);
                    }
                    drain::leave(&self.live, now, ending.due().unwrap_or(now), say);
                }
                Step::Close => {
                    let left = self.close_doors(succession.unused());
                    drain::close(&self.live, now, ending.deadline(), left, say);
                }
                Step::Cut => {
                    self.kept.doors.unlink();
                    return true;
                }
            }
        }
        if before != ending.deadline() {
            drain::bound(&self.live, ending.deadline());
        }
        false
    }

    /// Before the sockets close: no other process may find the files of Unix sockets stale and replace them first. What a
    /// successor serves is left to it; gives these sets of sockets.
    fn close_doors(&mut self, unused: Option<&[String]>) -> HashSet<usize> {
        let Some(unused) = unused else {
            self.kept.doors.unlink();
            return HashSet::new();
        };
        for accepts in self.admin_accepts.drain(..) {
            accepts.abort();
        }
        let address = self.live.admin.as_ref().map(ToString::to_string);
        let file = self.admin.as_mut().and_then(|admin| admin.file.take());
        if let Some(file) = file
            && address.is_none_or(|address| !unused.contains(&address))
        {
            file.leave();
        }
        self.kept.doors.leave(unused)
    }

    /// Lets another process of the program take over.
    fn upgrade(&self, succession: &mut Succession, ending: &Ending) -> Result<(), UpgradeError> {
        if !ending.is_serving() {
            return Err(UpgradeError::Ending);
        }
        let timeout = self.live.snapshot.load().config.upgrade.timeout;
        let lent = || {
            let mut lent = self.kept.doors.lend();
            let is_own = self.admin.as_ref().is_none_or(|admin| admin.is_own);
            lent.extend(succession::lent_admin(
                &self.live,
                &self.admin_sockets,
                is_own,
            ));
            lent
        };
        succession.begin(lent, timeout)
    }

    /// The process that bound the admin socket has left its file to this one.
    fn come_into_admin_file(&mut self) {
        if let Some(admin) = &mut self.admin
            && let Some(path) = admin.heir.take()
        {
            admin.file = SocketFile::left_behind(&path).ok();
        }
    }

    /// Until then, in real time.
    fn timer(&self, due: Option<Instant>) -> Deadline {
        let clock = self.live.clock;
        let left = clock.real(due?.since(clock.now()));
        Some(Box::pin(tokio::time::sleep(left)))
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
            self.admin_sockets.push(Arc::new(socket.try_clone()?));
            let socket = server::Socket::new(socket, &listening.address)?;
            let accepts = tokio::spawn(server::serve(socket, Arc::clone(&self.live)));
            self.admin_accepts.push(accepts.abort_handle());
        }
        Ok(())
    }
}

/// How the process stands in the eyes of the service manager.
fn standing(live: &Live, ending: &Ending, succession: &Succession) -> Standing {
    if !succession.speaks_for_the_service() {
        Standing::Unwatched
    } else if !ending.is_serving() {
        Standing::Ending
    } else if live.reasons().is_empty() {
        Standing::Serving
    } else {
        Standing::Starting
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

    fn is_any_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }
}
