//! What is known of one source for one upstream: State that survives a reload.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::last_good::{LastGood, Turn};
use super::supply::Key;
use super::{Answer, Listing, Source};
use crate::clock::Instant;
use crate::config::Discovery;
use crate::observe::event::{Events, Kind};

/// The last good list of a source, and how it fares.
#[derive(Debug)]
pub struct Feed {
    pub upstream: String,
    pub source: Source,
    /// Guards a few words; never taken while a request runs.
    known: Mutex<LastGood>,
}

/// How a source fares, for operators.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// How much the list in force holds.
    pub entries: usize,
    /// How long ago the source confirmed it; `None`: there is none yet.
    pub age: Option<Duration>,
    /// How many lists replaced another.
    pub changes: u64,
    pub failures: u64,
    /// Why it fails now.
    pub error: Option<String>,
    /// How long until it is asked again.
    pub next: Duration,
}

impl Feed {
    pub(super) fn new(upstream: &str, source: Source) -> Self {
        Self {
            upstream: upstream.to_owned(),
            source,
            known: Mutex::default(),
        }
    }

    /// By what it is known.
    pub fn key(&self) -> Key {
        (self.upstream.clone(), self.source.clone())
    }

    /// The list in force, and which in the row of lists it is: 0 while there is none.
    pub fn current(&self) -> (u64, Option<Arc<Listing>>) {
        self.known().current()
    }

    /// Whether there is a list.
    pub fn has_list(&self) -> bool {
        self.current().1.is_some()
    }

    /// When to ask again.
    pub fn due(&self) -> Instant {
        self.known().due()
    }

    /// Why it fails now.
    pub fn error(&self) -> Option<String> {
        self.known().error().map(ToString::to_string)
    }

    /// How it fares.
    pub fn reading(&self, now: Instant) -> Reading {
        let known = self.known();
        let (revision, list) = known.current();
        Reading {
            entries: list.map_or(0, |list| list.len()),
            age: known.age(now),
            changes: revision.saturating_sub(1),
            failures: known.failures(),
            error: known.error().map(ToString::to_string),
            next: known.due().since(now),
        }
    }

    /// Takes up an answer, notes what it changed, and says whether the list is another one.
    pub fn record(&self, now: Instant, answer: Answer, rules: &Discovery, events: &Events) -> bool {
        let (turn, kept) = {
            let mut known = self.known();
            let turn = known.record(now, answer, &self.paced(rules));
            (turn, known.current().1)
        };
        if let Some(text) = self.told(&turn, kept.as_deref()) {
            events.note(now, Kind::Discovery, &self.upstream, None, text);
        }
        turn.replaced.is_some()
    }

    /// The rules with the pace of this source: a file is looked at each `poll`, however it fares.
    fn paced(&self, rules: &Discovery) -> Discovery {
        let rules = rules.clone();
        match self.source {
            Source::File(_) => Discovery {
                refresh_min: rules.poll,
                refresh_max: rules.poll,
                ..rules
            },
            Source::Host(_) | Source::Srv(_) => rules,
        }
    }

    /// What to tell of a turn. The first list of a source that did not fail before is what everybody expects.
    fn told(&self, turn: &Turn, list: Option<&Listing>) -> Option<String> {
        let source = &self.source;
        let replaced = turn.replaced.as_ref();
        let replaced = replaced.filter(|replaced| !replaced.is_first || turn.recovered);
        match (&turn.failed, turn.recovered, replaced) {
            (Some(failure), _, None) => Some(match list {
                Some(list) => format!(
                    "gets no list from {source}: {failure}; the last one, of {}, stays in force",
                    list.len()
                ),
                None => format!("gets no list from {source}: {failure}; it has none yet"),
            }),
            (Some(failure), _, Some(replaced)) => Some(format!(
                "has another list from {source}: {replaced}; but a part stays as it was: {failure}"
            )),
            (None, true, None) => Some(format!("gets lists from {source} again")),
            (None, true, Some(replaced)) => {
                Some(format!("gets lists from {source} again: {replaced}"))
            }
            (None, false, Some(replaced)) => {
                Some(format!("has another list from {source}: {replaced}"))
            }
            (None, false, None) => None,
        }
    }

    fn known(&self) -> MutexGuard<'_, LastGood> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
