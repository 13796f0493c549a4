//! How a check can fail.

use std::error::Error;
use std::time::Duration;

use crate::config::units::format_duration;
use crate::upstream::connect::DialError;

/// Why a check failed, to be read after `because`.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailure {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("there was no connection within {}", format_duration(*.0))]
    NoConnection(Duration),
    #[error("there was no answer within {}", format_duration(*.0))]
    NoAnswer(Duration),
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    #[error("it broke the exchange off: {0}")]
    Broken(String),
    #[error("it answered {0}")]
    Status(u16),
    #[error("the field `{name}` of its answer {}", if *.is_there { "has another value" } else { "is missing" })]
    Field { name: String, is_there: bool },
    #[error("the first {bytes} bytes of its answer do not hold the text")]
    NoText { bytes: usize },
    #[error("its answer is no gRPC: {0}")]
    NoGrpc(&'static str),
    #[error("it answered with the gRPC status {code}{}", .message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
    GrpcStatus { code: u32, message: Option<String> },
    #[error("its service is {0}")]
    NotServing(&'static str),
}

impl CheckFailure {
    /// Of an exchange that a library ended: all that it has to say.
    pub(super) fn broken(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let further = error.to_string();
            // Some repeat what they were made of.
            if !text.ends_with(&further) {
                text.push_str(": ");
                text.push_str(&further);
            }
            source = error.source();
        }
        Self::Broken(text)
    }
}

/// What is written in the configuration and cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be sent")]
pub struct Unsendable {
    pub what: &'static str,
}
