//! Idle connections of one worker to one endpoint: last in, first out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::clock::Instant;
use crate::http::{h1, h2};
use crate::observe::EndpointCells;

/// How long connections beyond the number that may be idle are kept. Were they closed at once, a load with more
/// requests in flight than that would dial for a large part of them, at several times the cost of a request.
const SURPLUS: Duration = Duration::from_secs(1);

/// One worker's share of what may be kept, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Idle connections of this worker to this endpoint.
    pub idle: usize,
    pub idle_timeout: Duration,
    pub lifetime: Duration,
    /// Streams at once on one HTTP/2 connection.
    pub streams: usize,
}

/// Counts an open connection while it lives.
pub struct Open {
    endpoint: Arc<Endpoint>,
    cells: Option<Arc<EndpointCells>>,
}

impl Open {
    /// Counts one more, unless `max` are open.
    pub fn reserve(endpoint: &Arc<Endpoint>, max: usize) -> Option<Self> {
        let taken = endpoint.open.fetch_add(1, Ordering::Relaxed);
        if taken >= max {
            endpoint.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self {
            endpoint: Arc::clone(endpoint),
            cells: None,
        })
    }

    /// Counts its end in these cells too: it was made.
    pub fn counted(mut self, cells: &Arc<EndpointCells>) -> Self {
        self.cells = Some(Arc::clone(cells));
        self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.endpoint.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(cells) = &self.cells {
            cells.connections_closed.add(1);
        }
    }
}

/// A connection to an endpoint that carries one HTTP/1 exchange at a time.
pub struct Connected {
    pub client: h1::Client,
    pub born: Instant,
    pub open: Open,
}

/// A connection to an endpoint that carries many HTTP/2 streams.
pub struct Multiplexed {
    pub client: h2::Client,
    pub born: Instant,
    /// When its last stream ended, as far as the pool saw it.
    pub used: Instant,
    /// While it is known to be idle.
    kept: Option<Kept>,
}

/// A connection that waits for its next request.
struct Idle {
    since: Instant,
    connected: Connected,
    /// Held for its drop: however the connection leaves the pool, it is counted no more.
    _kept: Kept,
}

/// Idle connections of one worker to one endpoint.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<VecDeque<Idle>>,
    multiplexed: RefCell<Vec<Multiplexed>>,
    is_closed: Cell<bool>,
}

impl Pool {
    /// The most recently used connection that is still alive.
    pub fn take(&self, now: Instant, limits: &Limits) -> Option<Connected> {
        let mut idle = self.idle.borrow_mut();
        while let Some(last) = idle.pop_back() {
            if last.is_fit(now, limits) {
                return Some(last.connected);
            }
        }
        None
    }

    /// Keeps a connection for later; while the worker has as many as it may, in place of the one that was idle longest.
    /// Gives whether it was kept. More than `limits.idle` are kept for a moment.
    pub fn give(&self, now: Instant, connected: Connected, limits: &Limits, total: &Total) -> bool {
        if now.since(connected.born) >= limits.lifetime
            || limits.idle == 0
            || self.is_closed.get()
            || !connected.client.is_reusable()
        {
            return false;
        }
        let mut idle = self.idle.borrow_mut();
        if total.is_full() && idle.pop_front().is_none() {
            return false;
        }
        idle.push_back(Idle {
            since: now,
            connected,
            _kept: total.keep(),
        });
        true
    }

    /// An HTTP/2 connection that takes another stream, made no earlier than `since`.
    pub fn multiplexed(&self, now: Instant, since: Instant, limits: &Limits) -> Option<h2::Client> {
        let mut all = self.multiplexed.borrow_mut();
        let found = all.iter_mut().find(|one| {
            one.born >= since
                && one.client.is_alive()
                && one.client.in_use() < limits.streams.min(one.client.capacity())
                && now.since(one.born) < limits.lifetime
        })?;
        found.used = now;
        found.kept = None;
        Some(found.client.clone())
    }

    /// Adds an HTTP/2 connection.
    pub fn add(&self, now: Instant, client: h2::Client) {
        if self.is_closed.get() {
            return;
        }
        self.multiplexed.borrow_mut().push(Multiplexed {
            client,
            born: now,
            used: now,
            kept: None,
        });
    }

    /// A stream of this HTTP/2 connection ended. Without another one the connection is idle: it is kept like any, or
    /// closed.
    pub fn rest(&self, now: Instant, client: &h2::Client, limits: &Limits, total: &Total) {
        if client.in_use() > 0 {
            return;
        }
        let mut all = self.multiplexed.borrow_mut();
        let Some(at) = all.iter().position(|one| one.client.is(client)) else {
            return;
        };
        all[at].used = now;
        if all[at].kept.is_none() {
            let idle = all.iter().filter(|one| one.kept.is_some()).count();
            match self.keep(idle, limits, total) {
                Some(kept) => all[at].kept = Some(kept),
                None => drop(all.swap_remove(at)),
            }
        }
    }

    /// Counts one more idle connection, if there is room beside so many HTTP/2 ones.
    fn keep(&self, multiplexed: usize, limits: &Limits, total: &Total) -> Option<Kept> {
        let is_full = self.idle.borrow().len() + multiplexed >= limits.idle || total.is_full();
        (!is_full).then(|| total.keep())
    }

    /// Closes what was idle too long, lived too long or was closed by the endpoint.
    pub fn sweep(&self, now: Instant, limits: &Limits, total: &Total) {
        self.idle.borrow_mut().retain(|one| one.is_fit(now, limits));
        self.trim(now, limits);
        let mut idle = 0;
        self.multiplexed.borrow_mut().retain_mut(|one| {
            if one.client.in_use() > 0 {
                one.used = now;
                one.kept = None;
                return true;
            }
            // Those whose last stream was given up half way are found to be idle here.
            one.kept = one.kept.take().or_else(|| self.keep(idle, limits, total));
            idle += 1;
            one.kept.is_some()
                && one.client.is_alive()
                && now.since(one.used) < limits.idle_timeout
                && now.since(one.born) < limits.lifetime
        });
    }

    /// Closes what is more than may be kept for long.
    fn trim(&self, now: Instant, limits: &Limits) {
        let mut idle = self.idle.borrow_mut();
        let surplus = idle.len().saturating_sub(limits.idle);
        // The longest idle stand in front.
        let old = idle
            .iter()
            .take(surplus)
            .take_while(|one| now.since(one.since) >= SURPLUS)
            .count();
        idle.drain(..old);
    }

    /// Closes the connection that was idle longest; what it gives ends once it is closed.
    pub fn close_one(&self) -> Option<impl Future<Output = ()> + use<>> {
        let first = self.idle.borrow_mut().pop_front();
        let mut all = self.multiplexed.borrow_mut();
        let shared = match &first {
            Some(_) => None,
            None => {
                let at = all.iter().position(|one| one.client.in_use() == 0)?;
                Some(all.swap_remove(at).client.end())
            }
        };
        Some(async move {
            drop(first);
            if let Some(end) = shared {
                end.await;
            }
        })
    }

    /// Closes every idle connection.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
        self.multiplexed.borrow_mut().clear();
    }

    /// Closes every idle connection and keeps none any more: nobody will take one from here again.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.clear();
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.multiplexed.borrow().is_empty()
    }
}

impl Idle {
    fn is_fit(&self, now: Instant, limits: &Limits) -> bool {
        now.since(self.since) < limits.idle_timeout
            && now.since(self.connected.born) < limits.lifetime
            && self.connected.client.is_alive()
    }
}

/// Idle connections of one worker to all endpoints, against its share of the process-wide cap.
#[derive(Debug)]
pub struct Total {
    kept: Rc<Cell<usize>>,
    cap: Cell<usize>,
}

impl Total {
    /// At most `cap`.
    pub fn new(cap: usize) -> Self {
        Self {
            kept: Rc::default(),
            cap: Cell::new(cap),
        }
    }

    /// From now on at most `cap`. What is kept beyond it goes as it is used or grows old.
    pub fn limit(&self, cap: usize) {
        self.cap.set(cap);
    }

    fn is_full(&self) -> bool {
        self.kept.get() >= self.cap.get()
    }

    fn keep(&self) -> Kept {
        self.kept.set(self.kept.get() + 1);
        Kept(Rc::clone(&self.kept))
    }
}

/// Counts one idle connection until it is dropped.
#[derive(Debug)]
struct Kept(Rc<Cell<usize>>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Open connections to an endpoint, those of all workers and those being dialled. An endpoint that has as many as it
/// may have is picked no more, unless the worker keeps an idle one.
pub fn open(endpoint: &Endpoint) -> usize {
    let open: &AtomicUsize = &endpoint.open;
    open.load(Ordering::Relaxed)
}
