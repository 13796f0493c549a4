//! How far the process is on its way to the end.

use serde::{Deserialize, Serialize};

use crate::admin::live::{Farewell, Live};
use crate::clock::Instant;

/// The way to the end. Times are in seconds from now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainingStatus {
    /// For how long no traffic has been wanted here.
    pub since_seconds: f64,
    /// For how long connections are still accepted; none once nothing new is.
    pub accepting_seconds: Option<f64>,
    /// Until what is left is cut; none while that has not begun to count, and where it may take its time.
    pub cut_seconds: Option<f64>,
    /// Connections of clients that are still open.
    pub connections_left: usize,
}

/// None where the process is not about to end.
pub(super) fn read(live: &Live, now: Instant) -> Option<DrainingStatus> {
    let Farewell {
        since,
        closes,
        deadline,
    } = live.farewell()?;
    let until = |at: Instant| at.since(now).as_secs_f64();
    Some(DrainingStatus {
        since_seconds: now.since(since).as_secs_f64(),
        accepting_seconds: closes.map(until),
        cut_seconds: deadline.map(until),
        connections_left: live.connections(),
    })
}
