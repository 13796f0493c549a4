//! How TLS with an endpoint can fail.

use std::io;

use rustls::{AlertDescription, CertificateError};

/// Why TLS with an endpoint failed. No byte of a request had been sent.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    #[error("the endpoint's certificate is for another name{presented}; set `tls.name`")]
    WrongName { presented: String },
    #[error(
        "the endpoint's certificate is signed by an unknown authority; name its root under `tls.ca`"
    )]
    UnknownIssuer,
    #[error("the endpoint's certificate has expired")]
    Expired,
    #[error("the endpoint's certificate is not valid yet")]
    NotYetValid,
    #[error("the endpoint's certificate is not acceptable: {0:?}")]
    Certificate(CertificateError),
    /// It refused ours, or has nothing in common with us.
    #[error("the endpoint ended the handshake with the alert {0:?}")]
    Alert(AlertDescription),
    #[error("the endpoint agreed to none of the protocols that were offered")]
    NoProtocol,
    #[error("the endpoint does not speak TLS")]
    NotTls,
    #[error("the endpoint broke the rules of TLS: {0}")]
    Protocol(rustls::Error),
    #[error("the endpoint closed the connection during the handshake: {0}")]
    Closed(io::Error),
    #[error("the endpoint has no host name to check its certificate for; set `tls.name`")]
    NoName,
}

impl TlsFailure {
    /// One word for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::WrongName { .. } => "tls_wrong_name",
            Self::UnknownIssuer => "tls_unknown_issuer",
            Self::Expired => "tls_expired",
            Self::NotYetValid => "tls_not_yet_valid",
            Self::Certificate(_) => "tls_bad_certificate",
            Self::Alert(_) => "tls_alert",
            Self::NoProtocol => "tls_no_protocol",
            Self::NotTls => "tls_not_tls",
            Self::Protocol(_) => "tls_protocol",
            Self::Closed(_) => "tls_closed",
            Self::NoName => "tls_no_name",
        }
    }

    /// Every label that [`Self::label`] can give, for the tables of the metrics.
    pub const LABELS: &'static [&'static str] = &[
        "tls_wrong_name",
        "tls_unknown_issuer",
        "tls_expired",
        "tls_not_yet_valid",
        "tls_bad_certificate",
        "tls_alert",
        "tls_no_protocol",
        "tls_not_tls",
        "tls_protocol",
        "tls_closed",
        "tls_no_name",
    ];

    /// Whether the endpoint spoke TLS as it should, and only its certificate was not accepted.
    pub fn is_certificate(&self) -> bool {
        match self {
            Self::WrongName { .. }
            | Self::UnknownIssuer
            | Self::Expired
            | Self::NotYetValid
            | Self::Certificate(_)
            | Self::NoName => true,
            Self::Alert(_)
            | Self::NoProtocol
            | Self::NotTls
            | Self::Protocol(_)
            | Self::Closed(_) => false,
        }
    }
}

impl From<io::Error> for TlsFailure {
    fn from(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::Closed(error),
        }
    }
}

impl From<rustls::Error> for TlsFailure {
    fn from(error: rustls::Error) -> Self {
        use rustls::{Error, InvalidMessage};
        match error {
            Error::InvalidCertificate(error) => error.into(),
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | Error::NoApplicationProtocol => Self::NoProtocol,
            Error::AlertReceived(alert) => Self::Alert(alert),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            error => Self::Protocol(error),
        }
    }
}

impl From<CertificateError> for TlsFailure {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::NotValidForName => Self::WrongName {
                presented: String::new(),
            },
            CertificateError::NotValidForNameContext { presented, .. } => Self::WrongName {
                presented: format!(" ({})", presented.join(", ")),
            },
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            error => Self::Certificate(error),
        }
    }
}
