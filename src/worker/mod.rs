//! One thread's runtime and all that is per worker: its view of the snapshot, idle connections, the timer wheel,
//! buffers, chance, and an inbox. A request lives and dies on one worker.

mod collect;
mod connection;
mod generations;
mod inbox;
mod lag;
mod living;
mod panics;
mod room;
mod view;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::calendar::Calendar;
use crate::clock::wheel::Wheel;
use crate::clock::{Clock, Instant};
use crate::entropy::Random;
use crate::http::Handler;
use crate::http::buffers::Buffers;
use crate::http::drain::Drain;
use crate::listener::accept::Accepted;
use crate::listener::server_tls::Turns;
use crate::observe::access_log::WorkerLog;
use crate::observe::{self, Door, WorkerCells};
use crate::snapshot::Snapshot;
use crate::upstream::pool::Total;

use generations::Generations;
use inbox::{beat, read_mail};
use lag::Lag;
use living::{Living, Seats};
use view::share;

pub use collect::collect;
pub use generations::{Older, together};
pub use inbox::{Mail, Mailbox, Moves};
pub use panics::Counting;
pub use room::Answer;
pub use view::{ListenerView, Reach, RouteView, UpstreamView, View};

/// How often idle connections are looked through while there are any.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a line of the access log may wait for others before it is handed to the writer.
const FLUSH: Duration = Duration::from_millis(200);
/// How long a connection that has not sent a byte when draining begins may take for its first: a request that is on
/// its way is still answered, an idle connection does not hold up the end.
const LAST_CHANCE: Duration = Duration::from_millis(200);
/// A connection goes to another worker only if that one has fewer by more than this and by an eighth.
const LEAN: usize = 2;

/// What a worker starts with.
pub struct Setup {
    pub index: usize,
    pub clock: Clock,
    pub seed: u64,
    pub snapshot: Arc<Snapshot>,
    pub inbox: mpsc::UnboundedReceiver<Mail>,
    /// All workers, this one included.
    pub mailboxes: Arc<Vec<Mailbox>>,
    /// Where everything is counted.
    pub metrics: Arc<observe::Registry>,
    /// `WorkerLog::OFF`, or the worker's end of the access log.
    pub log: WorkerLog,
}

/// All that is per worker.
pub struct Worker {
    pub index: usize,
    pub clock: Clock,
    pub wheel: Wheel,
    /// Of the handshakes with clients.
    pub turns: Turns,
    pub buffers: Buffers,
    pub random: RefCell<Random>,
    pub drain: Drain,
    pub idle: Total,
    pub log: RefCell<WorkerLog>,
    door: Door,
    cells: Arc<WorkerCells>,
    view: RefCell<Rc<View>>,
    mailboxes: Arc<Vec<Mailbox>>,
    calendar: Calendar,
    date: RefCell<(u64, String)>,
    sweeping: Cell<bool>,
    /// Downstream connections.
    seats: Seats,
    /// Requests that are carried out apart from their clients.
    executions: Cell<usize>,
    lag: Lag,
    generations: Generations,
}

impl Worker {
    fn new(setup: Setup) -> Rc<Self> {
        let door = setup.metrics.worker(setup.index);
        let place = (setup.index, setup.mailboxes.len());
        let idle = setup.snapshot.config.idle_connections;
        let worker = Self {
            index: setup.index,
            clock: setup.clock,
            buffers: Buffers::default(),
            random: RefCell::new(Random::seeded(setup.seed)),
            drain: Drain::new(),
            idle: Total::new(share(idle, place.0, place.1)),
            view: RefCell::new(Rc::new(View::new(&setup.snapshot, place, &door, None))),
            log: RefCell::new(setup.log),
            cells: door.thread(),
            door,
            mailboxes: Arc::clone(&setup.mailboxes),
            calendar: Calendar::new(setup.clock),
            date: RefCell::new((u64::MAX, String::new())),
            wheel: Wheel::new(setup.clock),
            turns: Turns::default(),
            sweeping: Cell::new(false),
            seats: Seats::default(),
            executions: Cell::new(0),
            lag: Lag::default(),
            generations: Generations::default(),
        };
        Rc::new(worker)
    }

    /// The snapshot in force with what belongs to it.
    pub fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    /// The value of a `Date` field for now (RFC 9110, 6.6.1), made once a second.
    pub fn date(&self, now: Instant) -> std::cell::Ref<'_, str> {
        let second = self.calendar.since_1970(now).as_secs();
        if self.date.borrow().0 != second {
            let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(second));
            *self.date.borrow_mut() = (second, text);
        }
        std::cell::Ref::map(self.date.borrow(), |date| date.1.as_str())
    }

    /// Seconds since 1970 at `now`.
    pub fn unix_seconds(&self, now: Instant) -> u64 {
        self.calendar.since_1970(now).as_secs()
    }

    /// Milliseconds since 1970 at `now`.
    pub fn unix_millis(&self, now: Instant) -> u64 {
        u64::try_from(self.calendar.since_1970(now).as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a line to the access log; it leaves the worker within a fifth of a second.
    pub fn write_log(self: &Rc<Self>, record: &observe::Record<'_>) {
        let mut log = self.log.borrow_mut();
        let waiting = log.is_waiting();
        log.record(record);
        if waiting || !log.is_waiting() {
            return;
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _ending = worker.end_on_panic();
            worker.wheel.sleep(FLUSH).await;
            worker.log.borrow_mut().flush();
        });
    }

    /// Sees to it that idle connections are looked through as long as there are any.
    pub fn sweep(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _ending = worker.end_on_panic();
            loop {
                worker.wheel.sleep(SWEEP).await;
                let view = worker.view();
                let now = worker.wheel.now();
                let mut left = false;
                for upstream in &view.upstreams {
                    for reach in &upstream.reaches {
                        reach.pool.sweep(now, &upstream.limits, &worker.idle);
                        left |= !reach.pool.is_empty();
                    }
                }
                if !left {
                    break;
                }
            }
            worker.sweeping.set(false);
        });
    }

    fn swap(&self, snapshot: &Arc<Snapshot>) {
        let before = self.view();
        let place = (self.index, self.mailboxes.len());
        let view = View::new(snapshot, place, &self.door, Some(&before));
        before.leave_to(&view);
        if self.drain.is_on() {
            view.begin_draining();
        }
        *self.view.borrow_mut() = Rc::new(view);
        self.generations.replace(&before, self.wheel.now());
        let idle = snapshot.config.idle_connections;
        self.idle.limit(share(idle, place.0, place.1));
    }

    /// Notes in the mailbox what runs on configurations that were replaced.
    fn note_older(&self) {
        let older = self.generations.read(self.view().snapshot.generation);
        *self
            .own()
            .older
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = older;
    }

    /// Tells all connections to finish what runs.
    fn begin_draining(&self) {
        self.drain.begin();
        self.view().begin_draining();
    }

    /// Gives back to the system what memory can be spared: what is kept for reuse, and what was freed.
    fn spare(&self) {
        self.buffers.free_kept();
        collect();
    }

    fn close_idle(&self) {
        for reach in self.view().reaches() {
            reach.pool.clear();
        }
    }

    /// Keeps a worker that drains from its end while it is held: what is carried out apart from its client has no connection
    /// that would.
    pub fn executing(self: &Rc<Self>) -> Executing {
        self.executions.set(self.executions.get() + 1);
        Executing(Rc::clone(self))
    }

    /// Whether nothing is left to be finished.
    fn is_done(&self) -> bool {
        self.executions.get() == 0 && self.own().connections.load(Ordering::Relaxed) == 0
    }

    fn own(&self) -> &Mailbox {
        &self.mailboxes[self.index]
    }

    /// Keeps a fresh connection, or hands it to a sampled worker that clearly has fewer.
    fn place<H: Handler>(self: &Rc<Self>, accepted: Accepted, handler: &H) {
        let count = self.mailboxes.len();
        if count > 1 {
            let other = (self.index + 1 + self.random.borrow_mut().below(count - 1)) % count;
            let mine = self.own().connections.load(Ordering::Relaxed);
            let theirs = self.mailboxes[other].connections.load(Ordering::Relaxed);
            if mine > theirs + LEAN + theirs / 8 {
                match self.mailboxes[other].inbox.send(Mail::Connection(accepted)) {
                    Ok(()) => self.cells.hand_overs.add(1),
                    Err(mpsc::error::SendError(Mail::Connection(accepted))) => {
                        self.serve(accepted, handler.clone())
                    }
                    Err(_) => {}
                }
                return;
            }
        }
        self.serve(accepted, handler.clone());
    }

    fn serve<H: Handler>(self: &Rc<Self>, accepted: Accepted, handler: H) {
        let living = Living::new(self);
        let seat = living.seat();
        let task = tokio::task::spawn_local(async move {
            let worker = Rc::clone(living.worker());
            let _counting = worker.count_panic();
            connection::serve(&living, accepted, handler).await;
            drop(living);
        });
        self.seats.seat(seat, task.abort_handle());
    }
}

/// Counts a request that is carried out apart from its client, while it is.
pub struct Executing(Rc<Worker>);

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.executions.set(self.0.executions.get() - 1);
    }
}

/// Runs a worker on the calling thread until it was told to drain and has.
pub fn run<H: Handler>(
    setup: Setup,
    handler: impl FnOnce(&Rc<Worker>) -> H,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    runtime.block_on(async move {
        let mut setup = setup;
        let inbox = std::mem::replace(&mut setup.inbox, mpsc::unbounded_channel().1);
        let worker = Worker::new(setup);
        let handler = handler(&worker);
        let turning = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            let _ending = turning.end_on_panic();
            turning.wheel.run().await;
        });
        tokio::task::spawn_local(beat(Rc::clone(&worker)));
        let ended = read_mail(&worker, inbox, &handler).await;
        worker.log.borrow_mut().flush();
        ended
    })
}
