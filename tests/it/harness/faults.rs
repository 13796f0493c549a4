//! Faults in the program's own code, when a test asks for them.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use plimsoll::clock::Instant;
use plimsoll::http::{Handler, Incoming, Peer, Refusal, Responder, h2};
use plimsoll::worker::Worker;
use tokio::sync::Notify;

/// What the panics say that tests ask for.
pub const ON_PURPOSE: &str = "a panic that a test asked for";

/// The proxy's own handler with faults on demand: `/panic` panics at once, `/hang` when it is told to, `/block` stops
/// its thread until it may go on.
pub struct Faulty {
    proxy: plimsoll::proxy::Proxy,
    worker: usize,
    faults: Arc<Faults>,
}

/// What a test has asked for.
pub struct Faults {
    pub panic: Notify,
    /// Whether the next clone of a handler panics, which is made in the task that accepts.
    pub in_clone: AtomicBool,
    /// The worker that `/block` has stopped.
    pub blocked: Mutex<Option<usize>>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Faults {
    /// With the hand that lets a blocked worker go on: it does too when that is dropped.
    pub fn new() -> (mpsc::Sender<()>, Arc<Self>) {
        let (sender, receiver) = mpsc::channel();
        let faults = Self {
            panic: Notify::new(),
            in_clone: AtomicBool::new(false),
            blocked: Mutex::new(None),
            go_on: Mutex::new(receiver),
        };
        (sender, Arc::new(faults))
    }

    /// What makes the handler of a worker.
    pub fn handler(self: &Arc<Self>) -> impl Fn(&Rc<Worker>) -> Faulty + Clone + Send + use<> {
        let faults = Arc::clone(self);
        move |worker| Faulty {
            proxy: plimsoll::proxy::Proxy::new(worker),
            worker: worker.index,
            faults: Arc::clone(&faults),
        }
    }
}

impl Clone for Faulty {
    fn clone(&self) -> Self {
        assert_on_purpose(!self.faults.in_clone.load(Ordering::Relaxed));
        Self {
            proxy: self.proxy.clone(),
            worker: self.worker,
            faults: Arc::clone(&self.faults),
        }
    }
}

/// Panics, as a test asked for, unless this holds.
pub fn assert_on_purpose(holds: bool) {
    if !holds {
        panic!("{ON_PURPOSE}");
    }
}

impl Handler for Faulty {
    fn exchange(self, incoming: Incoming) -> impl Future<Output = ()> + Unpin + 'static {
        Box::pin(async move {
            let target = incoming.head.target.clone();
            if target == b"/block" {
                *self.faults.blocked.lock().unwrap() = Some(self.worker);
                let _ = self.faults.go_on.lock().unwrap().recv();
            }
            assert_on_purpose(target != b"/panic");
            let mut told = pin!(self.faults.panic.notified());
            let mut exchange = pin!(self.proxy.exchange(incoming));
            // The exchange is under way when the panic drops it.
            poll_fn(|cx| {
                let panics = target == b"/hang" && told.as_mut().poll(cx).is_ready();
                assert_on_purpose(!panics);
                exchange.as_mut().poll(cx)
            })
            .await;
        })
    }

    async fn refuse(
        &self,
        refusal: Refusal,
        begun: Option<Instant>,
        responder: Responder,
        peer: Rc<Peer>,
    ) {
        self.proxy.refuse(refusal, begun, responder, peer).await;
    }

    fn cut(&self, end: h2::End, peer: &Peer) {
        self.proxy.cut(end, peer);
    }

    fn unheard(&self, why: h2::Unheard, peer: &Peer) {
        self.proxy.unheard(why, peer);
    }
}
