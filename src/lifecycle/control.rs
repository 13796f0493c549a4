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

use super::course::{Course, Watch, look_at_log};
use super::ending::{Ending, Step, Wish};
use super::notify::{Pulse, Said};
use super::origin::Origin;
use super::reload::{Job, ReloadError, Reloader, Source};
use super::signal::Signals;
use super::start::Kept;
use super::succession::{self, Succession};
use super::upgrade::{Successor, UpgradeError};
use super::{Changes, Notify, Predecessor, drain, memory, needed, ordered, orphans, renewal};
use crate::admin::command::Order;
use crate::admin::live::{Cause, Live, url};
use crate::admin::server;
use crate::clock::Instant;
use crate::config::{Address, Config};
use crate::listener::SocketFile;
use crate::listener::accept::Listening;
use crate::observe::access_log::Losses;
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
        // These end with the runtime.
        tokio::spawn(memory::watch(Arc::clone(&self.live)));
        if options.signals {
            orphans::take_in();
        }
        let origin = options.file.take();
        let origin = origin.map(|(path, text)| Arc::new(Origin::new(path, text)));
        needed::tell(&live, origin.as_deref());
        renewal::start(Arc::clone(&live), Arc::clone(&kept));
        let notify = Arc::new(options.notify);
        let say = Arc::clone(&options.say);
        let reloader = Reloader::start(live, kept, prober, origin, say, &notify);
        let mut course = Course {
            succession: Succession::new(options.predecessor, std::mem::take(&mut self.unused)),
            say: options.say,
            notify,
            ending: Ending::new(),
            watch: Watch::default(),
            losses: Losses::default(),
            pulse: Pulse::default(),
            told: 0,
        };
        let mut deadline = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                _ = tick.tick() => {
                    self.tick(&mut course);
                    continue;
                }
                Some(end) = self.ends.recv() => {
                    left -= 1;
                    if let Some(failed) = failure(&end, self.live.is_draining()) {
                        drain::cut(&self.live, &mut self.ends, left, &course.say).await;
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
                Some(order) = self.ordered.recv() => ordered::obey(order, &reloader, &self.live),
                upgraded = course.succession.done() => self.upgraded(upgraded, &mut course),
            };
            let wish = command.and_then(|command| self.obey(command, &reloader, &mut course));
            if self.go(wish, &mut course) {
                let cut = drain::cut(&self.live, &mut self.ends, left, &course.say).await;
                return Ended::Asked { cut };
            }
            deadline = self.timer(course.ending.due());
        }
    }

    /// Looks after what changes by itself.
    fn tick(&mut self, course: &mut Course) {
        let now = self.live.clock.now();
        self.live.metrics.fold(now);
        self.live.snapshot.load().look(now);
        course.watch.look(&self.live, &course.say);
        look_at_log(&mut course.losses, &self.live, now);
        course.told = tell(&self.live, course.told, &course.say);
        if course.succession.take_over(&self.live, &self.kept) {
            self.come_into_admin_file();
        }
        let standing = course.standing(&self.live);
        let (notify, is_stuck) = (&course.notify, !course.watch.stuck.is_empty());
        let said = course
            .pulse
            .due(notify, self.live.clock, standing, is_stuck);
        notify.tell(&said);
        if said.iter().any(|one| matches!(one, Said::Extend(_))) {
            notify.tell(&[Said::Status(&drain::status(&self.live))]);
        }
    }

    /// Does what was asked for, as far as it is no wish for the end.
    fn obey(&mut self, command: Command, reloader: &Reloader, course: &mut Course) -> Option<Wish> {
        match command {
            Command::Reload(config, answer) => reloader.ask(Job {
                source: Source::Given(config),
                cause: Cause::Program,
                answer: Some(answer),
            }),
            Command::Reread => reloader.reread(),
            Command::ReopenLogs => reloader.reopen_logs(),
            Command::Upgrade => {
                if let Err(error) = self.upgrade(course) {
                    let Course {
                        succession, notify, ..
                    } = course;
                    succession.refused(&self.live, notify, &error);
                }
            }
            Command::HandOver => return Some(Wish::HandOver),
            Command::Drain => return Some(Wish::Drain),
            Command::End => return Some(Wish::End),
            Command::Quit => return Some(Wish::Quit),
            Command::Stop => return Some(Wish::Stop),
        }
        None
    }

    /// Goes as far to the end as is due now; whether what is left is to be cut.
    fn go(&mut self, wish: Option<Wish>, course: &mut Course) -> bool {
        let now = self.live.clock.now();
        let before = course.ending.deadline();
        if let Some(wish) = wish {
            // What was left to this process a moment ago is this process's to remove.
            if course.succession.come_after(&self.kept) {
                self.come_into_admin_file();
            }
            course.ending.wish(now, wish, drain::spans(&self.live));
        }
        while let Some(step) = course.ending.next(now) {
            match step {
                Step::Leave => {
                    course.succession.cancel();
                    if course.succession.speaks_for_the_service() {
                        let said = [Said::Stopping, Said::Status("draining")];
                        course.notify.tell(&said);
                    }
                    let closes = course.ending.due().unwrap_or(now);
                    drain::leave(&self.live, now, closes, &course.say);
                }
                Step::Close => {
                    let left = self.close_doors(course.succession.unused());
                    let deadline = course.ending.deadline();
                    drain::close(&self.live, now, deadline, left, &course.say);
                }
                Step::Cut => {
                    self.kept.doors.unlink();
                    return true;
                }
            }
        }
        if before != course.ending.deadline() {
            drain::bound(&self.live, course.ending.deadline());
        }
        false
    }

    /// What follows from the end of an upgrade.
    fn upgraded(
        &self,
        upgraded: Result<Successor, UpgradeError>,
        course: &mut Course,
    ) -> Option<Command> {
        match upgraded {
            Ok(successor) => {
                let (notify, say) = (&course.notify, &course.say);
                course.succession.hand_over(successor, notify, say);
                Some(Command::HandOver)
            }
            Err(error) => {
                let Course {
                    succession, notify, ..
                } = course;
                succession.refused(&self.live, notify, &error);
                None
            }
        }
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
    fn upgrade(&self, course: &mut Course) -> Result<(), UpgradeError> {
        if !course.ending.is_serving() {
            return Err(UpgradeError::Ending);
        }
        let timeout = self.live.snapshot.load().config.upgrade.timeout;
        let lent = || {
            let mut lent = self.kept.doors.lend();
            let is_own = self.admin.as_ref().is_none_or(|admin| admin.is_own);
            let admin = succession::lent_admin(&self.live, &self.admin_sockets, is_own);
            lent.extend(admin);
            lent
        };
        course.succession.begin(lent, timeout)
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
