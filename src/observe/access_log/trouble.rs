//! That lines are lost: told once with the reason, and once more when it is over.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::observe::event::{Events, Kind};

/// So long no line must have been lost for the trouble to be over. A disk that is nearly full, or a reader that is nearly
/// fast enough, would be told of several times a second otherwise.
const CALM: Duration = Duration::from_secs(5);

/// Where it is told.
#[derive(Debug, Clone)]
pub struct Told {
    pub events: Arc<Events>,
    pub clock: Clock,
}

/// How it stands with lines that are lost.
#[derive(Debug)]
pub(super) struct Trouble {
    told: Told,
    /// Where the log goes, for people.
    target: String,
    /// Touched once for a batch of lines.
    state: Mutex<State>,
}

impl Trouble {
    pub(super) fn new(told: Told, target: String) -> Self {
        Self {
            told,
            target,
            state: Mutex::default(),
        }
    }

    /// So many lines were lost because the target is of no use.
    pub(super) fn failed(&self, lines: u64, why: &impl Display) {
        let because = || format!("{} takes none: {why}", self.target);
        self.lost(lines, because);
    }

    /// So many lines were lost because they come faster than they go.
    pub(super) fn too_slow(&self, lines: u64) {
        let because = || format!("{} does not take them as fast as they come", self.target);
        self.lost(lines, because);
    }

    fn lost(&self, lines: u64, because: impl FnOnce() -> String) {
        let now = self.told.clock.now();
        let mut state = self.state();
        if state.lost(now, lines) {
            let because = because();
            state.reason = Some(because.clone());
            self.note(now, format!("lines are lost, since {because}"));
        }
    }

    /// Lines were written.
    pub(super) fn written(&self) {
        self.state().is_writing = true;
    }

    /// Tells that it is over where it is. How long until it is worth asking again, in time of the system; `None`: not
    /// before the next batch.
    pub(super) fn settle(&self) -> Option<Duration> {
        let now = self.told.clock.now();
        match self.state().settle(now) {
            Settled::Over(lost) => {
                let lines = if lost == 1 { "line is" } else { "lines are" };
                let text = format!(
                    "lines are written to {} again; {lost} {lines} missing",
                    self.target
                );
                self.note(now, text);
                None
            }
            Settled::In(span) => Some(self.told.clock.real(span)),
            Settled::No => None,
        }
    }

    /// Why lines are lost, while they are.
    pub(super) fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    fn note(&self, now: Instant, text: String) {
        self.told.events.note_process(now, Kind::AccessLog, text);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Why, as it was told; `None`: none are lost.
    reason: Option<String>,
    /// Lines that were lost since it was told.
    lost: u64,
    last: Instant,
    /// Whether lines were written after the last that were lost.
    is_writing: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// After so many lost lines.
    Over(u64),
    /// Perhaps after so long.
    In(Duration),
    No,
}

impl State {
    /// True when it is to be told.
    fn lost(&mut self, now: Instant, lines: u64) -> bool {
        self.is_writing = false;
        self.last = now;
        self.lost += lines;
        self.reason.is_none()
    }

    fn settle(&mut self, now: Instant) -> Settled {
        // What is idle since lines were lost may lose the next one, too.
        if self.reason.is_none() || !self.is_writing {
            return Settled::No;
        }
        let calm = now.since(self.last);
        if calm < CALM {
            return Settled::In(CALM.saturating_sub(calm));
        }
        self.reason = None;
        Settled::Over(std::mem::take(&mut self.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn it_is_over_when_lines_are_written_and_none_was_lost_for_a_while() {
        let mut state = State::default();
        assert_eq!(state.settle(at(0)), Settled::No);
        assert!(state.lost(at(1), 3));
        state.reason = Some("full".to_owned());
        assert!(!state.lost(at(2), 4));
        // Nobody knows before a line was written.
        assert_eq!(state.settle(at(100)), Settled::No);
        state.is_writing = true;
        assert!(!state.lost(at(101), 1));
        state.is_writing = true;
        let left = CALM.saturating_sub(Duration::from_secs(1));
        assert_eq!(state.settle(at(102)), Settled::In(left));
        assert_eq!(state.settle(at(101) + CALM), Settled::Over(8));
        assert_eq!(state.settle(at(200)), Settled::No);
        assert!(state.lost(at(201), 1));
    }
}
