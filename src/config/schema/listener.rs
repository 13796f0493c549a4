//! Keys of a listener.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::super::kinds::Pseudonym;
use super::super::setting::{block, choice, with_default, written_as_map};
use super::{Addresses, DAY, HOUR, ListenerLimits, ProxyProtocolIn, ServerTls, millis, seconds};

/// Where a listener is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    /// `unix:/run/plimsoll.sock`
    Unix(PathBuf),
}

/// An address block, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

/// A peer that is believed: a proxy of the operator's own, or a client that may ask more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustedProxy {
    Network(Network),
    /// Whoever connects to a Unix socket: the file system decides who may.
    Unix,
}

impl TrustedProxy {
    /// Whether a peer with this address is one; `None` on a Unix socket.
    pub fn is(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Network(network), Some(address)) => network.contains(address),
            (Self::Unix, None) => true,
            (Self::Network(_), None) | (Self::Unix, Some(_)) => false,
        }
    }
}

choice! {
    /// What becomes of fields whose names hold `_`.
    pub enum Underscores, "a treatment of underscores" {
        /// They are left out.
        Drop = "drop",
        /// They go to the endpoint as they are.
        Pass = "pass",
        /// The request is answered with 400.
        Refuse = "refuse",
    }
}

block! {
    /// An address where clients connect.
    pub struct Listener {
        /// An IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`, or `unix:/path`.
        /// Port 0 lets the system choose.
        pub address: Address;
        /// TLS with clients. Off: clear text, where HTTP/2 is spoken by prior knowledge.
        pub tls: Option<ServerTls> = None;
        /// How long a client may take.
        pub timeouts: ListenerTimeouts = ListenerTimeouts::default();
        /// How much a client may ask for.
        pub limits: ListenerLimits = ListenerLimits::default();
        /// Peers whose `X-Forwarded-*`, `X-Real-IP` and `Forwarded` fields are kept and extended;
        /// from all others they are dropped before routes look at them, because anybody can write
        /// them. Networks, or `unix` for those on a Unix socket. Empty: nobody is trusted.
        pub trusted_proxies: Vec<TrustedProxy> = Vec::new();
        /// What becomes of fields from all other peers whose names hold `_`: `drop`, `pass` or
        /// `refuse`. Dropped, as nginx does: many applications cannot tell `X_User` from `X-User`,
        /// which a proxy may have checked. gRPC metadata with `_` in its names needs `pass`.
        pub underscores: Underscores = Underscores::Drop;
        /// Clients, by the address that they connect from, that may send `Plimsoll-Explain: 1` and are
        /// then told in a header of the answer why its endpoint was picked; from all others the
        /// field counts for nothing. Networks, or `unix` for those on a Unix socket. Empty: nobody,
        /// because the answer names endpoints.
        pub explain_to: Vec<TrustedProxy> = Vec::new();
        /// Which forwarding fields endpoints get.
        pub forwarding: Forwarding = Forwarding::default();
        /// Whose connections begin with a PROXY header, version 1 or 2, before TLS: `off` for nobody's,
        /// `require` for all, or `{ from: [10.0.0.0/8] }` for those of the peers that are named. The
        /// address that it tells is then the client's, for lists, limits, logs and forwarding
        /// fields. Off, because whoever may send one can say any address. A header that is wrong,
        /// missing, or late by `timeouts.head` closes the connection.
        pub proxy_protocol: ProxyProtocolIn = ProxyProtocolIn::Off;
        /// Whose connections are served, by the address that they come from, or that a PROXY header
        /// tells; all others are closed without a word. By default all.
        pub addresses: Addresses = Addresses::default();
    }
}

impl Listener {
    /// A listener in clear text with every default.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            tls: None,
            timeouts: ListenerTimeouts::default(),
            limits: ListenerLimits::default(),
            trusted_proxies: Vec::new(),
            underscores: Underscores::Drop,
            explain_to: Vec::new(),
            forwarding: Forwarding::default(),
            proxy_protocol: ProxyProtocolIn::Off,
            addresses: Addresses::default(),
        }
    }
}

block! {
    /// How long a client may take.
    pub struct ListenerTimeouts {
        /// From the first byte of a request head (for a connection's first one, from the accept)
        /// to its last; 408 after it. Short, because a slow head is the cheapest attack.
        pub head: Duration = seconds(10), in millis(10)..=HOUR;
        /// Between two requests of a connection. As nginx's, above the minute that most clients
        /// and balancers in front keep theirs, so that they close first.
        pub keep_alive: Duration = seconds(75), in millis(10)..=DAY;
        /// Between two reads of a request body; it never bounds the whole upload.
        pub body: Duration = seconds(60), in millis(10)..=DAY;
        /// For the TLS handshake, from the accept.
        pub handshake: Duration = seconds(10), in millis(10)..=HOUR;
        /// How long a client's system may take nothing of what was sent to it: no acknowledgement, or
        /// no room where its application does not read. Then the connection is reset. The system
        /// watches over it (`TCP_USER_TIMEOUT`), after the connection is closed, too: what was not
        /// taken until then is the system's memory, outside all limits on connections, and was
        /// kept for ever. As `idle` of an upstream, which ends an answer that nobody takes while it
        /// is passed on. Whoever takes a segment now and then is let live.
        pub send: Duration = seconds(60), in millis(10)..=DAY;
    }
}

block! {
    /// Which forwarding fields are written towards the endpoint.
    pub struct Forwarding {
        /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`: what applications read.
        pub x_forwarded: bool = true;
        /// `Forwarded` (RFC 7239). Off, because few applications read it.
        pub forwarded: bool = false;
        /// `Via` with this pseudonym (RFC 9110, 7.6.3). Off: it tells clients and endpoints that a
        /// proxy is there, and some servers then switch compression off.
        pub via: Option<String> as Option<Pseudonym> = None;
    }
}

written_as_map!(Listener, ListenerTimeouts, Forwarding);
with_default!(ListenerTimeouts, Forwarding);
