//! Keys of the listener for operators.

use std::path::PathBuf;

use super::super::setting::{block, written_as_map};
use super::Address;

block! {
    /// The listener for operators.
    pub struct Admin {
        /// An IP address and a port, or `unix:/path`. On loopback and on a Unix socket whoever can
        /// reach it is let in; on any other address `token_file` is required.
        pub address: Address;
        /// A file of tokens, one on each line, of at least 16 bytes; any of them is accepted, so that
        /// they can be exchanged without a gap. Whoever asks for anything but `/live` and `/ready`
        /// must then send one: `Authorization: Bearer TOKEN`. It is watched, and what changes
        /// counts without a reload; `check` does not read it. Off: no token is asked for, which is possible
        /// on loopback and on Unix sockets.
        pub token_file: Option<PathBuf> = None;
    }
}

impl Admin {
    /// Without tokens.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            token_file: None,
        }
    }
}

written_as_map!(Admin);
