//! What is said of an upstream, in plain lists and numbers: each mechanism by itself, and all that is known of one endpoint
//! by its identity. Shares no code with what it is compared with, and is told which of several endpoints was picked.

mod attempts;
pub(super) mod breaker;
pub(super) mod outlier;
pub(super) mod queue;

use std::collections::{BTreeMap, HashMap};

use super::events::Rules;
use breaker::{Breaker, State};
use outlier::{Conduct, Outlier, Peer};
use queue::{Queue, Served, Waits};

pub(super) use attempts::{Attempt, Expected};

/// Nanoseconds.
pub(super) const MS: u64 = 1_000_000;
/// Tokens are counted in hundredths.
pub(super) const TOKEN: u32 = 100;

/// An endpoint at one address, for as long as somebody may still use it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) id: usize,
    pub(super) port: u16,
    /// Where its attempts are counted, which goes with it to another address.
    numbers: usize,
    pub(super) is_healthy: bool,
    /// Checks in a row that say otherwise.
    pub(super) against: u32,
    /// As it was told at the last tick of a configuration that had it.
    is_ejected: bool,
    pub(super) breaker: Breaker,
    pub(super) conduct: Conduct,
}

/// Attempts at an endpoint.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    in_flight: usize,
    ended: u32,
}

/// The endpoints of one configuration, and who of them could be picked when it was last looked at.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) places: Vec<usize>,
    pub(super) candidates: Vec<bool>,
}

/// Tokens in hundredths, of which a success brings so many.
#[derive(Debug)]
pub(super) struct Purse {
    pub(super) tokens: u32,
    rules: (u32, u32),
}

impl Purse {
    fn new(rules: (u32, u32)) -> Self {
        let tokens = TOKEN * 10.min(rules.1);
        Self { tokens, rules }
    }

    fn fund(&mut self) {
        self.tokens = (self.tokens + self.rules.0).min(TOKEN * self.rules.1);
    }

    fn take(&mut self) -> bool {
        let has_one = self.tokens >= TOKEN;
        self.tokens -= if has_one { TOKEN } else { 0 };
        has_one
    }

    fn give_back(&mut self) {
        self.tokens = (self.tokens + TOKEN).min(TOKEN * self.rules.1);
    }
}

#[derive(Debug)]
pub(super) struct Reference {
    pub(super) rules: Rules,
    pub(super) now: u64,
    pub(super) places: Vec<Place>,
    numbers: Vec<Numbers>,
    pub(super) generations: Vec<Generation>,
    /// The last place of each endpoint.
    latest: HashMap<usize, usize>,
    pub(super) attempts: BTreeMap<usize, Attempt>,
    pub(super) queue: Queue,
    /// The generation of each that waits.
    waiting: HashMap<usize, usize>,
    pub(super) limit: usize,
    /// Let in, and not yet at an endpoint.
    pub(super) called: usize,
    looked_after: Option<u64>,
    pub(super) outlier: Outlier,
    pub(super) retries: Purse,
    pub(super) hedges: Purse,
}

impl Reference {
    pub(super) fn new(rules: Rules, members: &[(usize, u16)]) -> Self {
        let mut new = Self {
            now: MS,
            limit: rules.max_in_flight,
            rules,
            places: Vec::new(),
            numbers: Vec::new(),
            generations: Vec::new(),
            latest: HashMap::new(),
            attempts: BTreeMap::new(),
            queue: Queue::default(),
            waiting: HashMap::new(),
            called: 0,
            looked_after: None,
            outlier: Outlier::default(),
            retries: Purse::new(Rules::RETRIES),
            hedges: Purse::new(Rules::HEDGES),
        };
        new.reload(members);
        new
    }

    /// Other endpoints, or others of their addresses. Gives whom the look at them serves, as [`Self::look`].
    pub(super) fn reload(&mut self, members: &[(usize, u16)]) -> Option<Option<Served>> {
        let places = members.iter().map(|&(id, port)| self.place(id, port));
        let places: Vec<usize> = places.collect();
        for &place in &places {
            self.latest.insert(self.places[place].id, place);
        }
        let candidates = vec![false; places.len()];
        self.generations.push(Generation { places, candidates });
        self.look()
    }

    /// The known place of an endpoint, if somebody still knows it; what is known of it goes with it to another address, where
    /// it has yet to fail.
    fn place(&mut self, id: usize, port: u16) -> usize {
        let known = self.latest.get(&id).copied();
        let (numbers, is_healthy) = match known.filter(|place| self.is_known(*place)) {
            Some(place) if self.places[place].port == port => return place,
            Some(place) => (self.places[place].numbers, self.places[place].is_healthy),
            None => {
                self.numbers.push(Numbers::default());
                (self.numbers.len() - 1, self.rules.is_healthy_at_first)
            }
        };
        self.places.push(Place {
            id,
            port,
            numbers,
            is_healthy,
            against: 0,
            is_ejected: false,
            breaker: Breaker::new(self.numbers[numbers].ended),
            conduct: Conduct::default(),
        });
        self.places.len() - 1
    }

    /// Whether a configuration in use has this place.
    fn is_known(&self, place: usize) -> bool {
        let attempts = self.attempts.values().map(|attempt| attempt.generation);
        let waiting = self.waiting.values().copied();
        let mut used = attempts.chain(waiting).chain([self.current()]);
        used.any(|generation| self.generations[generation].places.contains(&place))
    }

    pub(super) fn current(&self) -> usize {
        self.generations.len() - 1
    }

    pub(super) fn members(&self) -> &[usize] {
        &self.generations[self.current()].places
    }

    /// What keeps an endpoint from being picked: its health, an ejection, its breaker.
    pub(super) fn reasons(&self, place: usize) -> [bool; 3] {
        let one = &self.places[place];
        let is_open = one.breaker.state == State::Open;
        [!one.is_healthy, one.is_ejected, is_open]
    }

    pub(super) fn in_flight(&self, place: usize) -> usize {
        self.numbers[self.places[place].numbers].in_flight
    }

    /// A check of an endpoint ended. Gives whom it serves that the verdict has turned.
    pub(super) fn check(&mut self, place: usize, passed: bool) -> Option<Option<Served>> {
        let (rise, fall) = (self.rules.rise, self.rules.fall);
        let one = &mut self.places[place];
        if passed == one.is_healthy {
            one.against = 0;
            return None;
        }
        one.against += 1;
        if one.against < if passed { rise } else { fall } {
            return None;
        }
        (one.is_healthy, one.against) = (passed, 0);
        self.look()
    }

    /// A tick. `None`: nobody is served; `Some(None)`: somebody is, and it is not known who.
    pub(super) fn look(&mut self) -> Option<Option<Served>> {
        let members = self.members().to_vec();
        for &place in &members {
            let one = &mut self.places[place];
            one.breaker.look(self.now, self.numbers[one.numbers].ended);
        }
        let mut conducts: Vec<Conduct> =
            members.iter().map(|&at| self.places[at].conduct).collect();
        let about = members.iter().zip(&mut conducts).map(|(&at, conduct)| {
            let one = &self.places[at];
            Peer {
                id: one.id,
                conduct,
                is_serving: one.is_healthy && one.breaker.state != State::Open,
            }
        });
        let mut peers: Vec<Peer<'_>> = about.collect();
        self.outlier.look(self.now, &self.rules, &mut peers);
        drop(peers);
        for (&place, conduct) in members.iter().zip(conducts) {
            let one = &mut self.places[place];
            (one.conduct, one.is_ejected) = (conduct, self.outlier.is_out(one.id));
        }
        self.refresh(self.current());
        let is_due = self
            .looked_after
            .is_none_or(|last| self.now - last >= 50 * MS);
        if !is_due {
            return None;
        }
        self.looked_after = Some(self.now);
        self.limit = self.rules.max_in_flight;
        (!self.queue.list.is_empty()).then(|| self.serves())
    }

    /// Who can be picked is found out anew.
    fn refresh(&mut self, generation: usize) {
        let places = self.generations[generation].places.clone();
        let candidates = places.iter().map(|&at| self.reasons(at) == [false; 3]);
        self.generations[generation].candidates = candidates.collect();
    }

    /// Who is served now. `None`: it is not known who that is.
    pub(super) fn serves(&self) -> Option<Served> {
        let permits = self.limit.saturating_sub(self.permits());
        self.queue.serves(self.now, &self.rules, permits)
    }

    /// Permits that are taken.
    pub(super) fn permits(&self) -> usize {
        self.attempts.len() + self.called
    }

    /// Whether one that comes has a permit at once.
    pub(super) fn has_permit(&self) -> bool {
        self.queue.list.is_empty() && self.permits() < self.limit
    }

    /// Whether one that comes to wait is let in past those that wait, none of whom could use a slot.
    pub(super) fn passes(&self) -> bool {
        let mut list = self.queue.list.iter();
        list.all(|waits| waits.has_looked) && self.permits() < self.limit
    }

    /// One waits from now on. Gives whom it pushes out for want of room; `Err`: it is refused itself.
    pub(super) fn waits(&mut self, generation: usize, waits: Waits) -> Result<Option<usize>, ()> {
        let mut pushed_out = None;
        if self.queue.list.len() >= self.rules.capacity {
            let least = self.queue.least(waits.class, self.now, &self.rules);
            pushed_out = Some(least.ok_or(())?);
        }
        pushed_out.and_then(|number| self.queue.remove(number));
        self.waiting.insert(waits.number, generation);
        self.queue.put(self.now, waits);
        Ok(pushed_out)
    }

    /// One waits no more.
    pub(super) fn is_gone(&mut self, number: usize) {
        self.queue.remove(number);
        self.waiting.remove(&number);
    }

    /// Whether this one may be let in: whoever stands before it has looked for a slot in vain.
    pub(super) fn may_be_let_in(&self, number: usize) -> bool {
        let order = self.queue.in_order(self.now, &self.rules);
        let place = order.iter().position(|waits| waits.number == number);
        place.is_some_and(|place| {
            order[place].deadline > self.now && order[..place].iter().all(|waits| waits.has_looked)
        })
    }

    pub(super) fn may_be_sent_away(&self, number: usize) -> bool {
        let mut list = self.queue.list.iter();
        let waits = list.find(|waits| waits.number == number);
        waits.is_some_and(|waits| self.queue.may_go(waits, self.now, &self.rules))
    }

    /// The numbers of all that wait, the next one first.
    pub(super) fn order(&self) -> Vec<usize> {
        let order = self.queue.in_order(self.now, &self.rules);
        order.iter().map(|waits| waits.number).collect()
    }

    /// Whether anybody that waits has looked for a slot in vain.
    pub(super) fn has_anybody_looked(&self) -> bool {
        self.queue.list.iter().any(|waits| waits.has_looked)
    }

    /// Until when this one waits.
    pub(super) fn deadline(&self, number: usize) -> u64 {
        let mut list = self.queue.list.iter();
        let waits = list.find(|waits| waits.number == number);
        waits.map_or(0, |waits| waits.deadline)
    }

    /// Whether nobody can be picked at all.
    pub(super) fn has_nobody(&self, generation: usize) -> bool {
        !self.generations[generation].candidates.contains(&true)
    }
}
