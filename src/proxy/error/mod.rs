//! What can go wrong with an exchange, whose fault it is, and what the client is told.
//!
//! An error is added as a variant of [`ProxyError`], with its side here, its status and the word for `Proxy-Status` in
//! `status`, and its label in `labels`.

mod labels;
mod status;

use crate::attempt::idempotency::{KeyError, Why};
use crate::http::h1::body::DecodeError;
use crate::http::h1::parse::ParseError;
use crate::upstream::absence::Absence;

/// Whose side an error came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Downstream,
    Upstream,
    Proxy,
}

/// Why the proxy answers by itself, or ends an exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The request breaks the rules of HTTP.
    #[error("the request is malformed: {0}")]
    Request(ParseError),
    /// The target or the authority cannot be understood.
    #[error("the request target is malformed")]
    Target,
    /// The path has slashes that an endpoint may read in another way than the routes do (`slashes`, `escaped_slashes`).
    #[error("the slashes of the path can be read in several ways")]
    AmbiguousPath,
    /// The head was not complete in time.
    #[error("the request head was not complete in time")]
    SlowHead,
    /// The client stalled within the body, or drips it.
    #[error("the request body stalled")]
    SlowBody,
    /// The client takes the answer too slowly.
    #[error("the client does not take the answer")]
    SlowRead,
    /// The body breaks its framing.
    #[error("the request body is malformed: {0}")]
    RequestBody(DecodeError),
    /// The body is larger than `limits.body`.
    #[error("the request body is too large")]
    TooLarge,
    /// The client left, or reset its stream.
    #[error("the client left")]
    ClientGone,
    /// The method or protocol is not carried (CONNECT without extended CONNECT, a foreign upgrade).
    #[error("the method is not supported")]
    Method,
    /// No route matches.
    #[error("no route matches")]
    NoRoute,
    /// The upstream has no endpoint that may be picked.
    #[error("{0}")]
    NoEndpoint(Absence),
    /// Every endpoint is at its cap of connections.
    #[error("all endpoints are at their cap")]
    Full,
    /// Neither the upstream nor its queue has room.
    #[error("as many requests are under way and wait as may")]
    QueueFull,
    /// `bulkhead.queue_timeout`, or what may be waited while the queue stands.
    #[error("the request waited too long for its turn")]
    QueueTimeout,
    /// It matters less than others, and not all can be served.
    #[error("requests that matter more were preferred")]
    Shed,
    /// Every endpoint that could be asked was, in vain; the last one refused the connection.
    #[error("the endpoint refused the connection")]
    Refused,
    #[error("the endpoint cannot be reached")]
    Unreachable,
    /// The endpoint's certificate was not accepted; with the label of the reason.
    #[error("the endpoint's certificate is not accepted: {0}")]
    Certificate(&'static str),
    /// The handshake failed for another reason; with its label.
    #[error("TLS with the endpoint failed: {0}")]
    Tls(&'static str),
    /// It took the connection and did not begin to speak HTTP/2 on it.
    #[error("the endpoint does not speak HTTP/2")]
    NotHttp2,
    /// `timeouts.connect`
    #[error("connecting took too long")]
    ConnectTimeout,
    /// `timeouts.first_byte`
    #[error("the endpoint did not answer in time")]
    FirstByteTimeout,
    /// `timeouts.total`
    #[error("the request took too long in all")]
    TotalTimeout,
    /// `timeouts.idle`
    #[error("no byte moved for too long")]
    IdleTimeout,
    /// `timeouts.tunnel_idle`
    #[error("no byte moved in the tunnel for too long")]
    TunnelIdleTimeout,
    /// `timeouts.max_duration`
    #[error("the exchange reached its longest duration")]
    MaxDuration,
    /// The endpoint closed or reset the connection before its answer was complete.
    #[error("the endpoint closed the connection")]
    Closed,
    /// The answer breaks the rules of HTTP.
    #[error("the response is malformed: {0}")]
    Response(ParseError),
    /// The body of the answer breaks its framing.
    #[error("the response body is malformed: {0}")]
    ResponseBody(DecodeError),
    /// The endpoint broke the rules of HTTP/2 or reset the stream.
    #[error("the endpoint reset the stream")]
    Reset,
    /// The endpoint refused the stream or went away without having looked at the request.
    #[error("the endpoint did not take the request")]
    Unprocessed,
    /// The endpoint answered with a status after which another attempt was to do better, and none did.
    #[error("the endpoint answered {0}, and no other answered better")]
    Failing(u16),
    /// More interim responses than anyone has a use for.
    #[error("the endpoint sent too many interim responses")]
    TooManyInterim,
    /// The endpoint switched protocols without being asked to.
    #[error("the endpoint switched protocols unasked")]
    UnaskedSwitch,
    /// The endpoint cannot switch protocols, or does not do it as it was asked to.
    #[error("the endpoint did not switch protocols as asked")]
    BadUpgrade,
    /// The route injects this status on purpose.
    #[error("a fault was injected on purpose")]
    FaultAbort(u16),
    /// The idempotency key of the request will not do.
    #[error("{0}")]
    Key(KeyError),
    /// The first request with the key is still being executed.
    #[error("a request with this idempotency key is still being executed")]
    KeyInUse,
    /// The key belongs to another request.
    #[error("this idempotency key was used for another request")]
    KeyMismatch,
    /// Whether the first request with the key was executed, and to what result, was lost.
    #[error("the outcome of the request with this idempotency key is not known: {}", .0.text())]
    KeyUnknown(Why),
    /// As many keyed requests as may be known are being executed.
    #[error("there is no room for another idempotency key")]
    NoRoomForKey,
    /// The lists of addresses of the listener or of the route do not let the client in.
    #[error("this address may not come in")]
    AddressDenied,
    /// A rate limit has no room; it will after so many seconds.
    #[error("there were too many requests of late; there is room again in {retry_after} s")]
    RateLimited { retry_after: u32 },
    /// A concurrency limit has no place.
    #[error("too many requests are under way already")]
    ConcurrencyLimited,
    /// Nobody knows who the client is; what it has to show is told in `WWW-Authenticate`.
    #[error("the request does not tell who sent it")]
    Unauthenticated,
    /// It is known who the client is, and that this is not for it.
    #[error("the client may not do this")]
    Forbidden,
    /// Who was to judge the client does not answer.
    #[error("nobody can tell now whether the client may do this")]
    AuthUnavailable,
    /// TLS was asked for one name and the request for another.
    #[error("this connection does not serve the host that is asked for")]
    Misdirected,
    /// Code of the proxy panicked while it carried the exchange.
    #[error("the proxy panicked, which is a bug")]
    Panicked,
}

impl ProxyError {
    /// Whose side it came from.
    pub fn side(&self) -> Side {
        match self {
            Self::Request(_)
            | Self::Target
            | Self::AmbiguousPath
            | Self::SlowHead
            | Self::SlowBody
            | Self::SlowRead
            | Self::RequestBody(_)
            | Self::TooLarge
            | Self::ClientGone
            | Self::Method
            | Self::Key(_)
            | Self::AddressDenied
            | Self::RateLimited { .. }
            | Self::ConcurrencyLimited
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::Misdirected => Side::Downstream,
            Self::NoRoute
            | Self::NoEndpoint(_)
            | Self::Full
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Shed
            | Self::TotalTimeout
            | Self::IdleTimeout
            | Self::TunnelIdleTimeout
            | Self::MaxDuration
            | Self::FaultAbort(_)
            | Self::KeyInUse
            | Self::KeyMismatch
            | Self::KeyUnknown(_)
            | Self::NoRoomForKey
            | Self::AuthUnavailable
            | Self::Panicked => Side::Proxy,
            Self::Refused
            | Self::Unreachable
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::NotHttp2
            | Self::ConnectTimeout
            | Self::FirstByteTimeout
            | Self::Closed
            | Self::Response(_)
            | Self::ResponseBody(_)
            | Self::Reset
            | Self::Unprocessed
            | Self::Failing(_)
            | Self::TooManyInterim
            | Self::UnaskedSwitch
            | Self::BadUpgrade => Side::Upstream,
        }
    }

    /// Whether the connection ends with it: nobody knows where the next request of a client begins that broke the rules, or
    /// did not take or send what it was to. Who may not come in, or not now, is only told so.
    pub fn closes(&self) -> bool {
        self.side() == Side::Downstream && !matches!(self.status(), 401 | 403 | 421 | 429)
    }

    /// Whether there was too much to do, which may be over soon.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::QueueFull | Self::QueueTimeout | Self::Shed)
    }

    /// Seconds after which the request may fare better; `None` when nobody can tell. A queue is no older than about one.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            error => error.is_overload().then_some(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_broke_the_rules_is_cut_off() {
        let entry = [
            ProxyError::AddressDenied,
            ProxyError::RateLimited { retry_after: 3 },
            ProxyError::ConcurrencyLimited,
            ProxyError::Unauthenticated,
            ProxyError::Forbidden,
            ProxyError::Misdirected,
        ];
        for error in entry {
            assert_eq!(error.side(), Side::Downstream, "{error:?}");
            assert!(!error.closes(), "{error:?}");
        }
        assert!(ProxyError::Target.closes());
        assert!(ProxyError::SlowHead.closes());
        assert!(!ProxyError::NoRoute.closes());
    }

    #[test]
    fn who_should_come_again_is_told_when() {
        let limited = ProxyError::RateLimited { retry_after: 3 };
        assert_eq!(limited.retry_after(), Some(3));
        assert_eq!(ProxyError::QueueFull.retry_after(), Some(1));
        assert_eq!(ProxyError::NoRoute.retry_after(), None);
    }
}
