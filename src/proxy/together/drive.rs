//! What happens to an upstream, told to it and to the reference.

use std::sync::Arc;
use std::time::Duration;

use super::events::{ENDPOINTS, End, Event, Rules};
use super::reference::MS;
use super::world::{Attempt, Request, World};
use crate::clock::Instant;
use crate::proxy::error::ProxyError;
use crate::proxy::{hedge, verdict};
use crate::upstream::health::{Check, Outcome};

/// Time constant of latencies, which nothing here depends on.
const DECAY: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn carry_out(&mut self, event: &Event) {
        let before = self.attempts.len();
        match *event {
            Event::Passes(millis) => self.reference.now += millis * MS,
            Event::Tick => {
                self.current.upstream.look(self.now());
                let served = self.reference.look();
                let is_due = served.is_some();
                self.settle_looked(served);
                self.assert_room_is_used(is_due && self.attempts.len() == before);
            }
            Event::Timers => self.find_late(),
            Event::Check(which, passed) => self.check(which, passed),
            Event::Comes(class, span) => {
                let of = std::rc::Rc::clone(&self.current);
                let tried = Vec::new();
                self.admit(Request {
                    of,
                    tried,
                    class,
                    span,
                });
            }
            Event::Head(which, status) => {
                if let Some(at) = self.attempt(which) {
                    self.head(at, status);
                }
            }
            Event::Ends(which, end, again) => {
                if let Some(at) = self.attempt(which) {
                    self.end_one(at, end, again);
                }
            }
            Event::Resets(which) => {
                if let Some(at) = self.attempt(which) {
                    self.reset(at);
                }
            }
            Event::Hedge(which) => {
                if let Some(at) = self.attempt(which) {
                    self.hedge(at);
                }
            }
            Event::Leaves(which) => {
                if which < self.waiters.len() {
                    let waiter = self.waiters.remove(which);
                    self.reference.is_gone(waiter.number);
                }
            }
            Event::Member(id) => self.toggle(id),
            Event::Moves(id) => {
                if let Some((_, port)) = self.members.iter_mut().find(|member| member.0 == id) {
                    *port += 10;
                    self.reload();
                }
            }
            Event::Limit(limit) => {
                self.reference.rules.max_in_flight = limit;
                self.reload();
            }
        }
    }

    /// All attempts are given up, and all that wait leave.
    pub(super) fn end(&mut self) {
        while let Some(waiter) = self.waiters.pop() {
            self.reference.is_gone(waiter.number);
            drop(waiter);
        }
        while !self.attempts.is_empty() {
            self.end_one(0, End::ClientGone, false);
        }
    }

    fn attempt(&self, which: usize) -> Option<usize> {
        (!self.attempts.is_empty()).then(|| which % self.attempts.len())
    }

    fn toggle(&mut self, id: usize) {
        match self.members.iter().position(|member| member.0 == id) {
            Some(_) if self.members.len() == 1 => return,
            Some(place) => drop(self.members.remove(place)),
            None => self.members.push((id, u16::try_from(id + 1).unwrap_or(1))),
        }
        self.members.sort_unstable();
        assert!(self.members.len() <= ENDPOINTS);
        self.reload();
    }

    /// The deadlines of those that wait are looked at on their own threads.
    fn find_late(&mut self) {
        let now = self.reference.now;
        let late = self.waiters.extract_if(.., |waiter| {
            let is_late = self.reference.queue.list.iter();
            let mut own = is_late.filter(|waits| waits.number == waiter.number);
            own.any(|waits| waits.deadline <= now)
        });
        let late: Vec<_> = late.collect();
        for waiter in late {
            self.reference.is_gone(waiter.number);
        }
    }

    fn check(&mut self, which: usize, passed: Option<bool>) {
        let now = self.now();
        let i = which % self.members.len();
        let upstream = Arc::clone(&self.current.upstream);
        let check = Check {
            began: now,
            took: Duration::ZERO,
            outcome: match passed {
                None => Outcome::Void,
                Some(true) => Outcome::Passed,
                Some(false) => Outcome::Failed,
            },
            reason: None,
        };
        let checks = upstream.checks.as_ref().expect("it is checked");
        let endpoint = &upstream.endpoints[i];
        checks.record(
            endpoint,
            &Arc::downgrade(&upstream),
            check,
            now,
            &mut self.random,
        );
        let place = self.reference.members()[i];
        let served = passed.and_then(|passed| self.reference.check(place, passed));
        self.settle_looked(served);
    }

    fn head(&mut self, at: usize, status: u16) {
        let now = self.now();
        let attempt = &mut self.attempts[at];
        if attempt.status.is_some() {
            return;
        }
        attempt.status = Some(status);
        let (upstream, endpoint) = (attempt.upstream(), attempt.endpoint());
        let spent = now.since(attempt.taken);
        if status == 503 {
            endpoint.signals.failed(now, spent, DECAY);
        } else {
            endpoint.signals.answered(now, spent, attempt.load, DECAY);
        }
        attempt
            .verdict
            .answered(now, &upstream, &endpoint, status, spent);
        if status < 500 {
            self.cells.successes.add(1);
        }
        self.reference.head(attempt.number, status);
    }

    /// All attempts end that are under way at the endpoint of this one.
    fn reset(&mut self, at: usize) {
        let place = self.reference.attempts[&self.attempts[at].number].place;
        let reset = self.reference.attempts.iter();
        let reset = reset.filter(|(_, attempt)| attempt.place == place);
        let numbers: Vec<usize> = reset.map(|(number, _)| *number).collect();
        for number in numbers {
            let mut attempts = self.attempts.iter();
            let at = attempts.position(|attempt| attempt.number == number);
            self.end_one(at.expect("it is under way"), End::Refused, false);
        }
    }

    /// One attempt ends, and another may be made for it.
    fn end_one(&mut self, at: usize, end: End, again: bool) {
        if end == End::Done {
            self.head(at, 200);
        }
        let mut attempt = self.attempts.remove(at);
        let is_failed = self.tell(&mut attempt, end) || attempt.status == Some(503);
        let now = self.now();
        let Attempt {
            request, number, ..
        } = attempt;
        drop(attempt.verdict);
        let before = self.attempts.len();
        self.bulkhead().give(|| now);
        self.reference.ends(number);
        let served = if self.reference.queue.list.is_empty() {
            Some(super::reference::queue::Served::default())
        } else {
            self.reference.serves()
        };
        self.settle(None, served);
        self.assert_room_is_used(self.attempts.len() == before);
        if !(is_failed && again) {
            return;
        }
        let upstream = &request.of.upstream;
        let terms = upstream.terms.expect("it has a budget");
        let is_paid = upstream.retries.take(terms);
        assert_eq!(is_paid, self.reference.pays_retry(), "a retry is paid for");
        if is_paid {
            self.admit(request);
        }
    }

    /// Gives its slot back and says how it went. Gives whether it failed.
    fn tell(&mut self, attempt: &mut Attempt, end: End) -> bool {
        let (now, number) = (self.now(), attempt.number);
        let (upstream, endpoint) = (attempt.upstream(), attempt.endpoint());
        let (signals, verdict) = (&endpoint.signals, &mut attempt.verdict);
        let spent = now.since(attempt.taken);
        signals.in_flight.release();
        let error = match end {
            End::Done => return false,
            End::NoRoom => return attempt.status.is_none(),
            End::ClientGone => {
                signals.cancelled(now, spent, DECAY);
                return false;
            }
            End::Overtaken if attempt.status.is_some() => return false,
            End::Overtaken => {
                if verdict.overtaken(now, &upstream, &endpoint, spent) {
                    signals.overtaken(now, spent, DECAY);
                }
                self.reference.overtaken(number);
                return false;
            }
            End::Refused => ProxyError::Refused,
            End::TimedOut => ProxyError::FirstByteTimeout,
            End::TotalTimedOut => ProxyError::TotalTimeout,
            End::Unasked => ProxyError::BadUpgrade,
        };
        let is_to_blame = match end {
            End::Unasked => false,
            End::TotalTimedOut => 2 * self.reference.spent(number) >= Rules::TOTAL * MS,
            _ => true,
        };
        let error = error.label();
        if attempt.status.is_none() {
            signals.failed(now, spent, DECAY);
            verdict.failed(now, &upstream, &endpoint, error, spent);
            self.reference.failed(number, is_to_blame);
            return true;
        }
        let is_blamed = verdict::is_to_blame(error, spent, &upstream);
        assert_eq!(is_blamed, is_to_blame);
        if is_blamed {
            signals.broke();
            verdict.broke(now, &upstream, &endpoint, error);
            self.reference.broke(number);
        }
        false
    }

    /// Another attempt beside one that waits for its head. Beside a probe there is none.
    fn hedge(&mut self, at: usize) {
        let attempt = &self.attempts[at];
        if attempt.status.is_some() || attempt.verdict.is_probe() {
            return;
        }
        let (request, upstream) = (attempt.request.clone(), attempt.upstream());
        let hedge = upstream.hedge.as_ref().expect("it hedges");
        let is_paid = hedge::pay(&upstream, hedge);
        assert_eq!(is_paid, self.reference.pays_hedge(), "a hedge is paid for");
        if !is_paid {
            return;
        }
        let (bulkhead, now, number) = (self.bulkhead(), self.now(), self.number());
        let permit = bulkhead.take();
        assert_eq!(permit.is_some(), self.reference.has_permit(), "a permit");
        if permit.is_some() {
            if let Ok(attempt) = self.pick(&request, number) {
                return self.attempts.push(attempt);
            }
            bulkhead.give(|| now);
        }
        hedge::give_back(&upstream, hedge);
        self.reference.gives_back_hedge();
    }

    /// Where nobody was let in though it was their turn, nobody could have been.
    fn assert_room_is_used(&self, nobody_was_let_in: bool) {
        if !nobody_was_let_in || self.reference.permits() >= self.reference.limit {
            return;
        }
        for waiter in &self.waiters {
            let request = &waiter.request;
            let is_late = Instant(self.reference.deadline(waiter.number)) <= self.now();
            let found = self.reference.expected(request.of.number, &request.tried);
            let could = matches!(found, super::reference::Expected::Among(_));
            assert!(
                is_late || !could,
                "{} waits beside free room",
                waiter.number
            );
        }
    }
}
