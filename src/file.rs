//! Reading files that an operator names, without waiting for ever and without end: what stands in the place of one may be
//! a FIFO that nobody writes to, or a device that gives more than there is memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fstatfs};
use rustix::io::Errno;

/// How many seconds in all may bring nothing out of a pipe: for a program that decrypts, or asks over the network.
const SILENT_SECONDS: u32 = 30;
/// What the kernel says of a pipe that has no name in any folder (`PIPEFS_MAGIC`).
const PIPES: i64 = 0x5049_5045;

/// The bytes of a regular file, which has at most `most`. Blocks.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(open(path)?, most)
}

/// The beginning of a regular file, or of a pipe without a name: what a shell offers under `/dev/stdin`, or for `<(command)`.
/// At most `most` bytes. Blocks.
pub fn read_or_pipe(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = opened(path)?;
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(most).read_to_end(&mut bytes)?;
    } else if fstatfs(&file).is_ok_and(|stat| stat.f_type == PIPES) {
        drain(&file, most, &mut bytes)?;
    } else {
        return Err(odd(&file));
    }
    Ok(bytes)
}

/// Opens a regular file.
fn open(path: &Path) -> io::Result<File> {
    let file = opened(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(odd(&file))
    }
}

/// Opens anything without waiting for somebody at its other end.
fn opened(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn whole(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file of just the allowed size from a larger one.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("it has more than {} KiB; is it the right file?", most >> 10);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Reads a pipe to its end, or `most` bytes of it.
fn drain(mut pipe: &File, most: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 16 * 1024];
    let mut left = SILENT_SECONDS;
    let second = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    while (bytes.len() as u64) < most {
        let mut waited = [PollFd::new(pipe, PollFlags::IN)];
        match poll(&mut waited, Some(&second)) {
            Ok(0) if left == 0 => {
                let text = "it is a pipe, and whoever writes to it does not come to an end";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Ok(0) => left -= 1,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match pipe.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(())
}

/// What stands in the place of a file.
fn odd(file: &File) -> io::Error {
    let kind = file.metadata().map(|metadata| metadata.file_type());
    let what = match kind {
        Ok(kind) if kind.is_dir() => "a folder",
        Ok(kind) if kind.is_fifo() => "a FIFO",
        Ok(kind) if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    };
    let text = format!("it is {what}, where a regular file is expected");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// A path that nothing else uses; what is there is removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("plimsoll-file-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let place = Place::new("bound");
        std::fs::write(&place.0, "12345678").unwrap();
        assert_eq!(read(&place.0, 8).unwrap(), b"12345678");
        assert_eq!(read_or_pipe(&place.0, 3).unwrap(), b"123");
        let error = read(&place.0, 7).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let place = Place::new("fifo");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &place.0, FileType::Fifo, mode, 0).unwrap();
        for (path, what) in [
            (place.0.as_path(), "a FIFO"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/"), "a folder"),
        ] {
            for error in [
                read(path, 8).unwrap_err(),
                read_or_pipe(path, 8).unwrap_err(),
            ] {
                assert!(error.to_string().contains(what), "{error}");
            }
        }
        let error = read(&place.0.join("absent"), 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_pipe_without_a_name_is_read_to_its_end_where_one_may_be() {
        let (from, mut to) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", from.as_raw_fd()));
        assert!(read(&path, 8).unwrap_err().to_string().contains("a FIFO"));
        let reading = std::thread::spawn(move || read_or_pipe(&path, 1 << 20));
        // More than fits into a pipe, and not all at once.
        for _ in 0..20 {
            to.write_all(&[b'a'; 10_000]).unwrap();
        }
        drop(to);
        assert_eq!(reading.join().unwrap().unwrap().len(), 200_000);
    }
}
