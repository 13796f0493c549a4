//! Waiting for what happens elsewhere, with a deadline and without blind sleeps.

use std::future::Future;
use std::time::Duration;

use plimsoll::clock::{Clock, Instant};

/// How long a test waits for anything. Far beyond what a busy machine needs, so that only a fault meets it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Seconds of a proxy on a fast clock in one of ours: 10 s pass in 100 ms.
pub const FAST: u32 = 100;

/// Polls until `holds`; panics at the deadline.
#[track_caller]
pub fn eventually(deadline: Duration, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let polling = async {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            while !holds() {
                tick.tick().await;
            }
        };
        if tokio::time::timeout(deadline, polling).await.is_err() {
            panic!("what was awaited at {caller} did not happen within {deadline:?}");
        }
    }
}

/// The output of `future`; panics when it takes longer than [`DEADLINE`].
#[track_caller]
pub fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("what was awaited at {caller} took longer than {DEADLINE:?}"),
        }
    }
}

/// Waits until so much time has passed on a clock that runs [`FAST`].
pub async fn pass(span: Duration) {
    let clock = Clock::scaled(FAST);
    eventually(DEADLINE, || clock.now().since(Instant(0)) > span).await;
}
