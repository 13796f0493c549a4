//! The wall time that belongs to a point of the monotonic clock.

use std::cell::Cell;
use std::time::Duration;

use super::{Clock, Instant};

/// How long a reading of the wall clock is relied on.
const TRUSTED: Duration = Duration::from_secs(1);

/// Wall time for one worker. The system is asked at most once a second, so that a step of its clock, or a sleep of the
/// machine, is followed within a second; between two readings the monotonic clock counts on.
#[derive(Debug)]
pub struct Calendar {
    clock: Clock,
    /// Wall time at the clock's zero, since 1970.
    epoch: Cell<Duration>,
    /// When the system was last asked.
    asked: Cell<Instant>,
}

impl Calendar {
    /// Asks the system for the first time.
    pub fn new(clock: Clock) -> Self {
        let (now, wall) = read(clock);
        Self {
            clock,
            epoch: Cell::new(wall.saturating_sub(now.since(Instant(0)))),
            asked: Cell::new(now),
        }
    }

    /// The time since 1970 at `at`, which is now or has passed.
    pub fn since_1970(&self, at: Instant) -> Duration {
        self.with(at, || read(self.clock))
    }

    fn with(&self, at: Instant, read: impl FnOnce() -> (Instant, Duration)) -> Duration {
        if at.since(self.asked.get()) >= TRUSTED {
            let (now, wall) = read();
            self.epoch.set(wall.saturating_sub(now.since(Instant(0))));
            self.asked.set(now);
        }
        self.epoch.get() + at.since(Instant(0))
    }
}

/// Both clocks at one moment.
fn read(clock: Clock) -> (Instant, Duration) {
    let wall = super::wall().duration_since(std::time::UNIX_EPOCH);
    (clock.now(), wall.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    fn calendar() -> Calendar {
        Calendar {
            clock: Clock::system(),
            epoch: Cell::new(Duration::from_secs(1000)),
            asked: Cell::new(at(0)),
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_is_followed_within_a_second() {
        for stepped in [500, 5000] {
            let calendar = calendar();
            let wall =
                |millis| move || (at(millis), Duration::from_millis(stepped * 1000 + millis));
            let shown = [500, 999, 1000, 1999].map(|millis| {
                let shown = calendar.with(at(millis), wall(millis));
                (shown.as_secs(), shown.subsec_millis())
            });
            let expected = [
                (1000, 500),
                (1000, 999),
                (stepped + 1, 0),
                (stepped + 1, 999),
            ];
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn the_system_is_asked_once_a_second_and_never_for_the_past() {
        let calendar = calendar();
        let mut asked = 0;
        for millis in (0..10_000).step_by(10) {
            // A request that began earlier is logged by the same clock.
            for at in [at(millis), at(0)] {
                calendar.with(at, || {
                    asked += 1;
                    (self::at(millis), Duration::from_millis(1_000_000 + millis))
                });
            }
        }
        assert_eq!(asked, 9);
        assert_eq!(calendar.since_1970(at(0)), Duration::from_secs(1000));
    }
}
