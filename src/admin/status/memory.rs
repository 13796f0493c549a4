//! How memory stands, where there is a limit.

use serde::{Deserialize, Serialize};

use crate::admin::Live;

/// What is used of what may be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemoryStatus {
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// Whether it is short, so that no connection is accepted and what rests is closed.
    pub is_shedding: bool,
    /// How often it became short.
    pub sheds: u64,
    /// Connections that were cut because it ran out.
    pub cut_connections: u64,
}

pub(super) fn read(live: &Live) -> Option<MemoryStatus> {
    let (used_bytes, limit_bytes) = live.memory.usage()?;
    Some(MemoryStatus {
        used_bytes,
        limit_bytes,
        is_shedding: live.memory.is_shedding(),
        sheds: live.memory.sheds(),
        cut_connections: live.memory.cuts(),
    })
}
