//! The downstream connections that live on a worker: how many they are, and which are cut before memory runs out.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;

use slab::Slab;
use tokio::task::AbortHandle;

use super::Worker;
use crate::http::h1;

/// What cutting a connection gives back at least: its task, its socket, and what TLS keeps.
const LEAST: usize = 16 * 1024;

/// The connections of one worker.
#[derive(Default)]
pub(super) struct Seats(RefCell<Slab<Seat>>);

#[derive(Default)]
struct Seat {
    task: Option<AbortHandle>,
    /// Once it speaks HTTP/1.
    h1: Weak<h1::Connection>,
}

impl Seat {
    /// Bytes that cutting it gives back, as far as they can be told. What an HTTP/2 connection has under way lies in its
    /// library, and is bounded by windows.
    fn held(&self) -> usize {
        let buffers = self.h1.upgrade().map_or(0, |h1| h1.held());
        LEAST + buffers
    }
}

impl Seats {
    /// Notes what carries the connection of this seat.
    pub(super) fn seat(&self, seat: usize, task: AbortHandle) {
        if let Some(seat) = self.0.borrow_mut().get_mut(seat) {
            seat.task = Some(task);
        }
    }

    /// Cuts connections until `bytes` are given back, those first that hold the most; gives how many.
    pub(super) fn cut(&self, bytes: usize) -> usize {
        let tasks = {
            let mut seats = self.0.borrow_mut();
            let mut all: Vec<(usize, usize)> =
                seats.iter().map(|(key, seat)| (key, seat.held())).collect();
            all.sort_unstable_by_key(|(_, held)| Reverse(*held));
            let mut left = bytes;
            let most = all.into_iter().take_while(|(_, held)| {
                let goes_on = left > 0;
                left = left.saturating_sub(*held);
                goes_on
            });
            let tasks = most.filter_map(|(key, _)| seats.get_mut(key)?.task.take());
            tasks.collect::<Vec<_>>()
        };
        for task in &tasks {
            task.abort();
        }
        tasks.len()
    }
}

/// Counts a downstream connection while it lives.
pub(super) struct Living {
    worker: Rc<Worker>,
    seat: usize,
}

impl Living {
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        worker.own().connections.fetch_add(1, Ordering::Relaxed);
        Self {
            worker: Rc::clone(worker),
            seat: worker.seats.0.borrow_mut().insert(Seat::default()),
        }
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(super) fn seat(&self) -> usize {
        self.seat
    }

    /// It speaks HTTP/1 from now on.
    pub(super) fn speaks(&self, connection: &Rc<h1::Connection>) {
        if let Some(seat) = self.worker.seats.0.borrow_mut().get_mut(self.seat) {
            seat.h1 = Rc::downgrade(connection);
        }
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.worker.seats.0.borrow_mut().try_remove(self.seat);
        self.worker
            .own()
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }
}
