//! A limiter: who is counted, what is allowed to each, and what is known of them.
//!
//! What was written is compiled anew by each configuration; what is known ([`Known`]) stays under the limiter's name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::bandwidth::Bandwidth;
use super::counts::{Counts, Event};
use super::key::{Client, Found, Key};
use super::known::{Allowed, Counted, Known};
use super::notice::Told;
use super::rate::{Rate, Verdict};
use super::table::Place;
use crate::clock::Instant;
use crate::config::{Direction, MissingKey, Network};

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
    /// For all, for some, and the slowest of them all.
    Rate(Rate, Exceptions<Rate>, Rate),
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
        self.known.leave(self.place);
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
            Rule::Rate(_, exceptions, _) => exceptions.of(&found).map(Option::is_some),
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
            Rule::Rate(all, exceptions, slowest) => {
                let rate = match exceptions.of(&found) {
                    Some(None) => return self.passed(lane),
                    Some(Some(own)) => *own,
                    None => *all,
                };
                let slowest = *slowest;
                let counted = self.counted(found.hash, lane);
                self.take_rate(Allowed { rate, slowest }, counted, now)
            }
            Rule::Concurrency(all, exceptions) => {
                let max = match exceptions.of(&found) {
                    Some(None) => return self.passed(lane),
                    Some(Some(own)) => *own,
                    None => *all,
                };
                self.take_permit(max, self.counted(found.hash, lane))
            }
            Rule::Bandwidth(..) => (Taken::Nothing, None),
        }
    }

    fn take_rate(
        &self,
        allowed: Allowed,
        counted: Counted,
        now: Instant,
    ) -> (Taken, Option<Refusal>) {
        let (verdict, place) = self.known.take(counted, allowed, now);
        if !verdict.passes {
            return (Taken::Nothing, Some(Refusal::Rate(verdict.after)));
        }
        self.known.counts.note(counted.lane, Event::Passed);
        (Taken::Rate(verdict, allowed.rate, place), None)
    }

    fn take_permit(&self, max: u64, counted: Counted) -> (Taken, Option<Refusal>) {
        let lane = counted.lane;
        // One on trial counts on, beyond what it would let in.
        let most = if self.dry_run { u64::MAX } else { max };
        let Some((count, place)) = self.known.enter(counted, most) else {
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
            place,
            lane,
        };
        (Taken::Permit(permit), refusal)
    }

    fn counted(&self, key: u128, lane: usize) -> Counted {
        let most = self.most;
        Counted { key, most, lane }
    }

    /// Gives back what was taken for a request that another limiter refused.
    pub(super) fn give_back(&self, taken: Taken) {
        if let Taken::Rate(_, rate, place) = taken {
            self.known.give_back(place, rate);
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

    /// Reserves bytes of a key; when they may go.
    pub(super) fn reserve(
        &self,
        key: u128,
        bandwidth: Bandwidth,
        bytes: u64,
        now: Instant,
        lane: usize,
    ) -> (Instant, Place) {
        let counted = self.counted(key, lane);
        self.known.reserve(counted, bandwidth, bytes, now)
    }

    /// Gives bytes back that were reserved and not used.
    pub(super) fn unreserve(&self, place: Place, bandwidth: Bandwidth, bytes: u64) {
        self.known.unreserve(place, bandwidth, bytes);
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
        self.known.keys()
    }

    /// Keys that may be known.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Forgets a part of the keys that nothing is lost of.
    pub(super) fn sweep(&self, turn: usize, now: Instant) {
        match &self.rule {
            Rule::Rate(..) | Rule::Bandwidth(..) => self.known.sweep_times(turn, now),
            Rule::Concurrency(..) => self.known.sweep_under_way(turn),
        }
    }

    fn passed(&self, lane: usize) -> (Taken, Option<Refusal>) {
        self.known.counts.note(lane, Event::Passed);
        (Taken::Nothing, None)
    }
}
