//! The files of those who may enter, and of what sessions are sealed with: all that are in use.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::live::Live;
use crate::limit::auth::Way;
use crate::snapshot::Snapshot;
use crate::watch::Renewable;

/// One of them.
pub struct Credentials {
    /// As texts call it: "the users of `ops.htpasswd`".
    pub name: String,
    pub list: Arc<dyn Renewable>,
}

/// How one of them stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsStatus {
    /// `users`, `keys`, `tokens` of the admin API, or `secrets` of sessions.
    pub what: String,
    pub file: String,
    /// Why the file is of no use as it is now, so that what was read before is kept; `null`: it is in force.
    pub trouble: Option<String>,
}

/// All of a configuration. What several routes share is there several times.
pub fn all(live: &Live, snapshot: &Snapshot) -> Vec<Credentials> {
    let ways = snapshot.gates.iter().flatten();
    let ways = ways.filter_map(|gate| match gate.way.as_ref()? {
        Way::Basic(basic) => Some(named(Arc::clone(basic.file()) as _)),
        Way::ApiKey(api_key) => Some(named(Arc::clone(api_key.file()) as _)),
        Way::Forward(_) => None,
    });
    let upstreams = snapshot.upstreams.iter();
    let secrets = upstreams.filter_map(|upstream| {
        let list = named(Arc::clone(upstream.selectors.as_ref()?.secrets.as_ref()?) as _);
        Some(Credentials {
            // Each upstream reads the file for itself.
            name: format!("{}, for upstream {},", list.name, upstream.name),
            ..list
        })
    });
    let tokens = live.tokens.load_full();
    let tokens = tokens.map(|tokens| named(tokens as _));
    ways.chain(secrets).chain(tokens).collect()
}

fn named(list: Arc<dyn Renewable>) -> Credentials {
    Credentials {
        name: format!("the {} of `{}`", list.what(), list.path().display()),
        list,
    }
}

/// How all of them stand, each once.
pub(super) fn read(live: &Live, snapshot: &Snapshot) -> Vec<CredentialsStatus> {
    let mut all = all(live, snapshot);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all.dedup_by(|one, other| one.name == other.name);
    let each = all.iter().map(|one| CredentialsStatus {
        what: one.list.what().to_owned(),
        file: one.list.path().display().to_string(),
        trouble: one.list.trouble().map(|trouble| trouble.to_string()),
    });
    each.collect()
}
