//! Attempts: who may be picked for one, and what it says of its endpoint.

use super::breaker::{Pass, Said};
use super::queue::Waits;
use super::{MS, Reference, State};
use crate::balance::Lack;
use crate::config::Priority;
use crate::proxy::together::events::Rules;

/// One that has not ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy::together) struct Attempt {
    pub(super) generation: usize,
    pub(in crate::proxy::together) place: usize,
    pass: Pass,
    taken: u64,
}

impl Attempt {
    /// Whether its breaker is to find out by it whether it may close.
    pub(in crate::proxy::together) fn is_probe(&self) -> bool {
        self.pass.is_probe
    }
}

/// What a pick may come to.
#[derive(Debug, PartialEq)]
pub(in crate::proxy::together) enum Expected {
    Lack(Lack),
    /// One of these, by their order in the configuration.
    Among(Vec<usize>),
}

impl Reference {
    /// What a pick comes to for a request that has been to `tried`.
    pub(in crate::proxy::together) fn expected(
        &self,
        generation: usize,
        tried: &[usize],
    ) -> Expected {
        let generation = &self.generations[generation];
        let candidates = (0..generation.places.len()).filter(|i| generation.candidates[*i]);
        let candidates: Vec<usize> = candidates.collect();
        let untried = candidates.iter().copied().filter(|i| !tried.contains(i));
        let untried: Vec<usize> = untried.collect();
        let is_probed = |i: usize| {
            let place = generation.places[i];
            self.places[place].breaker.is_taken(&self.rules)
        };
        let has_room = |i: usize| {
            !is_probed(i) && self.in_flight(generation.places[i]) < self.rules.per_endpoint
        };
        let free: Vec<usize> = untried.iter().copied().filter(|i| has_room(*i)).collect();
        if !free.is_empty() {
            return Expected::Among(free);
        }
        Expected::Lack(if candidates.is_empty() {
            Lack::Endpoint
        } else if untried.is_empty() {
            Lack::Untried
        } else if !untried.into_iter().all(is_probed) {
            Lack::Capacity
        } else if tried.is_empty() {
            Lack::BreakerOpen
        } else {
            Lack::Untried
        })
    }

    /// An attempt begins at the endpoint in this order of its configuration.
    pub(in crate::proxy::together) fn begins(
        &mut self,
        number: usize,
        generation: usize,
        i: usize,
    ) {
        let place = self.generations[generation].places[i];
        let one = &mut self.places[place];
        self.numbers[one.numbers].in_flight += 1;
        let attempt = Attempt {
            generation,
            place,
            pass: one.breaker.admit(self.now),
            taken: self.now,
        };
        self.attempts.insert(number, attempt);
        self.queue.remove(number);
        self.waiting.remove(&number);
    }

    /// One that was let in found no slot and waits on, where it stood if it did.
    pub(in crate::proxy::together) fn looks_again(
        &mut self,
        generation: usize,
        waits: Waits,
        has_place: bool,
    ) -> Result<Option<usize>, ()> {
        let waits = Waits {
            has_looked: true,
            ..waits
        };
        if !has_place {
            return self.waits(generation, waits);
        }
        self.queue.put(self.now, waits);
        Ok(None)
    }

    /// One that comes to wait.
    pub(in crate::proxy::together) fn newcomer(
        &self,
        number: usize,
        class: Priority,
        span: u64,
    ) -> Waits {
        Waits {
            number,
            class,
            since: self.now,
            deadline: self.now + span * MS,
            has_looked: false,
        }
    }

    /// A response head comes.
    pub(in crate::proxy::together) fn head(&mut self, number: usize, status: u16) {
        let is_slow = self.is_slow(number);
        let place = self.ended(number);
        let said = if status == 503 {
            Said::Badly
        } else {
            Said::Well
        };
        self.hear(number, said, is_slow);
        let conduct = &mut self.places[place].conduct;
        match status {
            500 => conduct.failed(false),
            503 => conduct.failed(true),
            _ => {
                conduct.answered();
                self.retries.fund();
                self.hedges.fund();
            }
        }
    }

    /// No head came; the endpoint is to blame for it or not.
    pub(in crate::proxy::together) fn failed(&mut self, number: usize, is_to_blame: bool) {
        let is_slow = self.is_slow(number);
        let place = self.ended(number);
        if is_to_blame {
            self.hear(number, Said::Badly, is_slow);
            self.places[place].conduct.failed(true);
        }
    }

    /// The answer broke off.
    pub(in crate::proxy::together) fn broke(&mut self, number: usize) {
        let place = self.attempts[&number].place;
        self.hear(number, Said::Broke, false);
        self.places[place].conduct.failed(true);
    }

    /// Another attempt was answered first.
    pub(in crate::proxy::together) fn overtaken(&mut self, number: usize) {
        if self.is_slow(number) {
            self.hear(number, Said::Slow, true);
            self.ended(number);
        }
    }

    /// It is over. Whoever waits is served then.
    pub(in crate::proxy::together) fn ends(&mut self, number: usize) {
        let attempt = self.attempts.remove(&number).expect("it had begun");
        let one = &mut self.places[attempt.place];
        one.breaker.let_go(attempt.pass);
        self.numbers[one.numbers].in_flight -= 1;
    }

    /// Whether a token is there for a retry, which is taken.
    pub(in crate::proxy::together) fn pays_retry(&mut self) -> bool {
        self.retries.take()
    }

    /// A hedge takes one of each, or none.
    pub(in crate::proxy::together) fn pays_hedge(&mut self) -> bool {
        if !self.hedges.take() {
            return false;
        }
        let is_paid = self.retries.take();
        if !is_paid {
            self.hedges.give_back();
        }
        is_paid
    }

    pub(in crate::proxy::together) fn gives_back_hedge(&mut self) {
        self.hedges.give_back();
        self.retries.give_back();
    }

    /// For how long it has been under way.
    pub(in crate::proxy::together) fn spent(&self, number: usize) -> u64 {
        self.now - self.attempts[&number].taken
    }

    fn is_slow(&self, number: usize) -> bool {
        self.spent(number) > Rules::SLOW_CALL * MS
    }

    /// It counts among those that ended at its endpoint. Gives where that is.
    fn ended(&mut self, number: usize) -> usize {
        let place = self.attempts[&number].place;
        let numbers = self.places[place].numbers;
        self.numbers[numbers].ended += 1;
        place
    }

    /// Its breaker is told. Who of the same configuration can be picked is found out at once where that changes it.
    fn hear(&mut self, number: usize, said: Said, is_slow: bool) {
        let (now, rules) = (self.now, self.rules.clone());
        let attempt = self.attempts.get_mut(&number).expect("it had begun");
        let (place, generation) = (attempt.place, attempt.generation);
        let breaker = &mut self.places[place].breaker;
        let before: State = breaker.state;
        breaker.hear(now, &rules, number, &mut attempt.pass, (said, is_slow));
        if breaker.state != before {
            self.refresh(generation);
        }
    }
}
