//! What the rounds showed together, and whether the slow upstream touched the other (pure).

use std::time::Duration;

use hyper::StatusCode;

use super::{Half, Plan};
use crate::lab::experiment::expectation::Expectation;
use crate::lab::generator::Report;

/// What clients of one upstream saw in half of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Side {
    pub p50: Duration,
    pub p99: Duration,
    /// Parts of all requests.
    pub good: f64,
    /// Answered with 503 by the proxy: no place was free.
    pub refused: f64,
    pub kept_pace: bool,
}

impl Side {
    fn of(report: &Report) -> Self {
        let at = |quantile| Duration::from_micros(report.latency.value_at_quantile(quantile));
        let due = (report.due as f64).max(1.0);
        let of_status = |status| report.statuses.get(&status).copied().unwrap_or_default() as f64;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            good: of_status(StatusCode::OK) / due,
            refused: of_status(StatusCode::SERVICE_UNAVAILABLE) / due,
            kept_pace: report.kept_pace(),
        }
    }
}

/// Both halves of a round: the first upstream as usual, and slow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Round {
    pub usual: Both,
    pub slow: Both,
}

/// Both upstreams.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Both {
    pub first: Side,
    pub second: Side,
}

impl Round {
    pub(super) fn new(usual: &Half, slow: &Half) -> Self {
        let both = |half: &Half| Both {
            first: Side::of(&half.first),
            second: Side::of(&half.second),
        };
        Self {
            usual: both(usual),
            slow: both(slow),
        }
    }
}

/// The middle one of the rounds; of an even number the lower of the two.
pub fn median<T: PartialOrd + Copy>(rounds: &[Round], of: impl Fn(&Round) -> T) -> Option<T> {
    let mut values: Vec<T> = rounds.iter().map(of).collect();
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// How many times its usual p99 that of the other upstream may be. The median of seven rounds moves by a tenth where
/// nothing else runs; a half is room for a machine that is busy, and far from the 250 times of the slow one.
const TIMES: f64 = 1.5;
/// The part of the other's requests that must be answered.
const ANSWERED: f64 = 0.999;

/// What must have been seen.
pub fn judge(plan: &Plan, rounds: &[Round]) -> Vec<Expectation> {
    let p99 = |of: fn(&Round) -> Duration| median(rounds, of).unwrap_or_default().as_secs_f64();
    let (usual, slow) = (
        p99(|one| one.usual.second.p99),
        p99(|one| one.slow.second.p99),
    );
    let times = slow / usual.max(1e-6);
    let answered = median(rounds, |one| one.slow.second.good).unwrap_or_default();
    let refused = median(rounds, |one| one.slow.first.refused).unwrap_or_default();
    let is_slow = plan.slow > Duration::from_secs(1);
    let expectation = |text: String, holds: bool| Expectation { text, holds };
    let mut all = vec![
        expectation(
            format!(
                "while the first upstream is slow, the p99 of the second is at most {TIMES} times its usual one: \
                 {times:.2} times"
            ),
            times <= TIMES,
        ),
        expectation(
            format!("and its requests are answered: {:.2} %", answered * 100.0),
            answered >= ANSWERED,
        ),
    ];
    if is_slow {
        all.push(expectation(
            format!(
                "the first has no place for most of its own, which are refused: {:.0} %",
                refused * 100.0
            ),
            refused >= 0.5,
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            rate: 200.0,
            usual: Duration::from_millis(20),
            slow: Duration::from_secs(5),
            length: Duration::from_secs(3),
            rounds: 3,
        }
    }

    fn round(usual: u64, slow: u64, good: f64, refused: f64) -> Round {
        let second = |p99| Side {
            p99: Duration::from_millis(p99),
            good,
            ..Side::default()
        };
        Round {
            usual: Both {
                second: second(usual),
                ..Both::default()
            },
            slow: Both {
                first: Side {
                    refused,
                    ..Side::default()
                },
                second: second(slow),
            },
        }
    }

    fn holds(rounds: &[Round]) -> Vec<bool> {
        judge(&plan(), rounds).iter().map(|one| one.holds).collect()
    }

    #[test]
    fn the_median_of_the_rounds_counts_and_not_the_worst() {
        let rounds = [
            round(22, 23, 1.0, 0.9),
            round(22, 400, 0.5, 0.1),
            round(21, 24, 1.0, 0.9),
        ];
        assert_eq!(holds(&rounds), [true; 3]);
    }

    #[test]
    fn each_expectation_can_fail() {
        assert_eq!(holds(&[round(20, 31, 0.99, 0.4)]), [false; 3]);
        assert_eq!(holds(&[round(20, 30, 1.0, 0.5)]), [true; 3]);
        assert_eq!(holds(&[]), [true, false, false]);
    }
}
