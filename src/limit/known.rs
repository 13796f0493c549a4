//! What is known of the keys of one limiter: the counting itself.
//!
//! Its few methods take and give plain values, so that a store that several proxies share could stand in their place: whoever
//! asks hands over a key, what is allowed and the time, and gets a verdict and where that was noted. Nothing else touches the
//! numbers. Here they lie in a [`Table`] that all workers of the process share.

use std::sync::Arc;

use super::bandwidth::Bandwidth;
use super::concurrency::{self, UnderWay};
use super::counts::{Counts, Event};
use super::notice::Notice;
use super::rate::{Rate, Verdict};
use super::table::{Changed, Numbers, Place, Table};
use crate::clock::Instant;
use crate::observe::event::Events;

/// What is known of all keys of a limiter: State.
#[derive(Debug)]
pub(super) struct Known {
    table: Table,
    pub(super) counts: Counts,
    /// What was told of it, and where that is told.
    pub(super) notice: Notice,
    pub(super) events: Arc<Events>,
}

/// Whose number it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) key: u128,
    /// Keys that may be known.
    pub(super) most: usize,
    /// The worker's.
    pub(super) lane: usize,
}

/// A rate of one key, and the slowest of those that share a number where there is no room for the key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) rate: Rate,
    pub(super) slowest: Rate,
}

/// Times by which buckets are full; none is lost that has passed.
#[derive(Debug, Clone, Copy)]
struct Times(Instant);

impl Numbers for Times {
    fn fresh(&self, last: u64) -> u64 {
        last
    }

    fn is_idle(&self, number: u64) -> bool {
        Rate::is_idle(number, self.0)
    }
}

impl Known {
    /// With room for `most` keys, counted by so many workers.
    pub(super) fn new(most: usize, workers: usize, events: Arc<Events>) -> Self {
        Self {
            table: Table::new(most),
            counts: Counts::new(workers),
            notice: Notice::default(),
            events,
        }
    }

    /// Keys that it has room for.
    pub(super) fn room(&self) -> usize {
        self.table.room()
    }

    /// Keys that are known, idle ones too.
    pub(super) fn keys(&self) -> usize {
        self.table.used()
    }

    /// What becomes of a request of a rate. One that passes has been counted, and can be given back.
    pub(super) fn take(
        &self,
        counted: Counted,
        allowed: Allowed,
        now: Instant,
    ) -> (Verdict, Place) {
        let Allowed { rate, slowest } = allowed;
        let step = |full, is_shared| {
            let slowest = if is_shared { &slowest } else { &rate };
            rate.take(full, now, slowest)
        };
        self.change(counted, &Times(now), step)
    }

    /// Takes a request back that had passed.
    pub(super) fn give_back(&self, place: Place, rate: Rate) {
        self.table.change_back(place, |full| rate.give_back(full));
    }

    /// One more under way, if there are not `max` already; how many there are then.
    pub(super) fn enter(&self, counted: Counted, max: u64) -> Option<(u64, Place)> {
        let step = |number, _| concurrency::enter(number, max);
        let (entered, place) = self.change(counted, &UnderWay, step);
        Some((entered.ok()?, place))
    }

    /// One less.
    pub(super) fn leave(&self, place: Place) {
        self.table.change_back(place, concurrency::leave);
    }

    /// Reserves bytes; when they may go.
    pub(super) fn reserve(
        &self,
        counted: Counted,
        bandwidth: Bandwidth,
        bytes: u64,
        now: Instant,
    ) -> (Instant, Place) {
        let step = |full, _| {
            let (full, at) = bandwidth.reserve(full, now, bytes);
            (Some(full), at)
        };
        self.change(counted, &Times(now), step)
    }

    /// Gives bytes back that were reserved and not used.
    pub(super) fn unreserve(&self, place: Place, bandwidth: Bandwidth, bytes: u64) {
        let nanos = bandwidth.cost(bytes);
        let back = |full: u64| full.saturating_sub(nanos);
        self.table.change_back(place, back);
    }

    /// Forgets a part of the times that have passed.
    pub(super) fn sweep_times(&self, turn: usize, now: Instant) {
        self.table.sweep(turn, &Times(now));
    }

    /// Forgets a part of the keys that have nothing under way.
    pub(super) fn sweep_under_way(&self, turn: usize) {
        self.table.sweep(turn, &UnderWay);
    }

    /// Takes over the times of another, as far as there is room.
    pub(super) fn take_over_times(&self, other: &Self, most: usize) {
        // None has passed before time began.
        let all = Times(Instant(0));
        self.table.take_over(&other.table, most, &all);
    }

    fn change<R>(
        &self,
        counted: Counted,
        numbers: &impl Numbers,
        step: impl FnMut(u64, bool) -> (Option<u64>, R),
    ) -> (R, Place) {
        let Changed {
            result,
            place,
            evicted,
        } = self.table.change(counted.key, counted.most, numbers, step);
        if place.is_shared() {
            self.counts.note(counted.lane, Event::Overflow);
        }
        if evicted {
            self.counts.note(counted.lane, Event::Evicted);
        }
        (result, place)
    }
}
