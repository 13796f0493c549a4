//! Events: what changed by itself in the running process, each in one sentence that names whom it is about.
//!
//! Health that turned, a breaker that opened, a list of endpoints that came or failed. Few by nature: traffic itself causes
//! none. The latest are kept in a ring for the admin API, and the control loop says each on standard error.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Instant;

/// How many are kept.
const KEPT: usize = 512;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Active checks found an endpoint healthy or unhealthy.
    Health,
    /// Outlier detection took an endpoint out, or back.
    Outlier,
    /// A breaker opened, let probes through, or closed.
    Breaker,
    /// The queue or the limit of an upstream came to a bound, or away from it.
    Bulkhead,
    /// A list of endpoints changed, or its source failed.
    Discovery,
    /// Results kept for repeated requests were lost.
    Idempotency,
    /// A certificate was exchanged, could not be, or runs out.
    Certificate,
    /// A file of users, keys, tokens or secrets was exchanged, or could not be.
    Credentials,
    /// The configuration was put in force, or refused.
    Reload,
    /// A limit refuses clients; of each limit told at most once in ten seconds.
    Limit,
    /// Memory became scarce, or is no more.
    Memory,
    /// Another process was to take over, and did not.
    Upgrade,
    /// The access log loses lines, or is written again.
    Log,
    /// The user that the process became may not read what it needs.
    User,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Health,
        Self::Outlier,
        Self::Breaker,
        Self::Bulkhead,
        Self::Discovery,
        Self::Idempotency,
        Self::Certificate,
        Self::Credentials,
        Self::Reload,
        Self::Limit,
        Self::Memory,
        Self::Upgrade,
        Self::Log,
        Self::User,
    ];

    /// The word in logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Outlier => "outlier",
            Self::Breaker => "breaker",
            Self::Bulkhead => "bulkhead",
            Self::Discovery => "discovery",
            Self::Idempotency => "idempotency",
            Self::Certificate => "certificate",
            Self::Credentials => "credentials",
            Self::Reload => "reload",
            Self::Limit => "limit",
            Self::Memory => "memory",
            Self::Upgrade => "upgrade",
            Self::Log => "log",
            Self::User => "user",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counts up from 1 in the life of the process.
    pub sequence: u64,
    pub at: Instant,
    pub kind: Kind,
    /// Empty where it is about a route, or about the process.
    pub upstream: String,
    /// Its id; none where it is about the upstream as a whole.
    pub endpoint: Option<String>,
    /// Its name, where it is about a route and no upstream.
    pub route: Option<String>,
    /// What happened and why, to be read after the name of whom it is about: `is unhealthy: 3 checks failed, the last with
    /// connection refused`. A whole sentence where it is about the process.
    pub text: String,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.route {
            Some(route) => write!(f, "{}: route {route}", self.kind.label())?,
            None if self.upstream.is_empty() => write!(f, "{}:", self.kind.label())?,
            None => write!(f, "{}: upstream {}", self.kind.label(), self.upstream)?,
        }
        if let Some(endpoint) = &self.endpoint {
            write!(f, ", endpoint {endpoint}")?;
        }
        write!(f, " {}", self.text)
    }
}

/// The latest events of the process.
#[derive(Debug, Default)]
pub struct Events {
    /// Guards a short push; taken by a worker only when something has changed.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    ring: VecDeque<Event>,
    counts: [u64; Kind::ALL.len()],
}

impl Events {
    /// Notes an event of an upstream.
    pub fn note(
        &self,
        at: Instant,
        kind: Kind,
        upstream: &str,
        endpoint: Option<&str>,
        text: String,
    ) {
        self.push(Event {
            sequence: 0,
            at,
            kind,
            upstream: upstream.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            route: None,
            text,
        });
    }

    /// Notes an event of a route.
    pub fn note_route(&self, at: Instant, kind: Kind, route: &str, text: String) {
        self.push(Event {
            sequence: 0,
            at,
            kind,
            upstream: String::new(),
            endpoint: None,
            route: Some(route.to_owned()),
            text,
        });
    }

    /// Notes an event of the process as a whole, or of what has no name among upstreams and routes.
    pub fn note_process(&self, at: Instant, kind: Kind, text: String) {
        self.push(Event {
            sequence: 0,
            at,
            kind,
            upstream: String::new(),
            endpoint: None,
            route: None,
            text,
        });
    }

    fn push(&self, mut event: Event) {
        let mut kept = self.kept();
        kept.last += 1;
        kept.counts[event.kind as usize] += 1;
        event.sequence = kept.last;
        if kept.ring.len() == KEPT {
            kept.ring.pop_front();
        }
        kept.ring.push_back(event);
    }

    /// Those after this sequence that are still kept, the oldest first; and the sequence of the last one.
    pub fn after(&self, sequence: u64) -> (Vec<Event>, u64) {
        let kept = self.kept();
        let newer = kept.ring.iter().filter(|event| event.sequence > sequence);
        (newer.cloned().collect(), kept.last)
    }

    /// How many there were of each kind.
    pub fn counts(&self) -> [(Kind, u64); Kind::ALL.len()] {
        let counts = self.kept().counts;
        Kind::ALL.map(|kind| (kind, counts[kind as usize]))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_all_are_counted() {
        let events = Events::default();
        for number in 0..KEPT + 3 {
            let at = Instant(number as u64);
            events.note(at, Kind::Breaker, "api", Some("a"), "opened".to_owned());
        }
        let (all, last) = events.after(0);
        assert_eq!((all.len(), last), (KEPT, KEPT as u64 + 3));
        assert_eq!(all[0].sequence, 4);
        assert_eq!(events.after(last).0, []);
        assert_eq!(events.counts()[Kind::Breaker as usize].1, last);
        assert_eq!(
            all[0].to_string(),
            "breaker: upstream api, endpoint a opened"
        );
        events.note_route(Instant(0), Kind::Idempotency, "pay", "lost".to_owned());
        let (newest, _) = events.after(last);
        assert_eq!(newest[0].to_string(), "idempotency: route pay lost");
        events.note_process(Instant(0), Kind::Memory, "it is scarce".to_owned());
        let (newest, _) = events.after(last + 1);
        assert_eq!(newest[0].to_string(), "memory: it is scarce");
    }

    #[test]
    fn kinds_stand_at_their_numbers() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
