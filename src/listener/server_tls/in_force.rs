//! TLS of one listener as it is now: made of its files, and exchanged whole when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version;
use rustls::{ServerConfig, SignatureScheme};

use super::certificates::Certificates;
use super::client_auth;
use crate::clock;
use crate::config::{self, Alpn, TlsVersion};
use crate::tls::{Shared, TlsError};

/// TLS of one listener. What new connections get is exchanged when its files change, without a reload: the configuration stays
/// the same, and so do the connections that are open.
#[derive(Debug)]
pub struct ServerTls {
    written: config::ServerTls,
    in_force: ArcSwap<InForce>,
    /// What stands for the chains that the files held when they were first read, in the order of the configuration.
    begun: Box<[u64]>,
    /// Why its files are of no use as they are now, where they are not.
    trouble: ArcSwapOption<String>,
}

/// What its files gave.
#[derive(Debug)]
pub struct InForce {
    pub config: Arc<ServerConfig>,
    /// In the order of the configuration.
    pub shown: Vec<Shown>,
    /// The same, as they are shown to clients.
    keys: Vec<Arc<CertifiedKey>>,
    certificates: Arc<Certificates>,
    /// Seconds since 1970 at which a stapled OCSP response runs out, the first of them.
    pub staple_until: Option<i64>,
}

/// A certificate of the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The file of its chain.
    pub file: PathBuf,
    /// The DNS names that the leaf carries.
    pub names: Vec<String>,
    /// Seconds since 1970, of the whole chain: from when on and until when all of it is good.
    pub not_before: i64,
    pub not_after: i64,
    /// Whether an OCSP response is stapled.
    pub is_stapled: bool,
    /// Stands for the chain: another one, another number.
    pub print: u64,
}

impl ServerTls {
    /// Reads the files. Blocks on them.
    pub fn compile(written: &config::ServerTls, shared: &Shared) -> Result<Arc<Self>, TlsError> {
        let in_force = read(written, shared)?;
        Ok(Arc::new(Self {
            written: written.clone(),
            begun: in_force.shown.iter().map(|one| one.print).collect(),
            in_force: ArcSwap::from_pointee(in_force),
            trouble: ArcSwapOption::empty(),
        }))
    }

    /// What the next connection gets.
    pub fn now(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// The files of its chains with what stands for what they held when this configuration was compiled.
    pub fn begun(&self) -> impl Iterator<Item = (&Path, u64)> {
        let files = self.written.certificates.iter();
        let files = files.map(|pair| pair.cert.as_path());
        files.zip(self.begun.iter().copied())
    }

    /// What the configuration asks for.
    pub fn written(&self) -> &config::ServerTls {
        &self.written
    }

    /// Reads the files again, and puts in force what they give; nothing changes when that is of no use. Whether it is
    /// something else than before. Blocks.
    pub fn renew(&self, shared: &Shared) -> Result<bool, TlsError> {
        let new = read(&self.written, shared)?;
        let old = self.in_force.load();
        let is_same = new.is_same(&old);
        if !is_same {
            self.in_force.store(Arc::new(new));
        }
        Ok(!is_same)
    }

    /// Every file that it is made of.
    pub fn files(&self) -> Vec<&Path> {
        let pairs = self.written.certificates.iter();
        let mut files: Vec<&Path> = pairs
            .flat_map(|pair| [Some(&pair.cert), Some(&pair.key), pair.ocsp.as_ref()])
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        files.extend(
            self.written
                .client
                .as_ref()
                .map(|client| client.ca.as_path()),
        );
        files
    }

    /// Why its files are of no use as they are now.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }

    /// Keeps that in mind, or that it is over.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.trouble.store(trouble.map(Arc::new));
    }
}

impl InForce {
    /// What a client is shown that asks for this name, in lower case, and can check these signatures.
    pub fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.certificates.choose(name, schemes)
    }

    /// Whether both show the same chains with the same keys and believe the same clients. All of that is found again by its
    /// contents, so that looking at where it lies is enough.
    fn is_same(&self, other: &Self) -> bool {
        let mut keys = self.keys.iter().zip(&other.keys);
        self.keys.len() == other.keys.len()
            && keys.all(|(one, other)| Arc::ptr_eq(one, other))
            && Arc::ptr_eq(&self.config.ticketer, &other.config.ticketer)
    }
}

/// Reads the certificates of a listener and fixes what is agreed on with its clients. Blocks on files.
pub(super) fn read(written: &config::ServerTls, shared: &Shared) -> Result<InForce, TlsError> {
    let wall = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
    let read = Certificates::compile(&written.certificates, shared, now)?;
    let certificates = Arc::new(read.certificates);
    let versions: &[&'static rustls::SupportedProtocolVersion] = match written.min_version {
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V1_3 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&shared.provider))
        .with_protocol_versions(versions)?;
    let (builder, ticketer) = match &written.client {
        None => (builder.with_no_client_auth(), Arc::clone(&shared.ticketer)),
        Some(asked) => {
            let asking = client_auth::compile(asked, shared)?;
            (
                builder.with_client_cert_verifier(asking.verifier),
                shared.ticketer_of(asking.fingerprint)?,
            )
        }
    };
    let mut config =
        builder.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = written
        .alpn
        .iter()
        .map(|protocol| alpn_name(*protocol).to_vec())
        .collect();
    // Sessions live in the tickets that clients keep: no store to fill, to lock, or to find empty on another worker.
    config.ticketer = ticketer;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // Each ticket costs a sealing and 300 bytes; a client with one gets its next when it resumes.
    config.send_tls13_tickets = 1;
    // Every suite offered is sound, and a phone without AES in hardware puts ChaCha20 first for a reason.
    config.ignore_client_order = false;
    let pairs = &read.pairs;
    Ok(InForce {
        config: Arc::new(config),
        certificates,
        keys: pairs.iter().map(|pair| Arc::clone(&pair.key)).collect(),
        staple_until: pairs.iter().filter_map(|pair| pair.staple_until).min(),
        shown: read.pairs.into_iter().map(|pair| pair.shown).collect(),
    })
}

fn alpn_name(protocol: Alpn) -> &'static [u8] {
    match protocol {
        Alpn::H2 => b"h2",
        Alpn::Http11 => b"http/1.1",
    }
}
