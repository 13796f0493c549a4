//! Faults that a route injects on purpose, and how many requests met them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figures::Reports;
use crate::observe::{Metric, Reading};
use crate::route::Route;

/// What a route injects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultStatus {
    /// In one line, as `check` warns of it.
    pub injects: String,
    /// Requests that met it since the start, by kind: `delay`, `abort`, `bandwidth`.
    pub met: BTreeMap<String, u64>,
}

/// Of a route that injects something.
pub(super) fn read(route: &Route, reports: &Reports) -> Option<FaultStatus> {
    let injects = route.fault.as_ref()?.text.to_string();
    let of_route = |reading: &&Reading| reading.identity.iter().eq([&*route.name].iter());
    let reading = reports.lifetime.routes.iter().find(of_route);
    let counts = reading
        .into_iter()
        .flat_map(|one| one.counts(Metric::RequestFaults));
    Some(FaultStatus {
        injects,
        met: counts
            .map(|(word, count)| (word.to_owned(), count))
            .collect(),
    })
}
