//! Who is knocking? Sockets in, accepted connections out; knows nothing of HTTP.

pub mod accept;
pub mod addresses;
pub mod crowd;
pub mod prologue;
pub mod refusal;
pub mod server_tls;
mod unix;

pub use accept::{Accepted, Listening};
pub use unix::SocketFile;
