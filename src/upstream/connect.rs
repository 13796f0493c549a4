//! Dialling an endpoint: TCP or Unix socket, and TLS over TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::client_tls::{ClientTls, TlsFailure};
use crate::config::units;
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
    let stream = connect(&target.address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => DialError::Refused,
            _ => DialError::Unreachable(error),
        })?;
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

/// Why an endpoint's address leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Malformed(#[from] units::UnitError),
    #[error("the name cannot be resolved: {0}")]
    Resolver(#[from] io::Error),
    #[error("the name has no address")]
    NoAddress,
}

/// The targets behind an endpoint as written; a host name gives one for each of its addresses, with the address as
/// the name of the child. Blocks on the system's resolver.
pub fn resolve(written: &str) -> Result<Vec<(Option<IpAddr>, Target)>, ResolveError> {
    let (host, port) = match written.parse()? {
        units::Target::Unix(path) => {
            return Ok(vec![(
                None,
                Target {
                    address: Address::Unix(path),
                    host: None,
                },
            )]);
        }
        units::Target::Ip(address) => {
            let host = Some(ServerName::from(address.ip()));
            return Ok(vec![(
                None,
                Target {
                    address: Address::Tcp(address),
                    host,
                },
            )]);
        }
        units::Target::Name { host, port } => (host, port),
    };
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))?;
    let children = children(&host, found);
    if children.is_empty() {
        return Err(ResolveError::NoAddress);
    }
    Ok(children)
}

/// What a host name stands for: each of its addresses once, in an order that does not depend on the resolver's.
fn children(host: &str, found: impl Iterator<Item = SocketAddr>) -> Vec<(Option<IpAddr>, Target)> {
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let host = super::client_tls::server_name(host).ok();
    let target = |address| Target {
        address: Address::Tcp(address),
        host: host.clone(),
    };
    addresses
        .into_iter()
        .map(|address| (Some(address.ip()), target(address)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;

    use super::{Address, ResolveError, Target, UNSENT, children, dial, resolve};
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

    #[test]
    fn the_host_of_an_address_is_the_name_of_its_certificate() {
        let name = |written: &str| {
            let resolved = resolve(written).unwrap();
            resolved[0]
                .1
                .host
                .as_ref()
                .map(|host| host.to_str().into_owned())
        };
        assert_eq!(name("127.0.0.1:443").as_deref(), Some("127.0.0.1"));
        assert_eq!(name("[::1]:443").as_deref(), Some("::1"));
        assert_eq!(name("localhost:443").as_deref(), Some("localhost"));
        assert_eq!(name("unix:/run/a.sock"), None);
    }

    #[test]
    fn a_name_has_a_child_for_each_of_its_addresses() {
        let found = ["[fd00::1]:80", "10.0.0.2:80", "10.0.0.1:80", "10.0.0.2:80"];
        let found = found.map(|address| address.parse().unwrap());
        let children = children("app.internal", found.into_iter());
        let ips: Vec<_> = children
            .iter()
            .map(|(ip, _)| ip.unwrap().to_string())
            .collect();
        assert_eq!(ips, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        for (ip, target) in &children {
            let Address::Tcp(address) = &target.address else {
                panic!("{target:?}");
            };
            assert_eq!((Some(address.ip()), address.port()), (*ip, 80));
            let host = target.host.as_ref().map(|host| host.to_str());
            assert_eq!(host.as_deref(), Some("app.internal"));
        }
    }

    #[test]
    fn an_address_without_a_name_has_no_child() {
        let resolved = resolve("127.0.0.1:9001").unwrap();
        assert!(
            matches!(&resolved[..], [(None, target)] if target.address == Address::Tcp("127.0.0.1:9001".parse().unwrap()))
        );
        assert!(matches!(
            resolve("127.0.0.1"),
            Err(ResolveError::Malformed(_))
        ));
    }
}
