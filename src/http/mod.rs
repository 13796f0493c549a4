//! What do they say? The rules of HTTP, for both sides; no routing, no policy.
//!
//! A message is parsed into a model ([`head`], [`fields`]) and written anew from it, never patched through.
//! A body flows from a [`body::Body`] to a [`body::Sink`], whichever protocol either side speaks.

pub mod accept;
pub mod body;
pub mod buffers;
pub mod drain;
pub mod fields;
pub mod gathered;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod head;
pub mod headers;
pub mod in_force;
pub mod kept;
pub mod outgoing;
pub mod pipe;
pub mod responder;
pub mod retry_after;
pub mod target;
pub mod upgrade;

pub use in_force::InForce;
pub use outgoing::{Outgoing, RequestLine};
pub use responder::{Handler, Incoming, Peer, Refusal, Responder};
