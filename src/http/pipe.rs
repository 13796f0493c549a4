//! Kernel pipes by which body bytes go from one socket to another without being copied through this process
//! (`splice(2)`): what a socket received is moved into the pipe page by page, and from there to the other socket.
//!
//! A pipe costs two descriptors and, while it is full, kernel memory; so a worker has a bounded number of them, and a
//! body that gets none is copied.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Bytes that a pipe is asked to hold. The kernel may refuse (a user may have 64 MiB in all unless privileged); its
/// default of 64 KiB serves too.
const CAPACITY: usize = 256 * 1024;
/// Pipes of one worker, in use and kept.
const PIPES: usize = 64;

/// The pipes of one worker.
#[derive(Clone, Default)]
pub(super) struct Pipes(Rc<Shelf>);

#[derive(Default)]
struct Shelf {
    free: RefCell<Vec<Ends>>,
    made: Cell<usize>,
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe on loan. Dropping it gives it back, or closes it when bytes are left in it.
pub struct Pipe {
    ends: Option<Ends>,
    held: usize,
    shelf: Rc<Shelf>,
}

impl Pipes {
    /// An empty pipe; `None` when all are in use or the system has no descriptor left.
    pub(super) fn lend(&self) -> Option<Pipe> {
        let kept = self.0.free.borrow_mut().pop();
        let ends = match kept {
            Some(ends) => ends,
            None if self.0.made.get() < PIPES => {
                let ends = Ends::open().ok()?;
                self.0.made.set(self.0.made.get() + 1);
                ends
            }
            None => return None,
        };
        Some(Pipe {
            ends: Some(ends),
            held: 0,
            shelf: Rc::clone(&self.0),
        })
    }
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&write, CAPACITY);
        Ok(Self { read, write })
    }
}

impl Pipe {
    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes up to `most` bytes from a socket; 0 is the end of its stream. Only while the pipe is empty: a full one
    /// and an empty socket give the same error.
    pub(crate) fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        let count = splice(
            from,
            None,
            &self.ends().write,
            None,
            most.min(CAPACITY),
            SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
        )?;
        self.held += count;
        Ok(count)
    }

    /// Gives a socket what it takes of the held bytes.
    pub(crate) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count = splice(
            &self.ends().read,
            None,
            to,
            None,
            self.held,
            SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
        )?;
        self.held -= count;
        Ok(count)
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("taken only in drop")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        if self.held == 0 {
            self.shelf.free.borrow_mut().push(ends);
        } else {
            self.shelf.made.set(self.shelf.made.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::{PIPES, Pipes};

    #[test]
    fn bytes_go_through_and_an_emptied_pipe_is_lent_again() {
        let pipes = Pipes::default();
        let (mut source, from) = UnixStream::pair().unwrap();
        let (to, mut sink) = UnixStream::pair().unwrap();
        for round in 0..3 {
            let mut pipe = pipes.lend().unwrap();
            source.write_all(b"some bytes").unwrap();
            assert_eq!(pipe.fill(&from, 4).unwrap(), 4, "no more than asked for");
            assert_eq!(pipe.drain(&to).unwrap(), 4);
            assert_eq!(pipe.fill(&from, 100).unwrap(), 6);
            assert_eq!(pipe.drain(&to).unwrap(), 6);
            let mut received = [0; 10];
            sink.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"some bytes");
            drop(pipe);
            assert_eq!(pipes.0.made.get(), 1, "round {round}");
        }
    }

    #[test]
    fn a_pipe_with_bytes_left_is_never_lent_again() {
        let pipes = Pipes::default();
        let (mut source, from) = UnixStream::pair().unwrap();
        source.write_all(b"secret").unwrap();
        let mut pipe = pipes.lend().unwrap();
        assert_eq!(pipe.fill(&from, 100).unwrap(), 6);
        drop(pipe);
        assert_eq!(pipes.0.made.get(), 0);
        assert!(pipes.0.free.borrow().is_empty());
    }

    #[test]
    fn a_worker_has_a_bounded_number_of_pipes() {
        let pipes = Pipes::default();
        let lent: Vec<_> = (0..PIPES).map(|_| pipes.lend().unwrap()).collect();
        assert!(pipes.lend().is_none());
        drop(lent);
        assert!(pipes.lend().is_some());
    }
}
