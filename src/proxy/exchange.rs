//! All that is known of one request so far. What happened is recorded once, when it is dropped.

use std::rc::Rc;

use super::error::ProxyError;
use crate::clock::Instant;
use crate::http::Peer;
use crate::http::buffers::Lent;
use crate::http::head::RequestHead;
use crate::worker::{View, Worker};

/// One request with its response and record.
pub struct Exchange {
    pub worker: Rc<Worker>,
    /// What it started with, whatever is swapped in meanwhile.
    pub view: Rc<View>,
    pub head: Lent<RequestHead>,
    pub peer: Rc<Peer>,
    pub started: Instant,
    /// Low 64 bits of chance; shown as 16 hex digits.
    pub id: u64,
    pub route: Option<usize>,
    pub upstream: Option<usize>,
    pub endpoint: Option<usize>,
    pub attempts: u32,
    pub reused: bool,
    /// 0 until a head was sent to the client.
    pub status: u16,
    pub error: Option<ProxyError>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// When the endpoint was connected, when the request was sent to it, when its head came.
    pub connected: Instant,
    pub sent: Instant,
    pub answered: Instant,
}

impl Exchange {
    /// Begins with a request head.
    pub fn start(worker: &Rc<Worker>, head: Lent<RequestHead>, peer: Rc<Peer>) -> Self {
        let id = worker.random.borrow_mut().next_u64();
        Self {
            view: worker.view(),
            worker: Rc::clone(worker),
            head,
            peer,
            started: worker.wheel.now(),
            id,
            route: None,
            upstream: None,
            endpoint: None,
            attempts: 0,
            reused: false,
            status: 0,
            error: None,
            bytes_in: 0,
            bytes_out: 0,
            connected: Instant::FAR,
            sent: Instant::FAR,
            answered: Instant::FAR,
        }
    }

    /// The id as it is shown.
    pub fn id(&self) -> String {
        format!("{:016x}", self.id)
    }
}
