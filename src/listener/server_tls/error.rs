//! Why a handshake with a client failed.

use std::io;

use rustls::AlertDescription;

/// Why a client got no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client sent an HTTP request in clear text, and was told so.
    #[error("the client sent plain HTTP to a port that speaks TLS")]
    PlainHttp,
    #[error("the client sent something that is not TLS")]
    NotTls,
    /// None of the protocols that the client offers by ALPN is served (RFC 7301, 3.2).
    #[error("the client offers no protocol that is served")]
    NoProtocol,
    /// Version, cipher suite, group or signature scheme.
    #[error("the client has nothing in common with this listener: {0:?}")]
    Incompatible(rustls::PeerIncompatible),
    /// The client refused, most often the certificate.
    #[error("the client refused the handshake: {0:?}")]
    Refused(AlertDescription),
    /// The client left in the middle; port scans and health checks of balancers do.
    #[error("the client closed the connection during the handshake")]
    Closed,
    /// `tls.client.mode: require`
    #[error("the client showed no certificate, and must")]
    NoCertificate,
    /// Nobody who is believed vouches for it, or its time is over.
    #[error("the client's certificate is not believed: {0}")]
    BadCertificate(rustls::CertificateError),
    /// Its names cannot be told endpoints.
    #[error("the client's certificate cannot be read, or its names are too long to be told")]
    UntoldCertificate,
    #[error("the handshake failed: {0}")]
    Failed(rustls::Error),
    /// `timeouts.handshake`
    #[error("the handshake was not complete in time")]
    Timeout,
    #[error("the connection failed during the handshake: {0}")]
    Io(io::Error),
}

impl AcceptError {
    /// One word for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::PlainHttp => "tls_plain_http",
            Self::NotTls => "tls_not_tls",
            Self::NoProtocol => "tls_no_protocol",
            Self::Incompatible(_) => "tls_incompatible",
            Self::Refused(_) => "tls_refused",
            Self::Closed => "tls_closed",
            Self::NoCertificate => "tls_no_certificate",
            Self::BadCertificate(_) => "tls_bad_certificate",
            Self::UntoldCertificate => "tls_untold_certificate",
            Self::Failed(_) => "tls_failed",
            Self::Timeout => "tls_timeout",
            Self::Io(_) => "tls_io",
        }
    }

    /// Every label that [`Self::label`] can give, for the tables of the metrics.
    pub const LABELS: &'static [&'static str] = &[
        "tls_plain_http",
        "tls_not_tls",
        "tls_no_protocol",
        "tls_incompatible",
        "tls_refused",
        "tls_closed",
        "tls_no_certificate",
        "tls_bad_certificate",
        "tls_untold_certificate",
        "tls_failed",
        "tls_timeout",
        "tls_io",
    ];

    pub(super) fn from_tls(error: rustls::Error) -> Self {
        match error {
            rustls::Error::NoApplicationProtocol => Self::NoProtocol,
            rustls::Error::PeerIncompatible(reason) => Self::Incompatible(reason),
            rustls::Error::AlertReceived(alert) => Self::Refused(alert),
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(error) => Self::BadCertificate(error),
            error => Self::Failed(error),
        }
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => match error.downcast::<rustls::Error>() {
                Ok(error) => Self::from_tls(error),
                Err(error) => Self::Io(error),
            },
        }
    }
}
