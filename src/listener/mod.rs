//! Who is knocking? Sockets in, accepted connections out; knows nothing of HTTP.

pub mod accept;
pub mod addresses;
pub mod crowd;
pub mod prologue;
pub mod server_tls;
mod unix;

/// The words by which connections are counted that are closed for the address that they come from.
pub const DOOR_LABELS: &[&str] = &[ADDRESS_DENIED, ADDRESS_FULL];
/// It is not let in.
pub const ADDRESS_DENIED: &str = "address_denied";
/// It has as many connections as it may.
pub const ADDRESS_FULL: &str = "address_full";

pub use accept::{Accepted, Listening};
pub use unix::SocketFile;
