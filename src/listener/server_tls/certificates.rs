//! Which certificate a client is shown, by the name that it asks for (SNI, RFC 6066, 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config;
use crate::tls::{self, Shared, TlsError};

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
    pub(super) fn compile(
        written: &[config::Certificate],
        shared: &Shared,
    ) -> Result<Self, TlsError> {
        let mut this = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: Vec::new(),
        };
        let mut default_names = Vec::new();
        for pair in written {
            let certified = Arc::new(shared.certified_key(&pair.cert, &pair.key)?);
            let leaf = certified.end_entity_cert()?;
            let names = names(leaf).map_err(|error| tls::unusable(&pair.cert, &error))?;
            if this.default.is_empty() {
                default_names.clone_from(&names);
            } else if names.is_empty() {
                return Err(TlsError::NoName {
                    file: pair.cert.clone(),
                });
            }
            if names == default_names {
                this.default.push(Arc::clone(&certified));
            }
            for name in names {
                let (table, name) = match name.strip_prefix('*') {
                    Some(suffix) => (&mut this.wildcard, suffix.to_owned()),
                    None => (&mut this.exact, name),
                };
                table.entry(name).or_default().push(Arc::clone(&certified));
            }
        }
        if this.default.is_empty() {
            Err(TlsError::NoPair)
        } else {
            Ok(this)
        }
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
