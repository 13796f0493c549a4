//! The tasks that answer the requests of one connection: they end with it.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::task::AbortHandle;

/// The running exchanges of a connection. Dropping it cancels them.
#[derive(Default)]
pub(super) struct Exchanges(Rc<Running>);

#[derive(Default)]
struct Running {
    /// `None` while a task is being started, and once it was cancelled.
    tasks: RefCell<Slab<Option<AbortHandle>>>,
    /// The connection's task, woken when the last exchange ends.
    waker: Cell<Option<Waker>>,
}

impl Exchanges {
    /// Whether none runs; if some do, the task is woken when the last of them ends.
    pub(super) fn are_done(&self, cx: &Context<'_>) -> bool {
        if self.0.tasks.borrow().is_empty() {
            return true;
        }
        let kept = match self.0.waker.take() {
            Some(waker) if waker.will_wake(cx.waker()) => waker,
            _ => cx.waker().clone(),
        };
        self.0.waker.set(Some(kept));
        false
    }

    /// Runs one more.
    pub(super) fn start(&self, exchange: impl Future<Output = ()> + Unpin + 'static) {
        let key = self.0.tasks.borrow_mut().insert(None);
        let place = Place {
            running: Rc::clone(&self.0),
            key,
        };
        let task = tokio::task::spawn_local(Placed { exchange, place });
        if let Some(handle) = self.0.tasks.borrow_mut().get_mut(key) {
            *handle = Some(task.abort_handle());
        }
    }

    /// Cancels all.
    pub(super) fn cancel(&self) {
        let handles: Vec<_> = self
            .0
            .tasks
            .borrow_mut()
            .iter_mut()
            .filter_map(|(_, handle)| handle.take())
            .collect();
        for handle in handles {
            handle.abort();
        }
    }
}

impl Drop for Exchanges {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// An exchange in its task, by hand: an `async` block would have room for all of it twice.
struct Placed<F> {
    exchange: F,
    #[expect(dead_code, reason = "its drop is what it is for")]
    place: Place,
}

impl<F: Future<Output = ()> + Unpin> Future for Placed<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.exchange).poll(cx)
    }
}

/// Strikes an exchange out when it ends, however it ends.
struct Place {
    running: Rc<Running>,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tasks = self.running.tasks.borrow_mut();
        tasks.try_remove(self.key);
        if tasks.is_empty()
            && let Some(waker) = self.running.waker.take()
        {
            drop(tasks);
            waker.wake();
        }
    }
}
