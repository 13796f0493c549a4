//! The file of the configuration: where it is, what of it is in force, and what it held when it was last looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::read;

/// Stands for the contents of a file that cannot be read.
const UNREADABLE: u64 = 0;

/// The file that the process was started from.
pub(super) struct Origin {
    pub(super) path: PathBuf,
    /// The text that is in force.
    text: ArcSwap<String>,
    /// A digest of what a reload last found, whether it was put in force or refused.
    seen: AtomicU64,
}

impl Origin {
    /// `text` was read from it at the start.
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        Self {
            path,
            seen: AtomicU64::new(digest(text.as_bytes())),
            text: ArcSwap::from_pointee(text),
        }
    }

    /// Reads it for a reload. Blocks.
    pub(super) fn read(&self) -> std::io::Result<Vec<u8>> {
        let bytes = read::bytes(&self.path);
        self.seen.store(seen(&bytes), Ordering::Relaxed);
        bytes
    }

    /// Whether it holds something else than a reload last found. Blocks.
    pub(super) fn has_changed(&self) -> bool {
        seen(&read::bytes(&self.path)) != self.seen.load(Ordering::Relaxed)
    }

    /// What is in force now was read from it.
    pub(super) fn put_in_force(&self, text: String) {
        self.text.store(Arc::new(text));
    }

    /// The text that is in force.
    pub(super) fn in_force(&self) -> Arc<String> {
        self.text.load_full()
    }
}

fn seen(bytes: &std::io::Result<Vec<u8>>) -> u64 {
    bytes.as_ref().map_or(UNREADABLE, |bytes| digest(bytes))
}

fn digest(bytes: &[u8]) -> u64 {
    xxh3_64(bytes).max(UNREADABLE + 1)
}

/// Whether the file alone is mounted, as containers do with a single file: another one that is put in its place outside is
/// then never seen inside.
pub(super) fn is_mounted_alone(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    is_mount(&mounts, &real)
}

/// `proc_pid_mountinfo(5)`: the fifth field is the mount point, with octal escapes for blanks.
fn is_mount(mounts: &str, path: &Path) -> bool {
    let wanted = path.to_string_lossy().replace('\\', "\\134");
    let wanted = wanted.replace(' ', "\\040").replace('\t', "\\011");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(wanted.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_mounted_file_is_found_among_the_mounts() {
        let mounts = "36 35 98:0 / / rw,noatime - ext3 /dev/root rw\n\
            40 36 98:0 /a /etc/plimsoll/plimsoll.yaml ro - ext3 /dev/root rw\n\
            41 36 98:0 /b /etc/with\\040blank rw - ext3 /dev/root rw\n";
        let found = |path: &str| is_mount(mounts, Path::new(path));
        assert!(found("/etc/plimsoll/plimsoll.yaml") && found("/etc/with blank"));
        assert!(!found("/etc/plimsoll") && !found("/a"));
    }
}
