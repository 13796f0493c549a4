//! Telling that a limiter refuses: when it begins to, and now and then while it goes on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::counts::{Counts, Event};
use super::limiter::Refusal;
use crate::clock::Instant;
use crate::observe::event::{Events, Kind};

/// At most one event of a limiter in this time: who floods a proxy must not flood its log, nor push other events out.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// Where a request met a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    Route(&'a str),
    Listener(&'a str),
}

/// What was told of one limiter.
#[derive(Debug, Default)]
pub(super) struct Notice {
    /// When it may be told again.
    next: AtomicU64,
    /// How many were refused when it was last told.
    refused: AtomicU64,
}

impl Notice {
    /// Whether it is time to tell; then it is this caller who does. One load unless it is.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let next = self.next.load(Relaxed);
        let later = (now + EVERY).0;
        now.0 >= next
            && self
                .next
                .compare_exchange(next, later, Relaxed, Relaxed)
                .is_ok()
    }

    /// How many were refused beside the one that is told now, since the last that was.
    pub(super) fn others(&self, counts: &Counts) -> u64 {
        let refused = counts.of(Event::Limited) + counts.of(Event::WouldLimit);
        let before = self.refused.swap(refused, Relaxed);
        refused.saturating_sub(before).saturating_sub(1)
    }
}

/// One refusal, to be told of.
pub(super) struct Told<'a> {
    pub(super) limiter: &'a str,
    /// Who is refused, without secrets.
    pub(super) key: String,
    pub(super) why: Refusal,
    pub(super) dry_run: bool,
    pub(super) others: u64,
}

impl Told<'_> {
    /// Notes it as an event.
    pub(super) fn note(&self, whose: Whose<'_>, now: Instant, events: &Events) {
        match whose {
            Whose::Route(route) => events.note_route(now, Kind::Limit, route, self.text()),
            Whose::Listener(name) => {
                let text = format!("listener {name} {}", self.text());
                events.note_process(now, Kind::Limit, text);
            }
        }
    }

    fn text(&self) -> String {
        let Self { limiter, key, .. } = self;
        let refuses = if self.dry_run {
            "would refuse"
        } else {
            "refuses"
        };
        let why = match self.why {
            Refusal::Rate(_) => "it asks too often",
            Refusal::Concurrency => "as many of its requests as may are under way",
            Refusal::NoKey => "it lacks what it would be counted by",
        };
        let others = match self.others {
            0 => String::new(),
            1 => "; another request was since this was last told".to_owned(),
            more => format!("; {more} other requests were since this was last told"),
        };
        format!("{refuses} {key} by `{limiter}`: {why}{others}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_and_then_now_and_then_with_how_many_there_were() {
        let (notice, counts) = (Notice::default(), Counts::new(2));
        let at = |seconds| Instant(0) + Duration::from_secs(seconds);
        let refuse = |now| {
            counts.note(0, Event::Limited);
            notice.is_due(now).then(|| notice.others(&counts))
        };
        assert_eq!(refuse(at(1)), Some(0));
        assert_eq!(refuse(at(1)), None);
        assert_eq!(refuse(at(10)), None);
        assert_eq!(refuse(at(11)), Some(2));
        assert_eq!(refuse(at(100)), Some(0));
    }

    #[test]
    fn whom_it_is_about_and_why_is_said() {
        let told = |others, dry_run| Told {
            limiter: "per_client",
            key: "client_ip 192.0.2.1".to_owned(),
            why: Refusal::Rate(Duration::ZERO),
            dry_run,
            others,
        };
        let events = Events::default();
        told(0, false).note(Whose::Route("api"), Instant(0), &events);
        told(7, true).note(Whose::Listener("web"), Instant(0), &events);
        let told = events.after(0).0;
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "limit: route api refuses client_ip 192.0.2.1 by `per_client`: it asks too often",
                "limit: listener web would refuse client_ip 192.0.2.1 by `per_client`: it asks too often; 7 other requests \
                 were since this was last told"
            ]
        );
    }
}
