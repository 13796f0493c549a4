//! A server that works on one request after the other, each for the same time (pure).
//!
//! Work that was begun is done, and work that waits stays in its place, whether or not anybody still waits for it: that
//! is what makes an overload last.

use std::time::Duration;

use crate::clock::Instant;

/// When it will be done with all that it has.
#[derive(Debug, Default)]
pub(super) struct Fifo {
    free: Instant,
}

impl Fifo {
    /// A request comes, to be worked on for so long. When it is done.
    pub(super) fn admit(&mut self, now: Instant, service: Duration) -> Instant {
        self.free = self.free.max(now) + service;
        self.free
    }

    /// It stands still for so long, and then goes on with what it has.
    pub(super) fn stall(&mut self, now: Instant, span: Duration) {
        self.free = self.free.max(now) + span;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn each_waits_for_those_before_it_and_for_nobody_when_there_is_none() {
        let mut fifo = Fifo::default();
        let done: Vec<_> = [0, 1, 2, 50].map(|ms| fifo.admit(at(ms), 10 * MS)).into();
        assert_eq!(done, [at(10), at(20), at(30), at(60)]);
    }

    #[test]
    fn a_stall_is_waited_out_by_all_that_come_after() {
        let mut fifo = Fifo::default();
        fifo.admit(at(0), 10 * MS);
        fifo.stall(at(5), 100 * MS);
        assert_eq!(fifo.admit(at(6), 10 * MS), at(120));
        assert_eq!(fifo.admit(at(500), 10 * MS), at(510));
    }
}
