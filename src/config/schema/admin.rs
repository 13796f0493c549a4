//! Keys of the listener for operators.

use super::super::setting::{block, written_as_map};
use super::Address;

block! {
    /// The listener for operators.
    pub struct Admin {
        /// An IP address and a port, or `unix:/path`. It has no authentication: keep it on
        /// loopback or on a network of its own.
        pub address: Address;
    }
}

written_as_map!(Admin);
