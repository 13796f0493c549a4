//! What a check does with one endpoint: where it connects, what it asks there, and under which name.

use super::exchange::Reply;
use super::failure::{CheckFailure, Unsendable};
use super::grpc::GrpcCheck;
use super::http::HttpCheck;
use super::timing::Progress;
use crate::config::{self, CheckType, Protocol};
use crate::proxy_protocol::{Header, Version, write};
use crate::upstream::client_tls::ClientTls;
use crate::upstream::connect::{Address, Target, dial_after};
use crate::upstream::endpoint::Endpoint;

/// What is asked of every endpoint of an upstream.
#[derive(Debug)]
pub(super) struct Ask {
    kind: Kind,
    /// The host that is asked for; off: the endpoint's own.
    host: Option<String>,
    /// A PROXY header that tells that nobody's connection is passed on, where the port is one that expects such.
    opening: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Http(Box<HttpCheck>, Protocol),
    Tcp,
    Grpc(Box<GrpcCheck>),
}

impl Ask {
    pub(super) fn compile(
        written: &config::ActiveHealth,
        protocol: Protocol,
        is_tls: bool,
        told: Option<Version>,
    ) -> Result<Self, Unsendable> {
        // A port of its own is seldom the one that expects a header: as in HAProxy.
        let told = told.filter(|_| written.port.is_none());
        Ok(Self {
            opening: told.map_or_else(Vec::new, |version| write(version, &Header::Local)),
            kind: match written.kind {
                CheckType::Http => {
                    Kind::Http(Box::new(HttpCheck::compile(written, is_tls)?), protocol)
                }
                CheckType::Tcp => Kind::Tcp,
                CheckType::Grpc => Kind::Grpc(Box::new(GrpcCheck::compile(written, is_tls)?)),
            },
            host: written.host.clone(),
        })
    }

    /// Asks an endpoint, at another port if one is given. The caller bounds the time. What is left of an answer that is good
    /// enough is given back: it decides nothing any more.
    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
        port: Option<u16>,
        tls: Option<&ClientTls>,
        progress: &Progress,
    ) -> Result<Option<Reply>, CheckFailure> {
        let stream = dial_after(&self.opening, &target(endpoint, port), tls).await?;
        progress.connected();
        let authority = match &self.host {
            Some(host) => host.clone(),
            None => authority(endpoint, port),
        };
        match &self.kind {
            Kind::Http(check, protocol) => {
                let is_h2 = match protocol {
                    Protocol::H1 => false,
                    Protocol::H2 => true,
                    Protocol::Auto => stream.alpn() == Some(b"h2"),
                };
                check.check(&authority, stream, is_h2).await.map(Some)
            }
            Kind::Tcp => Ok(None),
            Kind::Grpc(check) => check.check(&authority, stream).await.map(|()| None),
        }
    }
}

/// Where an endpoint is checked. A Unix socket has no other port.
fn target(endpoint: &Endpoint, port: Option<u16>) -> Target {
    let mut target = endpoint.target.clone();
    if let (Address::Tcp(address), Some(port)) = (&mut target.address, port) {
        address.set_port(port);
    }
    target
}

/// The endpoint's own host, with the port that is checked. What clients of a Unix socket say is `localhost`.
fn authority(endpoint: &Endpoint, port: Option<u16>) -> String {
    let host = endpoint.authority.rsplit_once(':');
    match (&endpoint.target.address, port, host) {
        (Address::Unix(_), _, _) => "localhost".to_owned(),
        (Address::Tcp(_), Some(port), Some((host, _))) => format!("{host}:{port}"),
        (Address::Tcp(_), _, _) => endpoint.authority.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::connect::Target;

    fn endpoint(authority: &str) -> Endpoint {
        let address = match authority.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(authority.replace("localhost", "127.0.0.1").parse().unwrap()),
        };
        let target = Target {
            address,
            host: None,
        };
        Endpoint::new("api", "a", authority, target)
    }

    #[test]
    fn an_endpoint_is_asked_under_its_own_host_and_the_port_that_is_checked() {
        for (address, port, expected) in [
            ("127.0.0.1:80", None, "127.0.0.1:80"),
            ("127.0.0.1:80", Some(9), "127.0.0.1:9"),
            ("[::1]:80", Some(9), "[::1]:9"),
            ("localhost:80", Some(9), "localhost:9"),
            ("unix:/run/a.sock", Some(9), "localhost"),
        ] {
            let endpoint = endpoint(address);
            assert_eq!(authority(&endpoint, port), expected);
            match target(&endpoint, port).address {
                Address::Tcp(at) => assert_eq!(at.port(), port.unwrap_or(80)),
                at @ Address::Unix(_) => assert_eq!(at, endpoint.target.address),
            }
        }
    }
}
