//! What a reload would change: the file as it is now beside what is in force. Nothing is resolved, opened or bound.

use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::findings;
use super::fixed::fixed;
use super::origin::Origin;
use super::reload::ReloadError;
use crate::config::difference::{Difference, differences};
use crate::config::read;
use crate::route::Table;
use crate::snapshot::Snapshot;

/// The difference, for programs and people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The file.
    pub file: String,
    /// Of the configuration that is in force.
    pub generation: u64,
    /// Whether anything is different.
    pub differs: bool,
    /// Objects by name, as a reload would tell of them; addresses of names that are resolved are not looked at.
    pub changes: Changes,
    /// Keys as they are written.
    pub keys: Vec<Difference>,
    /// Keys that differ beyond those.
    pub more: usize,
    /// Keys for which the process would have to be restarted: a reload is refused.
    pub fixed: Vec<String>,
}

/// Compares. Blocks.
pub(super) fn diff(origin: &Origin, current: &Snapshot) -> Result<Diff, ReloadError> {
    let name = origin.path.display().to_string();
    let bytes = read::bytes(&origin.path);
    let loaded = read::from_bytes(&name, bytes, &|name| std::env::var(name).ok());
    let loaded = loaded.map_err(ReloadError::Refused)?;
    let listeners: Vec<String> = loaded.config.listeners.keys().cloned().collect();
    let upstreams: Vec<String> = loaded.config.upstreams.keys().cloned().collect();
    let routes = Table::compile(&loaded.config.routes, &listeners, &upstreams);
    let routes = routes
        .map_err(|errors| ReloadError::Refused(findings::refusal(&errors, &loaded.places)))?;
    let (keys, more) = differences(&origin.in_force(), loaded.places.text());
    let changes = Changes::of(
        (&current.config, &current.routes),
        (&loaded.config, &routes),
        current.generation,
    );
    Ok(Diff {
        file: name,
        generation: current.generation,
        differs: !changes.is_nothing() || !keys.is_empty(),
        fixed: fixed(&current.config, &loaded.config),
        changes,
        keys,
        more,
    })
}
