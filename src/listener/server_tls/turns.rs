//! Handshakes take turns with what else a worker has to do, so that a flood of them does not hold up requests.
//!
//! A handshake is a few hundred microseconds of cryptography in one piece. When a thousand clients say hello at once, a thousand
//! tasks are ready, and whatever becomes ready behind them waits for a third of a second. So only so many may begin in one turn
//! of the worker's loop; then whatever else is ready has its turn, and after it the next few.
//!
//! Not a cap on handshakes that are open: one that waits for its client costs nothing, and a client that says hello and then
//! nothing more must not hold a place that others need.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The turns of one worker.
#[derive(Debug, Clone, Default)]
pub struct Turns(Rc<State>);

#[derive(Debug, Default)]
struct State {
    /// How many have begun in this turn.
    begun: Cell<usize>,
    /// As many may as the last who came was allowed; listeners may differ.
    limit: Cell<usize>,
    /// Whether a task sees to it that the next turn comes.
    is_turning: Cell<bool>,
    /// First come, first served.
    waiting: RefCell<VecDeque<Rc<Place>>>,
}

#[derive(Debug, Default)]
struct Place {
    waker: RefCell<Option<Waker>>,
    is_called: Cell<bool>,
    /// Its client has left, or took too long.
    is_given_up: Cell<bool>,
}

impl Turns {
    /// Ready when a handshake may begin, of which there may be `limit` in a turn.
    pub(super) fn take(&self, limit: usize) -> Turn<'_> {
        Turn {
            turns: self,
            limit,
            place: None,
        }
    }

    /// How many wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        let waiting = self.0.waiting.borrow();
        waiting.iter().filter(|one| !one.is_given_up.get()).count()
    }

    /// Begins one more in this turn, if there is room.
    fn begin(&self, limit: usize) -> bool {
        let state = &self.0;
        state.limit.set(limit.max(1));
        if !state.waiting.borrow().is_empty() || state.begun.get() >= limit.max(1) {
            return false;
        }
        state.begun.set(state.begun.get() + 1);
        self.turn();
        true
    }

    /// Sees to it that there is a next turn.
    fn turn(&self) {
        if self.0.is_turning.replace(true) {
            return;
        }
        let turns = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                // Everything that is ready now comes before, and what the system has to tell.
                tokio::task::yield_now().await;
                turns.0.begun.set(0);
                if !turns.call() {
                    turns.0.is_turning.set(false);
                    return;
                }
            }
        });
    }

    /// Calls as many as may begin in this turn. Whether there was anybody to call.
    fn call(&self) -> bool {
        let state = &self.0;
        while state.begun.get() < state.limit.get() {
            let Some(next) = state.waiting.borrow_mut().pop_front() else {
                break;
            };
            if next.is_given_up.get() {
                continue;
            }
            next.is_called.set(true);
            state.begun.set(state.begun.get() + 1);
            if let Some(waker) = next.waker.take() {
                waker.wake();
            }
        }
        state.begun.get() > 0
    }
}

/// Waits for a turn.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    limit: usize,
    place: Option<Rc<Place>>,
}

#[cfg(test)]
impl Turn<'_> {
    /// Whether it has to wait.
    fn is_waiting(&self) -> bool {
        self.place
            .as_ref()
            .is_some_and(|place| !place.is_called.get())
    }
}

impl Future for Turn<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(place) = &self.place else {
            if self.turns.begin(self.limit) {
                return Poll::Ready(());
            }
            let place = Rc::new(Place::default());
            *place.waker.borrow_mut() = Some(cx.waker().clone());
            self.turns
                .0
                .waiting
                .borrow_mut()
                .push_back(Rc::clone(&place));
            self.place = Some(place);
            return Poll::Pending;
        };
        if place.is_called.get() {
            return Poll::Ready(());
        }
        *place.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.is_given_up.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets others run until nothing moves any more.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "local")]
    async fn so_many_begin_in_a_turn_and_others_come_between() {
        let turns = Turns::default();
        let log = Rc::new(RefCell::new(Vec::new()));
        for number in 0..9 {
            let (turns, log) = (turns.clone(), Rc::clone(&log));
            tokio::task::spawn_local(async move {
                turns.take(2).await;
                log.borrow_mut().push(Some(number));
            });
        }
        let others = Rc::clone(&log);
        tokio::task::spawn_local(async move {
            for _ in 0..20 {
                others.borrow_mut().push(None);
                tokio::task::yield_now().await;
            }
        });
        settle().await;
        let log = log.borrow();
        let begun: Vec<_> = log.iter().flatten().copied().collect();
        assert_eq!(
            begun,
            (0..9).collect::<Vec<_>>(),
            "first come, first served"
        );
        for turn in log.split(Option::is_none) {
            assert!(turn.len() <= 2, "{log:?}");
        }
        assert_eq!(turns.waiting(), 0);
        assert!(!turns.0.is_turning.get(), "nothing turns when nobody waits");
    }

    #[tokio::test(flavor = "local")]
    async fn who_has_left_holds_nobody_up() {
        let turns = Turns::default();
        turns.take(1).await;
        let mut gone = Vec::new();
        for _ in 0..1000 {
            let mut turn = Box::pin(turns.take(1));
            let polled = std::future::poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx))).await;
            assert!(polled.is_pending() && turn.is_waiting());
            gone.push(turn);
        }
        assert_eq!(turns.waiting(), 1000);
        drop(gone);
        assert_eq!(turns.waiting(), 0);
        turns.take(1).await;
        settle().await;
        assert!(turns.0.waiting.borrow().is_empty());
        assert!(!turns.0.is_turning.get());
    }

    #[tokio::test(flavor = "local")]
    async fn one_at_a_time_never_waits() {
        let turns = Turns::default();
        for _ in 0..10 {
            let mut turn = turns.take(1);
            let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut turn).poll(cx))).await;
            assert!(polled.is_ready());
            settle().await;
        }
    }
}
