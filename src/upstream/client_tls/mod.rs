//! TLS towards endpoints: who is trusted, which name must be carried, what is shown, and the handshake.

mod failure;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connect::{Address, Target};
use crate::config::{self, Protocol};
use crate::stream::Stream;
use crate::tls::{Shared, TlsError};
pub use failure::TlsFailure;

/// Sessions remembered for resumption. An upstream has a few names and ports; each holds a ticket of some 300 bytes for TLS 1.2
/// or up to eight for TLS 1.3.
const SESSIONS: usize = 256;

/// TLS towards the endpoints of one upstream, shared by all workers; so are the sessions that it resumes.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// The configured name; off: the endpoint's own host.
    name: Option<ServerName<'static>>,
    /// Nothing but HTTP/2 is spoken, so an endpoint that does not agree to it is of no use.
    h2_only: bool,
}

impl ClientTls {
    /// Reads certificates, key and roots. Blocks on files.
    pub fn compile(
        written: &config::ClientTls,
        protocol: Protocol,
        shared: &Shared,
    ) -> Result<Self, TlsError> {
        let verifier = verify::compile(written, shared)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&shared.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &written.certificate {
            Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                shared.certified_key(&pair.cert, &pair.key)?,
            ))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match protocol {
            Protocol::H1 => vec![b"http/1.1".to_vec()],
            Protocol::H2 => vec![b"h2".to_vec()],
            Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let name = written.name.as_deref().map(server_name).transpose()?;
        Ok(Self {
            config: Arc::new(config),
            name,
            h2_only: protocol == Protocol::H2,
        })
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
        let tls = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await?;
        if self.h2_only && tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(TlsFailure::NoProtocol);
        }
        Ok(Stream::Client(Box::new(tls)))
    }
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
