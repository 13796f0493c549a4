//! Whatever is made of files that may change: the TLS of a listener or of an upstream, and lists of those who may enter.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::admin::credentials::{self, Credentials};
use crate::admin::live::Live;
use crate::clock;
use crate::config::EXPIRY_WARNING;
use crate::listener::server_tls::ServerTls;
use crate::observe::event::Kind;
use crate::snapshot::Snapshot;
use crate::tls::{Shared, TlsError};
use crate::upstream::client_tls::ClientTls;
use crate::watch::Renewable;

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
    /// A file of users, keys, tokens or secrets, whoever asks it.
    List {
        name: String,
        list: Arc<dyn Renewable>,
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

/// All of a configuration. What several parts of it share is there several times.
pub(super) fn all(live: &Live, snapshot: &Snapshot) -> Vec<Site> {
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
    let lists = credentials::all(live, snapshot).into_iter();
    let lists = lists.map(|Credentials { name, list }| Site::List { name, list });
    let all = listeners.chain(upstreams).chain(lists);
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
            (Self::List { list, .. }, Self::List { list: other, .. }) => Arc::ptr_eq(list, other),
            _ => false,
        }
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = match self {
            Self::Listener { tls, .. } => tls.files(),
            Self::Upstream { tls, .. } => tls.files(),
            Self::List { list, .. } => vec![list.path()],
        };
        files.into_iter().map(Path::to_owned).collect()
    }

    /// Reads its files and puts them in force where they are others. Blocks.
    pub(super) fn renew(&self, shared: &Shared) -> Outcome {
        let text = |error: TlsError| error.to_string();
        let renewed: Result<bool, String> = match self {
            Self::Listener { tls, .. } => tls.renew(shared).map_err(text),
            Self::Upstream { tls, checks, .. } => {
                let renewed = tls.renew(shared).and_then(|is_new| {
                    if let Some(checks) = checks {
                        checks.renew(shared)?;
                    }
                    Ok(is_new)
                });
                renewed.map_err(text)
            }
            Self::List { list, .. } => list.renew(),
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
            Err(reason) => Outcome::Refused(reason),
        }
    }

    fn exchanged(&self) -> String {
        let first = self.terms().into_iter().min_by_key(|term| term.until);
        let until = match first {
            Some(term) => format!("; good until {}", date(term.until)),
            None => String::new(),
        };
        match self {
            Self::List { .. } => format!("{self} are those that it holds now"),
            _ => format!("{self} serves what its files hold now{until}"),
        }
    }

    /// That its files are of no use, for this reason.
    pub(super) fn refused(&self, reason: &str) -> String {
        match self {
            Self::List { .. } => format!("{self} stay as they were: {reason}"),
            _ => format!("{self} keeps what it has: {reason}"),
        }
    }

    /// That they are what is in force, after all.
    pub(super) fn right_again(&self) -> String {
        match self {
            Self::List { .. } => format!("{self} are again those that are in force"),
            _ => format!("{self} has the files again that are in force"),
        }
    }

    /// Keeps in mind why its files are of no use, or that they are; whether that is another state than before.
    pub(super) fn set_trouble(&self, trouble: Option<String>) -> bool {
        let before = match self {
            Self::Listener { tls, .. } => tls.trouble(),
            Self::Upstream { tls, .. } => tls.trouble(),
            Self::List { list, .. } => list.trouble(),
        };
        let is_new = before.as_deref() != trouble.as_ref();
        if is_new {
            match self {
                Self::Listener { tls, .. } => tls.set_trouble(trouble),
                Self::Upstream { tls, .. } => tls.set_trouble(trouble),
                Self::List { list, .. } => list.set_trouble(trouble),
            }
        }
        is_new
    }

    /// When a stapled response runs out, in seconds since 1970.
    pub(super) fn staple_until(&self) -> Option<i64> {
        match self {
            Self::Listener { tls, .. } => tls.now().staple_until,
            Self::Upstream { .. } | Self::List { .. } => None,
        }
    }

    /// What events of it are about.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Listener { .. } | Self::Upstream { .. } => Kind::Certificate,
            Self::List { .. } => Kind::Credentials,
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
            Self::List { .. } => None,
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
            Self::List { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener { name, .. } => write!(f, "listeners.{name}.tls"),
            Self::Upstream { name, .. } => write!(f, "upstreams.{name}.tls"),
            Self::List { name, .. } => f.write_str(name),
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
