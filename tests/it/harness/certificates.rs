//! Certificates made for one test: an authority and the identities that it vouches for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::Directory;

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // No two have one name, nor that of a certificate: what has its issuer's name is taken for self-signed.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("authority {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// For these host names or addresses; serves as a client certificate, too.
    pub fn identity(&self, names: &[&str]) -> Identity {
        self.issue(names, |_| ())
    }

    /// One whose time is over.
    pub fn expired(&self, names: &[&str]) -> Identity {
        self.issue(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2000, 12, 31);
        })
    }

    /// One for a client with this common name.
    pub fn of_client(&self, common_name: &str) -> Identity {
        self.issue(&["client.example"], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, common_name);
        })
    }

    fn issue(&self, names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        adjust(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate, key }
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The certificate in a file, as `ca` of a configuration.
    pub fn write(&self, directory: &Directory, name: &str) -> PathBuf {
        directory.write(name, self.pem())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A server that offers these protocols by ALPN.
    pub fn server(&self, identity: &Identity, alpn: &[&str]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        config.alpn_protocols = wire(alpn);
        Arc::new(config)
    }

    /// The same, and it asks the client for a certificate of this authority.
    pub fn mutual_server(&self, identity: &Identity, alpn: &[&str]) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        config.alpn_protocols = wire(alpn);
        Arc::new(config)
    }

    /// A client that trusts this authority alone and offers these protocols.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = wire(alpn);
        Arc::new(config)
    }
}

/// A client that trusts `authority` and shows `identity` to servers that ask.
pub fn showing(authority: &Authority, identity: &Identity, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_client_auth_cert(identity.chain(), identity.private_key())
        .unwrap();
    config.alpn_protocols = wire(alpn);
    Arc::new(config)
}

impl Identity {
    /// Certificate and key in files, as `cert` and `key` of a configuration.
    pub fn write(&self, directory: &Directory, name: &str) -> (PathBuf, PathBuf) {
        let certificate = directory.write(&format!("{name}.pem"), self.certificate.pem());
        let key = directory.write(&format!("{name}.key"), self.key.serialize_pem());
        (certificate, key)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn wire(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}
