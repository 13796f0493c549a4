//! One thread's runtime and all that is per worker: its view of the snapshot, idle connections, the timer wheel,
//! buffers, chance, and an inbox. A request lives and dies on one worker.

mod connection;
mod panics;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::balance::Memory;
use crate::clock::calendar::Calendar;
use crate::clock::wheel::Wheel;
use crate::clock::{Clock, Instant};
use crate::entropy::Random;
use crate::http::buffers::Buffers;
use crate::http::drain::Drain;
use crate::http::{Handler, h1, h2};
use crate::listener::accept::{Accepted, Acceptor, Gate};
use crate::observe::access_log::WorkerLog;
use crate::observe::{self, Door, EndpointCells, ListenerCells, RouteCells, WorkerCells};
use crate::snapshot::{Listener, Snapshot};
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::{Limits, Pool, Total};

pub use panics::Counting;

/// How often idle connections are looked through while there are any.
const SWEEP: Duration = Duration::from_secs(1);
/// How often a worker shows that it is not stuck.
const BEAT: Duration = Duration::from_secs(1);
/// How long a line of the access log may wait for others before it is handed to the writer.
const FLUSH: Duration = Duration::from_millis(200);
/// How long a connection that has not sent a byte when draining begins may take for its first: a request that is on
/// its way is still answered, an idle connection does not hold up the end.
const LAST_CHANCE: Duration = Duration::from_millis(200);
/// A connection goes to another worker only if that one has fewer by more than this and by an eighth.
const LEAN: usize = 2;

/// What a worker is told from other threads.
pub enum Mail {
    /// A new configuration is in force.
    Snapshot(Arc<Snapshot>),
    /// A connection that another worker accepted.
    Connection(Accepted),
    /// Accept from this socket too.
    Listen {
        socket: OwnedFd,
        listener: usize,
        gate: Arc<Gate>,
    },
    /// Close an idle connection to this endpoint, which has as many as it may have, and say so once it is closed.
    CloseIdle {
        endpoint: Arc<Endpoint>,
        closed: mpsc::UnboundedSender<()>,
    },
    /// Take no new connection, finish what runs, then end.
    Drain,
    /// End at once; what runs is cut.
    Stop,
    /// From the worker itself: a task that it cannot do without has panicked.
    Broken,
}

/// One worker as the others see it.
pub struct Mailbox {
    pub inbox: mpsc::UnboundedSender<Mail>,
    /// Downstream connections that live on it.
    pub connections: AtomicUsize,
    /// When it last showed that it is not stuck, in nanoseconds of the process's clock.
    pub beat: AtomicU64,
}

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

/// An endpoint with what this worker keeps for it.
pub struct Reach {
    pub endpoint: Arc<Endpoint>,
    pub cells: Arc<EndpointCells>,
    pub pool: Pool,
    /// Held by whoever dials an HTTP/2 connection, so that others wait for it instead of dialling too.
    pub dialling: tokio::sync::Mutex<()>,
    /// When it could choose, it chose HTTP/1.1: there is nothing to wait for.
    pub chose_h1: Cell<bool>,
}

/// An upstream as this worker sees it.
pub struct UpstreamView {
    pub shared: Arc<Upstream>,
    pub reaches: Vec<Rc<Reach>>,
    pub memory: RefCell<Memory>,
    pub limits: Limits,
}

/// A route as this worker sees it: all of it that an exchange still needs once its answer streams.
pub struct RouteView {
    pub name: Arc<str>,
    pub cells: Arc<RouteCells>,
}

/// A listener as this worker sees it.
pub struct ListenerView {
    pub shared: Arc<Listener>,
    pub cells: Arc<ListenerCells>,
}

/// The snapshot with what this worker keeps beside it. A request holds on to the one that it started with until its
/// head is answered; from then on to those parts that it is about.
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub upstreams: Vec<Rc<UpstreamView>>,
    pub h1: Vec<Rc<h1::server::Settings>>,
    pub h2: Vec<Rc<h2::server::Settings>>,
    /// In the order of the route table.
    pub routes: Vec<Rc<RouteView>>,
    pub listeners: Vec<Rc<ListenerView>>,
}

/// All that is per worker.
pub struct Worker {
    pub index: usize,
    pub clock: Clock,
    pub wheel: Wheel,
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
            sweeping: Cell::new(false),
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
        *self.view.borrow_mut() = Rc::new(view);
        let idle = snapshot.config.idle_connections;
        self.idle.limit(share(idle, place.0, place.1));
    }

    fn close_idle(&self) {
        for reach in self.view().reaches() {
            reach.pool.clear();
        }
    }

    /// Asks the other workers to close an idle connection to this endpoint, since the cap is one for all and each keeps
    /// its own. Gives whether one did. The caller bounds the time.
    pub async fn make_room(&self, endpoint: &Arc<Endpoint>) -> bool {
        let (closed, mut answers) = mpsc::unbounded_channel();
        for (index, mailbox) in self.mailboxes.iter().enumerate() {
            if index != self.index {
                let (endpoint, closed) = (Arc::clone(endpoint), closed.clone());
                // A worker that has ended keeps nothing.
                let _ = mailbox.inbox.send(Mail::CloseIdle { endpoint, closed });
            }
        }
        drop(closed);
        // Nothing comes once all have answered by letting go of their end.
        answers.recv().await.is_some()
    }

    fn give_up_idle(&self, endpoint: &Arc<Endpoint>, closed: mpsc::UnboundedSender<()>) {
        let view = self.view();
        let mut reaches = view.reaches();
        let reach = reaches.find(|reach| Arc::ptr_eq(&reach.endpoint, endpoint));
        if let Some(ending) = reach.and_then(|reach| reach.pool.close_one()) {
            tokio::task::spawn_local(async move {
                ending.await;
                let _ = closed.send(());
            });
        }
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
        tokio::task::spawn_local(async move {
            let worker = Rc::clone(&living.0);
            let _counting = worker.count_panic();
            connection::serve(&worker, accepted, handler).await;
            drop(living);
        });
    }
}

/// The share of worker `index` of what the process may keep. All shares together are the whole: what cannot be divided
/// goes to the first workers, and to the others nothing when there is less than one for each.
fn share(whole: usize, index: usize, workers: usize) -> usize {
    whole / workers + usize::from(index < whole % workers)
}

/// Counts a downstream connection while it lives.
struct Living(Rc<Worker>);

impl Living {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.own().connections.fetch_add(1, Ordering::Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.own().connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl View {
    /// Joins a snapshot with the idle connections and policy memories that its predecessor had for the same endpoints.
    /// `place` is the worker's index, and how many there are.
    fn new(
        snapshot: &Arc<Snapshot>,
        place: (usize, usize),
        door: &Door,
        before: Option<&Self>,
    ) -> Self {
        let upstreams = snapshot.upstreams.iter().map(|shared| {
            let old = before.and_then(|view| {
                view.upstreams
                    .iter()
                    .find(|old| old.shared.name == shared.name)
            });
            let written =
                |snapshot: &Snapshot| snapshot.config.upstreams.get(&shared.name)?.tls.clone();
            // What was dialled in clear text, or to a name that is asked for no more, must carry no further request.
            let same_tls = before.is_some_and(|view| written(&view.snapshot) == written(snapshot));
            let reaches = shared.endpoints.iter().map(|endpoint| {
                let kept = old.filter(|_| same_tls).and_then(|old| {
                    old.reaches
                        .iter()
                        .find(|reach| Arc::ptr_eq(&reach.endpoint, endpoint))
                });
                kept.map_or_else(
                    || {
                        let cells = door.endpoint(&shared.name, &endpoint.id);
                        let dialling = tokio::sync::Mutex::new(());
                        Rc::new(Reach {
                            endpoint: Arc::clone(endpoint),
                            cells,
                            pool: Pool::default(),
                            dialling,
                            chose_h1: Cell::new(false),
                        })
                    },
                    Rc::clone,
                )
            });
            let connections = &shared.connections;
            Rc::new(UpstreamView {
                reaches: reaches.collect(),
                memory: RefCell::new(old.map(|old| old.memory.take()).unwrap_or_default()),
                limits: Limits {
                    idle: share(connections.idle, place.0, place.1),
                    idle_timeout: connections.idle_timeout,
                    lifetime: connections.lifetime,
                    streams: connections.streams,
                },
                shared: Arc::clone(shared),
            })
        });
        let h1 = snapshot.listeners.iter().map(|listener| {
            Rc::new(h1::server::Settings {
                limits: h1::parse::Limits {
                    head_bytes: listener.limits.head_bytes,
                    fields: listener.limits.fields,
                },
                timeouts: listener.timeouts.clone(),
            })
        });
        let h2 = snapshot.listeners.iter().map(|listener| {
            let settings =
                h2::server::Settings::new(listener.limits.clone(), listener.timeouts.clone());
            Rc::new(settings)
        });
        let routes = snapshot.routes.routes().iter().map(|route| {
            Rc::new(RouteView {
                name: Arc::clone(&route.name),
                cells: door.route(&route.name),
            })
        });
        let listeners = snapshot.listeners.iter().map(|listener| {
            Rc::new(ListenerView {
                shared: Arc::clone(listener),
                cells: door.listener(&listener.name),
            })
        });
        Self {
            upstreams: upstreams.collect(),
            h1: h1.collect(),
            h2: h2.collect(),
            routes: routes.collect(),
            listeners: listeners.collect(),
            snapshot: Arc::clone(snapshot),
        }
    }

    fn reaches(&self) -> impl Iterator<Item = &Rc<Reach>> {
        let upstreams = self.upstreams.iter();
        upstreams.flat_map(|upstream| &upstream.reaches)
    }

    /// Closes the idle connections that `next` did not take over. A request that still runs on this view has the use
    /// of its own connection, and gives none back that nobody would look after.
    fn leave_to(&self, next: &Self) {
        let taken: HashSet<*const Reach> = next.reaches().map(Rc::as_ptr).collect();
        for reach in self.reaches() {
            if !taken.contains(&Rc::as_ptr(reach)) {
                reach.pool.close();
            }
        }
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

/// Shows once a second that the worker is not stuck, and how late it came to that.
async fn beat(worker: Rc<Worker>) {
    let _ending = worker.end_on_panic();
    let mut due = worker.wheel.now();
    loop {
        let now = worker.wheel.now();
        worker.own().beat.store(now.0, Ordering::Relaxed);
        let late = worker.clock.real(now.since(due));
        worker
            .cells
            .lag
            .record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
        due = now + BEAT;
        worker.wheel.sleep(BEAT).await;
    }
}

async fn read_mail<H: Handler>(
    worker: &Rc<Worker>,
    mut inbox: mpsc::UnboundedReceiver<Mail>,
    handler: &H,
) -> std::io::Result<()> {
    let mut accepting = Vec::new();
    let mut draining = false;
    loop {
        let mail = if draining {
            // What is still on its way here is taken in, then the last connection ends the worker.
            match worker
                .wheel
                .timeout(Duration::from_millis(20), inbox.recv())
                .await
            {
                Some(mail) => mail,
                None if worker.own().connections.load(Ordering::Relaxed) == 0 => return Ok(()),
                None => continue,
            }
        } else {
            inbox.recv().await
        };
        match mail {
            None | Some(Mail::Stop) => return Ok(()),
            Some(Mail::Broken) => {
                let message = "a task that it cannot do without panicked, which is a bug";
                return Err(std::io::Error::other(message));
            }
            Some(Mail::Snapshot(snapshot)) => worker.swap(&snapshot),
            Some(Mail::Connection(accepted)) => worker.serve(accepted, handler.clone()),
            Some(Mail::CloseIdle { endpoint, closed }) => worker.give_up_idle(&endpoint, closed),
            Some(Mail::Listen {
                socket,
                listener,
                gate,
            }) => {
                let Ok(acceptor) = Acceptor::new(socket, listener, gate) else {
                    continue;
                };
                let acceptor = Rc::new(acceptor);
                let (worker, handler) = (Rc::clone(worker), handler.clone());
                let running = Rc::clone(&acceptor);
                let task = tokio::task::spawn_local(async move {
                    let _ending = worker.end_on_panic();
                    running
                        .run(&worker.wheel, |accepted| worker.place(accepted, &handler))
                        .await;
                });
                accepting.push((task, acceptor));
            }
            Some(Mail::Drain) => {
                draining = true;
                for (task, acceptor) in accepting.drain(..) {
                    task.abort();
                    acceptor.empty_queue(|accepted| worker.serve(accepted, handler.clone()));
                }
                worker.drain.begin();
                worker.close_idle();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn the_shares_of_all_workers_are_the_whole() {
        for workers in 1..20 {
            for whole in 0..100 {
                let shares = (0..workers).map(|index| share(whole, index, workers));
                assert_eq!(shares.clone().sum::<usize>(), whole);
                let (least, most) = (shares.clone().min(), shares.max());
                assert!(most <= least.map(|least| least + 1));
            }
        }
    }
}
