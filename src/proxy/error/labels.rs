//! The words under which errors are logged and counted.

use super::ProxyError;
use crate::attempt::idempotency::KeyError;
use crate::http::h1::body::DecodeError;
use crate::http::h1::parse::ParseError;
use crate::http::h2::{Flood, Unheard};
use crate::observe::counter::{joined, total};
use crate::upstream::client_tls::TlsFailure;

impl ProxyError {
    /// One word for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Request(error) => error.label(),
            Self::Target => "bad_target",
            Self::AmbiguousPath => "ambiguous_path",
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
            Self::AddressDenied => "address_denied",
            Self::RateLimited { .. } => "rate_limited",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::AuthUnavailable => "auth_unavailable",
            Self::Misdirected => "misdirected",
            Self::Panicked => "panicked",
        }
    }

    /// Every label with which a request that had a route can end, or an attempt.
    pub const LABELS: &'static [&'static str] = &{
        const ALL: &[&[&str]] = &[
            &ROUTED,
            &ENTRY,
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
        const ALL: &[&[&str]] = &[&UNROUTED, &ENTRY, &FLOODS, ParseError::LABELS];
        joined::<{ total(ALL) }>(ALL)
    };
}

const ROUTED: [&str; 37] = [
    "method_not_supported",
    "bad_target",
    "slow_body",
    "slow_read",
    "body_too_large",
    "client_gone",
    "no_endpoint",
    "panic",
    "no_subset",
    "all_open",
    "breaker_open",
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
const UNROUTED: [&str; 9] = [
    "ambiguous_path",
    "slow_head",
    "body_too_large",
    "method_not_supported",
    "no_route",
    "panicked",
    "h2_protocol_error",
    Unheard::Malformed.label(),
    Unheard::Cancelled.label(),
];

/// Why a client may not come in, or not now; the listener says so before there is a route, or the route does.
const ENTRY: [&str; 7] = [
    "address_denied",
    "rate_limited",
    "concurrency_limited",
    "unauthenticated",
    "forbidden",
    "auth_unavailable",
    "misdirected",
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
    use crate::attempt::idempotency::Why;
    use crate::balance::{Exclusion, Lack};
    use crate::upstream::absence::Absence;

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
            ProxyError::NoEndpoint(absence(Lack::BreakerOpen)),
            ProxyError::NoEndpoint(Absence {
                lack: Lack::Endpoint,
                out: vec![(Exclusion::BreakerOpen, 1)],
            }),
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
            ProxyError::AmbiguousPath,
            ProxyError::SlowHead,
            ProxyError::TooLarge,
            ProxyError::Method,
            ProxyError::NoRoute,
            ProxyError::Panicked,
        ];
        let entry = [
            ProxyError::AddressDenied,
            ProxyError::RateLimited { retry_after: 1 },
            ProxyError::ConcurrencyLimited,
            ProxyError::Unauthenticated,
            ProxyError::Forbidden,
            ProxyError::AuthUnavailable,
            ProxyError::Misdirected,
        ];
        for (errors, words) in [
            (&routed[..], ProxyError::LABELS),
            (&unrouted[..], ProxyError::REFUSALS),
        ] {
            for error in errors.iter().chain(&entry) {
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
