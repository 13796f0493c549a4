//! The certificates of a listener, and that of an upstream.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::listener::server_tls::ServerTls;
use crate::upstream::client_tls::ClientTls;

/// Certificates that are shown to clients or to endpoints.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CertificatesStatus {
    /// Those that run out first, the first one first.
    pub shown: Vec<CertificateStatus>,
    /// How many there are in all.
    pub count: usize,
    /// Why the files are of no use as they are now, so that what was read before is kept; `null`: they are in force.
    pub trouble: Option<String>,
}

/// One certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The file of its chain.
    pub file: String,
    /// The DNS names of the leaf.
    pub names: Vec<String>,
    /// Seconds since 1970 until which the whole chain is good.
    pub expires: i64,
    /// Below zero when it has run out.
    pub days_left: i64,
    /// Whether an OCSP response is stapled.
    pub stapled: bool,
}

/// So many are listed.
const LISTED: usize = 100;

/// Those of a listener.
pub(super) fn of_listener(tls: &ServerTls) -> CertificatesStatus {
    let in_force = tls.now();
    let now = now();
    let mut all: Vec<_> = in_force.shown.iter().collect();
    all.sort_by_key(|one| one.not_after);
    let shown = all.iter().take(LISTED).map(|one| CertificateStatus {
        file: one.file.display().to_string(),
        names: one.names.clone(),
        expires: one.not_after,
        days_left: days(one.not_after, now),
        stapled: one.is_stapled,
    });
    CertificatesStatus {
        shown: shown.collect(),
        count: all.len(),
        trouble: tls.trouble().map(|trouble| trouble.to_string()),
    }
}

/// That of an upstream.
pub(super) fn of_upstream(tls: &ClientTls) -> CertificatesStatus {
    let shown = tls.shown().map(|(file, (_, until))| CertificateStatus {
        file: file.display().to_string(),
        names: Vec::new(),
        expires: until,
        days_left: days(until, now()),
        stapled: false,
    });
    let shown: Vec<_> = shown.into_iter().collect();
    CertificatesStatus {
        count: shown.len(),
        shown,
        trouble: tls.trouble().map(|trouble| trouble.to_string()),
    }
}

fn now() -> i64 {
    let wall = crate::clock::wall().duration_since(UNIX_EPOCH);
    i64::try_from(wall.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

fn days(until: i64, now: i64) -> i64 {
    until.saturating_sub(now).div_euclid(86_400)
}
