//! When memory is short, and when it is so no more (pure).

use crate::config::Memory;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Shed,
    Resume,
}

/// Two marks, so that a little more or less turns nothing on and off.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    is_shedding: bool,
}

impl Watermark {
    /// Judges by what is used of how much; `None` where there is no limit, or it cannot be told.
    pub(super) fn judge(&mut self, usage: Option<(u64, u64)>, rules: &Memory) -> Option<Turn> {
        let is_above =
            |mark: f64| usage.is_some_and(|(used, limit)| used as f64 > limit as f64 * mark);
        let was = self.is_shedding;
        let mark = if was { rules.resume_at } else { rules.shed_at };
        self.is_shedding = is_above(mark.fraction());
        match (was, self.is_shedding) {
            (false, true) => Some(Turn::Shed),
            (true, false) => Some(Turn::Resume),
            _ => None,
        }
    }

    pub(super) fn is_shedding(&self) -> bool {
        self.is_shedding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheds_above_one_mark_and_resumes_below_the_other() {
        let (mut watermark, rules) = (Watermark::default(), Memory::default());
        let mut at = |used: u64| watermark.judge(Some((used, 100)), &rules);
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
        assert_eq!(watermark.judge(None, &rules), None);
        assert_eq!(watermark.judge(Some((95, 100)), &rules), Some(Turn::Shed));
        // A reload took the limit away.
        assert_eq!(watermark.judge(None, &rules), Some(Turn::Resume));
        assert!(!watermark.is_shedding());
    }
}
