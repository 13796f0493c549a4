//! Buffers that the connections of one worker share, so that none is held while a connection is idle.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

/// Bytes read from a socket at once.
pub const SCRATCH: usize = 64 * 1024;
/// Kept for reuse; more are freed.
const KEPT: usize = 256;
/// A buffer that grew beyond this is freed instead of kept.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Cheap to clone; all clones share the same buffers.
#[derive(Clone, Default)]
pub struct Buffers(Rc<Shared>);

struct Shared {
    scratch: RefCell<Vec<u8>>,
    free: RefCell<Vec<Vec<u8>>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH]),
            free: RefCell::new(Vec::new()),
        }
    }
}

impl Buffers {
    /// The one large buffer of the worker. Borrowed within a single poll, never across an await, and never twice:
    /// only the outermost of the functions that read a socket borrows it.
    pub fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        self.0.scratch.borrow_mut()
    }

    /// An empty buffer, with capacity from earlier use where there is one.
    pub fn take(&self) -> Vec<u8> {
        self.0.free.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back for reuse.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity == 0 || capacity > KEPT_CAPACITY {
            return;
        }
        let mut free = self.0.free.borrow_mut();
        if free.len() < KEPT {
            buffer.clear();
            free.push(buffer);
        }
    }
}
