//! Where endpoints come from that come and go: names and files, with the age of their lists and their last error.

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::upstream::Upstream;

/// One source of endpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceStatus {
    /// As written: a host name, `srv:name`, or the path of a file.
    pub source: String,
    /// `host`, `srv` or `file`.
    pub kind: String,
    /// Addresses or entries in the list in force.
    pub entries: usize,
    /// Since the source confirmed that list; none while there is none.
    pub age_seconds: Option<f64>,
    /// Lists that replaced another one.
    pub changes: u64,
    /// Times that it was asked and gave no whole list that can be used.
    pub failures: u64,
    /// Why it gives none now. The list in force is then the last good one.
    pub error: Option<String>,
    /// Until it is asked again.
    pub next_seconds: f64,
}

/// Reads those of an upstream.
pub(super) fn read(upstream: &Upstream, now: Instant) -> Vec<SourceStatus> {
    let sources = upstream.sources().iter();
    sources
        .map(|used| {
            let reading = used.feed.reading(now);
            SourceStatus {
                source: used.feed.source.to_string(),
                kind: used.feed.source.kind().to_owned(),
                entries: reading.entries,
                age_seconds: reading.age.map(|age| age.as_secs_f64()),
                changes: reading.changes,
                failures: reading.failures,
                error: reading.error,
                next_seconds: reading.next.as_secs_f64(),
            }
        })
        .collect()
}
