//! The heads of a request and of a response: the model that every protocol is read into and written from.

use super::fields::Fields;

/// The version that a peer spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Length {
    /// There is no body.
    #[default]
    Empty,
    /// So many bytes.
    Exact(u64),
    /// Until a marker: the last chunk in HTTP/1, END_STREAM in HTTP/2.
    Marked,
    /// Until the connection closes (HTTP/1 responses), or a tunnel.
    Close,
}

impl Length {
    /// Whether no byte will follow.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::Empty | Self::Exact(0))
    }
}

/// A request head.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    pub method: ::http::Method,
    /// Path and query exactly as received (origin form); `*` for OPTIONS; host and port for CONNECT.
    /// Of an absolute-form target the part after the authority, byte for byte.
    pub target: Vec<u8>,
    pub version: Version,
    /// As received, with one difference: exactly one `Host` stands among them whenever the request named a host:
    /// the authority of an absolute-form target (RFC 9112, 3.2.2) or of `:authority` replaces or becomes it.
    pub fields: Fields,
    pub length: Length,
    /// The client's connection may carry another request after this one.
    pub keep_alive: bool,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// The protocol that the client asks to switch to: `Upgrade` with `Connection: upgrade` in HTTP/1.1,
    /// `:protocol` of an extended CONNECT (RFC 8441) in HTTP/2.
    pub upgrade: Option<Vec<u8>>,
}

/// A response head, final or interim (1xx).
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub status: u16,
    /// The reason phrase as received; empty in HTTP/2. Written only towards HTTP/1.
    pub reason: Vec<u8>,
    pub version: Version,
    pub fields: Fields,
    /// The length of the body that follows *this* response: HEAD, 1xx, 204 and 304 have none, whatever the fields say.
    pub length: Length,
    /// The connection that it came from may carry another request.
    pub keep_alive: bool,
}

impl RequestHead {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        let Self {
            method,
            target,
            version,
            fields,
            length,
            keep_alive,
            expects_continue,
            upgrade,
        } = self;
        *method = ::http::Method::GET;
        target.clear();
        *version = Version::Http11;
        fields.clear();
        *length = Length::Empty;
        *keep_alive = false;
        *expects_continue = false;
        *upgrade = None;
    }
}

impl ResponseHead {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        let Self {
            status,
            reason,
            version,
            fields,
            length,
            keep_alive,
        } = self;
        *status = 0;
        reason.clear();
        *version = Version::Http11;
        fields.clear();
        *length = Length::Empty;
        *keep_alive = false;
    }

    /// Whether this is an interim response that another follows. 101 is final: it ends HTTP on the connection.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}
