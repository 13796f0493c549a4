//! Decision records: why an attempt went where it went, in words that a person or a program can read.
//!
//! Written for an exchange only when somebody asks: a client that is allowed to, a watcher, or the configured sample. The
//! latest of each upstream are kept in a ring.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Instant;

/// Everything about one pick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Counts up within the upstream; 0 for a pick that no request was served by.
    #[serde(default)]
    pub sequence: u64,
    /// Seconds since 1970, UTC.
    #[serde(default)]
    pub at: f64,
    /// The id of the request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The path as received, at most 256 bytes of it, and `?...` where a query followed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// The first attempt is 1.
    pub attempt: u32,
    #[serde(flatten)]
    pub pick: PickRecord,
}

/// One pick among the endpoints of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PickRecord {
    pub upstream: String,
    /// The policy as it is written in the configuration.
    pub balance: String,
    /// The value of the metadata that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The id of the endpoint picked; none where nobody could be.
    pub picked: Option<String>,
    /// How it came about, or what was lacking.
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRecord>,
    /// Why the endpoint that the session is bound to was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbound: Option<String>,
    /// The groups of the upstream, in the order in which they serve.
    pub groups: Vec<GroupRecord>,
    /// Endpoints that the policy looked at, in that order.
    pub candidates: Vec<CandidateRecord>,
    /// How many more it looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub candidates_beyond: usize,
    /// Endpoints that could not be picked.
    pub excluded: Vec<ExcludedRecord>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub excluded_beyond: usize,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What a request was hashed by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// 16 hex digits.
    pub hash: String,
    /// The value, where it cannot be a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A group of endpoints as it stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRecord {
    pub name: String,
    /// Its part of the traffic, 0 to 1.
    pub share: f64,
    /// Endpoints that can be picked.
    pub candidates: usize,
    /// Asked for this pick.
    pub asked: bool,
}

/// An endpoint that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    pub endpoint: String,
    pub in_flight: u32,
    pub weight: u32,
    /// The part of the weight that slow start and failures leave.
    pub factor: f32,
    /// Failures of late, as load.
    #[serde(default)]
    pub failures_as_load: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_seconds: Option<f64>,
    /// What was compared, the lowest wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// What else was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An endpoint that could not be picked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedRecord {
    pub endpoint: String,
    pub reason: String,
}

/// The latest decisions of one upstream, and who wants more of them.
#[derive(Debug, Default)]
pub struct Decisions {
    /// Until when somebody watches.
    watched_until: AtomicU64,
    /// When the last one was written down.
    last: AtomicU64,
    kept: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    written: u64,
    latest: VecDeque<Arc<DecisionRecord>>,
}

/// How long a reader of the ring counts as a watcher.
const WATCH: Duration = Duration::from_secs(5);
/// The least time between two records for watchers: a thousand in a second are more than anybody reads, and cost little.
const PAUSE: u64 = 1_000_000;

impl Decisions {
    /// Whether a decision at `now` is to be written down for somebody who watches.
    #[inline]
    pub fn is_wanted(&self, now: Instant) -> bool {
        let until = self.watched_until.load(Relaxed);
        until > now.0 && self.last.load(Relaxed).saturating_add(PAUSE) <= now.0
    }

    /// Keeps a record and drops the oldest beyond `keep`.
    pub fn push(&self, mut record: DecisionRecord, keep: usize, now: Instant) {
        self.last.store(now.0, Relaxed);
        let mut ring = self.ring();
        ring.written += 1;
        record.sequence = ring.written;
        ring.latest.push_back(Arc::new(record));
        let surplus = ring.latest.len().saturating_sub(keep);
        ring.latest.drain(..surplus);
    }

    /// The records kept whose sequence is above `after`, oldest first. With `watch` more are written down for a while.
    pub fn latest(&self, after: u64, watch: bool, now: Instant) -> Vec<Arc<DecisionRecord>> {
        if watch {
            self.watched_until.store((now + WATCH).0, Relaxed);
        }
        let ring = self.ring();
        let newer = ring.latest.iter().filter(|record| record.sequence > after);
        newer.cloned().collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> DecisionRecord {
        DecisionRecord {
            sequence: 0,
            at: 0.0,
            request: String::new(),
            method: String::new(),
            target: String::new(),
            route: String::new(),
            attempt: 1,
            pick: PickRecord::default(),
        }
    }

    fn at(millis: u64) -> Instant {
        Instant(millis * 1_000_000)
    }

    #[test]
    fn keeps_the_latest_and_numbers_all() {
        let decisions = Decisions::default();
        (0..10).for_each(|_| decisions.push(record(), 3, at(0)));
        let sequences = |after| -> Vec<u64> {
            let latest = decisions.latest(after, false, at(0));
            latest.iter().map(|record| record.sequence).collect()
        };
        assert_eq!(sequences(0), [8, 9, 10]);
        assert_eq!(sequences(9), [10]);
    }

    #[test]
    fn is_wanted_while_somebody_watches_and_not_too_often() {
        let decisions = Decisions::default();
        assert!(!decisions.is_wanted(at(10)));
        decisions.latest(0, true, at(10));
        assert!(decisions.is_wanted(at(10)));
        decisions.push(record(), 3, at(10));
        assert!(!decisions.is_wanted(at(10)));
        assert!(decisions.is_wanted(at(11)));
        assert!(!decisions.is_wanted(at(5010)));
    }

    #[test]
    fn reads_back_what_it_writes() {
        let mut written = record();
        written.pick.picked = Some("a".to_owned());
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(
            serde_json::from_str::<DecisionRecord>(&text).unwrap(),
            written
        );
    }
}
