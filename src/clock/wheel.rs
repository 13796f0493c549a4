//! One coarse timer wheel per worker, shared by every deadline of that worker.
//!
//! Setting a deadline is storing a number: an entry stays where it is queued and is moved only when its old time
//! comes, so that a connection which sets a deadline per request touches the wheel about once in ten seconds.
//! Deadlines are late by up to [`TICK`], never early.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Clock, Instant};

/// How exact a deadline is, on the wheel's clock.
pub const TICK: Duration = Duration::from_millis(10);
const TICK_NANOS: u64 = TICK.as_nanos() as u64;
/// Slots of the wheel; what lies further ahead is queued in the last one and moved on from there.
const SLOTS: u64 = 1024;

/// Cheap to clone; all clones are the same wheel.
#[derive(Clone)]
pub struct Wheel(Rc<State>);

struct State {
    clock: Clock,
    /// What [`Wheel::now`] gave last.
    recent: Cell<Instant>,
    slots: RefCell<Vec<Vec<Queued>>>,
    /// The next tick to look at.
    cursor: Cell<u64>,
    /// The tick until which the runner sleeps; `u64::MAX` while it waits for work.
    wake_at: Cell<u64>,
    runner: Cell<Option<Waker>>,
    queued: Cell<usize>,
    /// Entries of dropped timers. They keep their place in the queue, so that a timer per request costs neither an
    /// allocation nor a queue operation, and no more entries lie about than timers lived at once.
    free: RefCell<Vec<Rc<Entry>>>,
}

/// Entries kept for reuse; more are freed.
const FREE: usize = 16 * 1024;

struct Queued {
    tick: u64,
    entry: Rc<Entry>,
}

struct Entry {
    deadline: Cell<Instant>,
    /// The tick under which the entry is queued; `u64::MAX` when it is not. A queue position with another tick is stale.
    queued: Cell<u64>,
    fired: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// One deadline that can be moved. Dropping it ends it.
pub struct Timer {
    wheel: Wheel,
    entry: Rc<Entry>,
}

impl Wheel {
    /// An empty wheel on `clock`. Somebody must poll [`Self::run`].
    pub fn new(clock: Clock) -> Self {
        let cursor = clock.now().0 / TICK_NANOS;
        Self(Rc::new(State {
            clock,
            recent: Cell::new(clock.now()),
            slots: RefCell::new((0..SLOTS).map(|_| Vec::new()).collect()),
            cursor: Cell::new(cursor),
            wake_at: Cell::new(u64::MAX),
            runner: Cell::new(None),
            queued: Cell::new(0),
            free: RefCell::default(),
        }))
    }

    /// The time now, on the wheel's clock.
    pub fn now(&self) -> Instant {
        let now = self.0.clock.now();
        self.0.recent.set(now);
        now
    }

    /// The time when it was last asked for: saves another look at the clock right after one.
    pub fn recent(&self) -> Instant {
        self.0.recent.get()
    }

    /// A moment, or the time now where that is [`Instant::FAR`].
    pub fn or_now(&self, known: Instant) -> Instant {
        if known == Instant::FAR {
            self.now()
        } else {
            known
        }
    }

    /// A timer without a deadline.
    pub fn timer(&self) -> Timer {
        let entry = self.0.free.borrow_mut().pop().unwrap_or_else(|| {
            Rc::new(Entry {
                deadline: Cell::new(Instant::FAR),
                queued: Cell::new(u64::MAX),
                fired: Cell::new(false),
                waker: Cell::new(None),
            })
        });
        Timer {
            wheel: self.clone(),
            entry,
        }
    }

    /// A timer set to `span` from now.
    pub fn after(&self, span: Duration) -> Timer {
        let timer = self.timer();
        timer.set(self.now() + span);
        timer
    }

    /// Waits for `span`.
    pub async fn sleep(&self, span: Duration) {
        let timer = self.after(span);
        poll_fn(|cx| timer.poll(cx)).await;
    }

    /// `future`, or `None` when `span` passed first.
    pub async fn timeout<F: Future>(&self, span: Duration, future: F) -> Option<F::Output> {
        let timer = self.after(span);
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => timer.poll(cx).map(|()| None),
        })
        .await
    }

    /// Turns the wheel for ever; sleeps while no deadline is near.
    pub async fn run(&self) {
        loop {
            let now = self.now();
            self.turn(now);
            let Some(tick) = self.next() else {
                self.0.wake_at.set(u64::MAX);
                self.woken().await;
                continue;
            };
            self.0.wake_at.set(tick);
            let span = Instant(tick.saturating_mul(TICK_NANOS)).since(now);
            let sleep = std::pin::pin!(tokio::time::sleep(self.0.clock.real(span)));
            let woken = std::pin::pin!(self.woken());
            tokio::select! { () = sleep => {}, () = woken => {} }
        }
    }

    /// Ready when an entry was queued before the time until which the runner sleeps.
    async fn woken(&self) {
        let armed = self.0.wake_at.get();
        poll_fn(|cx| {
            if self.0.wake_at.get() < armed {
                return Poll::Ready(());
            }
            self.0.runner.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Fires what is due at `now`.
    pub fn turn(&self, now: Instant) {
        let end = now.0 / TICK_NANOS;
        let start = self.0.cursor.get();
        if end < start {
            return;
        }
        self.0.cursor.set(end + 1);
        let mut due = Vec::new();
        for tick in start..=end.min(start + SLOTS - 1) {
            std::mem::swap(
                &mut due,
                &mut self.0.slots.borrow_mut()[(tick % SLOTS) as usize],
            );
            self.0.queued.set(self.0.queued.get() - due.len());
            for queued in due.drain(..) {
                self.visit(queued, now);
            }
        }
    }

    fn visit(&self, queued: Queued, now: Instant) {
        let Queued { tick, entry } = queued;
        if entry.queued.get() != tick {
            return;
        }
        entry.queued.set(u64::MAX);
        let deadline = entry.deadline.get();
        if deadline <= now {
            entry.fired.set(true);
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        } else if deadline < Instant::FAR {
            self.queue(entry);
        }
    }

    fn queue(&self, entry: Rc<Entry>) {
        let cursor = self.0.cursor.get();
        // Rounded up: late by a tick at most, never early.
        let tick = (entry.deadline.get().0 / TICK_NANOS + 1).clamp(cursor, cursor + SLOTS - 1);
        entry.queued.set(tick);
        self.0.slots.borrow_mut()[(tick % SLOTS) as usize].push(Queued { tick, entry });
        self.0.queued.set(self.0.queued.get() + 1);
        if tick < self.0.wake_at.get() {
            self.0.wake_at.set(tick);
            if let Some(runner) = self.0.runner.take() {
                runner.wake();
            }
        }
    }

    /// The nearest tick under which anything is queued.
    fn next(&self) -> Option<u64> {
        if self.0.queued.get() == 0 {
            return None;
        }
        let cursor = self.0.cursor.get();
        let slots = self.0.slots.borrow();
        (cursor..cursor + SLOTS).find(|tick| !slots[(tick % SLOTS) as usize].is_empty())
    }
}

impl Timer {
    /// Moves the deadline. A deadline that has passed fires with the next tick.
    pub fn set(&self, at: Instant) {
        self.entry.deadline.set(at);
        self.entry.fired.set(false);
        if at == Instant::FAR {
            return;
        }
        let queued = self.entry.queued.get();
        if queued == u64::MAX || at.0 / TICK_NANOS + 1 < queued {
            self.wheel.queue(Rc::clone(&self.entry));
        }
    }

    /// Takes the deadline away.
    pub fn clear(&self) {
        self.set(Instant::FAR);
    }

    /// The wheel that it hangs on.
    pub fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    /// Ready once the deadline has passed; stays so until the next `set`.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.entry.fired.get() {
            return Poll::Ready(());
        }
        let kept = match self.entry.waker.take() {
            Some(waker) if waker.will_wake(cx.waker()) => waker,
            _ => cx.waker().clone(),
        };
        self.entry.waker.set(Some(kept));
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.entry.deadline.set(Instant::FAR);
        self.entry.fired.set(false);
        self.entry.waker.set(None);
        let mut free = self.wheel.0.free.borrow_mut();
        if free.len() < FREE {
            free.push(Rc::clone(&self.entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, Instant, Wheel};

    fn fired(timer: &super::Timer) -> bool {
        timer
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            .is_ready()
    }

    #[test]
    fn fires_late_by_a_tick_at_most_and_never_early() {
        let wheel = Wheel::new(Clock::system());
        let start = wheel.now();
        for millis in [1u64, 10, 995, 9_000, 75_000] {
            let timer = wheel.timer();
            let deadline = start + Duration::from_millis(millis);
            timer.set(deadline);
            let mut now = start;
            while now < deadline {
                wheel.turn(now);
                assert!(!fired(&timer), "{millis} ms fired early");
                now = now + Duration::from_millis(7);
            }
            wheel.turn(deadline + 2 * super::TICK);
            assert!(fired(&timer), "{millis} ms did not fire");
            // The next timer starts where the wheel stands.
            if wheel.0.cursor.get() > start.0 / super::TICK_NANOS {
                wheel.0.cursor.set(start.0 / super::TICK_NANOS);
            }
        }
    }

    #[test]
    fn moving_a_deadline_ahead_and_back_fires_at_the_last_one() {
        let wheel = Wheel::new(Clock::system());
        let start = wheel.now();
        let timer = wheel.timer();
        timer.set(start + Duration::from_secs(5));
        timer.set(start + Duration::from_secs(50));
        timer.set(start + Duration::from_secs(1));
        wheel.turn(start + Duration::from_millis(900));
        assert!(!fired(&timer));
        timer.set(start + Duration::from_secs(3));
        wheel.turn(start + Duration::from_secs(2));
        assert!(!fired(&timer));
        wheel.turn(start + Duration::from_millis(3_030));
        assert!(fired(&timer));
        timer.clear();
        wheel.turn(Instant(start.0 + 3_600_000_000_000));
        assert!(!fired(&timer));
    }

    #[tokio::test(flavor = "local")]
    async fn a_scaled_clock_makes_an_hour_short() {
        let wheel = Wheel::new(Clock::scaled(36_000));
        let runner = wheel.clone();
        tokio::task::spawn_local(async move { runner.run().await });
        let start = wheel.now();
        wheel.sleep(Duration::from_secs(3600)).await;
        assert!(wheel.now().since(start) >= Duration::from_secs(3600));
    }
}
