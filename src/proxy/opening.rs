//! What an endpoint is told of the client before all else, where its upstream asks for a PROXY header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::exchange::Exchange;
use crate::proxy_protocol::{self, Header};
use crate::worker::UpstreamView;

/// The header for this request; empty where none is asked for.
pub fn of(exchange: &Exchange, upstream: &UpstreamView) -> Vec<u8> {
    let Some(version) = upstream.shared.proxy_protocol else {
        return Vec::new();
    };
    let peer = &exchange.peer;
    let header = header(
        exchange.request().client(),
        (peer.address, peer.port),
        peer.local,
    );
    proxy_protocol::write(version, &header)
}

/// `client` is who trusted proxies say it is, `peer` who is connected. The port is known of the latter alone.
fn header(
    client: Option<IpAddr>,
    peer: (Option<IpAddr>, u16),
    local: Option<SocketAddr>,
) -> Header {
    let Some(client) = client else {
        return Header::Unknown;
    };
    let port = if peer.0 == Some(client) { peer.1 } else { 0 };
    Header::Told {
        source: SocketAddr::new(client, port),
        // A client that another proxy told of over a Unix socket connected to some address of that one.
        destination: local.unwrap_or_else(|| nowhere(client)),
    }
}

/// No address, in the family of another.
fn nowhere(like: IpAddr) -> SocketAddr {
    let address = match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(address, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_with_the_port_if_it_is_the_peer() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let local = "192.0.2.9:80".parse().unwrap();
        let told = |source: &str, destination: SocketAddr| Header::Told {
            source: source.parse().unwrap(),
            destination,
        };
        assert_eq!(
            header(Some(one), (Some(one), 7), Some(local)),
            told("192.0.2.1:7", local)
        );
        assert_eq!(
            header(Some(other), (Some(one), 7), Some(local)),
            told("192.0.2.2:0", local)
        );
        assert_eq!(
            header(Some(one), (None, 0), None),
            told("192.0.2.1:0", "0.0.0.0:0".parse().unwrap())
        );
        assert_eq!(header(None, (None, 0), None), Header::Unknown);
    }
}
