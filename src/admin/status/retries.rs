//! Retries and hedges of an upstream: what they cost, and what their budget has left.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figures::Reports;
use crate::attempt::hedge::Verdict;
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

/// How the hedges of an upstream stand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HedgeStatus {
    /// `on`, `too_few_samples` or `all_slow`.
    pub state: String,
    /// After what time requests are hedged now; `null` while they are not.
    pub after_seconds: Option<f64>,
    /// Answers of about the last ten seconds, by which it is found.
    pub samples: u64,
    /// Hedges that successes have paid for, the budget of retries aside.
    pub tokens: f64,
    /// Attempts that took longer than their like, by what became of trying another beside them, in the last minute.
    #[serde(rename = "1m")]
    pub minute: BTreeMap<String, u64>,
    /// The same since the start.
    pub lifetime: BTreeMap<String, u64>,
}

/// Reads the hedges of one upstream; `None` where there are none.
pub(super) fn read_hedges(upstream: &Upstream, reports: &Reports) -> Option<HedgeStatus> {
    let hedge = upstream.hedge.as_ref()?;
    let (samples, verdict) = hedge.hedging.verdict();
    let (state, after) = match verdict {
        Verdict::After(after) => ("on", Some(after.as_secs_f64())),
        Verdict::TooFewSamples => ("too_few_samples", None),
        Verdict::AllSlow => ("all_slow", None),
    };
    let counts = |report| counts(report, &upstream.name, Metric::UpstreamHedges);
    Some(HedgeStatus {
        state: state.to_owned(),
        after_seconds: after,
        samples,
        tokens: hedge.hedging.fund.tokens(hedge.terms),
        minute: counts(&reports.minute),
        lifetime: counts(&reports.lifetime),
    })
}

/// Reads the retries of one upstream.
pub(super) fn read(upstream: &Upstream, reports: &Reports) -> RetryStatus {
    let terms = upstream.terms;
    let decisions = |report| counts(report, &upstream.name, Metric::UpstreamRetries);
    RetryStatus {
        max_attempts: upstream.tries.max_attempts,
        budget_tokens: terms.map(|terms| upstream.retries.tokens(terms)),
        budget_cap: terms.map(|terms| terms.cap),
        attempts_per_request: amplification(&reports.minute, &upstream.name),
        minute: decisions(&reports.minute),
        lifetime: decisions(&reports.lifetime),
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

fn counts(report: &Report, upstream: &str, metric: Metric) -> BTreeMap<String, u64> {
    let reading = named(&report.picks, upstream);
    let counts = reading
        .into_iter()
        .flat_map(|reading| reading.counts(metric));
    counts
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| (word.to_owned(), count))
        .collect()
}
