//! How long a synthetic backend takes and how often it fails, as text: `lognormal:20ms,1.0`, `503:5%` (pure).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::units::{UnitError, format_duration, parse_duration};
use crate::entropy::Random;

pub use crate::entropy::latency::{LONGEST, Latency};

/// A text that is no distribution, share or span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("`{0}` is no duration such as `5ms`: {1}")]
    Duration(String, UnitError),
    #[error("`{0}` is no number in the range allowed here ({1})")]
    Number(String, &'static str),
    #[error(
        "`{0}` is no latency; write `5ms`, `exp:20ms`, `lognormal:20ms,1.0`, `pareto:1ms,1.5` \
         or `bimodal:1ms@0.99,50ms`"
    )]
    Latency(String),
    #[error("`{0}` is no share of a status; write it as `503:5%` or `503:0.05`")]
    Share(String),
}

impl FromStr for Latency {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::Latency(text.to_owned());
        let Some((name, arguments)) = text.split_once(':') else {
            return Ok(Self::Constant(duration(text)?));
        };
        let two = || arguments.split_once(',').ok_or_else(malformed);
        match name {
            "constant" => Ok(Self::Constant(duration(arguments)?)),
            "exp" | "exponential" => Ok(Self::Exponential(duration(arguments)?)),
            "lognormal" => {
                let (median, sigma) = two()?;
                let sigma = number(sigma, 0.0, 10.0, "0 to 10")?;
                Ok(Self::Lognormal {
                    median: duration(median)?,
                    sigma,
                })
            }
            "pareto" => {
                let (minimum, shape) = two()?;
                let shape = number(shape, 0.1, 1000.0, "0.1 to 1000")?;
                Ok(Self::Pareto {
                    minimum: duration(minimum)?,
                    shape,
                })
            }
            "bimodal" => {
                let (first, rare) = two()?;
                let (usual, share) = first.split_once('@').ok_or_else(malformed)?;
                let share = number(share, 0.0, 1.0, "0 to 1")?;
                Ok(Self::Bimodal {
                    usual: duration(usual)?,
                    share,
                    rare: duration(rare)?,
                })
            }
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Constant(span) => write!(out, "{}", format_duration(span)),
            Self::Exponential(mean) => write!(out, "exp:{}", format_duration(mean)),
            Self::Lognormal { median, sigma } => {
                write!(out, "lognormal:{},{sigma}", format_duration(median))
            }
            Self::Pareto { minimum, shape } => {
                write!(out, "pareto:{},{shape}", format_duration(minimum))
            }
            Self::Bimodal { usual, share, rare } => {
                write!(
                    out,
                    "bimodal:{}@{share},{}",
                    format_duration(usual),
                    format_duration(rare)
                )
            }
        }
    }
}

/// A share of the answers that carry this status instead of 200, `503:5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatusShare {
    pub status: ::http::StatusCode,
    /// 0 to 1.
    pub share: f64,
}

impl StatusShare {
    /// Draws one of `shares`, or `None` with the rest of the probability.
    pub fn pick(shares: &[Self], random: &mut Random) -> Option<::http::StatusCode> {
        let mut left = random.unit();
        for one in shares {
            if left < one.share {
                return Some(one.status);
            }
            left -= one.share;
        }
        None
    }
}

impl FromStr for StatusShare {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::Share(text.to_owned());
        let (status, share) = text.split_once(':').ok_or_else(malformed)?;
        let status = status.parse().map_err(|_| malformed())?;
        // hyper writes no interim status as a final answer.
        if status < ::http::StatusCode::OK {
            return Err(malformed());
        }
        let share = match share.strip_suffix('%') {
            Some(percent) => number(percent, 0.0, 100.0, "0% to 100%")? / 100.0,
            None => number(share, 0.0, 1.0, "0 to 1")?,
        };
        Ok(Self { status, share })
    }
}

impl fmt::Display for StatusShare {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.status.as_u16(), self.share)
    }
}

fn number(text: &str, low: f64, high: f64, range: &'static str) -> Result<f64, Malformed> {
    match text.trim().parse::<f64>() {
        Ok(value) if (low..=high).contains(&value) => Ok(value),
        _ => Err(Malformed::Number(text.to_owned(), range)),
    }
}

/// Reads `250us`, `5ms` or `2s`, as durations are written in the configuration.
fn duration(text: &str) -> Result<Duration, Malformed> {
    parse_duration(text).map_err(|error| Malformed::Duration(text.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn latency() -> impl Strategy<Value = Latency> {
        let span = (0u64..10_000_000_000).prop_map(Duration::from_nanos);
        prop_oneof![
            span.clone().prop_map(Latency::Constant),
            span.clone().prop_map(Latency::Exponential),
            (span.clone(), 0.0..3.0f64)
                .prop_map(|(median, sigma)| Latency::Lognormal { median, sigma }),
            (span.clone(), 0.5..5.0f64)
                .prop_map(|(minimum, shape)| Latency::Pareto { minimum, shape }),
            (span.clone(), 0.0..1.0f64, span).prop_map(|(usual, share, rare)| Latency::Bimodal {
                usual,
                share,
                rare
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_text_form_reads_back(latency in latency()) {
            prop_assert_eq!(latency.to_string().parse::<Latency>(), Ok(latency));
        }

        #[test]
        fn no_text_panics(text in "[a-z]{0,9}:?[0-9.]{0,4}[a-zµ]{0,2}[@,]?[0-9.e-]{0,5}[a-z,]{0,4}") {
            let _ = text.parse::<Latency>();
            let _ = text.parse::<StatusShare>();
        }

        #[test]
        fn a_sample_is_bounded(latency in latency(), seed: u64) {
            let mut random = Random::seeded(seed);
            for _ in 0..100 {
                prop_assert!(latency.sample(&mut random) <= LONGEST);
            }
        }
    }

    #[test]
    fn samples_have_the_stated_mean() {
        for text in [
            "5ms",
            "exp:20ms",
            "lognormal:20ms,1.0",
            "pareto:1ms,2.5",
            "bimodal:1ms@0.99,50ms",
        ] {
            let latency: Latency = text.parse().unwrap();
            let mut random = Random::seeded(1);
            let draws = 200_000;
            let sum: Duration = (0..draws).map(|_| latency.sample(&mut random)).sum();
            let ratio = sum.as_secs_f64() / f64::from(draws) / latency.mean_seconds();
            assert!((0.97..1.03).contains(&ratio), "{text}: {ratio}");
        }
    }

    #[test]
    fn half_of_a_lognormal_lies_below_its_median() {
        let latency: Latency = "lognormal:20ms,1.5".parse().unwrap();
        let mut random = Random::seeded(2);
        let below = (0..100_000)
            .filter(|_| latency.sample(&mut random) < Duration::from_millis(20))
            .count();
        assert!((49_000..51_000).contains(&below), "{below}");
    }

    #[test]
    fn statuses_come_with_their_shares() {
        let shares: Vec<StatusShare> = ["503:5%", "500:0.01"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let mut random = Random::seeded(3);
        let mut counts = [0; 3];
        for _ in 0..100_000 {
            match StatusShare::pick(&shares, &mut random).map(|status| status.as_u16()) {
                Some(503) => counts[0] += 1,
                Some(500) => counts[1] += 1,
                _ => counts[2] += 1,
            }
        }
        assert!((4_700..5_300).contains(&counts[0]), "{counts:?}");
        assert!((900..1_100).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            "5".parse::<Latency>(),
            Err(Malformed::Duration(
                "5".to_owned(),
                parse_duration("5").unwrap_err()
            ))
        );
        assert_eq!(
            "normal:5ms".parse::<Latency>(),
            Err(Malformed::Latency("normal:5ms".to_owned()))
        );
        assert!("pareto:5ms,0".parse::<Latency>().is_err());
        assert!("503".parse::<StatusShare>().is_err());
        assert!("100:5%".parse::<StatusShare>().is_err());
        assert!("503:101%".parse::<StatusShare>().is_err());
    }
}
