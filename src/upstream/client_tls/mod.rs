//! TLS towards endpoints: who is trusted, which name must be carried, what is shown, and the handshake.

mod failure;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connect::{Address, Target};
use crate::config::{self, Protocol};
use crate::stream::Stream;
use crate::tls::{self, Press, Shared, TlsError};
pub use failure::TlsFailure;

/// Sessions remembered for resumption. An upstream has a few names and ports; each holds a ticket of some 300 bytes for TLS 1.2
/// or up to eight for TLS 1.3.
const SESSIONS: usize = 256;

/// TLS towards the endpoints of one upstream, shared by all workers; so are the sessions that it resumes. Upstreams that are told
/// the same use the same, and a reload that changes nothing about it keeps it. What new connections get is exchanged when its
/// files change.
#[derive(Debug, Clone)]
pub struct ClientTls {
    state: Arc<State>,
    /// The configured name; off: the endpoint's own host.
    name: Option<ServerName<'static>>,
    /// Nothing but HTTP/2 is spoken, so an endpoint that does not agree to it is of no use.
    h2_only: bool,
}

#[derive(Debug)]
struct State {
    written: config::ClientTls,
    protocol: Protocol,
    config: ArcSwap<ClientConfig>,
    /// From when on and until when the chain that is shown is good, in seconds since 1970.
    span: ArcSwapOption<(i64, i64)>,
    /// Why its files are of no use as they are now, where they are not.
    trouble: ArcSwapOption<String>,
}

impl ClientTls {
    /// Reads certificates, key and roots. Blocks on files.
    pub fn compile(
        written: &config::ClientTls,
        protocol: Protocol,
        shared: &Shared,
    ) -> Result<Self, TlsError> {
        let name = written.name.as_deref().map(server_name).transpose()?;
        let state = State {
            config: ArcSwap::new(read(written, protocol, shared)?),
            span: ArcSwapOption::from_pointee(span(written)?),
            trouble: ArcSwapOption::empty(),
            written: written.clone(),
            protocol,
        };
        Ok(Self {
            state: Arc::new(state),
            name,
            h2_only: protocol == Protocol::H2,
        })
    }

    /// Reads the files again, and puts in force what they give; nothing changes when that is of no use. Whether it is
    /// something else than before. Connections that are open stay as they are. Blocks.
    pub fn renew(&self, shared: &Shared) -> Result<bool, TlsError> {
        let state = &self.state;
        let new = read(&state.written, state.protocol, shared)?;
        let span = span(&state.written)?;
        if Arc::ptr_eq(&new, &state.config.load()) {
            return Ok(false);
        }
        state.span.store(span.map(Arc::new));
        state.config.store(new);
        Ok(true)
    }

    /// Every file that it is made of.
    pub fn files(&self) -> Vec<&Path> {
        let written = &self.state.written;
        let pair = written.certificate.as_ref();
        let pair = pair.map(|pair| [&pair.cert, &pair.key]);
        let files = written.ca.iter().chain(pair.into_iter().flatten());
        files.map(PathBuf::as_path).collect()
    }

    /// The file of the chain that endpoints are shown, with the time in which it is good, in seconds since 1970.
    pub fn shown(&self) -> Option<(&Path, (i64, i64))> {
        let pair = self.state.written.certificate.as_ref()?;
        let span = self.state.span.load();
        Some((&pair.cert, *span.as_deref()?))
    }

    /// Whether it is the same one, and not one that was compiled anew.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Why its files are of no use as they are now.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.state.trouble.load_full()
    }

    /// Keeps that in mind, or that it is over.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.state.trouble.store(trouble.map(Arc::new));
    }

    /// Whether an endpoint can be spoken to at all.
    pub fn check(&self, target: &Target) -> Result<(), TlsError> {
        match &target.address {
            Address::Unix(path) => Err(TlsError::UnixSocket { path: path.clone() }),
            Address::Tcp(_) if self.name.is_none() && target.host.is_none() => {
                Err(TlsError::NoServerName)
            }
            Address::Tcp(_) => Ok(()),
        }
    }

    /// Does the handshake with an endpoint that is known as `host`. The caller bounds its time.
    ///
    /// With TLS 1.3 this ends before the endpoint has judged the client's certificate: one that it refuses shows as a
    /// connection closed at the first read.
    pub async fn connect(
        &self,
        host: Option<&ServerName<'static>>,
        stream: TcpStream,
    ) -> Result<Stream, TlsFailure> {
        let name = self
            .name
            .as_ref()
            .or(host)
            .ok_or(TlsFailure::NoName)?
            .clone();
        let tls = TlsConnector::from(self.state.config.load_full())
            .connect(name, stream)
            .await?;
        if self.h2_only && tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(TlsFailure::NoProtocol);
        }
        Ok(Stream::Client(Box::new(tls)))
    }
}

/// From when on and until when the chain that is shown is good.
fn span(written: &config::ClientTls) -> Result<Option<(i64, i64)>, TlsError> {
    let pair = written.certificate.as_ref();
    let span = pair.map(|pair| tls::span(&pair.cert, &tls::certificates(&pair.cert)?));
    span.transpose()
}

/// Reads certificates, key and roots: what there is already where they are the same, and with it the sessions that endpoints
/// know. A session stands for a certificate that was believed: whoever believes others must not resume it.
fn read(
    written: &config::ClientTls,
    protocol: Protocol,
    shared: &Shared,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut press = Press::new();
    let judge = verify::Judge::read(written, &mut press)?;
    let shown = match &written.certificate {
        Some(pair) => {
            let key = shared.certified_key(&pair.cert, &pair.key)?;
            key.cert.iter().for_each(|one| press.add(one));
            // Of a key nothing is shown but that it is another one than before.
            press.add(tls::private_key(&pair.key)?.secret_der());
            Some(key)
        }
        None => None,
    };
    press.add(b"alpn");
    let alpn: &[&[u8]] = match protocol {
        Protocol::H1 => &[b"http/1.1"],
        Protocol::H2 => &[b"h2"],
        Protocol::Auto => &[b"h2", b"http/1.1"],
    };
    alpn.iter().for_each(|name| press.add(name));
    shared.clients.of(press.finish(), || {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&shared.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(judge.compile(shared)?);
        let mut config = match shown {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(config))
    })
}

/// A host name or an IP address as certificates carry it.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    // A closing dot marks a name as complete for the resolver; certificates and SNI leave it out (RFC 6066, 3).
    let name = ServerName::try_from(host.strip_suffix('.').unwrap_or(host));
    name.map(|name| name.to_owned())
        .map_err(|_| TlsError::ServerName {
            name: host.to_owned(),
        })
}
