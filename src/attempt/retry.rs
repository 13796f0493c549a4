//! The rules for sending a request again.

use super::{Backoff, Death};
use ::http::Method;
use std::time::Duration;

/// When requests to an upstream are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Attempts that an endpoint may have acted upon, the first included.
    pub max_attempts: u32,
    pub backoff: Backoff,
    /// The longest wait that an endpoint may ask for by `Retry-After`; `None`: none is heeded.
    pub retry_after_max: Option<Duration>,
}

impl Rules {
    /// Nothing is tried again that an endpoint may have acted upon.
    pub const NONE: Self = Self {
        max_attempts: 1,
        backoff: Backoff {
            base: Duration::ZERO,
            max: Duration::ZERO,
        },
        retry_after_max: None,
    };

    /// The least pause after an answer that asked for one.
    pub(super) fn asked(&self, retry_after: Option<Duration>) -> Duration {
        let asked = retry_after.zip(self.retry_after_max);
        asked.map_or(Duration::ZERO, |(asked, max)| asked.min(max))
    }
}

/// Whether a request may be sent again once it may have been acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    No,
    /// Only after an answer that says so ([`super::Event::Failing`], `harmless`).
    WhenHarmless,
    Yes,
}

impl From<&Method> for Repeat {
    fn from(method: &Method) -> Self {
        if idempotent(method) {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// What became of the wish to try a request again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is tried again.
    Made,
    /// The budget is spent.
    NoBudget,
    /// It would be over, with what it must wait for, before another answer could come.
    NoTime,
    /// Its method is not idempotent, or its body is not there any more.
    NotReplayable,
    /// It had as many attempts as it may have.
    AttemptsUsed,
}

impl Decision {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Made,
        Self::NoBudget,
        Self::NoTime,
        Self::NotReplayable,
        Self::AttemptsUsed,
    ];

    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::NoBudget => "no_budget",
            Self::NoTime => "no_time",
            Self::NotReplayable => "not_replayable",
            Self::AttemptsUsed => "attempts_used",
        }
    }

    /// The words of all of them.
    pub const LABELS: [&'static str; Self::ALL.len()] = [
        Self::Made.label(),
        Self::NoBudget.label(),
        Self::NoTime.label(),
        Self::NotReplayable.label(),
        Self::AttemptsUsed.label(),
    ];
}

/// Whether a request of this method may be sent again when it is unknown if the first one was acted
/// upon (RFC 9110, 9.2.2). Methods not listed there are taken for not idempotent.
pub fn idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whether a request whose connection died may be replayed on a new one.
///
/// Endpoints close idle connections when they like, so such a death mostly means that the request
/// crossed the close on its way (RFC 9112, 9.3.1). With no byte of a response nothing is lost but the
/// certainty that it was not acted upon: harmless to idempotent requests, and certain where not even
/// a byte of the request was written, or where the endpoint says that it did nothing with it
/// (REFUSED_STREAM, GOAWAY). Either way the body must be there to be sent again.
pub fn replayable(idempotent: bool, death: Death) -> bool {
    !death.received && !death.late && death.kept && (idempotent || !death.written)
}
