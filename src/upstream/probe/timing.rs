//! The time that one check may take, and how late this process was meanwhile.
//!
//! A process that is stalled sees answers late that came in time. Timers tell: one that fires late was overtaken by
//! something else on the thread, and so was the check. A failure that may be our own is void, not a failure.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::CheckFailure;
use crate::clock::Clock;

/// Timers in the time of a check: a stall is noticed that spans one.
const TIMERS: u32 = 8;
/// The timer's own coarseness, which is no stall: it counts whole milliseconds and fires after them.
const COARSENESS: Duration = Duration::from_millis(2);

/// What a check came to.
#[derive(Debug)]
pub(super) struct Timed<T> {
    pub(super) result: Result<T, CheckFailure>,
    /// How late its timers were in all, in time of the system, and how late they may be.
    late: Duration,
    allowed: Duration,
}

impl<T> Timed<T> {
    /// Whether this process was too late for a failure to count: by more than a quarter of the timeout.
    pub(super) fn is_void(&self) -> bool {
        self.late > self.allowed
    }

    pub(super) fn late_in_millis(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.late.as_millis()).unwrap_or(u64::MAX))
    }
}

/// How far a check has come.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicBool);

impl Progress {
    /// It has a connection.
    pub(super) fn connected(&self) {
        self.0.store(true, Relaxed);
    }
}

/// Lets a check take so long, which says on the way how far it has come.
pub(super) async fn within<T>(
    clock: Clock,
    timeout: Duration,
    progress: &Progress,
    check: impl Future<Output = Result<T, CheckFailure>>,
) -> Timed<T> {
    let mut check = pin!(check);
    let deadline = clock.now() + timeout;
    let mut late = Duration::ZERO;
    let mut timer = clock.now() + timeout / TIMERS;
    let result = loop {
        let pause = clock.real(timer.since(clock.now()));
        tokio::select! {
            // First, so that what was late is known before its result is taken.
            biased;
            () = tokio::time::sleep(pause) => {}
            result = &mut check => break result,
        }
        let now = clock.now();
        late += clock.real(now.since(timer)).saturating_sub(COARSENESS);
        if now >= deadline {
            break Err(match progress.0.load(Relaxed) {
                false => CheckFailure::NoConnection(timeout),
                true => CheckFailure::NoAnswer(timeout),
            });
        }
        timer = (now + timeout / TIMERS).min(deadline);
    };
    Timed {
        result,
        late,
        allowed: clock.real(timeout) / 4,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(400);

    /// Keeps the thread from everything else, as a long computation on it would.
    fn stall(span: Duration) {
        let clock = Clock::system();
        let begun = clock.now();
        while clock.now().since(begun) < span {
            std::hint::spin_loop();
        }
    }

    async fn hang(timeout: Duration) -> Timed<()> {
        within(Clock::system(), timeout, &Progress::default(), pending()).await
    }

    #[tokio::test]
    async fn a_check_ends_with_its_time_and_says_how_far_it_came() {
        let timeout = Duration::from_millis(20);
        let timed = hang(timeout).await;
        assert!(matches!(timed.result, Err(CheckFailure::NoConnection(_))));
        let progress = Progress::default();
        let check = async {
            progress.connected();
            pending::<Result<(), CheckFailure>>().await
        };
        let timed = within(Clock::system(), timeout, &progress, check).await;
        let failure = timed.result.unwrap_err().to_string();
        assert_eq!(failure, "there was no answer within 20ms");
    }

    #[tokio::test]
    async fn a_failure_counts_while_the_process_is_on_time_and_is_void_when_it_was_stalled() {
        for (stalled, is_void) in [(0, false), (60, false), (250, true), (600, true)] {
            let stalling = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                stall(Duration::from_millis(stalled));
            });
            let timed = hang(TIMEOUT).await;
            stalling.await.unwrap();
            assert!(timed.result.is_err());
            // A busy machine stalls us, too; what must be void is void there.
            assert!(timed.is_void() >= is_void, "{stalled} ms: {timed:?}");
            let own = timed.late < Duration::from_millis(stalled + 20);
            assert!(
                !own || timed.is_void() == is_void,
                "{stalled} ms: {timed:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_failure_that_comes_out_of_a_stall_is_void_even_before_the_timeout() {
        let check = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            stall(Duration::from_millis(200));
            tokio::task::yield_now().await;
            Err::<(), _>(CheckFailure::Status(503))
        };
        let timed = within(Clock::system(), TIMEOUT, &Progress::default(), check).await;
        assert!(timed.is_void(), "{timed:?}");
    }

    #[tokio::test]
    async fn a_short_timeout_is_not_void_by_the_coarseness_of_the_timer() {
        let timed = hang(Duration::from_millis(8)).await;
        let own = timed.late < Duration::from_millis(2);
        assert!(!own || !timed.is_void(), "{timed:?}");
    }
}
