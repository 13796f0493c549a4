//! Keys of how the configuration itself is followed.

use std::time::Duration;

use super::super::setting::{block, with_default, written_as_map};
use super::{DAY, millis, seconds};

block! {
    /// How changes of the configuration file are noticed.
    pub struct FileWatch {
        /// How often the file is looked at although nothing told of a change. Its folder, the folder
        /// of the file behind a symbolic link, and the file are watched, so that this only counts
        /// where watching does not see changes: network file systems, no watches left. Slow, because
        /// a look reads the file.
        pub poll: Duration = seconds(30), in millis(100)..=DAY;
    }
}

written_as_map!(FileWatch);
with_default!(FileWatch);
