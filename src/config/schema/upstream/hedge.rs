//! When a second attempt runs beside a slow first one.

use crate::config::setting::{block, choice, with_default, written_as_map};
use crate::config::units::Share;

block! {
    /// When a second attempt runs beside a slow first one, at another endpoint: the answer of the one whose head comes first
    /// is passed on, the other attempt is ended. Only of requests whose method is idempotent, and whose body is sent whole and
    /// kept; not where a session binds a client to its endpoint. It never waits for a place at an endpoint. Each hedge costs a
    /// token of `retry.budget` too.
    pub struct Hedge {
        /// How long the first attempt is waited for, once the request is sent: this percentile of what answers of the upstream
        /// took in about the last ten seconds, found anew each second. p95: one request in twenty at most is asked twice, for
        /// nearly all of what a hedge can win (Dean and Barroso, "The Tail at Scale", 2013). Exact to 10 ms.
        pub after: Percentile = Percentile::P95;
        /// Answers within these ten seconds without which there are no hedges: of fewer no percentile is known.
        pub min_samples: u32 = 100, in 20..=1_000_000;
        /// Hedges for each success of the upstream at most, however many requests are slow. A little more than what p95 lets
        /// through by itself would serve no one.
        pub max: Share = Share::percent(5), in Share::percent(0)..=Share::percent(50);
    }
}

choice! {
    /// A percentile of latency.
    pub enum Percentile, "a percentile" {
        /// Half of all are slower.
        P50 = "p50",
        /// One in ten is slower.
        P90 = "p90",
        /// One in twenty is slower.
        P95 = "p95",
        /// One in a hundred is slower.
        P99 = "p99",
    }
}

impl Percentile {
    /// As a part of one.
    pub fn quantile(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }
}

written_as_map!(Hedge);
with_default!(Hedge);
