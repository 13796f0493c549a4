//! What became of keyed requests and of their executions, counted for one route. Atomics: a keyed request takes a lock
//! that all workers share anyway.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Lost;

/// What a keyed request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// Nothing: it was executed.
    Executed,
    /// A result, which it got, perhaps after having waited for it.
    Replayed,
    /// A running execution, and the route does not let it wait, or it waited in vain.
    InUse,
    /// A key that was used for another request.
    Mismatch,
    /// A key whose outcome was lost.
    Unknown,
    /// No room for its key, and no execution without.
    Refused,
    /// No room for its key; executed all the same.
    Unprotected,
}

impl Met {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Executed,
        Self::Replayed,
        Self::InUse,
        Self::Mismatch,
        Self::Unknown,
        Self::Refused,
        Self::Unprotected,
    ];

    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Replayed => "replayed",
            Self::InUse => "in_use",
            Self::Mismatch => "mismatch",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Unprotected => "unprotected",
        }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its result is kept.
    Stored,
    /// Its outcome is not known.
    Unknown,
    /// Nothing was executed, for certain.
    Forgotten,
}

impl End {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Stored, Self::Unknown, Self::Forgotten];

    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unknown => "unknown",
            Self::Forgotten => "forgotten",
        }
    }
}

/// The counts of one route since it was first there.
#[derive(Debug, Default)]
pub struct Counts {
    met: [AtomicU64; Met::ALL.len()],
    ends: [AtomicU64; End::ALL.len()],
    lost_results: AtomicU64,
    lost_keys: AtomicU64,
}

impl Counts {
    /// A keyed request met this.
    pub fn met(&self, what: Met) {
        self.met[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An execution ended.
    pub(super) fn ended(&self, how: End) {
        self.ends[how as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, lost: Lost) {
        self.lost_results.fetch_add(lost.results, Ordering::Relaxed);
        self.lost_keys.fetch_add(lost.keys, Ordering::Relaxed);
    }

    /// What keyed requests met.
    pub fn all_met(&self) -> [(Met, u64); Met::ALL.len()] {
        Met::ALL.map(|what| (what, self.met[what as usize].load(Ordering::Relaxed)))
    }

    /// How executions ended.
    pub fn all_ended(&self) -> [(End, u64); End::ALL.len()] {
        End::ALL.map(|how| (how, self.ends[how as usize].load(Ordering::Relaxed)))
    }

    /// What had to make room for others before its time.
    pub fn all_lost(&self) -> Lost {
        Lost {
            results: self.lost_results.load(Ordering::Relaxed),
            keys: self.lost_keys.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_at_their_numbers() {
        for (place, what) in Met::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, place);
        }
        for (place, how) in End::ALL.into_iter().enumerate() {
            assert_eq!(how as usize, place);
        }
    }
}
