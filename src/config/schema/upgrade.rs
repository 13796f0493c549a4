//! How another process of the program takes over.

use std::time::Duration;

use super::{HOUR, seconds};
use crate::config::setting::{block, with_default, written_as_map};

block! {
    /// The change from one process of the program to another, a newer version as a rule: the new
    /// one gets every listening socket, and the old one ends once the new one serves.
    pub struct Upgrade {
        /// How long the new process may take until it serves, before it is killed and the old one
        /// goes on. A minute: names are asked for at a start, and a name server may be slow.
        pub timeout: Duration = seconds(60), in seconds(1)..=HOUR;
    }
}

written_as_map!(Upgrade);
with_default!(Upgrade);
