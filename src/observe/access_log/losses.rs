//! When the access log begins to lose lines, and when it is written again (pure): each is told once, however many lines
//! and seconds lie between.

use std::time::Duration;

use crate::clock::Instant;

/// Without a loss for so long, and with lines written, it is over: a disk that is full is written to now and then, as
/// others free a little of it.
const CALM: Duration = Duration::from_secs(10);

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Lines are lost.
    Begins,
    /// They are written again, after so many were lost.
    Ends { lost: u64 },
}

/// What was seen of the counters of lines.
#[derive(Debug, Default)]
pub struct Losses {
    dropped: u64,
    /// While lines are lost.
    spell: Option<Spell>,
}

#[derive(Debug)]
struct Spell {
    /// How many had been lost before.
    before: u64,
    /// The last look that found a loss, and how many lines had been written by then.
    last: Instant,
    written: u64,
}

impl Losses {
    /// Looks at the counters; they only grow.
    pub fn look(&mut self, now: Instant, written: u64, dropped: u64) -> Option<Turn> {
        let before = std::mem::replace(&mut self.dropped, dropped);
        if dropped > before {
            let is_new = self.spell.is_none();
            let before = self.spell.as_ref().map_or(before, |spell| spell.before);
            self.spell = Some(Spell {
                before,
                last: now,
                written,
            });
            return is_new.then_some(Turn::Begins);
        }
        let over = |spell: &mut Spell| now.since(spell.last) >= CALM && written > spell.written;
        let spell = self.spell.take_if(over)?;
        let lost = dropped - spell.before;
        Some(Turn::Ends { lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn a_log_that_loses_nothing_is_not_spoken_of() {
        let mut losses = Losses::default();
        for second in 0..100 {
            assert_eq!(losses.look(at(second), second, 0), None);
        }
    }

    #[test]
    fn the_begin_and_the_end_are_told_once() {
        let mut losses = Losses::default();
        assert_eq!(losses.look(at(1), 5, 2), Some(Turn::Begins));
        assert_eq!(losses.look(at(2), 5, 9), None);
        // Nobody tries to write: whether it would succeed is not known.
        assert_eq!(losses.look(at(60), 5, 9), None);
        assert_eq!(losses.look(at(61), 6, 9), Some(Turn::Ends { lost: 9 }));
        assert_eq!(losses.look(at(90), 7, 9), None);
        assert_eq!(losses.look(at(91), 7, 10), Some(Turn::Begins));
        assert_eq!(losses.look(at(101), 8, 10), Some(Turn::Ends { lost: 1 }));
    }

    #[test]
    fn a_line_that_is_written_between_losses_is_not_the_end() {
        let mut losses = Losses::default();
        assert_eq!(losses.look(at(0), 0, 1), Some(Turn::Begins));
        for second in 1..50 {
            assert_eq!(losses.look(at(second), second, 1 + second / 5), None);
        }
    }
}
