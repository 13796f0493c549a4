//! Breakers in words: for events, the status, and who asks why.

use std::fmt;
use std::time::Duration;

use super::machine::{Change, Why};
use super::window::Counts;
use super::{Phase, Rules};

/// A time as people read it: two digits are enough.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

fn part(f: &mut fmt::Formatter<'_>, count: u32, sum: Counts, what: &str) -> fmt::Result {
    let percent = 100.0 * f64::from(count) / f64::from(sum.ended.max(1));
    write!(
        f,
        "{count} of {} attempts {what} ({percent:.0}%)",
        sum.ended
    )
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::InARow(1, cause) => write!(f, "a failure, {cause}"),
            Self::InARow(count, cause) => write!(f, "{count} failures in a row, the last {cause}"),
            Self::FailureRate(sum) => part(f, sum.failed, sum, "failed"),
            Self::SlowRate(sum) => part(f, sum.slow, sum, "were slow"),
            Self::ProbeFailed(cause) => write!(f, "a probe failed, {cause}"),
            Self::CooledDown => f.write_str("it was open for long enough"),
            Self::ProbesSucceeded => f.write_str("its probes succeeded"),
            Self::Unused => f.write_str("the configuration asks for it no longer"),
        }
    }
}

impl Change {
    /// What happened, after the name of whom it is about.
    pub fn text(&self, rules: &Rules) -> String {
        let why = self.why;
        match self.to {
            Phase::Open => format!("opened: {why}; next probe in {}", span(self.stay)),
            Phase::HalfOpen => format!(
                "is half-open: {} at a time",
                match rules.probes {
                    1 => "1 probe".to_owned(),
                    probes => format!("{probes} probes"),
                }
            ),
            Phase::Closed if why == Why::ProbesSucceeded && !rules.ramp.is_zero() => {
                format!("closed: {why}; its share grows over {}", span(rules.ramp))
            }
            Phase::Closed => format!("closed: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_in_a_sentence() {
        let rules = Rules {
            ramp: Duration::from_secs(5),
            probes: 1,
            ..Rules::default()
        };
        let told = |to, why, stay| {
            let stay = Duration::from_millis(stay);
            Change { to, why, stay }.text(&rules)
        };
        assert_eq!(
            told(Phase::Open, Why::InARow(5, "connection_refused"), 1080),
            "opened: 5 failures in a row, the last connection_refused; next probe in 1.1 s"
        );
        let sum = Counts {
            ended: 20,
            failed: 12,
            slow: 0,
        };
        assert_eq!(
            told(Phase::Open, Why::FailureRate(sum), 30_000),
            "opened: 12 of 20 attempts failed (60%); next probe in 30 s"
        );
        assert_eq!(
            told(Phase::HalfOpen, Why::CooledDown, 0),
            "is half-open: 1 probe at a time"
        );
        assert_eq!(
            told(Phase::Closed, Why::ProbesSucceeded, 0),
            "closed: its probes succeeded; its share grows over 5.0 s"
        );
    }
}
