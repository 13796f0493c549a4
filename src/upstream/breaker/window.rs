//! What happened of late: attempts, and how many of them failed or were slow, in ten slices of time.
//!
//! Failures and slow attempts are counted exactly, and so are the attempts of a route. Those of an endpoint are the ones that
//! [`crate::balance::Signals`] counts, where two workers that end an attempt there at the same moment may count as one. A rate
//! of an endpoint may thus be a little too high, by the share of attempts that end within some hundred nanoseconds
//! of another one: at 10000 a second about one in a thousand.

use std::time::Duration;

use crate::clock::Instant;

/// Slices of a window. What it holds is between nine tenths of the window and the whole of it.
const SLICES: usize = 10;

/// Attempts that ended, those of them that failed, and those that were slow. As running totals they wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub ended: u32,
    pub failed: u32,
    pub slow: u32,
}

/// Counts by the slice of time in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    slices: [Counts; SLICES],
    /// The number of the slice that is written, counted from the beginning of time, and their length then.
    current: u64,
    length: u64,
    /// The totals that are in the slices, or were passed over.
    seen: Counts,
}

impl Window {
    /// Forgets what it holds; running totals go on from where they are.
    pub(super) fn clear(&mut self) {
        self.slices = [Counts::default(); SLICES];
    }

    /// Forgets where attempts stood, too, since they go on unseen: it is to begin anew.
    pub(super) fn forget(&mut self) {
        self.clear();
        self.length = 0;
    }

    /// Before anything was added: running totals do not begin at 0, but with so many attempts of a life before.
    pub(super) fn begin(&mut self, ended: u32) {
        if self.length == 0 {
            self.seen.ended = ended;
        }
    }

    /// Adds what the running totals have come ahead by; or passes it over.
    pub(super) fn add(&mut self, now: Instant, span: Duration, totals: Counts, is_counted: bool) {
        self.turn(now, span);
        let seen = std::mem::replace(&mut self.seen, totals);
        if is_counted {
            let slice = &mut self.slices[(self.current % SLICES as u64) as usize];
            slice.ended = slice.ended.saturating_add(ahead(seen.ended, totals.ended));
            slice.failed = slice
                .failed
                .saturating_add(ahead(seen.failed, totals.failed));
            slice.slow = slice.slow.saturating_add(ahead(seen.slow, totals.slow));
        }
    }

    /// What it holds. The totals are not read at one moment: no more failed, or were slow, than ended.
    pub(super) fn sum(&self) -> Counts {
        let sum = self
            .slices
            .iter()
            .fold(Counts::default(), |sum, slice| Counts {
                ended: sum.ended.saturating_add(slice.ended),
                failed: sum.failed.saturating_add(slice.failed),
                slow: sum.slow.saturating_add(slice.slow),
            });
        Counts {
            ended: sum.ended,
            failed: sum.failed.min(sum.ended),
            slow: sum.slow.min(sum.ended),
        }
    }

    /// Goes on to the slice of `now`. After a change of the span nothing is left that could be placed.
    fn turn(&mut self, now: Instant, span: Duration) {
        let length = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX) / SLICES as u64;
        let length = length.max(1);
        let current = now.0 / length;
        if length != self.length || current >= self.current.saturating_add(SLICES as u64) {
            self.clear();
            (self.length, self.current) = (length, current);
        }
        // Not back: a thread that is late adds to the slice that others have begun.
        while self.current < current {
            self.current += 1;
            self.slices[(self.current % SLICES as u64) as usize] = Counts::default();
        }
    }
}

/// How far a total has come that wraps; not at all where it went back, as that of an upstream does that lost an endpoint.
fn ahead(seen: u32, total: u32) -> u32 {
    let ahead = total.wrapping_sub(seen);
    if ahead > u32::MAX / 2 { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    fn totals(ended: u32, failed: u32) -> Counts {
        Counts {
            ended,
            failed,
            slow: 0,
        }
    }

    #[test]
    fn holds_what_came_within_the_span() {
        let mut window = Window::default();
        window.begin(7);
        window.add(at(0), SPAN, totals(17, 1), true);
        assert_eq!(window.sum(), totals(10, 1));
        window.begin(0);
        window.add(at(5000), SPAN, totals(37, 2), true);
        assert_eq!(window.sum(), totals(30, 2));
        window.add(at(9999), SPAN, totals(37, 2), true);
        assert_eq!(window.sum(), totals(30, 2));
        window.add(at(10_000), SPAN, totals(37, 2), true);
        assert_eq!(window.sum(), totals(20, 1));
        window.add(at(60_000), SPAN, totals(38, 2), true);
        assert_eq!(window.sum(), totals(1, 0));
    }

    #[test]
    fn totals_wrap_go_back_and_are_passed_over() {
        let mut window = Window::default();
        window.add(at(0), SPAN, totals(u32::MAX, 0), false);
        assert_eq!(window.sum(), totals(0, 0));
        window.add(at(0), SPAN, totals(4, 0), true);
        assert_eq!(window.sum(), totals(5, 0));
        window.add(at(0), SPAN, totals(2, 0), true);
        assert_eq!(window.sum(), totals(5, 0));
        // Another length of the slices: what is known cannot be placed in them.
        window.add(at(0), SPAN * 2, totals(3, 9), true);
        assert_eq!(window.sum(), totals(1, 1));
    }

    /// Two threads may look at once, of which one has read the clock before the other.
    #[test]
    fn a_clock_that_is_behind_loses_nothing() {
        let mut window = Window::default();
        window.add(at(0), SPAN, totals(0, 0), true);
        window.add(at(5000), SPAN, totals(3, 0), true);
        window.add(at(4999), SPAN, totals(5, 0), true);
        assert_eq!(window.sum(), totals(5, 0));
    }
}
