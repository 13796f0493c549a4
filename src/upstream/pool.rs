//! Idle connections of one worker to one endpoint: last in, first out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::clock::Instant;
use crate::http::{h1, h2};
use crate::observe::EndpointCells;

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
}

/// Idle connections of one worker to one endpoint.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<VecDeque<(Instant, Connected)>>,
    multiplexed: RefCell<Vec<Multiplexed>>,
}

impl Pool {
    /// The most recently used connection that is still alive.
    pub fn take(&self, now: Instant, limits: &Limits, total: &Total) -> Option<Connected> {
        let mut idle = self.idle.borrow_mut();
        while let Some((since, connected)) = idle.pop_back() {
            total.remove(1);
            if fresh(since, &connected, now, limits) && connected.client.is_alive() {
                return Some(connected);
            }
        }
        None
    }

    /// Keeps a connection for later, or closes the one that was idle longest. Gives whether it was kept.
    pub fn give(&self, now: Instant, connected: Connected, limits: &Limits, total: &Total) -> bool {
        if now.since(connected.born) >= limits.lifetime
            || limits.idle == 0
            || !connected.client.is_reusable()
        {
            return false;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= limits.idle || total.is_full() {
            if idle.pop_front().is_none() {
                return false;
            }
            total.remove(1);
        }
        total.add();
        idle.push_back((now, connected));
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
        Some(found.client.clone())
    }

    /// Adds an HTTP/2 connection.
    pub fn add(&self, now: Instant, client: h2::Client) {
        self.multiplexed.borrow_mut().push(Multiplexed {
            client,
            born: now,
            used: now,
        });
    }

    /// Closes what was idle too long, lived too long or was closed by the endpoint. Gives how many HTTP/1 ones went.
    pub fn sweep(&self, now: Instant, limits: &Limits) -> usize {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|(since, connected)| {
            fresh(*since, connected, now, limits) && connected.client.is_alive()
        });
        self.multiplexed.borrow_mut().retain_mut(|one| {
            if one.client.in_use() > 0 {
                one.used = now;
                return one.client.is_alive() || one.client.in_use() > 0;
            }
            one.client.is_alive()
                && now.since(one.used) < limits.idle_timeout
                && now.since(one.born) < limits.lifetime
        });
        before - idle.len()
    }

    /// Closes every idle connection.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
        self.multiplexed.borrow_mut().clear();
    }

    /// Idle HTTP/1 connections.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.multiplexed.borrow().is_empty()
    }
}

fn fresh(since: Instant, connected: &Connected, now: Instant, limits: &Limits) -> bool {
    now.since(since) < limits.idle_timeout && now.since(connected.born) < limits.lifetime
}

/// Idle connections of one worker to all endpoints, against its share of the process-wide cap.
#[derive(Debug)]
pub struct Total {
    kept: std::cell::Cell<usize>,
    cap: std::cell::Cell<usize>,
}

impl Total {
    /// At most `cap`.
    pub fn new(cap: usize) -> Self {
        Self {
            kept: std::cell::Cell::new(0),
            cap: std::cell::Cell::new(cap),
        }
    }

    /// From now on at most `cap`. What is kept beyond it goes as it is used or grows old.
    pub fn limit(&self, cap: usize) {
        self.cap.set(cap);
    }

    fn is_full(&self) -> bool {
        self.kept.get() >= self.cap.get()
    }

    fn add(&self) {
        self.kept.set(self.kept.get() + 1);
    }

    /// So many were taken out or closed.
    pub fn remove(&self, count: usize) {
        self.kept.set(self.kept.get().saturating_sub(count));
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        self.kept.get()
    }
}

/// Open connections to an endpoint, for display.
pub fn open(endpoint: &Endpoint) -> usize {
    let open: &AtomicUsize = &endpoint.open;
    open.load(Ordering::Relaxed)
}
