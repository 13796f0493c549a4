//! Which certificate a client is shown, by the name that it asks for (SNI, RFC 6066, 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use xxhash_rust::xxh3::Xxh3;

use super::in_force::Shown;
use crate::config;
use crate::tls::{self, Facts, Shared, TlsError};

/// The certificates of a listener by the names that they carry.
#[derive(Debug)]
pub(super) struct Certificates {
    /// Lower-case names. Of several certificates with one name, a client gets the first whose key it can check, so that
    /// ECDSA and RSA may be listed side by side.
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*`, the dot included. A wildcard stands for one label (RFC 9525, 6.3).
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name or for an unknown one: the first listed and those that carry the same names.
    default: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads them; `now` is seconds since 1970. Blocks on files.
    pub(super) fn compile(
        written: &[config::Certificate],
        shared: &Shared,
        now: i64,
    ) -> Result<Read, TlsError> {
        let mut this = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: Vec::new(),
        };
        let mut pairs = Vec::new();
        let mut default_names = Vec::new();
        for pair in written {
            let read = Pair::read(pair, shared, now)?;
            let names = &read.shown.names;
            if this.default.is_empty() {
                default_names.clone_from(names);
            } else if names.is_empty() {
                return Err(TlsError::NoName {
                    file: pair.cert.clone(),
                });
            }
            if *names == default_names {
                this.default.push(Arc::clone(&read.key));
            }
            for name in names {
                let (table, name) = match name.strip_prefix('*') {
                    Some(suffix) => (&mut this.wildcard, suffix),
                    None => (&mut this.exact, name.as_str()),
                };
                let listed = table.entry(name.to_owned()).or_default();
                listed.push(Arc::clone(&read.key));
            }
            pairs.push(read);
        }
        if this.default.is_empty() {
            return Err(TlsError::NoPair);
        }
        Ok(Read {
            certificates: this,
            pairs,
        })
    }

    /// The certificates for a lower-case name: exact, then by wildcard, then the default.
    fn named(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let found = name.and_then(|name| {
            let by_wildcard = || {
                name.find('.')
                    .and_then(|dot| self.wildcard.get(&name[dot..]))
            };
            self.exact.get(name).or_else(by_wildcard)
        });
        found.unwrap_or(&self.default)
    }

    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let named = self.named(name);
        let fitting = named
            .iter()
            .find(|certified| certified.key.choose_scheme(schemes).is_some());
        // Without a fitting one the handshake fails by the rules, with an alert that says why.
        fitting.or_else(|| named.first()).map(Arc::clone)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands the name over in lower case.
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

/// What the files of a listener's certificates gave.
pub(super) struct Read {
    pub(super) certificates: Certificates,
    /// In the order of the configuration.
    pub(super) pairs: Vec<Pair>,
}

/// A certificate with its key, and what is shown of it.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) shown: Shown,
    /// Seconds since 1970 at which what is stapled runs out.
    pub(super) staple_until: Option<i64>,
}

impl Pair {
    /// Reads both files, sees to it that they belong together, and whether the OCSP response may be stapled. One that has run
    /// out is left away: clients refuse the certificate with it, and take it without.
    pub(super) fn read(
        written: &config::Certificate,
        shared: &Shared,
        now: i64,
    ) -> Result<Self, TlsError> {
        let bare = shared.certified_key(&written.cert, &written.key)?;
        let leaf = bare.end_entity_cert()?;
        let names = names(leaf).map_err(|error| tls::unusable(&written.cert, &error))?;
        let (not_before, not_after) = tls::span(&written.cert, &bare.cert)?;
        let mut staple_until = None;
        let mut ocsp = None;
        if let Some(file) = &written.ocsp {
            let bytes = tls::bytes(file)?;
            let facts = Facts::of(leaf).ok_or_else(|| tls::unreadable(&written.cert))?;
            let staple = tls::staple(&bytes, &facts).map_err(|reason| TlsError::Ocsp {
                file: file.clone(),
                reason,
            })?;
            if staple.until.is_none_or(|until| until > now) {
                staple_until = staple.until;
                ocsp = Some(bytes);
            }
        }
        let is_stapled = ocsp.is_some();
        let key = match ocsp {
            None => bare,
            Some(_) => shared.stapled_key(&written.cert, &written.key, ocsp)?,
        };
        let print = print(&key.cert);
        Ok(Self {
            key,
            shown: Shown {
                file: written.cert.clone(),
                names,
                not_before,
                not_after,
                is_stapled,
                print,
            },
            staple_until,
        })
    }
}

/// What stands for a chain.
pub(super) fn print(chain: &[CertificateDer<'_>]) -> u64 {
    let mut hash = Xxh3::new();
    for certificate in chain {
        hash.update(&(certificate.len() as u64).to_le_bytes());
        hash.update(certificate);
    }
    hash.digest()
}

/// The DNS names that a certificate carries, in lower case, each once and in order.
fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, webpki::Error> {
    let parsed = webpki::EndEntityCert::try_from(leaf)?;
    let mut names: Vec<String> = parsed
        .valid_dns_names()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
