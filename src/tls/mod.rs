//! What both sides of TLS share: the cryptographic provider, the keys of session tickets, and the reading of
//! certificates, keys and roots from PEM files.
//!
//! Not here: who is served which certificate ([`crate::listener::server_tls`]) and who is trusted
//! ([`crate::upstream::client_tls`]).

mod der;
mod distinguished;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod known;
mod ocsp;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

pub use distinguished::{Name, Part};
pub use facts::{AltName, Facts, Key, hex};
pub use identity::Identity;
pub use known::{Fingerprint, Known, Press};
pub use ocsp::{Staple, staple};

/// Bytes of a file of certificates, a key or a staple. All roots that a system trusts take about 250 KiB.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Why TLS cannot be set up as configured. Each message names the file, what is wrong with it and what helps.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read `{}`: {source}; check the path and that this user may read the file", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("`{}` is not well-formed PEM: {source}", file.display())]
    Pem { file: PathBuf, source: pem::Error },
    #[error("`{}` holds no certificate; expected `-----BEGIN CERTIFICATE-----`, the leaf first", file.display())]
    NoCertificate { file: PathBuf },
    #[error(
        "`{}` holds no private key that can be read; expected `-----BEGIN PRIVATE KEY-----`, without a passphrase \
         (`openssl pkey -in FILE -out FILE` takes it off)",
        file.display()
    )]
    NoKey { file: PathBuf },
    #[error("the certificate in `{}` cannot be used: {reason}; X.509 version 3 in DER within PEM is expected", file.display())]
    Certificate { file: PathBuf, reason: String },
    #[error("the key in `{}` cannot be used: {reason}; RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 are known", file.display())]
    Key { file: PathBuf, reason: String },
    #[error("the key in `{}` does not belong to the certificate in `{}`; is the leaf the first in its file?", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error(
        "the certificate in `{}` carries no DNS name (subjectAltName), so no client can ask for it; add one, or list it first",
        file.display()
    )]
    NoName { file: PathBuf },
    #[error(
        "the key in `{}` is encrypted, and nobody could type its passphrase; `openssl pkey -in FILE -out FILE` takes it off",
        file.display()
    )]
    EncryptedKey { file: PathBuf },
    #[error("the OCSP response in `{}` cannot be stapled: {reason}; a response in DER for the leaf is expected", file.display())]
    Ocsp { file: PathBuf, reason: &'static str },
    #[error("no certificate is listed; name at least one pair of `cert` and `key`")]
    NoPair,
    #[error(
        "the system has no trusted roots ({reason}); install them (Debian: ca-certificates) or name a file under `ca`"
    )]
    NoRoots { reason: String },
    #[error(
        "`{name}` is neither a host name nor an IP address; name what the endpoint's certificate carries"
    )]
    ServerName { name: String },
    #[error("the endpoint's address holds no name that a certificate can carry; set `name`")]
    NoServerName,
    #[error("TLS is not spoken over a Unix socket (`unix:{}`); use a TCP address, or leave `tls` out", path.display())]
    UnixSocket { path: PathBuf },
    #[error("the cryptographic library refuses: {0}")]
    Library(#[from] rustls::Error),
}

/// What the process has once, and keeps over a reload.
#[derive(Debug, Clone)]
pub struct Shared {
    pub provider: Arc<CryptoProvider>,
    /// Seals the state of a session into the ticket that the client keeps, so that it resumes on any worker and listener,
    /// and after a reload. Its keys are made at random, change every 6 h and are accepted for 12 h.
    ///
    /// For listeners that ask for no certificate of clients; the others have one for each way of asking.
    pub ticketer: Arc<dyn ProducesTickets>,
    /// By whose certificates are believed, and whether one must be shown: a ticket from a listener that asks for less, or for
    /// others, must not get anybody past one that asks (CVE-2025-23419, which nginx had).
    asking: Arc<Known<dyn ProducesTickets>>,
    /// Chains with their keys, by the contents of their files: what two listeners use, or two configurations, is there once.
    pairs: Arc<Known<CertifiedKey>>,
    /// Towards endpoints, by all that decides who is believed: with them their sessions outlast a reload.
    pub clients: Arc<Known<ClientConfig>>,
}

impl Shared {
    /// The provider aws-lc-rs with rustls's own choice of suites and groups, and fresh ticket keys.
    pub fn new() -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            provider,
            ticketer,
            asking: Arc::default(),
            pairs: Arc::default(),
            clients: Arc::default(),
        })
    }

    /// The ticketer of listeners that ask for certificates in the way that this fingerprint stands for.
    pub fn ticketer_of(&self, asking: Fingerprint) -> Result<Arc<dyn ProducesTickets>, TlsError> {
        let make = || rustls::crypto::aws_lc_rs::Ticketer::new();
        Ok(self.asking.of(asking, make)?)
    }

    /// Reads a chain and its key, and sees to it that they belong together. Blocks on files.
    pub fn certified_key(&self, cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
        self.stapled_key(cert, key, None)
    }

    /// The same with an OCSP response to be stapled.
    pub fn stapled_key(
        &self,
        cert: &Path,
        key: &Path,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = certificates(cert)?;
        let secret = private_key(key)?;
        let mut press = Press::new();
        chain.iter().for_each(|one| press.add(one));
        press.add(b"key");
        press.add(secret.secret_der());
        press.add(ocsp.as_deref().unwrap_or_default());
        self.pairs.of(press.finish(), || {
            let mut certified = self.certify((cert, chain), (key, secret))?;
            certified.ocsp = ocsp;
            Ok(Arc::new(certified))
        })
    }

    fn certify(
        &self,
        (cert, chain): (&Path, Vec<CertificateDer<'static>>),
        (key, secret): (&Path, PrivateKeyDer<'static>),
    ) -> Result<CertifiedKey, TlsError> {
        let secret = self.provider.key_provider.load_private_key(secret);
        let secret = secret.map_err(|error| TlsError::Key {
            file: key.to_owned(),
            reason: error.to_string(),
        })?;
        let certified = CertifiedKey::new(chain, secret);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
                cert: cert.to_owned(),
                key: key.to_owned(),
            }),
            Err(error) => Err(unusable(cert, &error)),
        }
    }
}

/// The certificates of a PEM file, at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = bytes(file)?;
    let read = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = read.map_err(|error| pem_error(file, error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            file: file.to_owned(),
        });
    }
    Ok(chain)
}

/// The first private key of a PEM file: PKCS#8, PKCS#1 or SEC1.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = bytes(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        // Of the older form the bytes are there, and cannot be read.
        _ if is_encrypted(&text) => TlsError::EncryptedKey {
            file: file.to_owned(),
        },
        pem::Error::NoItemsFound => TlsError::NoKey {
            file: file.to_owned(),
        },
        error => pem_error(file, error),
    })
}

/// Whether a key asks for a passphrase: PKCS#8, or what OpenSSL wrote before.
fn is_encrypted(text: &[u8]) -> bool {
    let has = |mark: &[u8]| memchr::memmem::find(text, mark).is_some();
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// Reads a file whole, of at most 4 MiB.
pub fn bytes(file: &Path) -> Result<Vec<u8>, TlsError> {
    crate::file::read(file, FILE_BYTES).map_err(|source| TlsError::Read {
        file: file.to_owned(),
        source,
    })
}

/// Trusted roots: the given ones of `file`, else those of the system.
pub fn roots(file: Option<(&Path, &[CertificateDer<'static>])>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let Some((file, own)) = file else {
        let found = rustls_native_certs::load_native_certs();
        // The system's bundle may hold a few that cannot be parsed; that is no reason to trust nobody.
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let reason = found
                .errors
                .first()
                .map_or_else(|| "none was found".to_owned(), ToString::to_string);
            return Err(TlsError::NoRoots { reason });
        }
        return Ok(store);
    };
    for certificate in own {
        store
            .add(certificate.clone())
            .map_err(|error| unusable(file, &error))?;
    }
    Ok(store)
}

/// The error for a certificate of `file` that cannot be parsed.
pub fn unusable(file: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Certificate {
        file: file.to_owned(),
        reason: error.to_string(),
    }
}

/// The error for a certificate of `file` that is parsed elsewhere, and not written as it should be.
pub fn unreadable(file: &Path) -> TlsError {
    unusable(file, &"a part of it is not written as RFC 5280 has it")
}

/// From when on and until when all of a chain is good, in seconds since 1970.
pub fn span(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(i64, i64), TlsError> {
    let mut span = (i64::MIN, i64::MAX);
    for one in chain {
        let facts = Facts::of(one).ok_or_else(|| unreadable(file))?;
        span = (span.0.max(facts.not_before), span.1.min(facts.not_after));
    }
    Ok(span)
}

fn pem_error(file: &Path, error: pem::Error) -> TlsError {
    let file = file.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Read { file, source },
        source => TlsError::Pem { file, source },
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{Authority, Folder, names_file};
    use super::{Path, Shared, TlsError, certificates, private_key};

    #[test]
    fn a_missing_file_is_named() {
        let folder = Folder::new();
        let file = folder.path("absent.pem");
        let error = certificates(&file).unwrap_err();
        assert!(matches!(&error, TlsError::Read { file: named, .. } if *named == file));
        assert!(names_file(&error, &file));
    }

    #[test]
    fn what_never_ends_is_not_read_to_its_end() {
        let folder = Folder::new();
        let huge = folder.write("huge", &"a".repeat(5 << 20));
        for file in [Path::new("/dev/zero"), &huge] {
            let refused = certificates(file).unwrap_err();
            assert!(matches!(&refused, TlsError::Read { .. }), "{refused}");
            assert!(matches!(private_key(file), Err(TlsError::Read { .. })));
        }
        let refused = certificates(&huge).unwrap_err().to_string();
        assert!(refused.contains("more than 4096 KiB"), "{refused}");
    }

    #[test]
    fn a_file_without_what_it_should_hold_is_named() {
        let folder = Folder::new();
        let issued = Authority::new().issue(&["a.test"]);
        let (cert, key) = (
            folder.write("c", &issued.key),
            folder.write("k", &issued.cert),
        );
        assert!(
            matches!(certificates(&cert), Err(TlsError::NoCertificate { file }) if file == cert)
        );
        assert!(matches!(private_key(&key), Err(TlsError::NoKey { file }) if file == key));
        let torn = folder.write("torn", "-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(matches!(certificates(&torn), Err(TlsError::Pem { file, .. }) if file == torn));
        let odd = folder.write(
            "odd",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        let key = folder.write("key", &issued.key);
        let refused = Shared::new().unwrap().certified_key(&odd, &key);
        assert!(matches!(refused, Err(TlsError::Certificate { file, .. }) if file == odd));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_with_both_names() {
        let folder = Folder::new();
        let authority = Authority::new();
        let cert = folder.write("a.pem", &authority.issue(&["a.test"]).cert);
        let other = folder.write("other.key", &authority.issue(&["a.test"]).key);
        let error = Shared::new()
            .unwrap()
            .certified_key(&cert, &other)
            .unwrap_err();
        assert!(
            matches!(&error, TlsError::Mismatch { cert: a, key: b } if *a == cert && *b == other)
        );
        assert!(names_file(&error, &cert) && names_file(&error, &other));
    }
}
