//! How the requests of a route fared at its gate, counted since it was first there. Atomics: only routes that ask who it
//! is count here.

use std::sync::atomic::{AtomicU64, Ordering};

/// What came of asking who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may enter.
    Allowed,
    /// It said nothing of who it is.
    Absent,
    /// What it said cannot be read.
    Malformed,
    /// It is not who it says, or nobody.
    Wrong,
    /// The service that was asked does not let it in.
    Refused,
    /// Nobody could say, and it was not let in.
    Unavailable,
    /// Nobody could say, and it was let in as configured.
    FailedOpen,
}

impl Verdict {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Allowed,
        Self::Absent,
        Self::Malformed,
        Self::Wrong,
        Self::Refused,
        Self::Unavailable,
        Self::FailedOpen,
    ];

    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Absent => "absent",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::FailedOpen => "failed_open",
        }
    }
}

/// The counts of one route.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Verdict::ALL.len()]);

impl Counts {
    /// One more.
    pub fn judged(&self, verdict: Verdict) {
        self.0[verdict as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub fn all(&self) -> [(Verdict, u64); Verdict::ALL.len()] {
        Verdict::ALL.map(|verdict| (verdict, self.0[verdict as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_at_their_numbers() {
        for (place, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, place);
        }
    }
}
