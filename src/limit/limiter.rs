//! A limiter: who is counted, what is allowed to each, and what is known of them.
//!
//! What was written is compiled anew by each configuration; what is known ([`Known`]) stays under the limiter's name. The
//! few methods of `Known` are all that a store elsewhere, shared by several proxies, would have to offer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::bandwidth::Bandwidth;
use super::concurrency::{self, UnderWay};
use super::counts::{Counts, Event};
use super::key::{Client, Found, Key};
use super::notice::{Notice, Told};
use super::rate::{Rate, Verdict};
use super::table::{Changed, Numbers, Place, Table};
use crate::clock::Instant;
use crate::config::{Direction, MissingKey, Network};
use crate::observe::event::Events;

/// A limiter as it is in force.
#[derive(Debug)]
pub struct Limiter {
    pub name: Box<str>,
    pub rule: Rule,
    /// It refuses nobody and only counts whom it would refuse.
    pub dry_run: bool,
    /// Whether clients are told of it.
    pub is_told: bool,
    pub(super) key: Key,
    pub(super) missing: MissingKey,
    /// Keys that may be known.
    pub(super) most: usize,
    pub(super) known: Arc<Known>,
}

/// What is allowed.
#[derive(Debug)]
pub enum Rule {
    Rate(Rate, Exceptions<Rate>),
    Concurrency(u64, Exceptions<u64>),
    Bandwidth(Bandwidth, Direction),
}

/// What is allowed to those who are named: `None` is everything.
#[derive(Debug, Default)]
pub struct Exceptions<T> {
    pub(super) keys: HashMap<u128, Option<T>>,
    /// The longest prefix first.
    pub(super) networks: Box<[(Network, Option<T>)]>,
}

/// What is known of all keys of a limiter: State.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) table: Table,
    pub(super) counts: Counts,
    pub(super) notice: Notice,
    pub(super) events: Arc<Events>,
}

/// Times by which buckets are full; none is lost that has passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times(pub(super) Instant);

impl Numbers for Times {
    fn fresh(&self, last: u64) -> u64 {
        last
    }

    fn is_idle(&self, number: u64) -> bool {
        Rate::is_idle(number, self.0)
    }
}

/// What a limiter makes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appraisal {
    /// It is allowed what all are.
    Usual,
    /// It is named, and has a rule of its own.
    Own,
    /// It is named, and may do as it likes.
    Free,
    /// It lacks what it would be counted by, and is not.
    Uncounted,
    /// It lacks that, and is refused.
    Refused,
}

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It may come again after this time.
    Rate(Duration),
    /// As many as may are under way.
    Concurrency,
    /// It lacks what it would be counted by.
    NoKey,
}

/// The right to be under way, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    known: Arc<Known>,
    place: Place,
    lane: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.known.table.change_back(self.place, concurrency::leave);
        self.known.counts.note(self.lane, Event::Left);
    }
}

/// What a request took of one limiter.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nothing, and it may go on.
    Nothing,
    /// Of a rate, with what remains.
    Rate(Verdict, Rate, Place),
    Permit(Permit),
}

impl<T> Exceptions<T> {
    fn of(&self, found: &Found) -> Option<&Option<T>> {
        if self.keys.is_empty() && self.networks.is_empty() {
            return None;
        }
        self.keys
            .get(&found.hash)
            .or_else(|| self.of_network(found.address?))
    }

    fn of_network(&self, address: IpAddr) -> Option<&Option<T>> {
        let mut networks = self.networks.iter();
        let found = networks.find(|(network, _)| network.contains(address));
        found.map(|(_, allowed)| allowed)
    }
}

impl Limiter {
    /// What it makes of a request when nothing is known of its client; and who that is, for people.
    pub fn appraise(&self, asked: &impl Client) -> (Appraisal, String) {
        let found = match (self.key.of(asked), self.missing) {
            (Some(found), _) => Some(found),
            (None, MissingKey::Pass) => return (Appraisal::Uncounted, self.key.text(asked)),
            (None, MissingKey::Shared) => None,
            (None, MissingKey::Refuse) => return (Appraisal::Refused, self.key.text(asked)),
        };
        let is_named = found.and_then(|found| match &self.rule {
            Rule::Rate(_, exceptions) => exceptions.of(&found).map(Option::is_some),
            Rule::Concurrency(_, exceptions) => exceptions.of(&found).map(Option::is_some),
            Rule::Bandwidth(..) => None,
        });
        let appraisal = match is_named {
            None => Appraisal::Usual,
            Some(true) => Appraisal::Own,
            Some(false) => Appraisal::Free,
        };
        (appraisal, self.key.text(asked))
    }

    /// Takes what a request needs of it, or says why it may not go on, and now and then tells of that. `lane` is the worker's.
    pub(super) fn take(
        &self,
        asked: &impl Client,
        now: Instant,
        lane: usize,
    ) -> Result<Taken, Refusal> {
        let (taken, refusal) = self.judge(asked, now, lane);
        let Some(why) = refusal else {
            return Ok(taken);
        };
        let known = &self.known;
        let event = if self.dry_run {
            Event::WouldLimit
        } else {
            Event::Limited
        };
        known.counts.note(lane, event);
        if known.notice.is_due(now) {
            let told = Told {
                limiter: &self.name,
                key: self.key.text(asked),
                why,
                dry_run: self.dry_run,
                others: known.notice.others(&known.counts),
            };
            told.note(asked.whose(), now, &known.events);
        }
        if self.dry_run { Ok(taken) } else { Err(why) }
    }

    /// What a request takes, and why it may not go on. One on trial judges as any other does, and lets in who gets nothing.
    fn judge(&self, asked: &impl Client, now: Instant, lane: usize) -> (Taken, Option<Refusal>) {
        let found = match (self.key.of(asked), self.missing) {
            (Some(found), _) => found,
            (None, MissingKey::Pass) => return (Taken::Nothing, None),
            (None, MissingKey::Shared) => self.key.of_none(),
            (None, MissingKey::Refuse) => return (Taken::Nothing, Some(Refusal::NoKey)),
        };
        match &self.rule {
            Rule::Rate(rate, exceptions) => match exceptions.of(&found) {
                Some(None) => self.passed(lane),
                Some(Some(own)) => self.take_rate(own, found.hash, now, lane),
                None => self.take_rate(rate, found.hash, now, lane),
            },
            Rule::Concurrency(max, exceptions) => match exceptions.of(&found) {
                Some(None) => self.passed(lane),
                Some(Some(own)) => self.take_permit(*own, found.hash, lane),
                None => self.take_permit(*max, found.hash, lane),
            },
            Rule::Bandwidth(..) => (Taken::Nothing, None),
        }
    }

    fn take_rate(
        &self,
        rate: &Rate,
        key: u128,
        now: Instant,
        lane: usize,
    ) -> (Taken, Option<Refusal>) {
        let table = &self.known.table;
        let changed = table.change(key, self.most, &Times(now), |full| rate.take(full, now));
        self.note_room(&changed, lane);
        let verdict = changed.result;
        if !verdict.passes {
            return (Taken::Nothing, Some(Refusal::Rate(verdict.after)));
        }
        self.known.counts.note(lane, Event::Passed);
        (Taken::Rate(verdict, *rate, changed.place), None)
    }

    fn take_permit(&self, max: u64, key: u128, lane: usize) -> (Taken, Option<Refusal>) {
        let table = &self.known.table;
        // One on trial counts on, beyond what it would let in.
        let most = if self.dry_run { u64::MAX } else { max };
        let changed = table.change(key, self.most, &UnderWay, |count| {
            concurrency::enter(count, most)
        });
        self.note_room(&changed, lane);
        let Ok(count) = changed.result else {
            return (Taken::Nothing, Some(Refusal::Concurrency));
        };
        let counts = &self.known.counts;
        counts.note(lane, Event::Entered);
        let refusal = (count > max).then_some(Refusal::Concurrency);
        if refusal.is_none() {
            counts.note(lane, Event::Passed);
        }
        let permit = Permit {
            known: Arc::clone(&self.known),
            place: changed.place,
            lane,
        };
        (Taken::Permit(permit), refusal)
    }

    /// Gives back what was taken for a request that another limiter refused.
    pub(super) fn give_back(&self, taken: Taken) {
        if let Taken::Rate(_, rate, place) = taken {
            let table = &self.known.table;
            table.change_back(place, |full| rate.give_back(full));
        }
        // A permit goes with its drop. That this limiter had let it pass stays counted.
    }

    /// The key of an exchange whose bytes are counted.
    pub(super) fn key_of(&self, asked: &impl Client) -> Option<u128> {
        match (self.key.of(asked), self.missing) {
            (Some(found), _) => Some(found.hash),
            (None, MissingKey::Shared) => Some(self.key.of_none().hash),
            (None, MissingKey::Pass | MissingKey::Refuse) => None,
        }
    }

    /// Moves the time of a key on; gives what `step` gives and where that was.
    pub(super) fn reserve(
        &self,
        key: u128,
        now: Instant,
        lane: usize,
        step: impl Fn(u64) -> (u64, Instant),
    ) -> (Instant, Place) {
        let table = &self.known.table;
        let changed = table.change(key, self.most, &Times(now), |full| {
            let (full, at) = step(full);
            (Some(full), at)
        });
        self.note_room(&changed, lane);
        (changed.result, changed.place)
    }

    pub(super) fn unreserve(&self, place: Place, nanos: u64) {
        let table = &self.known.table;
        table.change_back(place, |full| full.saturating_sub(nanos));
    }

    pub(super) fn delayed(&self, lane: usize, span: Duration) {
        self.known.counts.delayed(lane, span);
    }

    /// What is counted of it.
    pub fn counts(&self) -> &Counts {
        &self.known.counts
    }

    /// Keys that are known, idle ones too.
    pub fn keys(&self) -> usize {
        self.known.table.used()
    }

    /// Keys that may be known.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Forgets a part of the keys that nothing is lost of.
    pub(super) fn sweep(&self, turn: usize, now: Instant) {
        let table = &self.known.table;
        match &self.rule {
            Rule::Rate(..) | Rule::Bandwidth(..) => table.sweep(turn, &Times(now)),
            Rule::Concurrency(..) => table.sweep(turn, &UnderWay),
        }
    }

    fn passed(&self, lane: usize) -> (Taken, Option<Refusal>) {
        self.known.counts.note(lane, Event::Passed);
        (Taken::Nothing, None)
    }

    fn note_room<R>(&self, changed: &Changed<R>, lane: usize) {
        let counts = &self.known.counts;
        if changed.overflowed() {
            counts.note(lane, Event::Overflow);
        }
        if changed.evicted {
            counts.note(lane, Event::Evicted);
        }
    }
}
