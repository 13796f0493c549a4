//! Waiters and permits on several threads: none is lost, none is there twice, and no limit is exceeded.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::QueueOrder;

/// Wakes the thread that waits.
struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread; `None` when it has lost patience before it was called.
fn waited(mut wait: Wait, patience: usize) -> Option<Result<Grant, Refusal>> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    for _ in 0..patience {
        if let Poll::Ready(verdict) = std::pin::Pin::new(&mut wait).poll(&mut cx) {
            return Some(verdict);
        }
        std::thread::park_timeout(Duration::from_secs(20));
    }
    None
}

struct Arena {
    bulkhead: Arc<Bulkhead>,
    limit: u32,
    inside: AtomicU32,
    served: AtomicU64,
    left: AtomicU64,
}

impl Arena {
    fn new(rules: &Rules) -> Self {
        Self {
            bulkhead: bulkhead(rules),
            limit: rules.max_in_flight,
            inside: AtomicU32::new(0),
            served: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }

    /// Under a permit.
    fn work(&self, random: &mut Random) {
        let inside = self.inside.fetch_add(1, Relaxed) + 1;
        assert!(inside <= self.limit, "{inside} inside");
        if random.below(4) == 0 {
            std::thread::yield_now();
        }
        self.inside.fetch_sub(1, Relaxed);
        self.served.fetch_add(1, Relaxed);
        self.bulkhead.give(|| at(0));
    }

    /// One request, which may leave while it waits, or as soon as it is called.
    fn request(&self, random: &mut Random) {
        if self.bulkhead.take().is_some() {
            return self.work(random);
        }
        let class = Priority::ALL[random.below(3)];
        let Ok(wait) = self.bulkhead.enter(ask(class, 0), at(0)) else {
            self.left.fetch_add(1, Relaxed);
            return;
        };
        let patience = if random.below(5) == 0 { 0 } else { 1000 };
        let grant = match waited(wait, patience) {
            Some(Ok(grant)) => self.wavers(grant, random),
            Some(Err(_)) | None => None,
        };
        match grant {
            Some(grant) => {
                grant.keep(at(0));
                self.work(random);
            }
            None => {
                self.left.fetch_add(1, Relaxed);
            }
        }
    }

    /// Who was called may leave all the same, or find no slot and wait on.
    fn wavers(&self, grant: Grant, random: &mut Random) -> Option<Grant> {
        match random.below(8) {
            0 => None,
            1 => waited(grant.again(at(0)).ok()?, 1)?.ok(),
            _ => Some(grant),
        }
    }
}

fn run(rules: &Rules, threads: u64, requests: u64) -> Arena {
    let arena = Arena::new(rules);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let arena = &arena;
        let ticking = scope.spawn(|| {
            let mut now = 100;
            while !is_over.load(Relaxed) {
                // The deadlines lie at 1000: it goes no further.
                arena.bulkhead.look(at(now % 900), rules);
                now += 100;
                std::thread::yield_now();
            }
        });
        let workers: Vec<_> = (0..threads)
            .map(|seed| {
                scope.spawn(move || {
                    let mut random = Random::seeded(seed);
                    (0..requests).for_each(|_| arena.request(&mut random));
                })
            })
            .collect();
        workers
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
        is_over.store(true, Relaxed);
        ticking.join().unwrap();
    });
    arena
}

#[test]
fn no_permit_is_lost_and_none_is_there_twice() {
    for (order, permits, queue) in [
        (QueueOrder::Fifo, 1, 64),
        (QueueOrder::Lifo, 3, 64),
        (QueueOrder::Adaptive, 2, 3),
    ] {
        let arena = run(&small(permits, queue, order), 8, 1500);
        let bulkhead = &arena.bulkhead;
        assert_eq!(
            (bulkhead.in_flight(), bulkhead.waiting()),
            (0, 0),
            "{order:?}"
        );
        assert_eq!(bulkhead.standing(at(0)).waiting, [0, 0, 0]);
        let (served, left) = (arena.served.load(Relaxed), arena.left.load(Relaxed));
        assert_eq!(served + left, 8 * 1500);
        assert!(served > 1000, "{served} served");
        // All permits are there.
        let all = std::iter::from_fn(|| bulkhead.take()).count();
        assert_eq!(all, permits);
    }
}
