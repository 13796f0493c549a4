//! Whatever has certificates in files: a listener, or an upstream.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock;
use crate::config::EXPIRY_WARNING;
use crate::listener::server_tls::ServerTls;
use crate::snapshot::Snapshot;
use crate::tls::{Shared, TlsError};
use crate::upstream::client_tls::ClientTls;

/// One of them.
#[derive(Clone)]
pub(super) enum Site {
    Listener {
        name: String,
        tls: Arc<ServerTls>,
    },
    Upstream {
        name: String,
        tls: ClientTls,
        /// Checks over gRPC speak HTTP/2 whatever the traffic does, and so have their own.
        checks: Option<ClientTls>,
    },
}

/// What came of reading its files again.
pub(super) enum Outcome {
    /// With a sentence that tells of it.
    Exchanged(String),
    /// They hold what is in force.
    Same { was_in_trouble: bool },
    /// Why they are of no use.
    Refused(String),
}

/// A certificate with the time in which its chain is good, in seconds since 1970.
pub(super) struct Term {
    pub(super) file: PathBuf,
    pub(super) from: i64,
    pub(super) until: i64,
}

/// All of a configuration.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Site> {
    let listeners = snapshot.listeners.iter().filter_map(|listener| {
        Some(Site::Listener {
            name: listener.name.clone(),
            tls: Arc::clone(listener.tls.as_ref()?),
        })
    });
    let upstreams = snapshot.upstreams.iter().filter_map(|upstream| {
        Some(Site::Upstream {
            name: upstream.name.clone(),
            tls: upstream.tls.clone()?,
            checks: upstream
                .checks
                .as_ref()
                .and_then(|checks| checks.tls().cloned()),
        })
    });
    let all = listeners.chain(upstreams);
    all.filter(|site| !site.files().is_empty()).collect()
}

impl Site {
    /// Whether it is the same one, and not one that was compiled anew.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listener { tls, .. }, Self::Listener { tls: other, .. }) => {
                Arc::ptr_eq(tls, other)
            }
            (Self::Upstream { tls, .. }, Self::Upstream { tls: other, .. }) => tls.is(other),
            _ => false,
        }
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = match self {
            Self::Listener { tls, .. } => tls.files(),
            Self::Upstream { tls, .. } => tls.files(),
        };
        files.into_iter().map(Path::to_owned).collect()
    }

    /// Reads its files and puts them in force where they are others. Blocks.
    pub(super) fn renew(&self, shared: &Shared) -> Outcome {
        let renewed: Result<bool, TlsError> = match self {
            Self::Listener { tls, .. } => tls.renew(shared),
            Self::Upstream { tls, checks, .. } => tls.renew(shared).and_then(|is_new| {
                if let Some(checks) = checks {
                    checks.renew(shared)?;
                }
                Ok(is_new)
            }),
        };
        match renewed {
            Ok(is_new) => {
                let was_in_trouble = self.set_trouble(None);
                if is_new {
                    Outcome::Exchanged(self.exchanged())
                } else {
                    Outcome::Same { was_in_trouble }
                }
            }
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }

    fn exchanged(&self) -> String {
        let first = self.terms().into_iter().min_by_key(|term| term.until);
        let until = match first {
            Some(term) => format!("; good until {}", date(term.until)),
            None => String::new(),
        };
        format!("{self} serves what its files hold now{until}")
    }

    /// Keeps in mind why its files are of no use, or that they are; whether that is another state than before.
    pub(super) fn set_trouble(&self, trouble: Option<String>) -> bool {
        let before = match self {
            Self::Listener { tls, .. } => tls.trouble(),
            Self::Upstream { tls, .. } => tls.trouble(),
        };
        let is_new = before.as_deref() != trouble.as_ref();
        if is_new {
            match self {
                Self::Listener { tls, .. } => tls.set_trouble(trouble),
                Self::Upstream { tls, .. } => tls.set_trouble(trouble),
            }
        }
        is_new
    }

    /// When a stapled response runs out, in seconds since 1970.
    pub(super) fn staple_until(&self) -> Option<i64> {
        match self {
            Self::Listener { tls, .. } => tls.now().staple_until,
            Self::Upstream { .. } => None,
        }
    }

    /// The files of OCSP responses that have run out, and so are not stapled.
    pub(super) fn stale_staples(&self) -> Vec<PathBuf> {
        let Self::Listener { tls, .. } = self else {
            return Vec::new();
        };
        let now = tls.now();
        let pairs = tls.written().certificates.iter().zip(&now.shown);
        let stale = pairs.filter(|(_, shown)| !shown.is_stapled);
        stale.filter_map(|(pair, _)| pair.ocsp.clone()).collect()
    }

    /// So long before a certificate runs out that is told.
    pub(super) fn warning(&self) -> Option<Duration> {
        match self {
            Self::Listener { tls, .. } => tls.written().expiry_warning,
            // As a listener has by default.
            Self::Upstream { .. } => Some(EXPIRY_WARNING),
        }
    }

    /// Each certificate that is shown to others.
    pub(super) fn terms(&self) -> Vec<Term> {
        let term = |file: &Path, from, until| Term {
            file: file.to_owned(),
            from,
            until,
        };
        match self {
            Self::Listener { tls, .. } => {
                let now = tls.now();
                let shown = now.shown.iter();
                shown
                    .map(|one| term(&one.file, one.not_before, one.not_after))
                    .collect()
            }
            Self::Upstream { tls, .. } => {
                let shown = tls.shown();
                let shown = shown.map(|(file, (from, until))| term(file, from, until));
                shown.into_iter().collect()
            }
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener { name, .. } => write!(f, "listeners.{name}.tls"),
            Self::Upstream { name, .. } => write!(f, "upstreams.{name}.tls"),
        }
    }
}

/// Seconds since 1970 now.
pub(super) fn wall() -> i64 {
    let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_secs()).unwrap_or(i64::MAX)
}

/// As HTTP writes it.
pub(super) fn date(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    httpdate::fmt_http_date(UNIX_EPOCH + since)
}
