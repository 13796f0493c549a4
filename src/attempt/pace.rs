//! Whether a client keeps up: bytes per second over the time in which it was waited for.
//!
//! A timeout between two bytes alone lets a client hold a connection and an endpoint with a byte a minute. Time in which
//! the client owes nothing does not count: a stream of rare events is slow by nature, and nothing cuts a healthy one.
//!
//! It is judged when bytes have moved, never in between. Of an answer they move in steps, because the systems of both sides
//! hold some back: with a large window a healthy client that takes 20 KB/s lets go of nothing for twenty seconds, and then
//! of all at once. A client that takes nothing at all is the timeout's.

use crate::clock::Instant;
use std::time::Duration;

/// Waiting that is not judged: a client may pause, and a first measure of a few bytes says nothing.
const GRACE: Duration = Duration::from_secs(10);

/// What a client may be ahead of its rate, in bytes, to spend on waiting later: as much as buffers on the way commonly take
/// before it has taken anything, and hold when only a few more are to follow. Without a bound, who has been fast for a
/// while could drip for hours.
const AHEAD: f64 = 64.0 * 1024.0;

/// The pace of one body, as far as it is the client's.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Bytes per second; `None` asks for nothing.
    least: Option<u64>,
    /// Bytes that it is ahead of its rate, the grace apart.
    ahead: f64,
    bytes: u64,
    since: Option<Instant>,
}

impl Pace {
    /// Asks for `least` bytes per second.
    pub fn new(least: Option<u64>) -> Self {
        Self {
            least,
            ahead: 0.0,
            bytes: 0,
            since: None,
        }
    }

    /// The body stands at so many bytes, and the next ones are the client's to send or to take, or not (`waits`). True
    /// when it was too slow so far.
    pub fn is_too_slow(&mut self, now: Instant, bytes: u64, waits: bool) -> bool {
        let Some(least) = self.least else {
            return false;
        };
        let waited = self.since.take().map(|since| now.since(since));
        self.since = waits.then_some(now);
        let moved = bytes.saturating_sub(self.bytes);
        self.bytes = self.bytes.max(bytes);
        let owed = least as f64 * waited.unwrap_or_default().as_secs_f64();
        let ahead = self.ahead + moved as f64 - owed;
        self.ahead = ahead.min(AHEAD);
        ahead < -(least as f64 * GRACE.as_secs_f64())
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
    fn who_was_fast_before_may_not_drip_for_ever() {
        let mut pace = Pace::new(Some(240));
        assert!(!pace.is_too_slow(at(0), 10_000_000, true));
        let drip = |second: &u64| pace.is_too_slow(at(*second), 10_000_000 + second, true);
        let first = (1..100_000).find(drip).unwrap();
        assert!((250..300).contains(&first), "{first}");
    }

    #[test]
    fn steps_as_systems_make_them_are_no_drip() {
        // The rate it asks for, and that of the client with the step in which its system lets go.
        for (least, rate, step) in [(240, 700, 32_000), (10_000, 20_000, 375_000)] {
            let mut pace = Pace::new(Some(least));
            let mut bytes = 150_000;
            assert!(!pace.is_too_slow(at(0), bytes, true));
            for number in 1..100 {
                bytes += step;
                assert!(!pace.is_too_slow(at(number * step / rate), bytes, true));
            }
        }
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
