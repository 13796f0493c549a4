//! What a reload would change: the file as it is now beside what is in force. Nothing is resolved or bound, and of other files
//! only those of certificates are read.

use serde::{Deserialize, Serialize};

use super::changes::{Changes, Named, Parts, certificate};
use super::findings;
use super::fixed::fixed;
use super::origin::Origin;
use super::reload::ReloadError;
use crate::config::difference::{Difference, differences};
use crate::config::{Config, read};
use crate::listener::server_tls;
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
    let mut changes = Changes::of(
        (&current.config, &current.routes),
        (&loaded.config, &routes),
        current.generation,
    );
    changes.certificates = Parts::between(served(current), written(&loaded.config));
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

/// What stands for the chains that listeners show now.
fn served(snapshot: &Snapshot) -> Named<Option<u64>> {
    let listeners = snapshot.listeners.iter();
    let tls = listeners.filter_map(|one| Some((&one.name, one.tls.as_ref()?.now())));
    let shown = tls.flat_map(|(name, now)| {
        let shown = now.shown.iter();
        let shown = shown.map(|one| (certificate(name, &one.file), Some(one.print)));
        shown.collect::<Vec<_>>()
    });
    shown.collect()
}

/// What stands for those that their files hold, as far as they can be read.
fn written(config: &Config) -> Named<Option<u64>> {
    let listeners = config.listeners.iter();
    let tls = listeners.filter_map(|(name, one)| Some((name, one.tls.as_ref()?)));
    let files = tls.flat_map(|(name, tls)| {
        let files = tls.certificates.iter().map(|pair| &pair.cert);
        files.map(move |file| (certificate(name, file), server_tls::print(file).ok()))
    });
    files.collect()
}
