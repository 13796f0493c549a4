//! How requests come in: at once, or in their turn.

use super::reference::queue::Served;
use super::world::{Request, Waiter, World};
use crate::balance::Lack;
use crate::clock::Instant;
use crate::upstream::bulkhead::{Ask, Grant, Refusal};

impl World {
    /// Lets a request in, or has it wait.
    pub(super) fn admit(&mut self, request: Request) {
        let (bulkhead, now) = (self.bulkhead(), self.now());
        let number = self.number();
        let permit = bulkhead.take();
        assert_eq!(permit.is_some(), self.reference.has_permit(), "a permit");
        if permit.is_some() {
            match self.pick(&request, number) {
                Ok(attempt) => return self.attempts.push(attempt),
                Err(lack) => {
                    bulkhead.give(|| now);
                    if lack != Lack::Capacity {
                        return;
                    }
                }
            }
        }
        if self.reference.has_nobody(request.of.number) {
            return;
        }
        let waits = self.reference.newcomer(number, request.class, request.span);
        let ask = Ask {
            class: request.class,
            since: now,
            deadline: Instant(waits.deadline),
        };
        let passes = self.reference.passes();
        let entered = bulkhead.enter(ask, now);
        let expected = if passes {
            self.reference.called += 1;
            Ok(None)
        } else {
            self.reference.waits(request.of.number, waits)
        };
        assert_eq!(entered.is_ok(), expected.is_ok(), "room to wait");
        let (Ok(wait), Ok(pushed_out)) = (entered, expected) else {
            return;
        };
        self.waiters.push(Waiter {
            number,
            request,
            waits,
            has_place: !passes,
            wait,
        });
        let served = if passes {
            Some(Served::default())
        } else {
            self.reference.serves()
        };
        self.settle(pushed_out, served);
    }

    /// The same after a look, which may have served nobody.
    pub(super) fn settle_looked(&mut self, served: Option<Option<Served>>) {
        self.settle(None, served.unwrap_or_else(|| Some(Served::default())));
    }

    /// Lets all do what they were woken for, one after the other, until nobody is. `served` is who should be; `None`: it is
    /// not known.
    pub(super) fn settle(&mut self, mut pushed_out: Option<usize>, mut served: Option<Served>) {
        let mut let_in: Vec<(Waiter, Grant)> = Vec::new();
        loop {
            let (mut found, mut out) = (Served::default(), Vec::new());
            for mut waiter in std::mem::take(&mut self.waiters) {
                match waiter.poll() {
                    None => self.waiters.push(waiter),
                    Some(Ok(grant)) => {
                        found
                            .let_in
                            .extend(waiter.has_place.then_some(waiter.number));
                        let_in.push((waiter, grant));
                    }
                    Some(Err(Refusal::PushedOut)) => out.push(waiter.number),
                    Some(Err(_)) => found.sent_away.push(waiter.number),
                }
            }
            assert_eq!(out, Vec::from_iter(pushed_out), "pushed out");
            found.let_in.sort_unstable();
            found.sent_away.sort_unstable();
            self.judge(&found, served);
            for number in out.into_iter().chain(found.sent_away) {
                self.reference.is_gone(number);
            }
            if let_in.is_empty() {
                return;
            }
            let (waiter, grant) = let_in.remove(0);
            (pushed_out, served) = self.look_for_slot(waiter, grant);
        }
    }

    /// Those who were let in and sent away are who should be; where that is not known, nobody passed another.
    fn judge(&mut self, found: &Served, expected: Option<Served>) {
        if let Some(expected) = &expected {
            assert_eq!(found, expected, "served");
        }
        for &number in &found.sent_away {
            let may = self.reference.may_be_sent_away(number);
            assert!(may, "{number} goes too soon");
            self.reference.queue.remove(number);
        }
        for number in self.reference.order() {
            if found.let_in.contains(&number) {
                let may = expected.is_some() || self.reference.may_be_let_in(number);
                assert!(may, "{number} passes another, or is late");
                self.reference.queue.remove(number);
                self.reference.called += 1;
            }
        }
    }

    /// One that was let in picks. Gives whom it pushes out if it has to wait on, and who is served then.
    fn look_for_slot(&mut self, waiter: Waiter, grant: Grant) -> (Option<usize>, Option<Served>) {
        let now = self.now();
        let picked = self.pick(&waiter.request, waiter.number);
        self.reference.called -= 1;
        match picked {
            Ok(attempt) => {
                grant.keep(now);
                self.attempts.push(attempt);
                // Only those are served by that who had looked before.
                let is_known = !self.reference.has_anybody_looked();
                (None, is_known.then(Served::default))
            }
            Err(Lack::Capacity) => {
                let again = grant.again(now);
                let generation = waiter.request.of.number;
                let expected =
                    self.reference
                        .looks_again(generation, waiter.waits, waiter.has_place);
                assert_eq!(again.is_ok(), expected.is_ok(), "room to wait on");
                if let Ok(wait) = again {
                    self.waiters.push(Waiter {
                        wait,
                        has_place: true,
                        ..waiter
                    });
                }
                (expected.ok().flatten(), self.reference.serves())
            }
            Err(_) => {
                drop(grant);
                self.reference.is_gone(waiter.number);
                (None, self.reference.serves())
            }
        }
    }
}
