//! What other threads tell a worker and see of it: its mail, read in turn, and the beat that shows it is not stuck.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Answer, Older, Worker};
use crate::http::Handler;
use crate::listener::accept::{Accepted, Acceptor, Host};
use crate::snapshot::Snapshot;
use crate::upstream::endpoint::Endpoint;

/// How often a worker shows that it is not stuck.
const BEAT: Duration = Duration::from_secs(1);
/// Tasks that have their turn before the runtime comes back to one that yielded, at least about.
const TURNS: usize = 32;

/// What a worker is told from other threads.
pub enum Mail {
    /// A new configuration is in force.
    Snapshot(Arc<Snapshot>),
    /// A connection that another worker accepted.
    Connection(Accepted),
    /// Accept from this socket too, which belongs to the set of this number.
    Listen {
        socket: Arc<OwnedFd>,
        set: usize,
        host: Host,
    },
    /// Other listeners are in force. Sent after the snapshot was sent to every worker: one that has not got it would not
    /// know the listener of a connection that another hands to it.
    Doors(Arc<Moves>),
    /// Close an idle connection to this endpoint, which has as many as it may have, and say so once it is closed, or
    /// that there is none.
    CloseIdle {
        endpoint: Arc<Endpoint>,
        answer: mpsc::UnboundedSender<Answer>,
    },
    /// Memory is short: close what rests, and give back what can be spared.
    Shed,
    /// Memory runs out: cut connections that hold so many bytes, those first that hold the most, and tell how many were cut.
    Cut {
        bytes: usize,
        answer: mpsc::UnboundedSender<usize>,
    },
    /// Note in the mailbox what runs on older configurations, and let go of this.
    Report(mpsc::UnboundedSender<()>),
    /// Take no new connection, finish what runs, then end. Sets of sockets that are `left` go on being served by another
    /// process, which takes what waits in their queues.
    Drain { left: Arc<HashSet<usize>> },
    /// End at once; what runs is cut.
    Stop,
    /// From the worker itself: a task that it cannot do without has panicked.
    Broken,
}

/// What happens to sets of sockets that are bound.
#[derive(Debug, Default)]
pub struct Moves {
    /// Sets to close, once what waits in their queues was accepted.
    pub closed: Vec<usize>,
    /// Sets that accept for another listener from now on.
    pub moved: Vec<(usize, Host)>,
    /// Listeners whose connections are to finish what runs.
    pub gone: Vec<usize>,
}

/// A socket that a worker accepts from.
struct Accepting {
    set: usize,
    task: JoinHandle<()>,
    acceptor: Rc<Acceptor>,
}

impl Accepting {
    fn start<H: Handler>(worker: &Rc<Worker>, handler: &H, set: usize, acceptor: Acceptor) -> Self {
        let acceptor = Rc::new(acceptor);
        let (worker, handler) = (Rc::clone(worker), handler.clone());
        let running = Rc::clone(&acceptor);
        let task = tokio::task::spawn_local(async move {
            let _ending = worker.end_on_panic();
            running
                .run(&worker.wheel, |accepted| worker.place(accepted, &handler))
                .await;
        });
        Self {
            set,
            task,
            acceptor,
        }
    }

    /// Takes in what waits in the kernel's queue, and closes the socket.
    fn end<H: Handler>(self, worker: &Rc<Worker>, handler: &H) {
        self.task.abort();
        self.acceptor
            .empty_queue(|accepted| worker.serve(accepted, handler.clone()));
    }
}

/// Does what `moves` says to the sockets of this worker, and to the connections of what is gone.
fn carry_out<H: Handler>(
    moves: &Moves,
    accepting: &mut Vec<Accepting>,
    worker: &Rc<Worker>,
    handler: &H,
) {
    for (set, host) in &moves.moved {
        for one in accepting.iter().filter(|one| one.set == *set) {
            one.acceptor.host.replace(host.clone());
        }
    }
    for one in accepting.extract_if(.., |one| moves.closed.contains(&one.set)) {
        one.end(worker, handler);
    }
    let view = worker.view();
    for listener in moves.gone.iter().filter_map(|one| view.listener(*one)) {
        listener.drain.begin();
    }
}

/// One worker as the others see it.
pub struct Mailbox {
    pub inbox: mpsc::UnboundedSender<Mail>,
    /// Downstream connections that live on it.
    pub connections: AtomicUsize,
    /// When it last showed that it is not stuck, in nanoseconds of the process's clock.
    pub beat: AtomicU64,
    /// What runs on older configurations, as of the last beat. Guards a short list.
    pub older: Mutex<Vec<Older>>,
}

impl Mailbox {
    /// Of a worker that reads this inbox.
    pub fn new(inbox: mpsc::UnboundedSender<Mail>) -> Self {
        Self {
            inbox,
            connections: AtomicUsize::new(0),
            beat: AtomicU64::new(0),
            older: Mutex::default(),
        }
    }
}

/// Shows once a second that the worker is not stuck, and how late it came to that.
pub(super) async fn beat(worker: Rc<Worker>) {
    let _ending = worker.end_on_panic();
    let mut due = worker.wheel.now();
    loop {
        let now = worker.wheel.now();
        worker.own().beat.store(now.0, Ordering::Relaxed);
        worker.note_older();
        let late = worker.clock.real(now.since(due));
        worker
            .cells
            .lag
            .record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
        due = now + BEAT;
        worker.wheel.sleep(BEAT).await;
    }
}

pub(super) async fn read_mail<H: Handler>(
    worker: &Rc<Worker>,
    mut inbox: mpsc::UnboundedReceiver<Mail>,
    handler: &H,
) -> std::io::Result<()> {
    let mut accepting = Vec::new();
    let mut draining = false;
    loop {
        let mail = if draining {
            // What is still on its way here is taken in, then the end of the last connection and execution ends the worker.
            match worker
                .wheel
                .timeout(Duration::from_millis(20), inbox.recv())
                .await
            {
                Some(mail) => mail,
                None if worker.is_done() => return Ok(()),
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
            Some(Mail::Shed) => {
                worker.view().pulse();
                worker.close_idle();
                worker.spare();
            }
            Some(Mail::Cut { bytes, answer }) => {
                let cut = worker.seats.cut(bytes);
                // Their tasks end in their turn.
                for _ in 0..=cut / TURNS {
                    tokio::task::yield_now().await;
                }
                worker.spare();
                // Whoever asked may have ended.
                let _ = answer.send(cut);
            }
            Some(Mail::CloseIdle { endpoint, answer }) => worker.give_room(&endpoint, answer),
            Some(Mail::Listen { socket, set, host }) => {
                if let Ok(acceptor) = Acceptor::new(socket, host) {
                    accepting.push(Accepting::start(worker, handler, set, acceptor));
                }
            }
            Some(Mail::Report(_done)) => worker.note_older(),
            Some(Mail::Doors(moves)) => carry_out(&moves, &mut accepting, worker, handler),
            Some(Mail::Drain { left }) => {
                draining = true;
                for one in accepting.drain(..) {
                    if left.contains(&one.set) {
                        one.task.abort();
                    } else {
                        one.end(worker, handler);
                    }
                }
                worker.begin_draining();
                worker.close_idle();
            }
        }
    }
}
