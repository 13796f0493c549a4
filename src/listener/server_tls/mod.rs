//! TLS with clients: which certificate a client is shown, which protocol is agreed on, and the handshake.

mod certificates;
mod error;
mod opening;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{ServerConfig, version};
use tokio::net::TcpStream;
use tokio_rustls::server::StartHandshake;

use crate::clock::wheel::Wheel;
use crate::config::{self, Alpn, TlsVersion};
use crate::observe::ListenerCells;
use crate::stream::Stream;
use crate::tls::{Shared, TlsError};
use certificates::Certificates;
pub use error::AcceptError;
use opening::{Noting, Opening, PLAIN_HTTP_ANSWER};

/// Reads the certificates of a listener and fixes what is agreed on with its clients. Blocks on files.
pub fn compile(
    written: &config::ServerTls,
    shared: &Shared,
) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = Certificates::compile(&written.certificates, shared)?;
    let versions: &[&'static rustls::SupportedProtocolVersion] = match written.min_version {
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V1_3 => &[&version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&shared.provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = written
        .alpn
        .iter()
        .map(|protocol| alpn_name(*protocol).to_vec())
        .collect();
    // Sessions live in the tickets that clients keep: no store to fill, to lock, or to find empty on another worker.
    config.ticketer = Arc::clone(&shared.ticketer);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // Each ticket costs a sealing and 300 bytes; a client with one gets its next when it resumes.
    config.send_tls13_tickets = 1;
    // Every suite offered is sound, and a phone without AES in hardware puts ChaCha20 first for a reason.
    config.ignore_client_order = false;
    Ok(Arc::new(config))
}

fn alpn_name(protocol: Alpn) -> &'static [u8] {
    match protocol {
        Alpn::H2 => b"h2",
        Alpn::Http11 => b"http/1.1",
    }
}

/// Does the handshake within `span`, and counts how it went. `None` when there is nobody left to serve.
pub async fn serve(
    stream: Stream,
    config: &Arc<ServerConfig>,
    span: Duration,
    wheel: &Wheel,
    cells: &ListenerCells,
) -> Option<Stream> {
    // A Unix socket never has TLS: compiling the snapshot refuses it.
    let Stream::Tcp(tcp) = stream else {
        return None;
    };
    let begun = wheel.now();
    let accepted = wheel.timeout(span, accept(tcp, config)).await;
    match accepted.unwrap_or(Err(AcceptError::Timeout)) {
        Ok(secured) => {
            let took = wheel.now().since(begun).as_nanos();
            cells.handshake(u64::try_from(took).unwrap_or(u64::MAX));
            Some(secured)
        }
        Err(error) => {
            cells.handshake_failures.add(1);
            cells.refused(error.label());
            None
        }
    }
}

/// Does the handshake on an accepted connection. The caller bounds its time; dropping the future closes the connection.
///
/// 1. The client's first message is read, and what is not TLS is told apart. 2. The rest is tokio-rustls's.
pub async fn accept(stream: TcpStream, config: &Arc<ServerConfig>) -> Result<Stream, AcceptError> {
    // 1.
    let mut acceptor = Acceptor::default();
    let mut opening = Opening::default();
    let accepted = loop {
        stream.readable().await?;
        match acceptor.read_tls(&mut Noting {
            stream: &stream,
            opening: &mut opening,
        }) {
            Ok(0) => return Err(AcceptError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some(error) = opening.foreign() {
            if matches!(error, AcceptError::PlainHttp) {
                // Whether it still reaches the client is of no consequence.
                let _ = stream.try_write(PLAIN_HTTP_ANSWER);
            }
            return Err(error);
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((error, mut alert)) => {
                // An alert is a few bytes; a client whose window is full does without.
                let _ = alert.write_all(&mut Trying(&stream));
                return Err(AcceptError::from_tls(error));
            }
        }
    };
    // 2.
    let tls = StartHandshake::from_parts(accepted, stream)
        .into_stream(Arc::clone(config))
        .await?;
    Ok(Stream::Server(Box::new(tls)))
}

/// Writes what the socket takes at once.
struct Trying<'a>(&'a TcpStream);

impl Write for Trying<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
