//! The file of the log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// To append to; it is made where it is missing.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // To open a pipe for writing alone waits for a reader, for ever where none comes; for both it does not.
    let is_pipe = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo());
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(is_pipe).open(path)
}

/// Makes a file somebody else's. Not through a symbolic link or a second name, by which somebody who may write into its
/// folder could come by a file that is none of his.
pub(super) fn give(path: &Path, user: u32, group: u32) {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .append(true)
        .custom_flags(flags)
        .open(path);
    let known = file.and_then(|file| Ok((file.metadata()?, file)));
    if let Ok((found, file)) = known
        && found.is_file()
        && found.nlink() == 1
    {
        // Only root can. Whether the file can be opened anew is looked at, and told, once the user is another.
        let _ = fchown(&file, Some(user), Some(group));
    }
}
