//! How the process comes to its end: what each wish to end changes, and what is due when (pure).
//!
//! Serving, it is first *leaving*: readiness turns negative so that a balancer in front sends nothing more, and
//! connections are still accepted for `drain_delay`. Then it is *draining*: it accepts nothing new and finishes what
//! runs, within `drain_timeout` where it was not told to take its time. What is left then is cut.

use std::time::Duration;

use crate::clock::Instant;

/// What is wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// TERM and INT: within the bound; wished for a second time, at once.
    End,
    /// Within the bound; wishing again changes nothing.
    Drain,
    /// QUIT: however long it takes.
    Quit,
    /// Another process has taken over: at once nothing new, and what runs within the bound.
    HandOver,
    /// At once.
    Stop,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Say that no traffic should be sent here any more.
    Leave,
    /// Accept nothing new, and finish what runs.
    Close,
    /// End whatever runs.
    Cut,
}

/// How long it may take, as configured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spans {
    /// Between leaving and draining.
    pub(super) delay: Duration,
    /// Between draining and cutting.
    pub(super) timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Leaving { close: Instant },
    Draining,
    Cut,
}

/// The way to the end, once it was wished for.
#[derive(Debug)]
pub(super) struct Ending {
    phase: Phase,
    /// What a wish asked for and no step has begun yet.
    wished: Option<Spans>,
    /// What draining may take; none: however long it takes.
    bound: Option<Duration>,
    /// When what is left is cut, while draining.
    deadline: Option<Instant>,
    /// Whether TERM or INT came.
    is_told: bool,
    is_urgent: bool,
}

impl Ending {
    /// Nobody has wished for it.
    pub(super) const fn new() -> Self {
        Self {
            phase: Phase::Serving,
            wished: None,
            bound: None,
            deadline: None,
            is_told: false,
            is_urgent: false,
        }
    }

    /// Takes note of a wish; what follows from it is told by [`next`](Self::next).
    pub(super) fn wish(&mut self, now: Instant, wish: Wish, spans: Spans) {
        let is_first = self.phase == Phase::Serving && self.wished.is_none();
        match wish {
            Wish::Stop => self.is_urgent = true,
            Wish::End if self.is_told => self.is_urgent = true,
            Wish::End | Wish::Drain => {
                self.is_told |= wish == Wish::End;
                if is_first {
                    self.wished = Some(spans);
                    self.bound = Some(spans.timeout);
                } else if wish == Wish::End && self.bound.is_none() {
                    // After QUIT: patience has ended.
                    self.bound = Some(spans.timeout);
                    if self.phase == Phase::Draining {
                        self.deadline = Some(now + spans.timeout);
                    }
                }
            }
            Wish::Quit if is_first => self.wished = Some(spans),
            Wish::HandOver if is_first => {
                let delay = Duration::ZERO;
                self.wished = Some(Spans { delay, ..spans });
                self.bound = Some(spans.timeout);
            }
            Wish::Quit | Wish::HandOver => {}
        }
    }

    /// The next step that is due; each is told once, so that asking until there is none leaves nothing out.
    pub(super) fn next(&mut self, now: Instant) -> Option<Step> {
        if self.phase == Phase::Cut {
            return None;
        }
        if self.is_urgent || self.deadline.is_some_and(|deadline| deadline <= now) {
            self.phase = Phase::Cut;
            return Some(Step::Cut);
        }
        match self.phase {
            Phase::Serving => {
                let spans = self.wished?;
                let close = now + spans.delay;
                self.phase = Phase::Leaving { close };
                Some(Step::Leave)
            }
            Phase::Leaving { close } if close <= now => {
                self.phase = Phase::Draining;
                self.deadline = self.bound.map(|bound| now + bound);
                Some(Step::Close)
            }
            Phase::Leaving { .. } | Phase::Draining | Phase::Cut => None,
        }
    }

    /// When the next step is due without another wish.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Leaving { close } => Some(close),
            Phase::Draining => self.deadline,
            Phase::Serving | Phase::Cut => None,
        }
    }

    /// When what is left is cut; none where that is not known, or never.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether nobody has wished for the end.
    pub(super) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving && self.wished.is_none() && !self.is_urgent
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPANS: Spans = Spans {
        delay: Duration::from_secs(3),
        timeout: Duration::from_secs(20),
    };

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn steps(ending: &mut Ending, now: Instant) -> Vec<Step> {
        std::iter::from_fn(|| ending.next(now)).collect()
    }

    #[test]
    fn term_leaves_then_drains_then_cuts() {
        let mut ending = Ending::new();
        assert_eq!((steps(&mut ending, at(0)), ending.due()), (vec![], None));
        ending.wish(at(1), Wish::End, SPANS);
        assert!(!ending.is_serving());
        assert_eq!(steps(&mut ending, at(1)), [Step::Leave]);
        assert_eq!(ending.due(), Some(at(4)));
        assert_eq!(steps(&mut ending, at(3)), []);
        assert_eq!(steps(&mut ending, at(4)), [Step::Close]);
        assert_eq!(
            (ending.due(), ending.deadline()),
            (Some(at(24)), Some(at(24)))
        );
        assert_eq!(steps(&mut ending, at(24)), [Step::Cut]);
        assert_eq!((steps(&mut ending, at(25)), ending.due()), (vec![], None));
    }

    #[test]
    fn without_a_delay_it_closes_at_once() {
        let spans = Spans {
            delay: Duration::ZERO,
            ..SPANS
        };
        let mut ending = Ending::new();
        ending.wish(at(1), Wish::Drain, spans);
        assert_eq!(steps(&mut ending, at(1)), [Step::Leave, Step::Close]);
    }

    #[test]
    fn a_second_term_cuts_at_once_and_a_second_drain_changes_nothing() {
        let mut ending = Ending::new();
        ending.wish(at(0), Wish::Drain, SPANS);
        ending.wish(at(1), Wish::Drain, SPANS);
        assert_eq!(steps(&mut ending, at(1)), [Step::Leave]);
        // What stops a service sends TERM though it was drained before.
        ending.wish(at(2), Wish::End, SPANS);
        assert_eq!(steps(&mut ending, at(2)), []);
        ending.wish(at(2), Wish::End, SPANS);
        assert_eq!(steps(&mut ending, at(2)), [Step::Cut]);
    }

    #[test]
    fn quit_takes_its_time_until_term_bounds_it() {
        let mut ending = Ending::new();
        ending.wish(at(0), Wish::Quit, SPANS);
        assert_eq!(steps(&mut ending, at(0)), [Step::Leave]);
        assert_eq!(steps(&mut ending, at(9)), [Step::Close]);
        assert_eq!(ending.due(), None);
        assert_eq!(steps(&mut ending, at(100_000)), []);
        ending.wish(at(100_000), Wish::End, SPANS);
        assert_eq!(ending.due(), Some(at(100_020)));
        ending.wish(at(100_001), Wish::Quit, SPANS);
        assert_eq!(steps(&mut ending, at(100_020)), [Step::Cut]);
    }

    #[test]
    fn term_while_quit_is_leaving_bounds_what_follows() {
        let mut ending = Ending::new();
        ending.wish(at(0), Wish::Quit, SPANS);
        assert_eq!(steps(&mut ending, at(0)), [Step::Leave]);
        ending.wish(at(1), Wish::End, SPANS);
        assert_eq!(steps(&mut ending, at(3)), [Step::Close]);
        assert_eq!(ending.deadline(), Some(at(23)));
    }

    #[test]
    fn whoever_handed_over_accepts_nothing_from_then_on() {
        let mut ending = Ending::new();
        ending.wish(at(5), Wish::HandOver, SPANS);
        assert_eq!(steps(&mut ending, at(5)), [Step::Leave, Step::Close]);
        assert_eq!(ending.deadline(), Some(at(25)));
    }

    fn wishes() -> impl Strategy<Value = Vec<(u64, Wish)>> {
        let wish = prop_oneof![
            Just(Wish::End),
            Just(Wish::Drain),
            Just(Wish::Quit),
            Just(Wish::HandOver),
            Just(Wish::Stop),
        ];
        prop::collection::vec((0_u64..40, wish), 0..6)
    }

    proptest! {
        #[test]
        fn steps_come_in_order_and_once_and_term_always_ends_it(wishes in wishes()) {
            let (mut ending, mut now, mut told) = (Ending::new(), at(0), Vec::new());
            for (later, wish) in wishes {
                now = now + Duration::from_secs(later);
                ending.wish(now, wish, SPANS);
                told.extend(steps(&mut ending, now));
            }
            ending.wish(now, Wish::End, SPANS);
            told.extend(steps(&mut ending, now));
            now = now + SPANS.delay;
            told.extend(steps(&mut ending, now));
            told.extend(steps(&mut ending, now + SPANS.timeout));
            prop_assert_eq!(told.last(), Some(&Step::Cut));
            let whole = [Step::Leave, Step::Close, Step::Cut];
            let whole: Vec<Step> = whole.into_iter().filter(|step| told.contains(step)).collect();
            prop_assert_eq!(told, whole);
        }
    }
}
