//! Keys of lists of addresses, and of what is counted by address.

use super::super::setting::{block, with_default, written_as_map};
use super::TrustedProxy;

block! {
    /// Which addresses are let in. Of all entries that hold an address the longest prefix decides.
    /// What no entry holds is let in, unless `allow` has entries.
    pub struct Addresses {
        /// Networks that are let in, or `unix` for peers on a Unix socket. Empty: all but those of `deny`.
        pub allow: Vec<TrustedProxy> = Vec::new();
        /// Networks that are kept out, or `unix`. Empty: nobody but what `allow` leaves out.
        pub deny: Vec<TrustedProxy> = Vec::new();
    }
}

block! {
    /// How much of an address names one client, in bits.
    pub struct AddressPrefix {
        /// Of an IPv4 address; 24 takes a network of 256 for one client.
        pub v4: u8 = 32, in 1..=32;
        /// Of an IPv6 address. 64, because whoever has one address there has a whole network of 64 bits,
        /// and a new address for each connection.
        pub v6: u8 = 64, in 1..=128;
    }
}

written_as_map!(Addresses, AddressPrefix);
with_default!(Addresses, AddressPrefix);
