//! Idempotency keys: of all requests with the same key the first is executed, and its result is kept for the others
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! A key is in one of these states, and leaves the last two when `ttl` has passed:
//!
//! ```text
//!  begin        complete
//! ------> Running ------> Stored ---------+ its body has to make room
//!            |  \                         v
//!            |   `------ lose -------> Unknown
//!            `-- forget --> (not known)
//! ```
//!
//! - [`key`] reads the field and hashes what tells one client's request from another's.
//! - [`Book`] is the state machine: told the time, it says what becomes of a request. No lock, no task, no socket.
//! - [`Store`] is what the workers share: the book behind a lock, and the wake of those who wait for a result. Its few
//!   methods ([`Store::begin`] and those of [`Claim`]) are all that a store elsewhere would have to offer.
//! - [`Stores`] keeps them by the names of routes, over reloads.
//!
//! Not here: making the attempts and answering clients (`proxy::keyed`).

mod book;
mod counts;
mod guard;
pub mod key;
mod store;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use book::{Book, Held, Limits, Lost};
pub use counts::{Counts, End, Met};
pub use guard::{EachValue, Guard, Scope, content};
pub use key::{Hash, KeyError};
pub use store::{Begun, Claim, Ended, Hold, Reading, Store, Stores, Waiting};

/// A result as it is given to everyone who repeats its request: plain data, so that it can be kept anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub status: u16,
    /// The phrase behind it in HTTP/1.
    pub reason: Vec<u8>,
    /// Names and values, without those that speak of one connection and without the length of the body.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Bytes,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Answer {
    /// What a field costs besides its bytes: two vectors.
    const FIELD: usize = 2 * size_of::<Vec<u8>>();

    /// What it takes of the memory for results.
    pub fn size(&self) -> usize {
        let fields = self.fields.iter().chain(&self.trailers);
        let fields = fields.map(|(name, value)| name.len() + value.len() + Self::FIELD);
        self.body.len() + self.reason.len() + fields.sum::<usize>()
    }
}

/// Why the outcome of an execution is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The endpoint may have acted, and its answer was lost.
    Broken,
    /// No whole answer came within `result_wait`.
    Late,
    /// The result is larger than what may be kept of one.
    TooLarge,
    /// It was kept, and made room for others.
    Displaced,
    /// The proxy stopped working on it.
    Abandoned,
}

impl Why {
    /// To be read after "the outcome is not known: ".
    pub const fn text(self) -> &'static str {
        match self {
            Self::Broken => "the connection to the endpoint broke before its answer was complete",
            Self::Late => "the endpoint did not answer for as long as it was waited for",
            Self::TooLarge => "the answer was too large to be kept",
            Self::Displaced => "the answer made room for those of other requests",
            Self::Abandoned => "the proxy stopped working on it",
        }
    }
}
