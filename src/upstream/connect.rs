//! Dialling an endpoint: TCP or Unix socket, and TLS over TCP.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::{TcpStream, UnixStream};

use crate::stream::Stream;

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// All that is needed to reach an endpoint.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: Address,
}

/// Why no connection came about. In every case nothing was sent to the endpoint.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the endpoint refused the connection")]
    Refused,
    #[error("the endpoint cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
}

/// Connects to an endpoint.
pub async fn dial(target: &Target) -> Result<Stream, DialError> {
    let connected = match &target.address {
        Address::Tcp(address) => TcpStream::connect(address).await.map(|stream| {
            // A socket that refuses the option still works, only with delay.
            let _ = stream.set_nodelay(true);
            Stream::Tcp(stream)
        }),
        Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    };
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => DialError::Refused,
        _ => DialError::Unreachable(error),
    })
}

/// The addresses behind an endpoint as written; a host name gives one for each of its addresses, with the address as
/// the name of the child. Blocks on the system's resolver.
pub fn resolve(written: &str) -> Result<Vec<(Option<std::net::IpAddr>, Address)>, String> {
    if let Some(path) = written.strip_prefix("unix:") {
        return Ok(vec![(None, Address::Unix(PathBuf::from(path)))]);
    }
    if let Ok(address) = written.parse::<SocketAddr>() {
        return Ok(vec![(None, Address::Tcp(address))]);
    }
    let found =
        std::net::ToSocketAddrs::to_socket_addrs(written).map_err(|error| error.to_string())?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(addresses
        .into_iter()
        .map(|address| (Some(address.ip()), Address::Tcp(address)))
        .collect())
}
