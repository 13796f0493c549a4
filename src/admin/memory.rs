//! How memory stands, as the control loop last saw it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Written by the control loop, read by whoever shows it.
#[derive(Debug, Default)]
pub struct Memory {
    used: AtomicU64,
    /// 0: there is none.
    limit: AtomicU64,
    is_shedding: AtomicBool,
    sheds: AtomicU64,
    cut: AtomicU64,
}

impl Memory {
    /// Notes what is used of how much, whether that is too much, and whether it has just become so.
    pub fn record(&self, usage: Option<(u64, u64)>, is_shedding: bool, has_begun: bool) {
        let (used, limit) = usage.unwrap_or_default();
        self.used.store(used, Relaxed);
        self.limit.store(limit, Relaxed);
        self.is_shedding.store(is_shedding, Relaxed);
        if has_begun {
            self.sheds.fetch_add(1, Relaxed);
        }
    }

    /// Notes that so many connections were cut.
    pub fn cut(&self, connections: usize) {
        self.cut.fetch_add(connections as u64, Relaxed);
    }

    /// Connections that were cut because memory ran out.
    pub fn cuts(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    /// What is used of how much, in bytes; `None` where there is no limit.
    pub fn usage(&self) -> Option<(u64, u64)> {
        let limit = self.limit.load(Relaxed);
        (limit > 0).then(|| (self.used.load(Relaxed), limit))
    }

    /// Whether it is short now.
    pub fn is_shedding(&self) -> bool {
        self.is_shedding.load(Relaxed)
    }

    /// How often it became short.
    pub fn sheds(&self) -> u64 {
        self.sheds.load(Relaxed)
    }
}
