//! What can go wrong with an exchange, whose fault it is, and what the client is told.

use crate::attempt::idempotency::{KeyError, Why};
use crate::http::h1::body::DecodeError;
use crate::http::h1::parse::ParseError;
use crate::http::h2::Flood;
use crate::observe::counter::{joined, total};
use crate::upstream::absence::Absence;
use crate::upstream::client_tls::TlsFailure;

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
            | Self::SlowHead
            | Self::SlowBody
            | Self::SlowRead
            | Self::RequestBody(_)
            | Self::TooLarge
            | Self::ClientGone
            | Self::Method
            | Self::Key(_) => Side::Downstream,
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

    /// The status that the client gets.
    pub fn status(&self) -> u16 {
        match self {
            Self::Request(error) => error.status(),
            Self::Target | Self::RequestBody(_) | Self::Key(_) => 400,
            Self::KeyInUse | Self::KeyUnknown(_) => 409,
            Self::KeyMismatch => 422,
            Self::SlowHead | Self::SlowBody | Self::SlowRead => 408,
            Self::TooLarge => 413,
            // Never sent: nobody is there. The log writes it as nginx does where no other status was sent; the metrics
            // count what was sent.
            Self::ClientGone => 499,
            Self::Failing(status) => *status,
            Self::FaultAbort(status) => *status,
            Self::Panicked => 500,
            Self::Method => 501,
            Self::NoRoute => 404,
            Self::NoEndpoint(_)
            | Self::Full
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Shed
            | Self::NoRoomForKey => 503,
            Self::ConnectTimeout
            | Self::FirstByteTimeout
            | Self::TotalTimeout
            | Self::IdleTimeout
            | Self::TunnelIdleTimeout
            | Self::MaxDuration => 504,
            Self::Refused
            | Self::Unreachable
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::NotHttp2
            | Self::Closed
            | Self::Response(_)
            | Self::ResponseBody(_)
            | Self::Reset
            | Self::Unprocessed
            | Self::TooManyInterim
            | Self::UnaskedSwitch
            | Self::BadUpgrade => 502,
        }
    }

    /// One word for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Request(error) => error.label(),
            Self::Target => "bad_target",
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::SlowRead => "slow_read",
            Self::RequestBody(error) => error.label(),
            Self::TooLarge => "body_too_large",
            Self::ClientGone => "client_gone",
            Self::Method => "method_not_supported",
            Self::NoRoute => "no_route",
            Self::NoEndpoint(absence) => absence.label(),
            Self::Full => "endpoints_full",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Shed => "shed",
            Self::Refused => "connection_refused",
            Self::Unreachable => "unreachable",
            Self::Certificate(label) | Self::Tls(label) => label,
            Self::NotHttp2 => "not_http2",
            Self::ConnectTimeout => "connect_timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TunnelIdleTimeout => "tunnel_idle_timeout",
            Self::MaxDuration => "max_duration",
            Self::Closed => "connection_closed",
            Self::Response(error) => error.response_label(),
            Self::ResponseBody(error) => error.response_label(),
            Self::Reset => "stream_reset",
            Self::Unprocessed => "unprocessed",
            Self::Failing(_) => "failing_status",
            Self::TooManyInterim => "too_many_interim",
            Self::UnaskedSwitch => "unasked_switch",
            Self::BadUpgrade => "bad_upgrade",
            Self::FaultAbort(_) => "fault_abort",
            Self::Key(error) => error.label(),
            Self::KeyInUse => "idempotency_key_in_use",
            Self::KeyMismatch => "idempotency_key_mismatch",
            Self::KeyUnknown(_) => "idempotency_outcome_unknown",
            Self::NoRoomForKey => "idempotency_store_full",
            Self::Panicked => "panicked",
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209, 2.3).
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::Request(_)
            | Self::Target
            | Self::SlowHead
            | Self::SlowBody
            | Self::SlowRead
            | Self::RequestBody(_)
            | Self::ClientGone
            | Self::Method
            | Self::Key(_) => "http_request_error",
            Self::TooLarge
            | Self::KeyInUse
            | Self::KeyMismatch
            | Self::KeyUnknown(_)
            | Self::NoRoomForKey => "http_request_denied",
            Self::NoRoute => "destination_not_found",
            Self::NoEndpoint(_) | Self::Failing(_) => "destination_unavailable",
            // There is no type for a bound on requests; the details tell which one it was.
            Self::Full | Self::QueueFull | Self::QueueTimeout => "connection_limit_reached",
            Self::Shed => "http_request_denied",
            Self::Refused => "connection_refused",
            Self::Unreachable => "destination_ip_unroutable",
            Self::Certificate(_) => "tls_certificate_error",
            Self::Tls("tls_alert") => "tls_alert_received",
            Self::Tls(_) => "tls_protocol_error",
            Self::ConnectTimeout => "connection_timeout",
            Self::FirstByteTimeout | Self::TotalTimeout | Self::MaxDuration => {
                "http_response_timeout"
            }
            Self::IdleTimeout | Self::TunnelIdleTimeout => "connection_read_timeout",
            Self::Closed => "connection_terminated",
            Self::NotHttp2
            | Self::Response(_)
            | Self::ResponseBody(_)
            | Self::Reset
            | Self::Unprocessed
            | Self::TooManyInterim => "http_protocol_error",
            Self::UnaskedSwitch | Self::BadUpgrade => "http_upgrade_failed",
            Self::FaultAbort(_) => "proxy_internal_response",
            Self::Panicked => "proxy_internal_error",
        }
    }

    /// Whether there was too much to do, which may be over soon.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::QueueFull | Self::QueueTimeout | Self::Shed)
    }

    /// Every label with which a request that had a route can end, or an attempt.
    pub const LABELS: &'static [&'static str] = &{
        const ALL: &[&[&str]] = &[
            &ROUTED,
            DecodeError::LABELS,
            ParseError::RESPONSE_LABELS,
            DecodeError::RESPONSE_LABELS,
            TlsFailure::LABELS,
            KeyError::LABELS,
        ];
        joined::<{ total(ALL) }>(ALL)
    };

    /// Every label of what is refused before it has a route, and of HTTP/2 connections that are cut and streams that
    /// are reset.
    pub const REFUSALS: &'static [&'static str] = &{
        const ALL: &[&[&str]] = &[&UNROUTED, &FLOODS, ParseError::LABELS];
        joined::<{ total(ALL) }>(ALL)
    };
}

/// How malformed HTTP/2 requests are counted that the library refuses by itself.
pub(super) const H2_MALFORMED: &str = "h2_malformed_request";

const ROUTED: [&str; 35] = [
    "method_not_supported",
    "bad_target",
    "slow_body",
    "slow_read",
    "body_too_large",
    "client_gone",
    "no_endpoint",
    "panic",
    "no_subset",
    "endpoints_full",
    "queue_full",
    "queue_timeout",
    "shed",
    "connection_refused",
    "unreachable",
    "not_http2",
    "connect_timeout",
    "first_byte_timeout",
    "total_timeout",
    "idle_timeout",
    "tunnel_idle_timeout",
    "max_duration",
    "connection_closed",
    "stream_reset",
    "unprocessed",
    "failing_status",
    "too_many_interim",
    "unasked_switch",
    "bad_upgrade",
    "fault_abort",
    "idempotency_key_in_use",
    "idempotency_key_mismatch",
    "idempotency_outcome_unknown",
    "idempotency_store_full",
    "panicked",
];

/// `bad_target` is a word of [`ParseError`] too.
const UNROUTED: [&str; 7] = [
    "slow_head",
    "body_too_large",
    "method_not_supported",
    "no_route",
    "panicked",
    "h2_protocol_error",
    H2_MALFORMED,
];

const FLOODS: [&str; Flood::ALL.len()] = {
    let mut labels = [""; Flood::ALL.len()];
    let mut i = 0;
    while i < labels.len() {
        labels[i] = Flood::ALL[i].label();
        i += 1;
    }
    labels
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::balance::Lack;

    #[test]
    fn every_error_is_counted_under_a_word_of_its_own() {
        let (parse, decode) = (ParseError::Nul, DecodeError::BadChunkSize);
        let absence = |lack| Absence {
            lack,
            out: Vec::new(),
        };
        let routed = [
            ProxyError::Target,
            ProxyError::SlowBody,
            ProxyError::SlowRead,
            ProxyError::RequestBody(decode),
            ProxyError::TooLarge,
            ProxyError::ClientGone,
            ProxyError::NoEndpoint(absence(Lack::Endpoint)),
            ProxyError::NoEndpoint(absence(Lack::Panic)),
            ProxyError::NoEndpoint(Absence::NO_SUBSET),
            ProxyError::Full,
            ProxyError::QueueFull,
            ProxyError::QueueTimeout,
            ProxyError::Shed,
            ProxyError::Refused,
            ProxyError::Unreachable,
            ProxyError::Certificate(TlsFailure::UnknownIssuer.label()),
            ProxyError::Tls(TlsFailure::NotTls.label()),
            ProxyError::ConnectTimeout,
            ProxyError::FirstByteTimeout,
            ProxyError::TotalTimeout,
            ProxyError::IdleTimeout,
            ProxyError::TunnelIdleTimeout,
            ProxyError::MaxDuration,
            ProxyError::Closed,
            ProxyError::Response(parse),
            ProxyError::ResponseBody(decode),
            ProxyError::Reset,
            ProxyError::Unprocessed,
            ProxyError::Failing(503),
            ProxyError::TooManyInterim,
            ProxyError::UnaskedSwitch,
            ProxyError::BadUpgrade,
            ProxyError::FaultAbort(503),
            ProxyError::Method,
            ProxyError::NotHttp2,
            ProxyError::Key(KeyError::Missing),
            ProxyError::Key(KeyError::Malformed),
            ProxyError::Key(KeyError::TooLong),
            ProxyError::KeyInUse,
            ProxyError::KeyMismatch,
            ProxyError::KeyUnknown(Why::Late),
            ProxyError::NoRoomForKey,
            ProxyError::Panicked,
        ];
        let unrouted = [
            ProxyError::Request(parse),
            ProxyError::Target,
            ProxyError::SlowHead,
            ProxyError::TooLarge,
            ProxyError::Method,
            ProxyError::NoRoute,
            ProxyError::Panicked,
        ];
        for (errors, words) in [
            (&routed[..], ProxyError::LABELS),
            (&unrouted[..], ProxyError::REFUSALS),
        ] {
            for error in errors {
                assert!(words.contains(&error.label()), "{error:?}");
            }
            let distinct: HashSet<_> = words.iter().collect();
            assert_eq!(distinct.len(), words.len(), "a word stands twice");
        }
    }

    #[test]
    fn the_side_at_fault_is_told_by_the_word() {
        let pairs = [
            (
                ProxyError::Request(ParseError::BothLengths),
                ProxyError::Response(ParseError::BothLengths),
            ),
            (
                ProxyError::RequestBody(DecodeError::BadChunkSize),
                ProxyError::ResponseBody(DecodeError::BadChunkSize),
            ),
        ];
        for (request, response) in pairs {
            assert_eq!(response.label(), format!("response_{}", request.label()));
            assert_eq!((request.status(), response.status()), (400, 502));
        }
    }
}
