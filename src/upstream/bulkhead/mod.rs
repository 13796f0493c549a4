//! How many attempts at once toward an upstream, and how the others wait.
//!
//! A [`Bulkhead`] is State: it is shared by all workers and by the configurations that follow one another. While nobody waits, a
//! permit is one compare-and-swap, and giving it back one subtraction. Else whoever gives one back hands it to the one that the
//! [`queue`] chooses, and wakes it on its own worker.
//!
//! What is waited for is two things: a permit of the upstream, and a slot of an endpoint, which whoever has a permit looks for
//! by picking. Who finds none gives the permit back and keeps its place; it is woken when a slot was given back that it has not looked
//! at. Such a slot is offered to one after the other, since it may belong to an endpoint that not everybody may go to.
//!
//! Not here: the slots, which endpoints count ([`crate::balance::Signals`]); the pick ([`crate::proxy`]).

pub mod adaptive;
mod count;
mod line;
pub mod queue;
mod rules;
mod samples;
mod tended;
#[cfg(test)]
mod tests;
mod waiter;
mod watch;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Instant;
use crate::config::{self, Priority};
use crate::entropy;
use adaptive::{Inputs, Limit};
use count::Count;
use line::Line;
use queue::{Place, Waiting};
use tended::Tended;
use waiter::{Verdict, Who};
use watch::Sight;

pub use rules::{Configured, Rules};
pub use samples::Samples;
pub use waiter::{Grant, Wait};

/// What one asks for that has to wait.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub class: Priority,
    /// When it began to.
    pub since: Instant,
    /// How long it may.
    pub deadline: Instant,
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// As many wait as may.
    Full,
    /// It has waited too long.
    Timeout,
    /// One of a higher priority took its place in the queue.
    PushedOut,
    /// The worker runs late.
    Lag,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Full, Self::Timeout, Self::PushedOut, Self::Lag];

    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Timeout => "queue_timeout",
            Self::PushedOut => "pushed_out",
            Self::Lag => "lag",
        }
    }
}

/// Permits and queue of one upstream.
#[derive(Debug)]
#[repr(align(128))]
pub struct Bulkhead {
    count: Count,
    /// How many permits there are; 0 before the first configuration.
    limit: AtomicU32,
    /// Guards the queue; taken only where somebody waits.
    line: Mutex<Line>,
    /// Guards what the tick alone does.
    tended: Mutex<Tended>,
    refused: [AtomicU64; Refusal::ALL.len()],
    waited: AtomicU64,
}

impl Default for Bulkhead {
    fn default() -> Self {
        Self::seeded(entropy::system_seed())
    }
}

impl Bulkhead {
    fn seeded(seed: u64) -> Self {
        let defaults = Rules::from(&config::Bulkhead::default());
        Self {
            count: Count::default(),
            limit: AtomicU32::new(0),
            line: Mutex::new(Line::new(defaults.queue)),
            tended: Mutex::new(Tended::new(seed)),
            refused: Default::default(),
            waited: AtomicU64::new(0),
        }
    }

    /// Takes a permit if there is one and nobody waits for it; gives its number among those in flight. Whoever got one owes
    /// [`Self::give`].
    #[inline]
    pub fn take(&self) -> Option<u32> {
        self.count.take(self.limit())
    }

    /// Gives a permit back, and with it the slot of an endpoint, which must be free by now. The time is asked for only where
    /// somebody waits.
    #[inline]
    pub fn give(self: &Arc<Self>, now: impl FnOnce() -> Instant) {
        if self.count.give() {
            let mut line = self.line();
            line.give(self.count.waiting());
            drop(line);
            self.serve(now());
        }
    }

    /// Gets into the queue, or past it where there is a permit and nobody who could use it.
    pub fn enter(self: &Arc<Self>, ask: Ask, now: Instant) -> Result<Wait, Refusal> {
        let (who, verdict) = oneshot::channel();
        let mut line = self.line();
        if line.is_clear(now) && self.count.take_waiting(self.limit()).is_some() {
            self.count.wait();
            let grant = Grant::new(self, ask, None, (now, line.given), false);
            drop(line);
            if let Err(unheard) = who.send(Ok(grant)) {
                drop(unheard);
            }
            return Ok(Wait::new(self, None, verdict));
        }
        let waiting = Waiting {
            since: ask.since,
            deadline: ask.deadline,
            looked: None,
            who,
        };
        let place = self.queue_up(&mut line, ask.class, waiting, now)?;
        drop(line);
        self.serve(now);
        Ok(Wait::new(self, Some(place), verdict))
    }

    /// Finds a place in the queue: a free one, or that of one of a lower class.
    fn queue_up(
        &self,
        line: &mut Line,
        class: Priority,
        waiting: Waiting<Who>,
        now: Instant,
    ) -> Result<Place, Refusal> {
        if line.queue.len() >= line.rules.capacity {
            let least = line.queue.least(class, now, &line.rules);
            let least = least.and_then(|place| line.queue.remove(place));
            let Some(least) = least else {
                return Err(Refusal::Full);
            };
            self.count.settle();
            // Who does not hear it has left.
            let _ = least.who.send(Err(Refusal::PushedOut));
        }
        self.count.wait();
        self.waited.fetch_add(1, Relaxed);
        Ok(line.queue.push(class, waiting, now))
    }

    /// Somebody leaves the queue, unless it has been called meanwhile.
    fn leave(&self, place: Place) {
        let mut line = self.line();
        if line.queue.remove(place).is_some() {
            self.count.settle();
        }
    }

    /// Who was let in has a slot; gives how many are in flight.
    fn settle(self: &Arc<Self>, grant: &mut Grant, now: Instant) -> u32 {
        let mut line = self.line();
        self.count.settle();
        line.answer(grant);
        let taken = self.count.taken();
        drop(line);
        if grant.is_offer {
            // Whoever waited for this one may look now.
            self.serve(now);
        }
        taken
    }

    /// Who was let in does not know for a while whether it finds a slot.
    fn let_others_look(self: &Arc<Self>, grant: &mut Grant, now: Instant) {
        self.line().answer(grant);
        self.serve(now);
    }

    /// Who was let in found no slot, and waits for one.
    fn look_again(
        self: &Arc<Self>,
        grant: &mut Grant,
        waiting: Waiting<Who>,
        now: Instant,
    ) -> Result<Place, Refusal> {
        let mut line = self.line();
        let place = match grant.place {
            // It had this place before, and whoever came since stands behind it.
            Some(place) => {
                line.queue.put(place, waiting, now);
                Ok(place)
            }
            None => {
                self.count.settle();
                self.queue_up(&mut line, grant.ask.class, waiting, now)
            }
        };
        line.offer_on(grant);
        self.count.give();
        drop(line);
        self.serve(now);
        place
    }

    /// Who was let in does not want it any more.
    fn give_up(self: &Arc<Self>, grant: &mut Grant) {
        let mut line = self.line();
        self.count.settle();
        line.offer_on(grant);
        self.count.give();
        drop(line);
        // The last time that is known here. By when it came, those whose time is over would not be late yet.
        self.serve(grant.called);
    }

    /// Calls those whose turn it is, as long as there are permits, and sends those away that have waited too long.
    fn serve(self: &Arc<Self>, now: Instant) {
        loop {
            let called = self.call(&mut self.line(), now);
            let Some((who, verdict)) = called else {
                return;
            };
            // Not under the lock: a permit that finds nobody is given back as it is dropped.
            drop(who.send(verdict));
        }
    }

    fn call(self: &Arc<Self>, line: &mut Line, now: Instant) -> Option<(Who, Verdict)> {
        if let Some(place) = line.queue.overdue(now, &line.rules) {
            return self.send_away(line, place);
        }
        let place = line.next(now)?;
        if line.queue.is_late(place, now) {
            // Not the oldest of its class: it may not wait for as long as those before it.
            return self.send_away(line, place);
        }
        self.count.take_waiting(self.limit())?;
        let next = line.queue.remove(place)?;
        let is_offer = line.call(next.looked.is_some());
        let ask = Ask {
            class: place.class,
            since: next.since,
            deadline: next.deadline,
        };
        let grant = Grant::new(self, ask, Some(place), (now, line.given), is_offer);
        Some((next.who, Ok(grant)))
    }

    fn send_away(&self, line: &mut Line, place: Place) -> Option<(Who, Verdict)> {
        let late = line.queue.remove(place)?;
        self.count.settle();
        Some((late.who, Err(Refusal::Timeout)))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tended(&self) -> MutexGuard<'_, Tended> {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obey(&self, rules: &Rules, limit: u32) {
        self.limit.store(limit, Relaxed);
        self.line().rules = rules.queue;
    }

    /// Looks after it, about once in a tick: puts the rules in force, moves an adaptive limit, offers whoever waits what may have
    /// come free by itself, and says what has turned.
    pub fn look(self: &Arc<Self>, now: Instant, rules: &Rules) -> Option<String> {
        let mut tended = self.tended();
        if !tended.is_due(now) {
            return None;
        }
        self.obey(rules, tended.limit(rules));
        let filled = {
            let mut line = self.line();
            line.offer_to_all();
            line.queue.filled()
        };
        if filled.is_some() {
            self.serve(now);
        }
        let sight = Sight {
            filled,
            // What a worker refuses because it runs late is not about the upstream.
            refused: self.refused_by(Refusal::Full)
                + self.refused_by(Refusal::Timeout)
                + self.refused_by(Refusal::PushedOut),
            waiting: self.waiting(),
            in_flight: self.in_flight(),
            limit: self.limit(),
        };
        tended.watch.look(now, &sight)
    }

    /// Where this worker counts what an adaptive limit goes by.
    pub fn samples(&self, worker: usize) -> Arc<Samples> {
        self.tended().samples.of_worker(worker)
    }

    /// Counts a request that was not let in.
    pub fn count_refusal(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
    }

    /// How many requests were refused for this reason so far.
    pub fn refused_by(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Relaxed)
    }

    /// How many requests had to wait so far.
    pub fn waited(&self) -> u64 {
        self.waited.load(Relaxed)
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.count.taken()
    }

    /// Requests that wait, those included that look for a slot just now.
    pub fn waiting(&self) -> u32 {
        self.count.waiting()
    }

    /// How many may be under way at once.
    #[inline]
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// What the adaptive limit was found by last, where there is one.
    pub fn inputs(&self) -> Option<Inputs> {
        self.tended().adaptive.as_ref().map(Limit::inputs)
    }

    /// How the queue stands.
    pub fn standing(&self, now: Instant) -> Standing {
        let line = self.line();
        Standing {
            waiting: line.queue.counts(),
            oldest: line.queue.oldest().map(|since| now.since(since)),
            stands: line.queue.stands(now, &line.rules),
            is_newest_first: line.queue.is_newest_first(now, &line.rules),
        }
    }
}

/// How a queue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How many wait of each class, the lowest first.
    pub waiting: [usize; Priority::ALL.len()],
    /// For how long the one has waited that has waited longest.
    pub oldest: Option<Duration>,
    /// It is no burst.
    pub stands: bool,
    /// Whoever came last is served first.
    pub is_newest_first: bool,
}
