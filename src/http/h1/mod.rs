//! HTTP/1, both sides. Reading and writing of heads and bodies is pure: bytes in, model out, model in, bytes out.

pub mod body;
pub mod error;
pub mod framing;
pub mod parse;
mod request_target;
pub mod write;

#[cfg(test)]
mod cases;
