//! What was seen of one arm, second by second, and whether that is what must be (pure).

use super::Plan;
use super::arm::{Arm, Expected};
use crate::lab::experiment::expectation::Expectation;
use crate::lab::generator::Second;

/// What was seen of one arm.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// By when requests were due.
    pub seconds: Vec<Second>,
    /// Requests that the backend got in each second.
    pub attempts: Vec<u64>,
    /// Whether the load was the one that was asked for.
    pub kept_pace: bool,
}

/// The part of the load that must be answered for it to count as back.
pub const BACK: f64 = 0.95;
/// For so many seconds in a row.
const IN_A_ROW: usize = 5;
/// The part of the load below which it counts as collapsed.
const COLLAPSED: f64 = 0.2;
/// Seconds after the stall within which a cure must have worked.
const SOON: usize = 10;
/// Seconds at the end that tell whether it stays collapsed.
const LAST: usize = 10;

impl Outcome {
    /// The part of the requests due in each second that was answered.
    pub fn goodput(&self) -> Vec<f64> {
        let part = |second: &Second| second.good as f64 / (second.due as f64).max(1.0);
        self.seconds.iter().map(part).collect()
    }

    /// Seconds after the stall until the load was answered again, and went on being so; `None`: it was not.
    pub fn recovery(&self, plan: &Plan) -> Option<usize> {
        let end = usize::try_from(plan.before + plan.stall).ok()?;
        let goodput = self.goodput();
        let after = goodput.get(end..)?;
        let mut windows = after.windows(IN_A_ROW.min(after.len()).max(1));
        windows.position(|seconds| seconds.iter().all(|part| *part >= BACK))
    }

    /// The part of the last seconds' requests that was answered.
    pub fn at_the_end(&self, plan: &Plan) -> f64 {
        let last = LAST
            .min(usize::try_from(plan.after / 2).unwrap_or(LAST))
            .max(1);
        let from = self.seconds.len().saturating_sub(last);
        let sum = |of: fn(&Second) -> u64| self.seconds[from..].iter().map(of).sum::<u64>() as f64;
        sum(|second| second.good) / sum(|second| second.due).max(1.0)
    }

    /// What it came to, in words.
    pub fn verdict(&self, plan: &Plan) -> String {
        let end = self.at_the_end(plan) * 100.0;
        match self.recovery(plan) {
            Some(0) => "back at once when the stall ended".to_owned(),
            Some(seconds) => format!("back {seconds} s after the stall"),
            None => format!(
                "not back within {} s: {end:.0} % of the load is answered at the end",
                plan.after
            ),
        }
    }

    /// Whether that is what must be; `None` where nothing must.
    pub fn judge(&self, plan: &Plan, arm: &Arm) -> Option<Expectation> {
        let (name, verdict) = (arm.name, self.verdict(plan));
        let end = self.at_the_end(plan);
        let (wanted, holds) = match arm.expected {
            Expected::Nothing => return None,
            Expected::Collapse => ("stays collapsed", end < COLLAPSED),
            Expected::Recovery => (
                "is back above 95 % within 10 s of the end of the stall",
                self.recovery(plan).is_some_and(|seconds| seconds <= SOON),
            ),
        };
        let text = format!("{name} {wanted}: {verdict}");
        Some(Expectation { text, holds })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            capacity: 200.0,
            rate: 186.0,
            before: 2,
            stall: 3,
            after: 20,
        }
    }

    /// What comes second by second, of 100 that are due.
    pub(crate) fn outcome(good: impl IntoIterator<Item = u64>) -> Outcome {
        let seconds: Vec<_> = good
            .into_iter()
            .map(|good| Second { due: 100, good })
            .collect();
        Outcome {
            attempts: vec![100; seconds.len()],
            seconds,
            kept_pace: true,
        }
    }

    fn back_after(seconds: usize) -> Outcome {
        let stalled = [100, 100, 0, 0, 0].into_iter();
        let late = std::iter::repeat_n(10, seconds);
        outcome(
            stalled
                .chain(late)
                .chain(std::iter::repeat_n(100, 20 - seconds)),
        )
    }

    fn arm(expected: Expected) -> Arm {
        let arms = Arm::all(&plan()).into_iter();
        arms.into_iter()
            .find(|arm| arm.expected == expected)
            .unwrap()
    }

    #[test]
    fn it_is_back_once_it_stays_back() {
        assert_eq!(back_after(0).recovery(&plan()), Some(0));
        assert_eq!(back_after(7).recovery(&plan()), Some(7));
        assert_eq!(back_after(17).recovery(&plan()), None);
        let mut flickers = back_after(0);
        flickers.seconds[7].good = 94;
        assert_eq!(flickers.recovery(&plan()), Some(3));
        assert_eq!(outcome([]).recovery(&plan()), None);
    }

    #[test]
    fn each_arm_is_held_to_what_must_become_of_it() {
        let holds = |seconds, expected| {
            let judged = back_after(seconds).judge(&plan(), &arm(expected));
            judged.map(|one| one.holds)
        };
        assert_eq!(holds(20, Expected::Collapse), Some(true));
        assert_eq!(holds(12, Expected::Collapse), Some(false));
        assert_eq!(holds(10, Expected::Recovery), Some(true));
        assert_eq!(holds(11, Expected::Recovery), Some(false));
        assert_eq!(holds(20, Expected::Nothing), None);
    }

    #[test]
    fn the_verdict_says_when_or_how_little() {
        assert_eq!(back_after(1).verdict(&plan()), "back 1 s after the stall");
        let never = back_after(20).verdict(&plan());
        assert_eq!(
            never,
            "not back within 20 s: 10 % of the load is answered at the end"
        );
    }
}
