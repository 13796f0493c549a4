//! What came of changes to files that are looked after, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of the process.
#[derive(Debug, Default)]
pub struct Swaps {
    applied: AtomicU64,
    refused: AtomicU64,
}

impl Swaps {
    /// Counts a change that was put in force, or could not be.
    pub fn count(&self, applied: bool) {
        let count = if applied {
            &self.applied
        } else {
            &self.refused
        };
        count.fetch_add(1, Relaxed);
    }

    /// Those put in force, and those that were of no use.
    pub fn read(&self) -> [(&'static str, u64); 2] {
        [
            ("applied", self.applied.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
        ]
    }
}
