//! The futures that exchanges run in. One carries one exchange after the other: its state is several kilobytes, which would
//! be allocated and moved for every request otherwise.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::handle;
use crate::http::Incoming;
use crate::worker::Worker;

/// Idle ones that are kept; more are freed.
const KEPT: usize = 64;

/// Those of one worker.
pub struct Runners {
    worker: Rc<Worker>,
    idle: RefCell<Vec<Runner>>,
}

impl Runners {
    /// None yet; they are made as they are needed.
    pub fn new(worker: &Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            worker: Rc::clone(worker),
            idle: RefCell::new(Vec::new()),
        })
    }

    /// The worker whose exchanges they carry.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Carries one exchange from its request head to the end of its answer. Dropping the future ends it.
    pub fn run(self: &Rc<Self>, incoming: Incoming) -> Running {
        let idle = self.idle.borrow_mut().pop();
        let runner = idle.unwrap_or_else(|| Runner::new(&self.worker));
        runner.desk.incoming.set(Some(incoming));
        Running {
            runner: Some(runner),
            home: Rc::clone(self),
        }
    }

    fn give_back(&self, runner: Runner) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT {
            idle.push(runner);
        }
    }
}

struct Runner {
    desk: Rc<Desk>,
    future: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// Where a runner finds its next exchange, and says that it is done.
#[derive(Default)]
struct Desk {
    incoming: Cell<Option<Incoming>>,
    is_done: Cell<bool>,
}

impl Runner {
    fn new(worker: &Rc<Worker>) -> Self {
        let desk = Rc::new(Desk::default());
        let (own, worker) = (Rc::clone(&desk), Rc::clone(worker));
        let future = Box::pin(async move {
            loop {
                let next = poll_fn(|_| own.incoming.take().map_or(Poll::Pending, Poll::Ready));
                handle::handle(&worker, next.await).await;
                own.is_done.set(true);
            }
        });
        Self { desk, future }
    }
}

/// One exchange under way.
pub struct Running {
    /// `None` once it is over.
    runner: Option<Runner>,
    home: Rc<Runners>,
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(runner) = &mut self.runner {
            // It never ends: after one exchange it waits for another.
            let Poll::Pending = runner.future.as_mut().poll(cx);
            if !runner.desk.is_done.take() {
                return Poll::Pending;
            }
        }
        if let Some(runner) = self.runner.take() {
            self.home.give_back(runner);
        }
        Poll::Ready(())
    }
}
