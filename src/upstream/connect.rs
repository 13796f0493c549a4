//! Dialling an endpoint: TCP or Unix socket, a PROXY header where one is asked for, and TLS over TCP.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use super::client_tls::{ClientTls, TlsFailure};
use crate::config;
use crate::proxy_protocol;
use crate::stream::{Stream, UNSENT};

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// All that is needed to reach an endpoint but TLS, which belongs to its upstream and may change under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub address: Address,
    /// The host as written, for which a certificate is checked unless a name is configured.
    pub host: Option<ServerName<'static>>,
}

impl From<config::ProxyProtocol> for proxy_protocol::Version {
    fn from(written: config::ProxyProtocol) -> Self {
        match written {
            config::ProxyProtocol::V1 => Self::V1,
            config::ProxyProtocol::V2 => Self::V2,
        }
    }
}

/// Why no connection came about. In every case nothing was sent to the endpoint, so that any request may go to another.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the endpoint refused the connection")]
    Refused,
    #[error("the endpoint cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsFailure),
}

/// Connects to an endpoint, and does the handshake where its upstream speaks TLS. The caller bounds the time of both.
pub async fn dial(target: &Target, tls: Option<&ClientTls>) -> Result<Stream, DialError> {
    dial_after(&[], target, tls).await
}

/// The same; `opening` is sent before all else: a PROXY header, or nothing.
pub async fn dial_after(
    opening: &[u8],
    target: &Target,
    tls: Option<&ClientTls>,
) -> Result<Stream, DialError> {
    let mut stream = connect(&target.address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => DialError::Refused,
            _ => DialError::Unreachable(error),
        })?;
    if !opening.is_empty() {
        // A hundred bytes, which every fresh socket takes at once.
        let sent = stream.write_all(opening).await;
        sent.map_err(DialError::Unreachable)?;
    }
    match (tls, stream) {
        // Boxed: the handshake's state is large and short-lived, the task that dials lives on.
        (Some(tls), Stream::Tcp(tcp)) => {
            Ok(Box::pin(tls.connect(target.host.as_ref(), tcp)).await?)
        }
        (_, stream) => Ok(stream),
    }
}

/// When the system asks after an endpoint that said nothing, how often it asks again, and how many times in vain before
/// the connection is given up: a minute and a half in all. Finds out about endpoints that vanished without a word while
/// a connection rests, as tunnels do for hours; the defaults of Linux take over two hours.
///
/// Not TCP_USER_TIMEOUT, which would bound the same while data is under way: it also cuts connections whose endpoint
/// lives and does not read for so long, and how long that may take is for `idle` and `tunnel_idle` to say.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 6;

async fn connect(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            let probing = TcpKeepalive::new()
                .with_time(PROBE_AFTER)
                .with_interval(PROBE_EVERY)
                .with_retries(PROBES);
            // A socket that refuses an option still works, only with delay, or without being watched.
            let _ = stream.set_nodelay(true);
            let socket = SockRef::from(&stream);
            let _ = socket.set_tcp_keepalive(&probing);
            let _ = socket.set_tcp_notsent_lowat(UNSENT);
            let _ = socket.set_out_of_band_inline(true);
            Ok(Stream::Tcp(stream))
        }
        Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;

    use super::{Address, Target, UNSENT, dial};
    use crate::stream::Stream;

    #[tokio::test]
    async fn the_system_asks_after_a_silent_endpoint() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            address: Address::Tcp(listener.local_addr().unwrap()),
            host: None,
        };
        let Stream::Tcp(stream) = dial(&target, None).await.unwrap() else {
            panic!("it is neither TLS nor a Unix socket");
        };
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT);
        assert!(socket.out_of_band_inline().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(30)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(10)
        );
    }
}
