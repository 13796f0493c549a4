//! What other threads tell a worker and see of it: its mail, read in turn, and the beat that shows it is not stuck.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Answer, Worker};
use crate::http::Handler;
use crate::listener::accept::{Accepted, Acceptor, Gate};
use crate::snapshot::Snapshot;
use crate::upstream::endpoint::Endpoint;

/// How often a worker shows that it is not stuck.
const BEAT: Duration = Duration::from_secs(1);

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
    /// Close an idle connection to this endpoint, which has as many as it may have, and say so once it is closed, or
    /// that there is none.
    CloseIdle {
        endpoint: Arc<Endpoint>,
        answer: mpsc::UnboundedSender<Answer>,
    },
    /// Memory is short: close what rests.
    Shed,
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

/// Shows once a second that the worker is not stuck, and how late it came to that.
pub(super) async fn beat(worker: Rc<Worker>) {
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
                worker.drain.pulse();
                worker.close_idle();
            }
            Some(Mail::CloseIdle { endpoint, answer }) => worker.give_room(&endpoint, answer),
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
