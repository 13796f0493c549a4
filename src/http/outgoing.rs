//! A head to be written, in whichever protocol: parts of a received one, and what is added.

use super::fields::{Fields, Names};
use super::head::Length;

/// The first line of a request.
pub struct RequestLine<'a> {
    pub method: &'a ::http::Method,
    pub target: &'a [u8],
    /// Ask for this protocol instead of HTTP (RFC 9110, 7.8; RFC 8441).
    pub upgrade: Option<&'a [u8]>,
}

/// The fields of a head, and how the end of its body is told.
pub struct Outgoing<'a> {
    /// Fields as received.
    pub fields: &'a Fields,
    /// Known names that are left out. Hop-by-hop fields always are.
    pub skip: Names,
    /// Other names that are left out, in lower case: those nominated by `Connection`, and a route's edits.
    pub omit: &'a [Vec<u8>],
    /// Fields that are added.
    pub extra: &'a Fields,
    /// How the end of the body will be told. `Content-Length` and `Transfer-Encoding` are written from it alone.
    pub length: Length,
}
