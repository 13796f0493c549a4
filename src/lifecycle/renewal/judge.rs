//! What `check` says of the files of certificates. Blocks on them.
//!
//! What cannot be read is a warning: a configuration may be checked where its files are not. What can be read and not be served
//! is an error, since nothing would start with it.

use std::path::Path;

use super::expiry::{Stage, sentence, stage};
use super::site::{Term, wall};
use crate::config::{Config, Diagnostic, EXPIRY_WARNING, Finding, Level, Places};
use crate::listener::server_tls;
use crate::tls::{self, Shared, TlsError};

/// What is wrong with the certificates of a configuration, or will soon be.
pub(in crate::lifecycle) fn certificates(config: &Config, places: &Places) -> Vec<Diagnostic> {
    let Ok(shared) = Shared::new() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let now = wall();
    for (name, listener) in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        let place = format!("listeners.{name}.tls");
        let warning = tls.expiry_warning.map(|span| span.as_secs());
        for (index, pair) in tls.certificates.iter().enumerate() {
            let path = format!("{place}.certificates[{index}]");
            match server_tls::inspect(pair, &shared, now) {
                Ok(shown) if shown.names.is_empty() && index > 0 => {
                    let file = pair.cert.clone();
                    findings.push(refused(path, &TlsError::NoName { file }));
                }
                Ok(shown) => {
                    if let (Some(file), false) = (&pair.ocsp, shown.is_stapled) {
                        findings.push(stale(path.clone(), file));
                    }
                    let term = Term {
                        file: shown.file,
                        from: shown.not_before,
                        until: shown.not_after,
                    };
                    findings.extend(late(path, &term, warning, now));
                }
                Err(error) => findings.push(refused(path, &error)),
            }
        }
        if let Some(client) = &tls.client {
            let roots = roots(&client.ca);
            findings.extend(roots.map(|error| refused(format!("{place}.client"), &error)));
        }
    }
    for (name, upstream) in &config.upstreams {
        let Some(tls) = &upstream.tls else { continue };
        let place = format!("upstreams.{name}.tls");
        let error = tls.ca.as_deref().and_then(roots);
        findings.extend(error.map(|error| refused(place.clone(), &error)));
        let Some(pair) = &tls.certificate else {
            continue;
        };
        let path = format!("{place}.certificate");
        let read = shared
            .certified_key(&pair.cert, &pair.key)
            .and_then(|key| tls::span(&pair.cert, &key.cert));
        match read {
            Ok((from, until)) => {
                let file = pair.cert.clone();
                let term = Term { file, from, until };
                findings.extend(late(path, &term, Some(EXPIRY_WARNING.as_secs()), now));
            }
            Err(error) => findings.push(refused(path, &error)),
        }
    }
    places.locate(findings)
}

/// Why the certificates of a file cannot be believed.
fn roots(file: &Path) -> Option<TlsError> {
    let read = tls::certificates(file).and_then(|own| tls::roots(Some((file, &own))));
    read.err()
}

fn stale(path: String, file: &Path) -> Finding {
    Finding {
        level: Level::Warning,
        path,
        at: "ocsp",
        message: format!("`{}` has run out, and would not be stapled", file.display()),
        help: Some("fetch it anew; it is stapled as soon as it is there".to_owned()),
    }
}

fn late(path: String, term: &Term, warning: Option<u64>, now: i64) -> Option<Finding> {
    let stage = stage(term, warning, now);
    (stage != Stage::Good).then(|| Finding {
        level: Level::Warning,
        path,
        at: "cert",
        message: sentence(term, stage, now),
        help: Some("renew it; the new files are served as soon as they are there".to_owned()),
    })
}

fn refused(path: String, error: &TlsError) -> Finding {
    let is_unread = matches!(error, TlsError::Read { .. });
    let (level, help) = if is_unread {
        (
            Level::Warning,
            "where it is to run, nothing starts without it",
        )
    } else {
        (Level::Error, "nothing would start with it")
    };
    Finding {
        level,
        path,
        at: "",
        message: error.to_string(),
        help: Some(help.to_owned()),
    }
}
