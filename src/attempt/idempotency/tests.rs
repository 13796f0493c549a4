//! Tests: the book against a simple model of it, and the store among threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::Instant;
use crate::observe::event::Events;

/// What happens to a book.
#[derive(Debug, Clone)]
enum Step {
    Begin {
        key: u8,
        request: u8,
    },
    /// The execution of this key, if it has one, comes to a result of this size.
    Complete {
        key: u8,
        size: usize,
    },
    Lose {
        key: u8,
    },
    Forget {
        key: u8,
    },
    Pass {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0_u8..6;
    prop_oneof![
        6 => (key(), 0_u8..2).prop_map(|(key, request)| Step::Begin { key, request }),
        4 => (key(), 0_usize..60).prop_map(|(key, size)| Step::Complete { key, size }),
        1 => key().prop_map(|key| Step::Lose { key }),
        1 => key().prop_map(|key| Step::Forget { key }),
        2 => (1_u64..8).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

const TTL: Duration = Duration::from_secs(10);

fn hash(number: u8) -> Hash {
    Hash([number; 32])
}

fn answer(size: usize) -> Arc<Answer> {
    Arc::new(Answer {
        status: 200,
        body: Bytes::from(vec![0; size]),
        ..Answer::default()
    })
}

/// The rules again, as they are read and without a thought for speed.
#[derive(Debug, Default)]
struct Model {
    keys: BTreeMap<u8, Known>,
    ended: u64,
}

#[derive(Debug, Clone)]
struct Known {
    request: u8,
    /// `None` while it runs.
    end: Option<Ending>,
}

#[derive(Debug, Clone)]
struct Ending {
    at: Instant,
    /// The smallest is the oldest.
    place: u64,
    /// Of a result that is kept.
    size: Option<usize>,
    why: Why,
}

impl Model {
    fn expire(&mut self, now: Instant) {
        self.keys
            .retain(|_, known| known.end.as_ref().is_none_or(|end| end.at + TTL > now));
    }

    fn oldest(&self, counts: impl Fn(&Ending) -> bool) -> Option<u8> {
        let ended = self.keys.iter();
        let ended = ended.filter_map(|(key, known)| Some((*key, known.end.as_ref()?)));
        let ended = ended.filter(|(_, end)| counts(end));
        ended.min_by_key(|(_, end)| end.place).map(|(key, _)| key)
    }

    fn bytes(&self) -> usize {
        let ended = self.keys.values().filter_map(|known| known.end.as_ref());
        ended.filter_map(|end| end.size).sum()
    }

    fn begin(&mut self, now: Instant, limits: &Limits, key: u8, request: u8) -> Held<()> {
        self.expire(now);
        if let Some(known) = self.keys.get(&key) {
            return match &known.end {
                _ if known.request != request => Held::Mismatch,
                None => Held::Running(()),
                Some(Ending {
                    size: Some(size), ..
                }) => Held::Stored(answer(*size)),
                Some(end) => Held::Unknown(end.why),
            };
        }
        if self.keys.len() >= limits.entries {
            match self.oldest(|_| true) {
                Some(oldest) => self.keys.remove(&oldest),
                None => return Held::Full,
            };
        }
        self.keys.insert(key, Known { request, end: None });
        Held::First
    }

    fn end(&mut self, now: Instant, key: u8, size: Option<usize>, why: Why) {
        self.ended += 1;
        let place = self.ended;
        let known = self.keys.get_mut(&key).unwrap();
        let at = now;
        known.end = Some(Ending {
            at,
            place,
            size,
            why,
        });
    }

    fn complete(&mut self, now: Instant, limits: &Limits, key: u8, size: usize) {
        self.expire(now);
        while self.bytes() + size > limits.bytes {
            let oldest = self.oldest(|end| end.size.is_some()).unwrap();
            let end = self.keys.get_mut(&oldest).unwrap().end.as_mut().unwrap();
            (end.size, end.why) = (None, Why::Displaced);
        }
        self.end(now, key, Some(size), Why::Displaced);
    }

    fn is_running(&self, key: u8) -> bool {
        self.keys.get(&key).is_some_and(|known| known.end.is_none())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_book_does_what_its_model_does(
        steps in prop::collection::vec(step(), 1..200),
        entries in 1_usize..5,
        bytes in 50_usize..120,
    ) {
        let limits = Limits { ttl: TTL, entries, bytes };
        let (mut book, mut model) = (Book::<()>::default(), Model::default());
        let mut now = Instant(1);
        for step in steps {
            match step {
                Step::Begin { key, request } => {
                    let held = book.begin(now, &limits, hash(key), hash(request), || ());
                    prop_assert_eq!(held, model.begin(now, &limits, key, request));
                }
                Step::Complete { key, size } if model.is_running(key) => {
                    let kept = book.complete(now, &limits, &hash(key), &answer(size)).is_some();
                    prop_assert_eq!(kept, size <= bytes);
                    if kept {
                        model.complete(now, &limits, key, size);
                    } else {
                        book.lose(now, &hash(key), Why::TooLarge).unwrap();
                        model.end(now, key, None, Why::TooLarge);
                    }
                }
                Step::Lose { key } if model.is_running(key) => {
                    book.lose(now, &hash(key), Why::Broken).unwrap();
                    model.end(now, key, None, Why::Broken);
                }
                Step::Forget { key } if model.is_running(key) => {
                    book.forget(&hash(key)).unwrap();
                    model.keys.remove(&key);
                }
                // Nobody has a claim on what does not run: nothing happens.
                Step::Complete { key, size } => {
                    prop_assert_eq!(book.complete(now, &limits, &hash(key), &answer(size)), None);
                }
                Step::Lose { key } => prop_assert_eq!(book.lose(now, &hash(key), Why::Late), None),
                Step::Forget { key } => prop_assert_eq!(book.forget(&hash(key)), None),
                Step::Pass { seconds } => now = now + Duration::from_secs(seconds),
            }
            let (running, keys) = book.count();
            prop_assert!(keys <= entries && book.kept().1 <= bytes);
            let is_running = |known: &&Known| known.end.is_none();
            prop_assert_eq!(running, model.keys.values().filter(is_running).count());
        }
        book.expire(now, TTL);
        model.expire(now);
        prop_assert_eq!(book.count().1, model.keys.len());
        prop_assert_eq!(book.kept().1, model.bytes());
    }

    /// Where there is room for all keys, nothing but time and certainty lets a key be executed again, however little
    /// memory there is for results.
    #[test]
    fn a_key_is_executed_once_in_its_time(
        steps in prop::collection::vec(step(), 1..200),
        bytes in 1_usize..120,
    ) {
        let limits = Limits { ttl: TTL, entries: 6, bytes };
        let mut book = Book::<()>::default();
        // Until when the key must not be executed: for ever as long as it runs.
        let mut guarded: BTreeMap<u8, Instant> = BTreeMap::new();
        let mut now = Instant(1);
        for step in steps {
            let runs = |key: u8| guarded.get(&key) == Some(&Instant::FAR);
            match step {
                Step::Begin { key, request } => {
                    let held = book.begin(now, &limits, hash(key), hash(request), || ());
                    let is_free = guarded.get(&key).is_none_or(|until| *until <= now);
                    prop_assert_eq!(held == Held::First, is_free, "{:?}", held);
                    if is_free {
                        guarded.insert(key, Instant::FAR);
                    }
                }
                Step::Complete { key, size } if runs(key) => {
                    if book.complete(now, &limits, &hash(key), &answer(size)).is_none() {
                        book.lose(now, &hash(key), Why::TooLarge);
                    }
                    guarded.insert(key, now + TTL);
                }
                Step::Lose { key } if runs(key) => {
                    book.lose(now, &hash(key), Why::Late);
                    guarded.insert(key, now + TTL);
                }
                Step::Forget { key } if runs(key) => {
                    book.forget(&hash(key));
                    guarded.remove(&key);
                }
                Step::Pass { seconds } => now = now + Duration::from_secs(seconds),
                Step::Complete { .. } | Step::Lose { .. } | Step::Forget { .. } => {}
            }
        }
        prop_assert_eq!(book.take_lost().keys, 0);
    }
}

fn store() -> (Arc<Store>, Arc<Events>) {
    let events = Arc::new(Events::default());
    let stores = Stores::new(Arc::clone(&events));
    (stores.of("pay"), events)
}

const AMPLE: Limits = Limits {
    ttl: TTL,
    entries: 100,
    bytes: 10_000,
};

#[test]
fn of_many_threads_one_executes_and_all_get_its_result() {
    let (store, _) = store();
    let executed = AtomicUsize::new(0);
    let work = || {
        let now = Instant(1);
        let begun = store.begin(now, &AMPLE, hash(1), hash(1));
        let waited = |mut waiting: Waiting| {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.build().unwrap();
            match runtime.block_on(waiting.ended()) {
                Ended::Stored(answer) => answer.body.len(),
                other => panic!("{other:?}"),
            }
        };
        match begun {
            Begun::First(claim) => {
                executed.fetch_add(1, Ordering::Relaxed);
                let answer = answer(7);
                claim.complete(now, &AMPLE, &answer).unwrap();
                answer.body.len()
            }
            Begun::Running(waiting) => waited(waiting),
            Begun::Stored(answer) => answer.body.len(),
            other => panic!("{other:?}"),
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 7);
        }
    });
    assert_eq!(executed.into_inner(), 1);
}

#[test]
fn a_claim_that_is_dropped_leaves_an_unknown_outcome() {
    let (store, _) = store();
    let begin = || store.begin(Instant(1), &AMPLE, hash(1), hash(1));
    let Begun::First(claim) = begin() else {
        panic!("nothing is known yet");
    };
    assert!(matches!(begin(), Begun::Running(_)));
    drop(claim);
    assert!(matches!(begin(), Begun::Unknown(Why::Abandoned)));
    let reading = store.read(Instant(1), &AMPLE);
    assert_eq!((reading.running, reading.unknown), (0, 1));
}

#[test]
fn what_is_lost_is_told_once_a_second_and_counted() {
    let (store, events) = store();
    let one = Limits {
        entries: 1,
        ..AMPLE
    };
    for number in 0..100_u8 {
        let now = Instant(u64::from(number) * 50_000_000);
        match store.begin(now, &one, hash(number), hash(0)) {
            Begun::First(claim) => claim.lose(now, Why::Broken),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.counts.all_lost().keys, 99);
    let (told, _) = events.after(0);
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[1].to_string().starts_with(
        "idempotency: route pay lost idempotency state: 20 keys displaced before their ttl"
    ));
}

#[test]
fn a_store_outlives_a_reload_and_not_its_last_user() {
    let stores = Stores::new(Arc::default());
    let store = stores.of("pay");
    assert!(Arc::ptr_eq(&store, &stores.of("pay")));
    assert!(!Arc::ptr_eq(&store, &stores.of("other")));
    if let Begun::First(claim) = store.begin(Instant(1), &AMPLE, hash(1), hash(1)) {
        claim.lose(Instant(1), Why::Late);
    }
    drop(store);
    let reading = stores.of("pay").read(Instant(1), &AMPLE);
    assert_eq!(reading.unknown, 0);
}

#[test]
fn requests_are_held_as_long_as_there_is_room_and_give_it_back() {
    let (store, _) = store();
    let held = || store.read(Instant(0), &AMPLE).held;
    let (mut first, mut second) = (store.hold(), store.hold());
    assert!(first.grow(400, 1000) && first.grow(600, 1000));
    assert!(second.grow(400, 1000) && !second.grow(401, 1000));
    assert_eq!(held(), 1000);
    drop(first);
    assert_eq!(held(), 400, "what was refused is not counted");
    assert!(second.grow(1000, 1000));
    drop(second);
    assert_eq!(held(), 0);
}
