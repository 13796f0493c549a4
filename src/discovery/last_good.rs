//! What a source said last that could be used, and what became of it since (pure).
//!
//! A list is replaced by another list only: a failure leaves it as it is, and so does an answer that there is nothing unless
//! that is allowed to count.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Failure, Listing, schedule};
use crate::clock::Instant;
use crate::config::Discovery;

/// Names that are written out in a text; of more only the number is.
const SHOWN: usize = 6;

/// The last good list of one source.
#[derive(Debug, Default)]
pub struct LastGood {
    /// `None`: there was none yet.
    list: Option<Arc<Listing>>,
    /// Counts up with each other list.
    revision: u64,
    /// When the source last confirmed all of the list; where it never did, when there first was one.
    confirmed: Instant,
    failures: u64,
    /// Failures since the last good answer.
    streak: u32,
    error: Option<Failure>,
    /// When to ask again.
    due: Instant,
}

/// What an answer changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// The list is another one.
    pub replaced: Option<Replaced>,
    /// It fails, and did not before.
    pub failed: Option<Failure>,
    /// It failed before, and does no more.
    pub recovered: bool,
}

/// The difference between two lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replaced {
    pub is_first: bool,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub kept: usize,
}

impl LastGood {
    /// Takes up an answer.
    pub fn record(&mut self, now: Instant, answer: Answer, rules: &Discovery) -> Turn {
        let (list, ttl, failure) = match answer {
            Answer::Complete(list, ttl) => (Some(list), ttl, None),
            Answer::Partial(list, failure) => (Some(list), None, Some(failure)),
            Answer::Empty(_, ttl) if rules.allow_empty => {
                let none = Listing::Endpoints(Vec::new());
                (Some(none), ttl, None)
            }
            Answer::Empty(absence, _) => (None, None, Some(Failure::Empty(absence))),
            Answer::Failed(failure) => (None, None, Some(failure)),
        };
        let replaced = list.and_then(|list| self.replace(now, list));
        match failure {
            Some(failure) => {
                self.failures += 1;
                self.streak = self.streak.saturating_add(1);
                self.due = now + schedule::after_failure(self.streak, rules);
                self.error = Some(failure.clone());
                Turn {
                    replaced,
                    failed: (self.streak == 1).then_some(failure),
                    recovered: false,
                }
            }
            None => {
                let recovered = self.streak > 0;
                (self.streak, self.error) = (0, None);
                self.confirmed = now;
                self.due = now + schedule::after_answer(ttl, rules);
                Turn {
                    replaced,
                    failed: None,
                    recovered,
                }
            }
        }
    }

    fn replace(&mut self, now: Instant, list: Listing) -> Option<Replaced> {
        let before = self.list.as_deref();
        if before == Some(&list) || before.is_some_and(|old| old.is_empty() && list.is_empty()) {
            return None;
        }
        let replaced = Replaced::between(before, &list);
        if replaced.is_first {
            self.confirmed = now;
        }
        self.list = Some(Arc::new(list));
        self.revision += 1;
        Some(replaced)
    }

    /// The list, and which in the row of lists it is: 0 while there is none.
    pub fn current(&self) -> (u64, Option<Arc<Listing>>) {
        (self.revision, self.list.clone())
    }

    /// When to ask again.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// How old the list is; `None`: there is none.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.list.as_ref()?;
        Some(now.since(self.confirmed))
    }

    /// How often it failed.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Why it fails now; `None`: it does not.
    pub fn error(&self) -> Option<&Failure> {
        self.error.as_ref()
    }
}

impl Replaced {
    fn between(old: Option<&Listing>, new: &Listing) -> Self {
        let sorted = |list: &Listing| {
            let mut names = list.names();
            names.sort_unstable();
            names.dedup();
            names
        };
        let (before, now) = (old.map(sorted).unwrap_or_default(), sorted(new));
        let missing = |from: &[String], names: &[String]| -> Vec<String> {
            let not_there = |name: &&String| from.binary_search(name).is_err();
            names.iter().filter(not_there).cloned().collect()
        };
        let added = missing(&before, &now);
        Self {
            is_first: old.is_none(),
            removed: missing(&now, &before),
            kept: now.len() - added.len(),
            added,
        }
    }
}

impl fmt::Display for Replaced {
    /// `added 10.0.0.3; removed 10.0.0.1; 2 kept`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.added.is_empty() && self.removed.is_empty() {
            return write!(f, "other weights or keys; {} kept", self.kept);
        }
        for (word, names) in [("added", &self.added), ("removed", &self.removed)] {
            if names.is_empty() {
                continue;
            }
            let shown = names.iter().take(SHOWN).map(String::as_str);
            write!(f, "{word} {}", shown.collect::<Vec<_>>().join(", "))?;
            if names.len() > SHOWN {
                write!(f, " and {} more", names.len() - SHOWN)?;
            }
            f.write_str("; ")?;
        }
        write!(f, "{} kept", self.kept)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::super::Absence;
    use super::*;

    fn list(last: &[u8]) -> Listing {
        Listing::Addresses(
            last.iter()
                .map(|byte| IpAddr::from([10, 0, 0, *byte]))
                .collect(),
        )
    }

    fn complete(last: &[u8]) -> Answer {
        Answer::Complete(list(last), Some(Duration::from_secs(60)))
    }

    fn failed() -> Answer {
        Answer::Failed(Failure::Unreadable("no such file".to_owned()))
    }

    fn at(seconds: u64) -> Instant {
        Instant(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_list_is_replaced_by_another_one_and_the_difference_told() {
        let (mut known, rules) = (LastGood::default(), Discovery::default());
        let turn = known.record(at(1), complete(&[1, 2]), &rules);
        assert!(turn.replaced.unwrap().is_first);
        assert_eq!(
            known.record(at(2), complete(&[1, 2]), &rules),
            Turn::default()
        );
        let replaced = known
            .record(at(3), complete(&[2, 3]), &rules)
            .replaced
            .unwrap();
        let text = "added 10.0.0.3; removed 10.0.0.1; 1 kept";
        assert_eq!(replaced.to_string(), text);
        assert_eq!(known.current(), (2, Some(Arc::new(list(&[2, 3])))));
        assert_eq!(known.due(), at(63));
    }

    #[test]
    fn a_failure_is_told_once_and_so_is_its_end_while_the_list_grows_old() {
        let (mut known, rules) = (LastGood::default(), Discovery::default());
        known.record(at(0), complete(&[1]), &rules);
        assert!(known.record(at(60), failed(), &rules).failed.is_some());
        assert_eq!(known.record(at(65), failed(), &rules), Turn::default());
        assert_eq!((known.due(), known.failures()), (at(75), 2));
        assert_eq!(known.age(at(70)), Some(Duration::from_secs(70)));
        assert!(known.error().is_some());
        let turn = known.record(at(75), complete(&[1]), &rules);
        assert!(turn.recovered && turn.replaced.is_none());
        assert_eq!(
            (known.error(), known.age(at(76))),
            (None, Some(Duration::from_secs(1)))
        );
    }

    #[test]
    fn a_part_that_fails_does_not_hold_up_the_rest_and_does_not_make_the_list_younger() {
        let (mut known, rules) = (LastGood::default(), Discovery::default());
        known.record(at(0), complete(&[1]), &rules);
        let failure = Failure::Unreadable("half".to_owned());
        let turn = known.record(at(9), Answer::Partial(list(&[1, 2]), failure), &rules);
        assert!(turn.replaced.is_some() && turn.failed.is_some());
        assert_eq!(known.age(at(10)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn an_answer_that_there_is_nothing_counts_only_where_it_may() {
        let mut rules = Discovery::default();
        let mut known = LastGood::default();
        let none = || Answer::Empty(Absence::NoName, Some(Duration::from_secs(10)));
        known.record(at(0), complete(&[1]), &rules);
        let failed = known.record(at(1), none(), &rules).failed;
        assert_eq!(failed, Some(Failure::Empty(Absence::NoName)));
        assert_eq!(known.current().1.unwrap().len(), 1);
        rules.allow_empty = true;
        let turn = known.record(at(2), none(), &rules);
        assert_eq!(turn.replaced.unwrap().removed, ["10.0.0.1"]);
        assert!(turn.recovered && known.current().1.unwrap().is_empty());
        assert_eq!(known.record(at(3), none(), &rules), Turn::default());
    }

    fn answers() -> impl Strategy<Value = Vec<Answer>> {
        let one = prop_oneof![
            proptest::collection::btree_set(0_u8..4, 1..4)
                .prop_map(|set| complete(&set.into_iter().collect::<Vec<_>>())),
            Just(Answer::Empty(Absence::NoAddress, None)),
            Just(failed()),
        ];
        proptest::collection::vec(one, 0..40)
    }

    proptest! {
        /// Against the plain rule: what serves is the last list that was complete.
        #[test]
        fn whatever_is_said_the_last_good_list_serves(answers in answers()) {
            let (mut known, rules) = (LastGood::default(), Discovery::default());
            let (mut expected, mut is_failing) = (None, false);
            for (second, answer) in answers.into_iter().enumerate() {
                let now = at(second as u64);
                let is_good = matches!(answer, Answer::Complete(..));
                let before = expected.clone();
                if let Answer::Complete(list, _) = &answer {
                    expected = Some(Arc::new(list.clone()));
                }
                let turn = known.record(now, answer, &rules);
                prop_assert_eq!(turn.replaced.is_some(), before != expected);
                prop_assert_eq!(turn.failed.is_some(), !is_good && !is_failing);
                prop_assert_eq!(turn.recovered, is_good && is_failing);
                prop_assert_eq!(&known.current().1, &expected);
                prop_assert!(known.due() >= now + rules.refresh_min);
                is_failing = !is_good;
            }
        }
    }
}
