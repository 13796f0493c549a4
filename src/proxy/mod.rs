//! One request, start to end: calls the stages in order and decides nothing itself.
//!
//! Not here: what to try next ([`crate::attempt`]), which endpoint ([`crate::balance`]), the rules of HTTP
//! ([`crate::http`]).

pub mod addresses;
pub mod admit;
pub mod apart;
pub mod audience;
pub mod authorize;
pub mod brake;
pub mod certified;
pub mod client;
pub mod entry;
pub mod error;
pub mod exchange;
pub mod fault;
pub mod forward;
pub mod handle;
pub mod heads;
pub mod hedge;
pub mod keyed;
pub mod limited;
pub mod link;
pub mod opening;
pub mod pick;
pub mod request;
pub mod respond;
pub mod runners;
pub mod select;
pub mod stream;
pub mod switch;
#[cfg(test)]
mod together;
pub mod tries;
pub mod verdict;

use std::rc::Rc;

use crate::clock::Instant;
use crate::http::h2::{End, Unheard};
use crate::http::{Handler, Incoming, Peer, Refusal, Responder};
use crate::worker::Worker;
use runners::Runners;

/// Answers the requests of one worker.
#[derive(Clone)]
pub struct Proxy {
    runners: Rc<Runners>,
}

impl Proxy {
    /// For the requests of this worker.
    pub fn new(worker: &Rc<Worker>) -> Self {
        Self {
            runners: Runners::new(worker),
        }
    }
}

impl Handler for Proxy {
    fn exchange(self, incoming: Incoming) -> impl Future<Output = ()> + Unpin + 'static {
        self.runners.run(incoming)
    }

    async fn refuse(
        &self,
        refusal: Refusal,
        begun: Option<Instant>,
        responder: Responder,
        peer: Rc<Peer>,
    ) {
        handle::refuse(self.runners.worker(), refusal, begun, responder, peer).await;
    }

    fn cut(&self, end: End, peer: &Peer) {
        if let Some(listener) = self.runners.worker().view().listener(peer.listener) {
            listener.cells.refused(end.label());
        }
    }

    fn unheard(&self, why: Unheard, peer: &Peer) {
        if let Some(listener) = self.runners.worker().view().listener(peer.listener) {
            listener.cells.refused(why.label());
        }
    }
}
