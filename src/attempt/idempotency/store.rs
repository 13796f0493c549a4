//! What the workers share: the book of each route behind a lock, and the wake of those who wait for a result.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::counts::{Counts, End};
use super::{Answer, Book, Hash, Held, Limits, Lost, Why};
use crate::clock::Instant;
use crate::observe::event::{Events, Kind};

/// At most one event in this time tells of lost results of a route: under a load that is too much for the bounds, each
/// request displaces another.
const SILENCE: Duration = Duration::from_secs(1);

/// The keys of one route.
#[derive(Debug)]
pub struct Store {
    route: String,
    /// Guards the book for a look-up and a short change; taken twice for each keyed request, and never while one waits.
    /// One lock for a route, not several, since the oldest of all keys goes first where room is needed.
    shared: Mutex<Shared>,
    /// Bytes of requests that are held until their outcome is known.
    held: AtomicUsize,
    pub counts: Counts,
    events: Arc<Events>,
}

#[derive(Debug, Default)]
struct Shared {
    book: Book<Waiters>,
    /// Lost, and not yet told.
    untold: Lost,
    /// Before that time nothing more is told.
    silent_until: Instant,
}

/// How the execution ended for which others wait; nothing as long as it has not.
type Waiters = Arc<watch::Sender<Option<Ended>>>;

/// How an execution ended, for those who wait for it.
#[derive(Debug, Clone)]
pub enum Ended {
    Stored(Arc<Answer>),
    Unknown(Why),
    /// Nothing was executed: it is the turn of one of those who wait.
    Forgotten,
}

/// What becomes of a keyed request.
#[derive(Debug)]
pub enum Begun {
    /// It is to be executed, and the claim ended by how that went.
    First(Claim),
    Running(Waiting),
    Stored(Arc<Answer>),
    Unknown(Why),
    Mismatch,
    Full,
}

impl Store {
    /// A request with this key comes.
    pub fn begin(
        self: &Arc<Self>,
        now: Instant,
        limits: &Limits,
        key: Hash,
        request: Hash,
    ) -> Begun {
        let mut shared = self.shared();
        let waiters = || Arc::new(watch::channel(None).0);
        let held = shared.book.begin(now, limits, key, request, waiters);
        self.tell_lost(&mut shared, now);
        match held {
            Held::First => Begun::First(Claim {
                store: Arc::clone(self),
                key,
                begun: now,
                is_open: true,
            }),
            Held::Running(waiters) => Begun::Running(Waiting(waiters.subscribe())),
            Held::Stored(answer) => Begun::Stored(answer),
            Held::Unknown(why) => Begun::Unknown(why),
            Held::Mismatch => Begun::Mismatch,
            Held::Full => Begun::Full,
        }
    }

    /// The book as it is now, without what is too old.
    pub fn read(&self, now: Instant, limits: &Limits) -> Reading {
        let mut shared = self.shared();
        shared.book.expire(now, limits.ttl);
        let ((running, keys), (stored, bytes)) = (shared.book.count(), shared.book.kept());
        Reading {
            running,
            stored,
            unknown: keys - running - stored,
            bytes,
            held: self.held.load(Ordering::Relaxed),
        }
    }

    /// For a request that is about to be held, of which nothing is yet.
    pub fn hold(self: &Arc<Self>) -> Hold {
        Hold {
            store: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Says what was lost, at once or with the next loss after a while.
    fn tell_lost(&self, shared: &mut Shared, now: Instant) {
        let lost = shared.book.take_lost();
        if lost == Lost::default() {
            return;
        }
        self.counts.lost(lost);
        shared.untold.results += lost.results;
        shared.untold.keys += lost.keys;
        if now < shared.silent_until {
            return;
        }
        shared.silent_until = now + SILENCE;
        let Lost { results, keys } = std::mem::take(&mut shared.untold);
        let mut parts = Vec::new();
        if results > 0 {
            parts.push(format!(
                "{results} results displaced before their ttl, so that repeats of their requests get 409 (`bytes` is full)"
            ));
        }
        if keys > 0 {
            parts.push(format!(
                "{keys} keys displaced before their ttl, so that repeats of their requests are executed again (`entries` \
                 is full)"
            ));
        }
        let text = format!("lost idempotency state: {}", parts.join("; "));
        self.events
            .note_route(now, Kind::Idempotency, &self.route, text);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many keys are in which state, and what the results take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub running: usize,
    pub stored: usize,
    pub unknown: usize,
    pub bytes: usize,
    /// Bytes of requests.
    pub held: usize,
}

/// The memory that one request takes, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    store: Arc<Store>,
    bytes: usize,
}

impl Hold {
    /// So much of the request is there by now. Says whether all that are held fit into `room`; what does not is not counted.
    pub fn grow(&mut self, bytes: usize, room: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |held: usize| held.checked_add(more).filter(|sum| *sum <= room);
        let held = &self.store.held;
        let has_room = more == 0
            || held
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
                .is_ok();
        if has_room {
            self.bytes += more;
        }
        has_room
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.store.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The right, and the duty, to execute the request of a key and to say how that ended. Dropped without a word, as a panic
/// does it, it leaves a key whose outcome is not known.
#[derive(Debug)]
pub struct Claim {
    store: Arc<Store>,
    key: Hash,
    begun: Instant,
    is_open: bool,
}

impl Claim {
    /// It came to this result. Where that is larger than all that may be kept, the claim is given back, to be ended
    /// otherwise.
    pub fn complete(
        mut self,
        now: Instant,
        limits: &Limits,
        answer: &Arc<Answer>,
    ) -> Result<(), Self> {
        let mut shared = self.store.shared();
        let waiters = shared.book.complete(now, limits, &self.key, answer);
        self.store.tell_lost(&mut shared, now);
        drop(shared);
        if waiters.is_none() {
            return Err(self);
        }
        self.is_open = false;
        self.ended(End::Stored, waiters, Ended::Stored(Arc::clone(answer)));
        Ok(())
    }

    /// What it came to is not known, and will not be.
    pub fn lose(mut self, now: Instant, why: Why) {
        self.close(now, why);
    }

    /// Nothing was executed, for certain.
    pub fn forget(mut self) {
        self.is_open = false;
        let waiters = self.store.shared().book.forget(&self.key);
        self.ended(End::Forgotten, waiters, Ended::Forgotten);
    }

    fn close(&mut self, now: Instant, why: Why) {
        self.is_open = false;
        let waiters = self.store.shared().book.lose(now, &self.key, why);
        self.ended(End::Unknown, waiters, Ended::Unknown(why));
    }

    fn ended(&self, how: End, waiters: Option<Waiters>, ended: Ended) {
        self.store.counts.ended(how);
        if let Some(waiters) = waiters {
            waiters.send_replace(Some(ended));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_open {
            self.close(self.begun, Why::Abandoned);
        }
    }
}

/// The place of a request that waits for the result of another, on whichever worker that runs.
#[derive(Debug)]
pub struct Waiting(watch::Receiver<Option<Ended>>);

impl Waiting {
    /// How the execution ended, once it has.
    pub async fn ended(&mut self) -> Ended {
        let waited = self.0.wait_for(Option::is_some).await;
        let ended = waited.ok().and_then(|ended| ended.clone());
        ended.unwrap_or(Ended::Unknown(Why::Abandoned))
    }
}

/// The stores of all routes by name: State that survives a reload as long as a configuration in use asks for it.
#[derive(Debug)]
pub struct Stores {
    /// Guards the map only.
    known: Mutex<HashMap<String, Weak<Store>>>,
    events: Arc<Events>,
}

impl Stores {
    /// None yet. What they lose is told there.
    pub fn new(events: Arc<Events>) -> Self {
        Self {
            known: Mutex::default(),
            events,
        }
    }

    /// The store of this route.
    pub fn of(&self, route: &str) -> Arc<Store> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, store| store.strong_count() > 0);
        if let Some(found) = known.get(route).and_then(Weak::upgrade) {
            return found;
        }
        let store = Arc::new(Store {
            route: route.to_owned(),
            shared: Mutex::default(),
            held: AtomicUsize::new(0),
            counts: Counts::default(),
            events: Arc::clone(&self.events),
        });
        known.insert(route.to_owned(), Arc::downgrade(&store));
        store
    }
}
