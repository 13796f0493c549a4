//! Who is knocking? Sockets in, accepted connections out; knows nothing of HTTP.

pub mod accept;

pub use accept::{Accepted, Listening};
