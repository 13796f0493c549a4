//! Which fields end at a proxy, and which it adds.

use super::fields::{Name, Names};

/// Fields that speak of one connection and are never forwarded (RFC 9110, 7.6.1).
pub const HOP_BY_HOP: Names = Names::of(&[
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::Te,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::Http2Settings,
    Name::ProxyAuthenticate,
    Name::ProxyAuthorization,
]);

/// Trailers that make a message malformed: who read them late would have framed or routed it otherwise.
pub const REFUSED_TRAILERS: Names =
    Names::of(&[Name::ContentLength, Name::TransferEncoding, Name::Host]);

/// Trailers that are left out: a recipient that merges them into the head would be told things that its sender could
/// not have said there, or that the proxy would have removed (RFC 9110, 6.5.1).
pub const DROPPED_TRAILERS: Names = HOP_BY_HOP.and(Names::of(&[
    Name::Trailer,
    Name::Expect,
    Name::MaxForwards,
    Name::Authorization,
    Name::Cookie,
    Name::SetCookie,
    Name::ContentType,
    Name::ContentEncoding,
    Name::Location,
    Name::XForwardedFor,
    Name::XForwardedProto,
    Name::XForwardedHost,
    Name::Forwarded,
    Name::Via,
    Name::RequestId,
    Name::IdempotencyKey,
]));
