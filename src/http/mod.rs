//! What do they say? The rules of HTTP, for both sides; no routing, no policy.
//!
//! A message is parsed into a model ([`head`], [`fields`]) and written anew from it, never patched through.
//! A body flows from a [`body::Body`] to a [`body::Sink`], whichever protocol either side speaks.

pub mod buffers;
pub mod fields;
pub mod head;
