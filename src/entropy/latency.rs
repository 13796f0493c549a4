//! How long something takes, by chance: distributions of times and draws from them (pure).
//!
//! Not here: their text form on a command line, which is the lab's, nor that in YAML, which is the configuration's.

use std::time::Duration;

use super::Random;

/// No sample is longer: heavy tails have no end, a `Duration` and a test run do.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// A distribution of times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Memoryless, with this mean.
    Exponential(Duration),
    /// This median; `sigma` is the standard deviation of the logarithm.
    Lognormal { median: Duration, sigma: f64 },
    /// This minimum; the smaller the shape the heavier the tail (below 1 it has no mean).
    Pareto { minimum: Duration, shape: f64 },
    /// The first with this share, otherwise the second.
    Bimodal {
        usual: Duration,
        share: f64,
        rare: Duration,
    },
}

impl Latency {
    /// No delay at all.
    pub const NONE: Self = Self::Constant(Duration::ZERO);

    /// The lognormal distribution with this median of which one in a hundred is longer than `p99`.
    pub fn lognormal(median: Duration, p99: Duration) -> Self {
        let sigma = (p99.as_secs_f64() / median.as_secs_f64()).ln() / NORMAL_P99;
        Self::Lognormal {
            median,
            sigma: finite(sigma, 0.0),
        }
    }

    /// The Pareto distribution from this minimum on of which one in a hundred is longer than `p99`.
    pub fn pareto(minimum: Duration, p99: Duration) -> Self {
        let shape = 100_f64.ln() / (p99.as_secs_f64() / minimum.as_secs_f64()).ln();
        Self::Pareto {
            minimum,
            shape: finite(shape, STEEPEST),
        }
    }

    /// One draw, at most [`LONGEST`].
    pub fn sample(&self, random: &mut Random) -> Duration {
        let seconds = match *self {
            Self::Constant(span) => return span.min(LONGEST),
            Self::Bimodal { usual, share, rare } => {
                let drawn = if random.unit() < share { usual } else { rare };
                return drawn.min(LONGEST);
            }
            Self::Exponential(mean) => mean.as_secs_f64() * -positive_unit(random).ln(),
            Self::Lognormal { median, sigma } => {
                median.as_secs_f64() * (sigma * standard_normal(random)).exp()
            }
            Self::Pareto { minimum, shape } => {
                minimum.as_secs_f64() * positive_unit(random).powf(-1.0 / shape)
            }
        };
        Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
    }

    /// The mean in seconds before the cut at [`LONGEST`]; infinite for a Pareto shape of 1 or less.
    pub fn mean_seconds(&self) -> f64 {
        match *self {
            Self::Constant(span) | Self::Exponential(span) => span.as_secs_f64(),
            Self::Lognormal { median, sigma } => median.as_secs_f64() * (sigma * sigma / 2.0).exp(),
            Self::Pareto { shape, .. } if shape <= 1.0 => f64::INFINITY,
            Self::Pareto { minimum, shape } => minimum.as_secs_f64() * shape / (shape - 1.0),
            Self::Bimodal { usual, share, rare } => {
                share * usual.as_secs_f64() + (1.0 - share) * rare.as_secs_f64()
            }
        }
    }
}

/// What one in a hundred draws from the standard normal distribution exceeds.
const NORMAL_P99: f64 = 2.326_347_874_040_841;
/// A shape so steep that all draws are the minimum.
const STEEPEST: f64 = 1e6;

/// A parameter that is at least 0, where the written times allow one.
fn finite(parameter: f64, otherwise: f64) -> f64 {
    if parameter.is_finite() && parameter >= 0.0 {
        parameter
    } else {
        otherwise
    }
}

/// Uniform in `(0, 1]`, so that its logarithm is finite.
fn positive_unit(random: &mut Random) -> f64 {
    1.0 - random.unit()
}

/// Box and Muller's transform; its second value is thrown away so that a draw has no memory.
fn standard_normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * positive_unit(random).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of many draws that is longer than `limit`.
    fn beyond(latency: Latency, limit: Duration) -> f64 {
        let mut random = Random::seeded(7);
        let longer = (0..100_000).filter(|_| latency.sample(&mut random) > limit);
        longer.count() as f64 / 100_000.0
    }

    #[test]
    fn one_in_a_hundred_is_longer_than_the_p99_asked_for() {
        let (low, p99) = (Duration::from_millis(20), Duration::from_millis(300));
        for latency in [Latency::lognormal(low, p99), Latency::pareto(low, p99)] {
            let share = beyond(latency, p99);
            assert!((0.008..0.012).contains(&share), "{latency:?}: {share}");
        }
        let half = beyond(Latency::lognormal(low, p99), low);
        assert!((0.49..0.51).contains(&half), "{half}");
        assert_eq!(beyond(Latency::pareto(low, p99), low / 2), 1.0);
    }

    #[test]
    fn a_p99_that_is_no_longer_than_the_rest_makes_every_draw_the_same() {
        let span = Duration::from_millis(5);
        let mut random = Random::seeded(1);
        for latency in [
            Latency::lognormal(span, span),
            Latency::pareto(span, span),
            Latency::lognormal(span, Duration::from_millis(1)),
            Latency::pareto(span, Duration::from_millis(1)),
        ] {
            let drawn = latency.sample(&mut random);
            let off = drawn.abs_diff(span);
            assert!(off < Duration::from_micros(1), "{latency:?}: {drawn:?}");
        }
    }
}
