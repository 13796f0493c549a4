//! What a route asks of who wants to enter, and how its requests fared at it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limit::auth::{Gate, Way};

/// The gate of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthStatus {
    /// `basic`, `api_key` or `forward`.
    pub way: String,
    /// How many users or keys are known.
    pub known: Option<usize>,
    /// What came of it, since the start.
    pub requests: BTreeMap<String, u64>,
}

/// `None` where nothing is asked.
pub(super) fn read(gate: &Gate) -> Option<AuthStatus> {
    let (way, known) = match gate.way.as_ref()? {
        Way::Basic(basic) => ("basic", Some(basic.count())),
        Way::ApiKey(api_key) => ("api_key", Some(api_key.count())),
        Way::Forward(_) => ("forward", None),
    };
    let counts = gate.counts.all().into_iter();
    Some(AuthStatus {
        way: way.to_owned(),
        known,
        requests: counts
            .map(|(verdict, count)| (verdict.label().to_owned(), count))
            .collect(),
    })
}
