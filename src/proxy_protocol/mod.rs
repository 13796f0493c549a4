//! The PROXY header, by which a proxy in front of a connection tells whose it is, read and written: version 1, a line of
//! text, and version 2, binary (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). Bytes alone; who reads
//! them from a socket is `listener::prologue`, and who writes them to one `upstream::connect`.

#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text of at most 107 bytes.
    V1,
    /// Binary, 16 bytes and the addresses.
    V2,
}

/// What a header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The sender speaks for itself, as its health checks do. The text form does not tell it from [`Header::Unknown`].
    Local,
    /// The sender speaks for somebody without an address of IP: it does not know, or it was a Unix socket.
    Unknown,
    /// Somebody connected from `source` to `destination`.
    Told {
        source: SocketAddr,
        destination: SocketAddr,
    },
}

/// A header at the start of what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its bytes; what follows belongs to the connection.
    pub length: usize,
    pub header: Header,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("they do not begin like one")]
    Missing,
    #[error("it breaks the rules of one")]
    Malformed,
}

/// What a line of text begins with.
const TEXT: &[u8] = b"PROXY ";
/// What a binary header begins with: no request of HTTP and no hello of TLS does.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// No header is shorter. So many bytes can be read without looking at them, and nothing of what follows is among them.
pub const SHORTEST: usize = b"PROXY UNKNOWN\r\n".len();
/// No header that is accepted is longer: 4 KiB hold every address and all that senders are known to add.
pub const LONGEST: usize = 4096;

/// Reads a header of either version from the start of `bytes`; `None` as long as it may still become one.
pub fn read(bytes: &[u8]) -> Result<Option<Found>, Error> {
    match bytes.first() {
        None => Ok(None),
        Some(first) if *first == TEXT[0] => v1::read(bytes),
        Some(_) => v2::read(bytes),
    }
}

/// Whether `bytes` begin like a header of either version, in all of its mark.
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(TEXT) || bytes.starts_with(SIGNATURE)
}

/// Writes a header.
pub fn write(version: Version, header: &Header) -> Vec<u8> {
    match version {
        Version::V1 => v1::write(header),
        Version::V2 => v2::write(header),
    }
}

/// Whether the mark is there: `None` while more of it may come.
fn mark(bytes: &[u8], mark: &[u8]) -> Result<Option<()>, Error> {
    let seen = bytes.len().min(mark.len());
    if bytes[..seen] != mark[..seen] {
        return Err(Error::Missing);
    }
    Ok((seen == mark.len()).then_some(()))
}

/// Both addresses in one family, as a header wants them. Where they differ, that of IPv4 is written as one of IPv6 (RFC
/// 4291, 2.5.5.2).
fn alike(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let wide = |address: SocketAddr| SocketAddr::new(widened(address.ip()).into(), address.port());
    (wide(source), wide(destination))
}

fn widened(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
