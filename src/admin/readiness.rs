//! Whether traffic should be sent here, and if not, why (pure).

use std::fmt;
use std::time::Duration;

use crate::clock::Instant;

/// A worker beats once a second; after so many seconds without a beat it is stuck. Long enough for a machine that is
/// merely busy, short enough that a balancer in front takes the process out before its clients give up.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// One reason against sending traffic here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is about to drain.
    Leaving,
    Draining,
    /// It is short, so that no connection is accepted.
    Memory,
    /// This worker has not begun to serve.
    NotStarted {
        worker: usize,
    },
    /// This worker has not shown itself for so long.
    Stuck {
        worker: usize,
        silent: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => {
                f.write_str("about to drain: connections are still accepted, send no new ones")
            }
            Self::Draining => f.write_str("draining: no new connection is accepted"),
            Self::Memory => f.write_str("memory is short: no new connection is accepted for now"),
            Self::NotStarted { worker } => write!(f, "worker {worker} has not started"),
            Self::Stuck { worker, silent } => write!(
                f,
                "worker {worker} is stuck: it has not shown itself for {} s",
                silent.as_secs()
            ),
        }
    }
}

/// Judges by the last beat of each worker, zero when there was none, unless the process is `leaving`; `ago` tells how long a moment is past, in real
/// time even where the clock is sped up.
pub fn judge(
    leaving: Option<Reason>,
    beats: impl Iterator<Item = Instant>,
    started: Instant,
    ago: impl Fn(Instant) -> Duration,
) -> Vec<Reason> {
    if let Some(leaving) = leaving {
        // Workers then end one by one, and their silence is no fault.
        return vec![leaving];
    }
    let mut reasons = Vec::new();
    for (worker, beat) in beats.enumerate() {
        let never = beat == Instant::default();
        let silent = ago(if never { started } else { beat });
        if silent >= STUCK_AFTER {
            reasons.push(Reason::Stuck { worker, silent });
        } else if never {
            reasons.push(Reason::NotStarted { worker });
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn judged(beats: &[u64], now: u64) -> Vec<Reason> {
        let beats = beats.iter().map(|second| at(*second));
        judge(None, beats, at(100), |since| at(now).since(since))
    }

    #[test]
    fn workers_that_beat_are_ready() {
        assert_eq!(judged(&[103, 104], 104), []);
    }

    #[test]
    fn a_silent_worker_is_named() {
        let silent = Duration::from_secs(6);
        let reasons = judged(&[110, 104], 110);
        assert_eq!(reasons, [Reason::Stuck { worker: 1, silent }]);
        assert_eq!(
            reasons[0].to_string(),
            "worker 1 is stuck: it has not shown itself for 6 s"
        );
    }

    #[test]
    fn a_worker_that_never_beat_has_not_started_and_is_stuck_in_the_end() {
        let reasons = judged(&[0], 101);
        assert_eq!(reasons, [Reason::NotStarted { worker: 0 }]);
        let silent = Duration::from_secs(7);
        assert_eq!(judged(&[0], 107), [Reason::Stuck { worker: 0, silent }]);
    }

    #[test]
    fn leaving_is_reason_enough() {
        for leaving in [Reason::Leaving, Reason::Draining] {
            let beats = [at(0), at(0)].into_iter();
            let reasons = judge(Some(leaving.clone()), beats, at(100), |_| Duration::MAX);
            assert_eq!(reasons, [leaving]);
        }
    }
}
