//! Whether a client keeps up: bytes per second over the time in which it was waited for.
//!
//! A timeout between two bytes alone lets a client hold a connection and an endpoint with a byte a minute. Time in which
//! the client owes nothing does not count: a stream of rare events is slow by nature, and nothing cuts a healthy one.

use crate::clock::Instant;
use std::time::Duration;

/// Waiting that is not judged: a client may pause, and a first measure of a few bytes says nothing.
const GRACE: Duration = Duration::from_secs(10);

/// The pace of one body, as far as it is the client's.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Bytes per second; `None` asks for nothing.
    least: Option<u64>,
    waited: Duration,
    since: Option<Instant>,
}

impl Pace {
    /// Asks for `least` bytes per second.
    pub fn new(least: Option<u64>) -> Self {
        Self {
            least,
            waited: Duration::ZERO,
            since: None,
        }
    }

    /// The body stands at so many bytes, and the next ones are the client's to send or to take, or not (`waits`). True
    /// when it was too slow so far.
    pub fn is_too_slow(&mut self, now: Instant, bytes: u64, waits: bool) -> bool {
        let Some(least) = self.least else {
            return false;
        };
        if let Some(since) = self.since.take() {
            self.waited += now.since(since);
        }
        self.since = waits.then_some(now);
        self.waited > GRACE && (bytes as f64) < least as f64 * self.waited.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn a_client_that_keeps_up_is_never_too_slow() {
        let mut pace = Pace::new(Some(240));
        for second in 0..1000 {
            assert!(!pace.is_too_slow(at(second), second * 240, true));
        }
    }

    #[test]
    fn a_drip_is_too_slow_after_the_grace() {
        let mut pace = Pace::new(Some(240));
        let first = (0..1000).find(|second| pace.is_too_slow(at(*second), *second, true));
        assert_eq!(first, Some(11));
    }

    #[test]
    fn time_in_which_the_client_owes_nothing_does_not_count() {
        let mut pace = Pace::new(Some(240));
        for event in 0..100 {
            // A byte an hour from the endpoint; the client takes each at once.
            assert!(!pace.is_too_slow(at(3600 * event), event, false));
        }
    }

    #[test]
    fn nothing_may_be_asked_for() {
        let mut pace = Pace::new(None);
        assert!(!pace.is_too_slow(at(0), 0, true));
        assert!(!pace.is_too_slow(at(1_000_000), 0, true));
    }
}
