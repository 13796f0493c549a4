//! What clients and endpoints saw of one policy, over all its rounds (pure).

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::lab::generator::Report;
use crate::observe::distribution::SAMPLES_BEYOND;

/// What was seen in one round.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) report: Report,
    /// Requests that each endpoint received after the warm-up; the last one is slow.
    pub(super) received: Vec<u64>,
}

/// The same over all rounds.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How long clients waited.
    timeout: Duration,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    unanswered: u64,
    errors: u64,
    to_slow: u64,
    to_all: u64,
    /// Whether all rounds had the load that was asked for.
    pub kept_pace: bool,
}

/// The time within which a part of the requests was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    Within(Duration),
    /// So many were not answered that it lies beyond what clients waited.
    Beyond(Duration),
}

impl Percentile {
    /// The time, or that which it is longer than.
    pub fn at_least(self) -> Duration {
        match self {
            Self::Within(time) | Self::Beyond(time) => time,
        }
    }
}

impl Outcome {
    pub(super) fn new(timeout: Duration) -> Self {
        let Report { latency, lag, .. } = Report::new();
        Self {
            timeout,
            latency,
            lag,
            unanswered: 0,
            errors: 0,
            to_slow: 0,
            to_all: 0,
            kept_pace: true,
        }
    }

    pub(super) fn add(&mut self, Seen { report, received }: &Seen) {
        // All have the same bounds, and adding fails only where they differ.
        let _ = self.latency.add(&report.latency);
        let _ = self.lag.add(&report.lag);
        self.unanswered += report.failed() + report.unsent;
        let errors = report
            .statuses
            .iter()
            .filter(|(status, _)| !status.is_success());
        self.errors += errors.map(|(_, count)| count).sum::<u64>();
        self.to_slow += received.last().copied().unwrap_or_default();
        self.to_all += received.iter().sum::<u64>();
        self.kept_pace &= report.kept_pace();
    }

    /// Requests that were answered or failed, those of the warm-ups left out.
    pub fn requests(&self) -> u64 {
        self.latency.len() + self.unanswered
    }

    /// Requests without an answer, or with one that is none of the endpoints'.
    pub fn failed(&self) -> u64 {
        self.unanswered + self.errors
    }

    /// Answers by which the proxy said that it could not do its work.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Over all requests: those without an answer count as slower than all that have one. `None` when fewer than ten lie
    /// beyond it, as in `plimsoll status`.
    pub fn percentile(&self, quantile: f64) -> Option<Percentile> {
        let (all, answered) = (self.requests() as f64, self.latency.len() as f64);
        if all * (1.0 - quantile) < SAMPLES_BEYOND - 1e-6 {
            return None;
        }
        // The rank of the value asked for, among those that were answered.
        let rank = (all * quantile).ceil();
        if rank > answered {
            return Some(Percentile::Beyond(self.timeout));
        }
        let micros = self.latency.value_at_quantile(rank / answered);
        Some(Percentile::Within(Duration::from_micros(micros)))
    }

    /// The part of all requests that the slow endpoint received. `None` when there were none.
    pub fn slow_share(&self) -> Option<f64> {
        (self.to_all > 0).then(|| self.to_slow as f64 / self.to_all as f64)
    }

    /// Requests that the endpoints received.
    pub fn received(&self) -> u64 {
        self.to_all
    }

    /// How late 99 % of the requests were sent at most, measured from when they were due.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.value_at_quantile(0.99))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::lab::generator::Failure;

    /// Of so many requests answered within these milliseconds each, so many not, and so many at each endpoint.
    pub(crate) fn outcome(millis: &[u64], unanswered: u64, received: &[u64]) -> Outcome {
        let mut report = Report::new();
        for millis in millis {
            report.latency.record(millis * 1000).unwrap();
        }
        report.failures.insert(Failure::Timeout, unanswered);
        let mut outcome = Outcome::new(Duration::from_secs(1));
        let received = received.to_vec();
        outcome.add(&Seen { report, received });
        outcome
    }

    fn millis(percentile: Option<Percentile>) -> Option<(u128, bool)> {
        percentile.map(|percentile| {
            let beyond = matches!(percentile, Percentile::Beyond(_));
            ((percentile.at_least().as_micros() + 500) / 1000, beyond)
        })
    }

    #[test]
    fn requests_without_an_answer_are_the_slowest() {
        let times: Vec<u64> = (1..=900).collect();
        let outcome = outcome(&times, 100, &[]);
        assert_eq!((outcome.requests(), outcome.failed()), (1000, 100));
        assert_eq!(millis(outcome.percentile(0.5)), Some((500, false)));
        assert_eq!(millis(outcome.percentile(0.9)), Some((900, false)));
        assert_eq!(millis(outcome.percentile(0.95)), Some((1000, true)));
        assert_eq!(millis(outcome.percentile(0.99)), Some((1000, true)));
        assert_eq!(millis(outcome.percentile(0.999)), None);
    }

    #[test]
    fn rounds_add_up() {
        let mut both = outcome(&[5; 50], 1, &[10, 30, 10]);
        let times: Vec<u64> = (1..=50).collect();
        let mut report = Report::new();
        for millis in times {
            report.latency.record(millis * 1000).unwrap();
        }
        report.statuses.insert(hyper::StatusCode::BAD_GATEWAY, 3);
        let received = vec![20, 20, 10];
        both.add(&Seen { report, received });
        assert_eq!((both.requests(), both.failed()), (101, 4));
        assert_eq!((both.slow_share(), both.received()), (Some(0.2), 100));
        assert_eq!(outcome(&[], 0, &[]).slow_share(), None);
        assert_eq!(outcome(&[], 0, &[]).percentile(0.5), None);
    }
}
