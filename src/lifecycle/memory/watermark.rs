//! When memory is short, when it runs out, and when it is so no more (pure).

use std::time::Duration;

use crate::clock::Instant;
use crate::config::Memory;

/// How long nobody may be let in while nobody is connected: what was theirs has been given back by then, if it ever is.
const EMPTY: Duration = Duration::from_secs(5);
/// The same while the same number is connected: what they do goes on, and gives nothing back.
const STILL: Duration = Duration::from_secs(60);

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Shed,
    Resume,
    /// Memory is as short as it was, and waiting does not change that.
    GiveUp,
}

/// What is seen at one look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) now: Instant,
    /// What is used of how much; `None` where there is no limit, or it cannot be told.
    pub(super) usage: Option<(u64, u64)>,
    /// Connections of clients that are open.
    pub(super) open: usize,
}

/// Two marks, so that a little more or less turns nothing on and off, and a third above them.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    is_shedding: bool,
    /// Since when so many are connected, while it sheds.
    still: Option<(Instant, usize)>,
    /// What was used when waiting was given up: that much is not the clients' doing, until less is used again.
    floor: Option<u64>,
}

impl Watermark {
    pub(super) fn judge(&mut self, seen: Seen, rules: &Memory) -> Option<Turn> {
        let is_above = |mark: u64| seen.usage.is_some_and(|(used, _)| used > mark);
        let resume = part(seen.usage, rules.resume_at.fraction());
        if !is_above(resume) {
            self.floor = None;
        }
        let was = self.is_shedding;
        let mark = if was {
            resume
        } else {
            self.above_floor(seen.usage, 1, part(seen.usage, rules.shed_at.fraction()))
        };
        self.is_shedding = is_above(mark);
        if !self.is_shedding {
            self.still = None;
        } else if was && self.is_in_vain(seen) {
            self.is_shedding = false;
            self.still = None;
            self.floor = seen.usage.map(|(used, _)| used);
            return Some(Turn::GiveUp);
        }
        match (was, self.is_shedding) {
            (false, true) => Some(Turn::Shed),
            (true, false) => Some(Turn::Resume),
            _ => None,
        }
    }

    pub(super) fn is_shedding(&self) -> bool {
        self.is_shedding
    }

    /// How many bytes have to go whosever they are, because the mark is passed that lies between shedding and the limit.
    pub(super) fn excess(&self, usage: Option<(u64, u64)>, rules: &Memory) -> Option<u64> {
        let shed_at = rules.shed_at.fraction();
        let mark = self.above_floor(usage, 2, part(usage, f64::midpoint(shed_at, 1.0)));
        let (used, _) = usage.filter(|(used, _)| *used > mark)?;
        let target = self.above_floor(usage, 1, part(usage, shed_at));
        Some(used.saturating_sub(target).max(1))
    }

    /// Whether so much is used that the next look should not be long in coming.
    pub(super) fn is_near(usage: Option<(u64, u64)>, rules: &Memory) -> bool {
        const NEAR: f64 = 0.75;
        let mark = part(usage, rules.shed_at.fraction() * NEAR);
        usage.is_some_and(|(used, _)| used > mark)
    }

    /// `mark`, or so many steps above what was used when waiting was given up.
    fn above_floor(&self, usage: Option<(u64, u64)>, steps: u64, mark: u64) -> u64 {
        const STEP: f64 = 1.0 / 32.0;
        let step = part(usage, STEP);
        self.floor
            .map_or(mark, |floor| mark.max(floor + steps * step))
    }

    /// Whether nobody has left for so long that nobody will.
    fn is_in_vain(&mut self, seen: Seen) -> bool {
        let still = self.still.filter(|(_, open)| *open == seen.open);
        let (since, open) = *self.still.insert(still.unwrap_or((seen.now, seen.open)));
        seen.now.since(since) >= if open == 0 { EMPTY } else { STILL }
    }
}

/// This share of the limit.
fn part(usage: Option<(u64, u64)>, share: f64) -> u64 {
    usage.map_or(0, |(_, limit)| (limit as f64 * share) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process of 100 bytes is seen to use, at a time and with so many clients.
    fn seen(seconds: u64, used: u64, open: usize) -> Seen {
        Seen {
            now: Instant(seconds * 1_000_000_000),
            usage: Some((used, 100)),
            open,
        }
    }

    #[test]
    fn sheds_above_one_mark_and_resumes_below_the_other() {
        let (mut watermark, rules) = (Watermark::default(), Memory::default());
        let mut at = |used: u64| watermark.judge(seen(0, used, 1), &rules);
        assert_eq!(at(90), None);
        assert_eq!(at(91), Some(Turn::Shed));
        assert_eq!(at(86), None);
        assert_eq!(at(99), None);
        assert_eq!(at(85), Some(Turn::Resume));
        assert_eq!(at(90), None);
    }

    #[test]
    fn without_a_limit_nothing_is_short() {
        let (mut watermark, rules) = (Watermark::default(), Memory::default());
        let none = Seen {
            usage: None,
            ..seen(0, 0, 1)
        };
        assert_eq!(watermark.judge(none, &rules), None);
        assert_eq!(watermark.judge(seen(0, 95, 1), &rules), Some(Turn::Shed));
        // A reload took the limit away.
        assert_eq!(watermark.judge(none, &rules), Some(Turn::Resume));
        assert!(!watermark.is_shedding());
        assert_eq!(watermark.excess(None, &rules), None);
    }

    #[test]
    fn what_is_above_the_mark_halfway_to_the_limit_has_to_go() {
        let (watermark, rules) = (Watermark::default(), Memory::default());
        assert_eq!(watermark.excess(Some((95, 100)), &rules), None);
        assert_eq!(watermark.excess(Some((96, 100)), &rules), Some(6));
        assert_eq!(watermark.excess(Some((140, 100)), &rules), Some(50));
    }

    #[test]
    fn nobody_waits_for_ever_for_memory_that_no_client_holds() {
        let (mut watermark, rules) = (Watermark::default(), Memory::default());
        assert_eq!(watermark.judge(seen(0, 98, 7), &rules), Some(Turn::Shed));
        assert_eq!(watermark.judge(seen(1, 98, 0), &rules), None);
        assert_eq!(watermark.judge(seen(5, 98, 0), &rules), None);
        assert_eq!(watermark.judge(seen(6, 98, 0), &rules), Some(Turn::GiveUp));
        // What is used is no reason any more; clearly more is.
        assert_eq!(watermark.judge(seen(7, 98, 3), &rules), None);
        assert_eq!(watermark.excess(Some((98, 100)), &rules), None);
        assert_eq!(watermark.judge(seen(8, 102, 3), &rules), Some(Turn::Shed));
        assert_eq!(watermark.excess(Some((105, 100)), &rules), Some(4));
        assert_eq!(watermark.judge(seen(9, 80, 3), &rules), Some(Turn::Resume));
        assert_eq!(watermark.judge(seen(9, 91, 3), &rules), Some(Turn::Shed));
    }

    #[test]
    fn those_who_stay_for_long_do_not_keep_all_others_out_for_ever() {
        let (mut watermark, rules) = (Watermark::default(), Memory::default());
        assert_eq!(watermark.judge(seen(0, 92, 7), &rules), Some(Turn::Shed));
        assert_eq!(watermark.judge(seen(1, 92, 7), &rules), None);
        assert_eq!(watermark.judge(seen(50, 92, 6), &rules), None);
        assert_eq!(watermark.judge(seen(109, 92, 6), &rules), None);
        assert_eq!(
            watermark.judge(seen(110, 92, 6), &rules),
            Some(Turn::GiveUp)
        );
    }
}
