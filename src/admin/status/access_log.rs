//! How the log of requests fares, where there is one.

use serde::{Deserialize, Serialize};

use crate::admin::Live;

/// Its lines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessLogStatus {
    pub written: u64,
    pub dropped: u64,
    /// Why the last lines were not written; none when they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

pub(super) fn read(live: &Live) -> Option<AccessLogStatus> {
    let log = live.log.as_ref()?;
    Some(AccessLogStatus {
        written: log.written(),
        dropped: log.dropped(),
        failure: log.failure(),
    })
}
