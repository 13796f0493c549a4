//! What a panic does to its worker. The runtime keeps it within the task and drops what the task held; here it is
//! counted, or ends the worker where that cannot do without the task.
//!
//! Not here: saying where it happened, which is the panic hook's.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{Mail, Worker};
use crate::clock::Instant;
use crate::http::{Handler, Incoming, Peer, Refusal, Responder, h2};

/// Held by what one connection or stream needs: a panic that drops it is counted.
pub struct Counting<'a>(&'a Worker);

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cells.panics.add(1);
        }
    }
}

/// Held by a task that the whole worker needs: a panic that drops it ends the worker.
pub(super) struct Ending<'a>(&'a Worker);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.own().inbox.send(Mail::Broken);
        }
    }
}

impl Worker {
    /// To be held by a task that serves one connection.
    pub fn count_panic(&self) -> Counting<'_> {
        Counting(self)
    }

    /// To be held by a task without which this worker is of no use.
    pub(super) fn end_on_panic(&self) -> Ending<'_> {
        Ending(self)
    }
}

/// A handler whose exchanges run in tasks of their own, which the guard of their connection does not see.
#[derive(Clone)]
pub(super) struct Watched<H> {
    pub(super) worker: Rc<Worker>,
    pub(super) handler: H,
}

/// An exchange whose panics are counted.
struct Counted<F> {
    worker: Rc<Worker>,
    exchange: F,
}

impl<F: Future<Output = ()> + Unpin> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { worker, exchange } = self.get_mut();
        let _counting = worker.count_panic();
        Pin::new(exchange).poll(cx)
    }
}

impl<H: Handler> Handler for Watched<H> {
    fn exchange(self, incoming: Incoming) -> impl Future<Output = ()> + Unpin + 'static {
        let Self { worker, handler } = self;
        Counted {
            worker,
            exchange: handler.exchange(incoming),
        }
    }

    async fn refuse(
        &self,
        refusal: Refusal,
        begun: Option<Instant>,
        responder: Responder,
        peer: Rc<Peer>,
    ) {
        let _counting = self.worker.count_panic();
        self.handler.refuse(refusal, begun, responder, peer).await;
    }

    fn cut(&self, end: h2::End, peer: &Peer) {
        self.handler.cut(end, peer);
    }

    fn unheard(&self, why: h2::Unheard, peer: &Peer) {
        self.handler.unheard(why, peer);
    }
}
