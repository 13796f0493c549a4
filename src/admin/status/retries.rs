//! Retries and hedges of an upstream: what they cost, and what their budget has left.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figures::Reports;
use crate::observe::{AttemptKind, Metric, Reading, Report};
use crate::upstream::Upstream;

/// How the retries of an upstream stand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetryStatus {
    /// Attempts of one request at most.
    pub max_attempts: u32,
    /// Retries and hedges that the budget would pay for now; `null` without a budget.
    pub budget_tokens: Option<f64>,
    /// What it holds at most; `null` without a budget.
    pub budget_cap: Option<f64>,
    /// Attempts of the last minute for each first one; `null` where there were none.
    pub attempts_per_request: Option<f64>,
    /// Attempts that failed, by whether another was made and why not, in the last minute.
    #[serde(rename = "1m")]
    pub minute: BTreeMap<String, u64>,
    /// The same since the start.
    pub lifetime: BTreeMap<String, u64>,
}

/// Reads the retries of one upstream.
pub(super) fn read(upstream: &Upstream, reports: &Reports) -> RetryStatus {
    let terms = upstream.terms;
    RetryStatus {
        max_attempts: upstream.tries.max_attempts,
        budget_tokens: terms.map(|terms| upstream.retries.tokens(terms)),
        budget_cap: terms.map(|terms| terms.cap),
        attempts_per_request: amplification(&reports.minute, &upstream.name),
        minute: decisions(&reports.minute, &upstream.name),
        lifetime: decisions(&reports.lifetime, &upstream.name),
    }
}

fn named<'r>(readings: &'r [Reading], upstream: &str) -> Option<&'r Reading> {
    let mut readings = readings.iter();
    readings.find(|reading| reading.identity == [upstream])
}

fn amplification(report: &Report, upstream: &str) -> Option<f64> {
    let reading = named(&report.upstreams, upstream)?;
    let first = reading.count(Metric::AttemptKinds, AttemptKind::First.label());
    (first > 0).then(|| reading.sum(Metric::AttemptKinds) as f64 / first as f64)
}

fn decisions(report: &Report, upstream: &str) -> BTreeMap<String, u64> {
    let reading = named(&report.picks, upstream);
    let counts = reading
        .into_iter()
        .flat_map(|reading| reading.counts(Metric::UpstreamRetries));
    counts
        .filter(|(_, count)| *count > 0)
        .map(|(decision, count)| (decision.to_owned(), count))
        .collect()
}
