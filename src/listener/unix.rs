//! The socket file of a Unix listener: bound, taken over from a process that left it behind, taken away at the end.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::retry_on_intr;
use socket2::{Domain, SockAddr, Socket, Type};

use super::accept::BACKLOG;

/// Why a path could not be bound.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnixError {
    /// Somebody listens on it, or has bound it to something else than a stream.
    #[error("the socket is in use")]
    InUse,
    /// What is there was not made by binding, so it is nobody's leftover.
    #[error("something else than a socket is there")]
    NotASocket,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The file of a bound socket. Dropping it removes the file, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Tells one socket file from another at the same path. The number of an inode is given again soon after a file is
/// gone, so its time belongs to it: that of the last change of contents, which a socket has none of, and which
/// changing owner or mode leaves alone.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    made: (i64, i64),
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            made: (file.mtime(), file.mtime_nsec()),
        }
    }
}

impl SocketFile {
    /// The file of a socket that another process has bound and left to this one.
    pub fn left_behind(path: &Path) -> io::Result<Self> {
        let _lock = Lock::take(path)?;
        let file = fs::symlink_metadata(path)?;
        if !file.file_type().is_socket() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            path: path.to_owned(),
            identity: Identity::of(&file),
        })
    }

    /// Leaves the file to another process, which listens on its socket.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Where the directory does not allow it, the next start finds the file stale.
        let Ok(_lock) = Lock::take(&self.path) else {
            return;
        };
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| file.file_type().is_socket() && Identity::of(&file) == self.identity);
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket to `path` and listens on it. A socket file on which nobody listens is left from an earlier run and
/// is replaced; whatever else is there stays, and is an error.
pub(super) fn bind(path: &Path) -> Result<(OwnedFd, SocketFile), UnixError> {
    let address = SockAddr::unix(path)?;
    let _lock = Lock::take(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error.into());
        }
        remove_stale(path, &address)?;
        socket.bind(&address)?;
    }
    let identity = Identity::of(&fs::symlink_metadata(path)?);
    let path = path.to_owned();
    let file = SocketFile { path, identity };
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Held while a socket file comes or goes. Between `bind` and `listen` a socket refuses connections like one that was
/// left behind, so that whoever starts at that moment would take the file of a listener that is about to live; and
/// between a look at a file and its removal another may take its place. A lock and not a name of its own from which the
/// file is renamed: of two who find the same leftover the later would still replace the file of the earlier, and `ss`,
/// `lsof` and `fuser` would know the socket by a name that nobody wrote.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    /// The lock ends with it, whatever becomes of the process.
    _file: File,
}

impl Lock {
    /// Takes the lock of the socket at `path`: an empty file beside it, there only as long as somebody holds it or
    /// waits for it. Whoever holds it does so for microseconds.
    fn take(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        // Something else that has the name is neither followed nor waited for.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        loop {
            let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
            retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            // Whoever held it before has removed the file since it was opened: then it locks nobody out.
            let held = Identity::of(&file.metadata()?);
            if fs::symlink_metadata(&path).is_ok_and(|there| Identity::of(&there) == held) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held, so that it is not that of another. What has contents was not made here.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file whose listener is gone. Only a refused connection proves that: one that is not permitted, or
/// that would have to wait for a full queue, speaks of a listener that lives.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), UnixError> {
    let before = fs::symlink_metadata(path)?;
    if !before.file_type().is_socket() {
        return Err(UnixError::NotASocket);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(address) {
        Ok(()) => return Err(UnixError::InUse),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => {}
            io::ErrorKind::WouldBlock => return Err(UnixError::InUse),
            // A socket of another type (EPROTOTYPE) has no kind of its own.
            _ if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                return Err(UnixError::InUse);
            }
            _ => return Err(error.into()),
        },
    }
    // Another process may have replaced the file meanwhile.
    if Identity::of(&fs::symlink_metadata(path)?) != Identity::of(&before) {
        return Err(UnixError::InUse);
    }
    Ok(fs::remove_file(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A directory that is gone with all that is in it when dropped.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("plimsoll-unix-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("socket")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_the_own_one_removed_at_the_end() {
        let directory = Directory::new("stale");
        let path = directory.file();
        drop(UnixListener::bind(&path).unwrap());
        let (_socket, file) = bind(&path).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_refused_also_when_its_queue_is_full() {
        let directory = Directory::new("live");
        let path = directory.file();
        let address = SockAddr::unix(&path).unwrap();
        let live = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        live.bind(&address).unwrap();
        live.listen(0).unwrap();
        let mut waiting = Vec::new();
        loop {
            assert!(matches!(bind(&path), Err(UnixError::InUse)));
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
            match client.connect(&address) {
                Ok(()) => waiting.push(client),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        assert!(matches!(bind(&path), Err(UnixError::InUse)));
        assert!(path.exists());
    }

    #[test]
    fn what_no_stream_socket_left_behind_is_never_touched() {
        let directory = Directory::new("regular");
        let path = directory.file();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(UnixError::NotASocket)));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let link = directory.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(bind(&link), Err(UnixError::NotASocket)));
        let datagrams = directory.0.join("datagrams");
        let _bound = std::os::unix::net::UnixDatagram::bind(&datagrams).unwrap();
        assert!(matches!(bind(&datagrams), Err(UnixError::InUse)));
        assert!(link.exists() && datagrams.exists());
    }

    #[test]
    fn of_many_who_start_at_once_one_listens_and_keeps_its_file() {
        let directory = Directory::new("race");
        let path = directory.file();
        for _ in 0..100 {
            drop(UnixListener::bind(&path).unwrap());
            let start = std::sync::Barrier::new(4);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let starters = [(); 4].map(|()| {
                    scope.spawn(|| {
                        start.wait();
                        bind(&path)
                    })
                });
                starters.map(|one| one.join().unwrap()).into()
            });
            std::os::unix::net::UnixStream::connect(&path).unwrap();
            let (listening, refused): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
            assert_eq!(listening.len(), 1);
            for one in refused {
                assert!(matches!(one, Err(UnixError::InUse)), "{one:?}");
            }
            drop(listening);
            let left = fs::read_dir(&directory.0).unwrap().count();
            assert_eq!(left, 0, "neither the socket nor its lock is left");
        }
    }

    #[test]
    fn a_file_that_was_left_to_another_is_removed_by_that_one() {
        let directory = Directory::new("left");
        let path = directory.file();
        assert!(SocketFile::left_behind(&path).is_err());
        let (_socket, file) = bind(&path).unwrap();
        file.leave();
        assert!(path.exists());
        drop(SocketFile::left_behind(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_has_the_name_of_the_lock_is_kept() {
        let directory = Directory::new("lock");
        let path = directory.file();
        let other = directory.0.join("socket.lock");
        fs::write(&other, "precious").unwrap();
        drop(bind(&path).unwrap());
        assert_eq!(fs::read(&other).unwrap(), b"precious");
    }

    #[test]
    fn the_socket_of_a_successor_is_left_alone() {
        let directory = Directory::new("successor");
        let path = directory.file();
        let (socket, file) = bind(&path).unwrap();
        drop(socket);
        // Keeps the number of the inode from being given again.
        fs::hard_link(&path, directory.0.join("first")).unwrap();
        let (_socket, successor) = bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(successor);
        assert!(path.exists());
    }
}
