//! Why a connection is closed before TLS or a request, and the words under which that is counted.

use crate::proxy_protocol;

/// Why a connection gets no further than the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The lists of addresses do not let it in.
    AddressDenied,
    /// As many connections as one address may have are open.
    AddressFull,
    /// As many handshakes as may be are under way, and it waited too long.
    HandshakesFull,
    /// The listener requires a PROXY header, and the connection did not begin with one.
    HeaderMissing,
    /// The PROXY header breaks its rules.
    HeaderMalformed,
    /// The PROXY header came from somebody who may not send one.
    HeaderUntrusted,
    /// The PROXY header was not complete in time.
    HeaderTimeout,
}

/// Their words, but for `address_denied`, which requests are refused under, too: each word stands once among those of a listener.
pub const LABELS: [&str; 6] = [
    Refusal::AddressFull.label(),
    Refusal::HandshakesFull.label(),
    Refusal::HeaderMissing.label(),
    Refusal::HeaderMalformed.label(),
    Refusal::HeaderUntrusted.label(),
    Refusal::HeaderTimeout.label(),
];

impl Refusal {
    /// One word for logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AddressDenied => "address_denied",
            Self::AddressFull => "address_full",
            Self::HandshakesFull => "handshakes_full",
            Self::HeaderMissing => "proxy_header_missing",
            Self::HeaderMalformed => "proxy_header_malformed",
            Self::HeaderUntrusted => "proxy_header_untrusted",
            Self::HeaderTimeout => "proxy_header_timeout",
        }
    }
}

impl From<proxy_protocol::Error> for Refusal {
    fn from(error: proxy_protocol::Error) -> Self {
        match error {
            proxy_protocol::Error::Missing => Self::HeaderMissing,
            proxy_protocol::Error::Malformed => Self::HeaderMalformed,
        }
    }
}
