//! What the client is told of an error: its status, and the word of `Proxy-Status`.

use super::ProxyError;

impl ProxyError {
    /// The status that the client gets.
    pub fn status(&self) -> u16 {
        match self {
            Self::Request(error) => error.status(),
            Self::Target | Self::AmbiguousPath | Self::RequestBody(_) | Self::Key(_) => 400,
            Self::KeyInUse | Self::KeyUnknown(_) => 409,
            Self::KeyMismatch => 422,
            Self::Unauthenticated => 401,
            Self::AddressDenied | Self::Forbidden => 403,
            Self::Misdirected => 421,
            Self::RateLimited { .. } | Self::ConcurrencyLimited => 429,
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
            | Self::NoRoomForKey
            | Self::AuthUnavailable => 503,
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

    /// The error type of `Proxy-Status` (RFC 9209, 2.3).
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::Request(_)
            | Self::Target
            | Self::AmbiguousPath
            | Self::SlowHead
            | Self::SlowBody
            | Self::SlowRead
            | Self::RequestBody(_)
            | Self::ClientGone
            | Self::Method
            | Self::Key(_)
            | Self::Misdirected => "http_request_error",
            Self::TooLarge
            | Self::KeyInUse
            | Self::KeyMismatch
            | Self::KeyUnknown(_)
            | Self::NoRoomForKey
            | Self::AddressDenied
            | Self::RateLimited { .. }
            | Self::ConcurrencyLimited
            | Self::Unauthenticated
            | Self::Forbidden => "http_request_denied",
            Self::NoRoute => "destination_not_found",
            Self::NoEndpoint(_) | Self::Failing(_) | Self::AuthUnavailable => {
                "destination_unavailable"
            }
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
}
