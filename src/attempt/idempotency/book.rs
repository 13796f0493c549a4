//! The state machine of all keys of one route (pure).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Hash, Why};
use crate::clock::Instant;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the moment when the outcome of an execution is known.
    pub ttl: Duration,
    /// Keys, whatever their state.
    pub entries: usize,
    /// All results together, by [`Answer::size`].
    pub bytes: usize,
}

/// What is known of a key when a request with it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held<W> {
    /// Nothing was: the request is to be executed, and the book told how that ended.
    First,
    /// Its first request is being executed. Who waits for the result does so by what was given for it.
    Running(W),
    Stored(Arc<Answer>),
    Unknown(Why),
    /// It was used for another request.
    Mismatch,
    /// There is no room for another key: all of them are running.
    Full,
}

/// What was lost before its time, since the book was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Results that made room for others. Their keys are kept: no request is executed twice.
    pub results: u64,
    /// Keys that made room for others. A repeat of their requests would be executed again.
    pub keys: u64,
}

/// All keys of one route. `W` is whatever those who wait for a result wait by.
#[derive(Debug)]
pub struct Book<W> {
    entries: HashMap<Hash, Entry<W>>,
    /// Keys whose outcome is known or is known to be lost, the oldest first; each once.
    ended: VecDeque<Hash>,
    /// Those among them of which the result is kept, in the same order.
    stored: VecDeque<Hash>,
    bytes: usize,
    lost: Lost,
    /// The latest time that was told. Workers read the clock before they have the book, so that it may seem to go back.
    latest: Instant,
}

#[derive(Debug)]
struct Entry<W> {
    /// Of the whole request: a repeat has the same one.
    request: Hash,
    state: State<W>,
}

#[derive(Debug)]
enum State<W> {
    Running(W),
    Stored { answer: Arc<Answer>, since: Instant },
    Unknown { why: Why, since: Instant },
}

impl<W> Default for Book<W> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            ended: VecDeque::new(),
            stored: VecDeque::new(),
            bytes: 0,
            lost: Lost::default(),
            latest: Instant::default(),
        }
    }
}

impl<W: Clone> Book<W> {
    /// A request with this key comes. After [`Held::First`] the key is running, and others wait by `waiting`.
    pub fn begin(
        &mut self,
        now: Instant,
        limits: &Limits,
        key: Hash,
        request: Hash,
        waiting: impl FnOnce() -> W,
    ) -> Held<W> {
        self.expire(now, limits.ttl);
        if let Some(entry) = self.entries.get(&key) {
            return match &entry.state {
                _ if entry.request != request => Held::Mismatch,
                State::Running(waiting) => Held::Running(waiting.clone()),
                State::Stored { answer, .. } => Held::Stored(Arc::clone(answer)),
                State::Unknown { why, .. } => Held::Unknown(*why),
            };
        }
        while self.entries.len() >= limits.entries {
            let Some(oldest) = self.ended.front().copied() else {
                return Held::Full;
            };
            self.lost.keys += 1;
            self.remove(&oldest);
        }
        let state = State::Running(waiting());
        self.entries.insert(key, Entry { request, state });
        Held::First
    }

    /// The execution of a running key came to this result, which repeats will get. `None` where it is larger than all that
    /// may be kept: whoever ends the key says so by [`Self::lose`].
    pub fn complete(
        &mut self,
        now: Instant,
        limits: &Limits,
        key: &Hash,
        answer: &Arc<Answer>,
    ) -> Option<W> {
        let size = answer.size();
        if size > limits.bytes || !self.is_running(key) {
            return None;
        }
        self.expire(now, limits.ttl);
        while self.bytes + size > limits.bytes && self.displace() {}
        let state = State::Stored {
            answer: Arc::clone(answer),
            since: self.latest,
        };
        let waiting = self.end(key, state)?;
        self.bytes += size;
        self.stored.push_back(*key);
        Some(waiting)
    }

    /// It is not known, and will not be, what the execution of a running key came to.
    pub fn lose(&mut self, now: Instant, key: &Hash, why: Why) -> Option<W> {
        self.latest = self.latest.max(now);
        let since = self.latest;
        self.end(key, State::Unknown { why, since })
    }

    /// Nothing was executed for a running key, for certain: it is as if no request with it had come.
    pub fn forget(&mut self, key: &Hash) -> Option<W> {
        if !self.is_running(key) {
            return None;
        }
        match self.entries.remove(key)?.state {
            State::Running(waiting) => Some(waiting),
            State::Stored { .. } | State::Unknown { .. } => None,
        }
    }

    /// A running key ends in this state. Gives back what its repeats wait by.
    fn end(&mut self, key: &Hash, state: State<W>) -> Option<W> {
        let entry = self.entries.get_mut(key)?;
        let State::Running(waiting) = &entry.state else {
            return None;
        };
        let waiting = waiting.clone();
        entry.state = state;
        self.ended.push_back(*key);
        Some(waiting)
    }
}

impl<W> Book<W> {
    fn is_running(&self, key: &Hash) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| matches!(entry.state, State::Running(_)))
    }

    /// Forgets the keys whose time has passed.
    pub fn expire(&mut self, now: Instant, ttl: Duration) {
        self.latest = self.latest.max(now);
        while let Some(oldest) = self.ended.front().copied() {
            let since = match self.entries.get(&oldest).map(|entry| &entry.state) {
                Some(State::Stored { since, .. } | State::Unknown { since, .. }) => *since,
                Some(State::Running(_)) | None => Instant::default(),
            };
            if since + ttl > self.latest {
                break;
            }
            self.remove(&oldest);
        }
    }

    /// What was lost since this was last asked.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// Keys that are running, and keys in all.
    pub fn count(&self) -> (usize, usize) {
        (self.entries.len() - self.ended.len(), self.entries.len())
    }

    /// Keys of which the result is kept, and how much memory those take.
    pub fn kept(&self) -> (usize, usize) {
        (self.stored.len(), self.bytes)
    }

    /// The oldest result makes room; its key stays, and is unknown from now on, with its place in the order.
    fn displace(&mut self) -> bool {
        let Some(oldest) = self.stored.pop_front() else {
            return false;
        };
        if let Some(entry) = self.entries.get_mut(&oldest)
            && let State::Stored { answer, since } = &entry.state
        {
            self.bytes -= answer.size();
            self.lost.results += 1;
            let (why, since) = (Why::Displaced, *since);
            entry.state = State::Unknown { why, since };
        }
        true
    }

    /// Removes the oldest of the keys that have ended. If its result is kept, that is the oldest of those, too.
    fn remove(&mut self, oldest: &Hash) {
        self.ended.pop_front();
        if let Some(entry) = self.entries.remove(oldest)
            && let State::Stored { answer, .. } = &entry.state
        {
            self.bytes -= answer.size();
            self.stored.pop_front();
        }
    }
}
