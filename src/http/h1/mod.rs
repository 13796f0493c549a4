//! HTTP/1, both sides. Reading and writing of heads and bodies is pure: bytes in, model out, model in, bytes out.

pub mod body;
pub mod client;
pub mod connection;
pub mod error;
pub mod framing;
pub mod parse;
mod request_target;
pub mod server;
mod transfer;
pub mod write;

pub use client::Client;
pub use connection::Connection;
pub use transfer::{Reader, Writer};

#[cfg(test)]
mod cases;
