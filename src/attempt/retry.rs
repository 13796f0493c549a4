//! The rules for sending a request again.

use super::Death;
use ::http::Method;

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
    !death.received && death.kept && (idempotent || !death.written)
}
