//! HTTP/2, both sides, on the `h2` library, behind the same types as HTTP/1.
//!
//! One task drives a connection ([`server::serve`], or the driver that [`client::connect`] gives); each request on it
//! is one more task, which talks to the first through the library's queues.

pub mod client;
mod exchanges;
mod fields;
mod meter;
mod outbox;
pub mod server;
mod slots;
mod tap;
mod transfer;
mod walk;

#[cfg(test)]
mod tests;

pub use client::Client;
pub use meter::Flood;
pub use transfer::{Reader, Writer};

/// Largest frame that we take. The least that is allowed: larger ones would make a stream wait longer for another's.
const FRAME: u32 = 16 * 1024;
/// Bytes of one stream that wait in the library for its connection's turn.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that we reset and still know for a moment, so that frames already under way are not taken for an error.
const REMEMBERED_RESETS: usize = 64;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed it, or said GOAWAY.
    Closed,
    /// No preface within the deadline of a head.
    Slow,
    /// A header block that was begun did not end within that deadline.
    SlowHead,
    /// No stream was open for too long.
    Idle,
    /// The process is draining.
    Drained,
    /// The peer made us work for nothing.
    Flood(Flood),
    /// The peer broke the protocol.
    Broken,
    /// The transport failed.
    Failed,
}

/// A request that nobody was asked to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheard {
    /// It is malformed: a reset answers it, as RFC 9113, 8.1.1, allows.
    Malformed,
    /// Its head is far beyond what is taken: the library beneath answered it with 431.
    TooLarge,
    /// Its stream was reset before anything was done for it.
    Cancelled,
}

impl Unheard {
    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "h2_malformed_request",
            Self::TooLarge => "too_many_bytes",
            Self::Cancelled => "h2_cancelled_request",
        }
    }
}

impl End {
    /// The reason as metrics and the log name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Slow => "slow",
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::Flood(flood) => flood.label(),
            Self::Broken => "h2_protocol_error",
            Self::Failed => "failed",
        }
    }
}
