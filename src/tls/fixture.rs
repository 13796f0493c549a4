//! Certificates made for a test, and a folder for their files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SignatureAlgorithm,
};
use rustls::RootCertStore;

use super::der::tag;

/// Numbers authorities and folders within this process.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A root that signs what a test needs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both PEM.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each has its own name; two roots of one name are told apart by their signatures alone.
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate on P-256 for these names.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let cert = params.signed_by(&key, &self.0).unwrap();
        Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// The certificate in DER.
    pub(crate) fn der(&self) -> Vec<u8> {
        use rustls::pki_types::pem::PemObject as _;
        let der = rustls::pki_types::CertificateDer::from_pem_slice(self.cert.as_bytes());
        der.unwrap().to_vec()
    }
}

fn element(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let mut element = vec![tag];
    match content.len() {
        length @ 0..=0x7f => element.push(length as u8),
        length @ 0x80..=0xff => element.extend([0x81, length as u8]),
        length => element.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    element.extend(content);
    element
}

/// An OCSP response of which nobody has signed anything: what is read here.
pub(crate) fn ocsp(serial: &[u8], status: u8, until: &str) -> Vec<u8> {
    let now = || element(tag::GENERALIZED_TIME, &[b"20260101000000Z".to_vec()]);
    let hash = || element(tag::OCTET_STRING, &[vec![7; 20]]);
    let id = element(
        tag::SEQUENCE,
        &[
            element(tag::SEQUENCE, &[]),
            hash(),
            hash(),
            element(tag::INTEGER, &[serial.to_vec()]),
        ],
    );
    let until = element(tag::GENERALIZED_TIME, &[until.as_bytes().to_vec()]);
    let until = element(tag::inner(0), &[until]);
    let answer = element(tag::SEQUENCE, &[id, vec![status, 0], now(), until]);
    let answers = element(tag::SEQUENCE, &[answer]);
    let by = element(tag::inner(2), &[hash()]);
    let data = element(tag::SEQUENCE, &[by, now(), answers]);
    let basic = element(tag::SEQUENCE, &[data]);
    let basic = element(tag::OCTET_STRING, &[basic]);
    let kind = element(tag::OBJECT, &[vec![1]]);
    let bytes = element(tag::SEQUENCE, &[kind, basic]);
    let success = element(tag::ENUMERATED, &[vec![0]]);
    element(tag::SEQUENCE, &[success, element(tag::inner(0), &[bytes])])
}

/// A folder that goes with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!(
            "plimsoll-tls-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes both files of a certificate: the chain, then the key.
    pub(crate) fn pair(&self, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
        let cert = self.write(&format!("{name}.pem"), &issued.cert);
        (cert, self.write(&format!("{name}.key"), &issued.key))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a message names this file.
pub(crate) fn names_file(message: &dyn std::fmt::Display, file: &Path) -> bool {
    message.to_string().contains(&file.display().to_string())
}
