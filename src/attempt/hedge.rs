//! When to try in parallel: after a percentile of what the upstream's own answers take, and not while everything is slow.
//!
//! A hedge helps a request that is slower than its like. When all have become slow, it is one more request to an upstream that
//! has too many. By the percentile alone a share of `1 - quantile` of all requests would be hedged; where several times as many
//! of the last second were slower than it, it is not the one endpoint that is slow.

use std::time::Duration;

/// When requests to an upstream are hedged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Below 1.
    pub quantile: f64,
    /// Without so many there are none.
    pub min_samples: u64,
}

/// What was seen of an upstream of late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Answers of about ten seconds.
    pub samples: u64,
    /// The quantile of what they took.
    pub threshold: Duration,
    /// Those of the last second, and how many of them took longer than that.
    pub last: u64,
    pub last_above: u64,
}

/// Whether requests are hedged now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    After(Duration),
    TooFewSamples,
    AllSlow,
}

/// How many times the share that should be slower may be.
const TOO_MANY: f64 = 4.0;
/// Fewer slow ones in a second are chance.
const CHANCE: u64 = 5;

impl Rules {
    /// Whether requests are hedged, and after what time.
    pub fn judge(&self, seen: &Seen) -> Verdict {
        if seen.samples < self.min_samples {
            return Verdict::TooFewSamples;
        }
        let expected = seen.last as f64 * (1.0 - self.quantile);
        // Of a quantile of one half no more than all can be slower.
        let bound = (TOO_MANY * expected).min(seen.last as f64 * 0.9);
        if seen.last_above > CHANCE && seen.last_above as f64 > bound {
            return Verdict::AllSlow;
        }
        Verdict::After(seen.threshold)
    }
}

/// What became of the wish to hedge a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hedged {
    /// The hedge answered first.
    Won,
    /// The first attempt did, or the hedge failed.
    Lost,
    /// Hedges or retries were as many as they may be.
    NoBudget,
    /// No other endpoint could take it.
    NoEndpoint,
}

impl Hedged {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Won, Self::Lost, Self::NoBudget, Self::NoEndpoint];

    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::NoBudget => "no_budget",
            Self::NoEndpoint => "no_endpoint",
        }
    }

    /// The words of all of them.
    pub const LABELS: [&'static str; Self::ALL.len()] = [
        Self::Won.label(),
        Self::Lost.label(),
        Self::NoBudget.label(),
        Self::NoEndpoint.label(),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        quantile: 0.95,
        min_samples: 100,
    };

    #[test]
    fn there_are_no_hedges_without_samples_or_while_all_is_slow() {
        let threshold = Duration::from_millis(80);
        let seen = Seen {
            samples: 1000,
            threshold,
            last: 100,
            last_above: 5,
        };
        assert_eq!(RULES.judge(&seen), Verdict::After(threshold));
        let few = Seen {
            samples: 99,
            ..seen
        };
        assert_eq!(RULES.judge(&few), Verdict::TooFewSamples);
        for (last_above, verdict) in [
            (20, Verdict::After(threshold)),
            (21, Verdict::AllSlow),
            (100, Verdict::AllSlow),
        ] {
            assert_eq!(RULES.judge(&Seen { last_above, ..seen }), verdict);
        }
        let rare = Seen {
            last: 5,
            last_above: 5,
            ..seen
        };
        assert_eq!(RULES.judge(&rare), Verdict::After(threshold), "chance");
        let half = Rules {
            quantile: 0.5,
            ..RULES
        };
        let all = Seen {
            last_above: 100,
            ..seen
        };
        assert_eq!(half.judge(&all), Verdict::AllSlow);
    }
}
