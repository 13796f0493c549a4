//! Counts, rates and percentiles over the windows that are shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observe::{Metric, Reading, Report, Summary};

/// Numbers over the last minute, and since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Windows {
    #[serde(rename = "1m")]
    pub minute: Figures,
    pub lifetime: Figures,
}

/// Numbers over one window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The time covered.
    pub span_seconds: f64,
    /// Requests or attempts that ended.
    pub count: u64,
    pub per_second: f64,
    /// How many of them had a status of this class; `none` when no status was sent.
    pub classes: BTreeMap<String, u64>,
    /// How many of them met an error, by its label.
    pub errors: BTreeMap<String, u64>,
    /// Of all of them, those that were cut short included. Times `per_second` it is how many were under way, by Little's law;
    /// `null` where there were none.
    pub mean_seconds: Option<f64>,
    /// Of those that were tried to their end.
    pub duration_seconds: Percentiles,
}

/// Percentiles; `null` where too few samples lie beyond one for it to mean anything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// Samples.
    pub count: u64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub max: Option<f64>,
}

impl From<Summary> for Percentiles {
    fn from(summary: Summary) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            count: summary.count,
            p50: seconds(summary.p50),
            p95: seconds(summary.p95),
            p99: seconds(summary.p99),
            p999: seconds(summary.p999),
            max: seconds(summary.max),
        }
    }
}

/// Where the counts of a kind of object stand: by class of status, and by error.
pub(super) type Counts = (Metric, Option<Metric>);
pub(super) const LISTENER: Counts = (Metric::ListenerRequests, None);
pub(super) const ROUTE: Counts = (Metric::Requests, Some(Metric::RequestErrors));
pub(super) const ATTEMPT: Counts = (Metric::AttemptResponses, Some(Metric::AttemptErrors));

pub(super) struct Reports {
    pub(super) minute: Report,
    pub(super) lifetime: Report,
}

impl Reports {
    /// The numbers of the object with this identity; zeros when nothing was counted for it yet.
    pub(super) fn windows(
        &self,
        counts: Counts,
        table: impl Fn(&Report) -> &[Reading],
        identity: &[&str],
    ) -> Windows {
        let of = |report: &Report| {
            let reading = table(report)
                .iter()
                .find(|reading| reading.identity.iter().eq(identity.iter()));
            figures(counts, report.span, reading)
        };
        Windows {
            minute: of(&self.minute),
            lifetime: of(&self.lifetime),
        }
    }
}

fn figures((classes, errors): Counts, span: Duration, reading: Option<&Reading>) -> Figures {
    let span_seconds = span.as_secs_f64();
    let Some(reading) = reading else {
        return Figures {
            span_seconds,
            ..Figures::default()
        };
    };
    let count = reading.sum(classes);
    let named = |metric: Metric| {
        let counts = reading.counts(metric).filter(|(_, count)| *count > 0);
        counts
            .map(|(word, count)| (word.to_owned(), count))
            .collect()
    };
    Figures {
        span_seconds,
        count,
        per_second: if span_seconds > 0.0 {
            count as f64 / span_seconds
        } else {
            0.0
        },
        classes: named(classes),
        errors: errors.map(named).unwrap_or_default(),
        mean_seconds: (count > 0).then(|| reading.spent.as_secs_f64() / count as f64),
        duration_seconds: reading.total.into(),
    }
}
