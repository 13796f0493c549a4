//! When an upstream comes to a bound and away from it, told twice and not with every request (pure).

use std::time::Duration;

use crate::clock::Instant;

/// A queue that was not empty for so long is worth a word: bursts are shorter.
const BEGINS_AFTER: Duration = Duration::from_secs(1);
/// So long nothing must have waited or been refused before it is over, so that a load which comes and goes is one event.
const ENDS_AFTER: Duration = Duration::from_secs(5);

/// What is watched at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// Since when somebody has been waiting.
    pub(super) filled: Option<Instant>,
    /// Refused so far.
    pub(super) refused: u64,
    pub(super) waiting: u32,
    pub(super) in_flight: u32,
    pub(super) limit: u32,
}

/// Whether it is at its bound.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Since when, and what was refused before.
    pressed: Option<(Instant, u64)>,
    /// When it last was.
    last: Instant,
    refused: u64,
}

impl Watch {
    /// Looks, and says what has turned.
    pub(super) fn look(&mut self, now: Instant, sight: &Sight) -> Option<String> {
        let before = std::mem::replace(&mut self.refused, sight.refused);
        let waits_long = sight
            .filled
            .is_some_and(|since| now.since(since) >= BEGINS_AFTER);
        let is_pressed = sight.refused > before || waits_long;
        match self.pressed {
            None if is_pressed => {
                self.last = now;
                self.pressed = Some((now, before));
                Some(format!(
                    "is at its bound: {} in flight of {}, {} waiting, {} refused",
                    sight.in_flight,
                    sight.limit,
                    sight.waiting,
                    sight.refused - before
                ))
            }
            Some(_) if is_pressed || sight.filled.is_some() => {
                self.last = now;
                None
            }
            Some((since, before)) if now.since(self.last) >= ENDS_AFTER => {
                self.pressed = None;
                Some(format!(
                    "is away from its bound after {:.1} s, in which {} requests were refused",
                    self.last.since(since).as_secs_f64(),
                    sight.refused - before
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    fn sight(filled: Option<u64>, refused: u64) -> Sight {
        Sight {
            filled: filled.map(at),
            refused,
            waiting: 3,
            in_flight: 8,
            limit: 8,
        }
    }

    #[test]
    fn a_burst_is_no_event_and_an_overload_is_two() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(at(0), &sight(Some(0), 0)), None);
        assert_eq!(watch.look(at(900), &sight(Some(0), 0)), None);
        assert_eq!(watch.look(at(1000), &sight(None, 0)), None);
        assert_eq!(watch.look(at(2000), &sight(Some(1500), 0)), None);
        assert_eq!(
            watch.look(at(2500), &sight(Some(1500), 0)).as_deref(),
            Some("is at its bound: 8 in flight of 8, 3 waiting, 0 refused")
        );
        assert_eq!(watch.look(at(4000), &sight(Some(1500), 7)), None);
        assert_eq!(watch.look(at(8900), &sight(None, 7)), None);
        assert_eq!(
            watch.look(at(9000), &sight(None, 7)).as_deref(),
            Some("is away from its bound after 1.5 s, in which 7 requests were refused")
        );
        assert_eq!(watch.look(at(9100), &sight(None, 7)), None);
    }

    #[test]
    fn what_is_refused_is_told_at_once_and_a_pause_is_no_end() {
        let mut watch = Watch::default();
        assert_eq!(
            watch.look(at(100), &sight(None, 4)).as_deref(),
            Some("is at its bound: 8 in flight of 8, 3 waiting, 4 refused")
        );
        assert_eq!(watch.look(at(4000), &sight(None, 4)), None);
        assert_eq!(watch.look(at(5000), &sight(None, 5)), None);
        assert_eq!(watch.look(at(9900), &sight(None, 5)), None);
        assert!(watch.look(at(10_000), &sight(None, 5)).is_some());
    }
}
