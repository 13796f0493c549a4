//! How many attempts an upstream may have under way, and who waits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::config::Priority;
use crate::upstream::Upstream;
use crate::upstream::bulkhead::{Bulkhead, Configured, Refusal};

/// The bulkhead of one upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BulkheadStatus {
    /// Attempts that may be under way at once, as things stand.
    pub limit: u32,
    pub in_flight: u32,
    /// How many more there is room for.
    pub remaining: u32,
    /// Attempts that may be under way at once at each endpoint, slow start aside.
    pub per_endpoint: u32,
    pub queue: QueueStatus,
    /// Requests that were answered without another attempt because of it, by reason, since the start.
    pub refused: BTreeMap<String, u64>,
    /// `null` where the limit is fixed.
    pub adaptive: Option<AdaptiveStatus>,
}

/// Who waits for a place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueStatus {
    /// How many may wait.
    pub capacity: usize,
    /// How many wait, by priority.
    pub waiting: BTreeMap<String, usize>,
    /// How long the one has waited that has waited longest; `null` where nobody waits.
    pub oldest_seconds: Option<f64>,
    /// Whether it is no burst but an overload.
    pub standing: bool,
    /// Who is next of one priority now: `fifo` or `lifo`.
    pub order: String,
    /// Requests that had to wait since the start.
    pub waited: u64,
}

/// A limit that follows the latency of the upstream, and what it was found by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdaptiveStatus {
    pub algorithm: String,
    pub min: u32,
    pub max: u32,
    /// How often it was moved or confirmed.
    pub windows: u64,
    /// The mean latency of the last window; `null` before the first.
    pub latency_seconds: Option<f64>,
    /// What that is compared with: the long mean of `gradient2`, the least latency of `vegas`.
    pub baseline_seconds: Option<f64>,
    /// By how much `gradient2` found the limit too high: 0.5 to 1.
    pub gradient: Option<f64>,
    /// How many attempts `vegas` takes to queue at the upstream.
    pub queued_upstream: Option<f64>,
}

/// Reads that of an upstream, if it has one.
pub(super) fn read(upstream: &Upstream, now: Instant) -> Option<BulkheadStatus> {
    let Configured { state, rules } = upstream.bulkhead.as_ref()?;
    let (limit, in_flight) = (state.limit(), state.in_flight());
    let refused = Refusal::ALL.map(|reason| (reason.label().to_owned(), state.refused_by(reason)));
    Some(BulkheadStatus {
        limit,
        in_flight,
        remaining: limit.saturating_sub(in_flight),
        per_endpoint: rules.per_endpoint,
        queue: queue(state, rules.queue.capacity, now),
        refused: refused.into(),
        adaptive: adaptive(upstream),
    })
}

fn queue(state: &Bulkhead, capacity: usize, now: Instant) -> QueueStatus {
    let standing = state.standing(now);
    let classes = Priority::ALL.into_iter().zip(standing.waiting);
    QueueStatus {
        capacity,
        waiting: classes
            .map(|(class, count)| (class.name().to_owned(), count))
            .collect(),
        oldest_seconds: standing.oldest.map(|oldest| oldest.as_secs_f64()),
        standing: standing.stands,
        order: if standing.is_newest_first {
            "lifo"
        } else {
            "fifo"
        }
        .to_owned(),
        waited: state.waited(),
    }
}

fn adaptive(upstream: &Upstream) -> Option<AdaptiveStatus> {
    let Configured { state, rules } = upstream.bulkhead.as_ref()?;
    let rules = rules.adaptive.as_ref()?;
    let inputs = state.inputs().unwrap_or_default();
    let seconds = |span: Duration| (inputs.windows > 0).then_some(span.as_secs_f64());
    Some(AdaptiveStatus {
        algorithm: rules.algorithm.name().to_owned(),
        min: rules.min,
        max: rules.max,
        windows: inputs.windows,
        latency_seconds: seconds(inputs.latency),
        baseline_seconds: seconds(inputs.baseline),
        gradient: inputs.gradient,
        queued_upstream: inputs.queue,
    })
}
