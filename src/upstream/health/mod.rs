//! What active checks say of one endpoint: the verdict, when the next check is due, and the last results (pure).
//!
//! Not here: doing a check, which is for [`probe`](super::probe), and keeping an endpoint from being picked, which is for
//! [`Endpoint::hold`](super::endpoint::Endpoint::hold).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Instant;
use crate::entropy::Random;

/// What checks make of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has looked yet, and it is to get nothing before.
    Unknown,
    Healthy,
    Unhealthy,
}

impl Verdict {
    /// The word in the admin API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    /// This process was late itself, so that a failure says nothing of the endpoint.
    Void,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Passed, Self::Failed, Self::Void];

    /// The word in metrics and the admin API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Void => "void",
        }
    }
}

/// One check that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub began: Instant,
    pub took: Duration,
    pub outcome: Outcome,
    /// Why it did not pass, to be read after `because`.
    pub reason: Option<String>,
}

/// When to check, and how many results turn a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// From the beginning of a check to that of the next: while all is well, while the verdict may be about to change, and
    /// while it is unhealthy.
    pub interval: Duration,
    pub fast: Duration,
    pub slow: Duration,
    /// By which part of itself each interval is made longer or shorter, 0 to 1.
    pub jitter: f64,
    /// How many passed in a row make it healthy, how many failed ones unhealthy. At least 1.
    pub rise: u32,
    pub fall: u32,
    /// What it is before it was checked.
    pub initial: Verdict,
    /// How many results are kept.
    pub history: usize,
}

/// A verdict that turned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub from: Verdict,
    pub to: Verdict,
    /// What it is now and why, to be read after the name of the endpoint.
    pub text: String,
}

/// What is known of one endpoint by its checks.
#[derive(Debug, Clone)]
pub struct Health {
    verdict: Verdict,
    since: Instant,
    /// Results in a row that speak against the verdict.
    against: u32,
    /// Whether a check has spoken for the verdict since the endpoint came or moved.
    is_settled: bool,
    due: Instant,
    counts: [u64; Outcome::ALL.len()],
    turns: u64,
    /// The oldest first.
    history: VecDeque<Check>,
}

impl Health {
    /// An endpoint that comes to be checked. First checks are spread by chance over the jitter of the fast interval.
    pub fn new(now: Instant, rules: &Rules, random: &mut Random) -> Self {
        Self {
            verdict: rules.initial,
            since: now,
            against: 0,
            is_settled: false,
            due: now + rules.fast.mul_f64(rules.jitter * random.unit()),
            counts: [0; Outcome::ALL.len()],
            turns: 0,
            history: VecDeque::new(),
        }
    }

    /// What it is now.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Since when it is that.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether it is to get no requests.
    pub fn is_held(&self) -> bool {
        self.verdict != Verdict::Healthy
    }

    /// Results in a row that speak against the verdict.
    pub fn against(&self) -> u32 {
        self.against
    }

    /// When the next check begins.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// How many checks ended like this.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// How often the verdict has turned.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// The last results, the oldest first.
    pub fn history(&self) -> &VecDeque<Check> {
        &self.history
    }

    /// Takes the result of a check that has just ended, plans the next one, and says whether the verdict turned.
    pub fn record(
        &mut self,
        now: Instant,
        check: Check,
        rules: &Rules,
        random: &mut Random,
    ) -> Option<Turn> {
        self.counts[check.outcome as usize] += 1;
        let turn = match check.outcome {
            Outcome::Void => None,
            outcome => self.judge(now, outcome, check.reason.as_deref(), rules),
        };
        let pause = match check.outcome {
            // It is made up for soon.
            Outcome::Void => self.fast(rules),
            Outcome::Passed | Outcome::Failed => self.pause(rules),
        };
        self.due = (check.began + jittered(pause, rules, random)).max(now);
        self.history.push_back(check);
        self.shorten(rules);
        turn
    }

    /// The same at another address: the verdict stays until checks say otherwise, the first of them at once.
    pub fn moved(&self) -> Self {
        Self {
            against: 0,
            is_settled: false,
            due: Instant(0),
            ..self.clone()
        }
    }

    /// The rules may have changed: the next check comes no later than these have it.
    pub fn replan(&mut self, now: Instant, rules: &Rules, random: &mut Random) {
        let latest = now + jittered(self.pause(rules), rules, random);
        self.due = self.due.max(now).min(latest);
        self.shorten(rules);
    }

    fn judge(
        &mut self,
        now: Instant,
        outcome: Outcome,
        reason: Option<&str>,
        rules: &Rules,
    ) -> Option<Turn> {
        let (to, needed) = match outcome {
            Outcome::Passed => (Verdict::Healthy, rules.rise),
            Outcome::Failed | Outcome::Void => (Verdict::Unhealthy, rules.fall),
        };
        if to == self.verdict {
            self.against = 0;
            self.is_settled = true;
            return None;
        }
        self.against += 1;
        let from = self.verdict;
        if from != Verdict::Unknown && self.against < needed {
            return None;
        }
        let turn = Turn {
            from,
            to,
            text: told(from, to, self.against, reason),
        };
        self.verdict = to;
        self.since = now;
        self.against = 0;
        self.is_settled = true;
        self.turns += 1;
        Some(turn)
    }

    /// From the beginning of the last check to that of the next.
    fn pause(&self, rules: &Rules) -> Duration {
        if self.against > 0 || !self.is_settled {
            return self.fast(rules);
        }
        self.steady(rules)
    }

    fn steady(&self, rules: &Rules) -> Duration {
        match self.verdict {
            Verdict::Healthy => rules.interval,
            Verdict::Unhealthy => rules.slow,
            Verdict::Unknown => rules.fast,
        }
    }

    /// Never longer than what would be waited otherwise.
    fn fast(&self, rules: &Rules) -> Duration {
        rules.fast.min(self.steady(rules))
    }

    fn shorten(&mut self, rules: &Rules) {
        let surplus = self.history.len().saturating_sub(rules.history);
        self.history.drain(..surplus);
    }
}

/// A time that is up to the jitter longer or shorter.
fn jittered(pause: Duration, rules: &Rules, random: &mut Random) -> Duration {
    pause.mul_f64(1.0 + rules.jitter * (2.0 * random.unit() - 1.0))
}

fn told(from: Verdict, to: Verdict, count: u32, reason: Option<&str>) -> String {
    let first = from == Verdict::Unknown;
    let reason = reason.unwrap_or("of no known reason");
    match (to, count) {
        (Verdict::Healthy, _) if first => "is healthy: its first check passed".to_owned(),
        (Verdict::Healthy, 1) => "is healthy: a check passed".to_owned(),
        (Verdict::Healthy, count) => format!("is healthy: {count} checks passed in a row"),
        (_, _) if first => format!("is unhealthy: its first check failed, because {reason}"),
        (_, 1) => format!("is unhealthy: a check failed, because {reason}"),
        (_, count) => {
            format!("is unhealthy: {count} checks failed in a row, the last because {reason}")
        }
    }
}
