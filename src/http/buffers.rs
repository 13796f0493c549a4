//! Buffers that the connections of one worker share, so that none is held while a connection is idle.

use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::fields::Fields;
use super::head::{RequestHead, ResponseHead};
use super::pipe::{Pipe, Pipes};

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
    requests: Shelf<RequestHead>,
    responses: Shelf<ResponseHead>,
    fields: Shelf<Fields>,
    pipes: Pipes,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; SCRATCH]),
            free: RefCell::new(Vec::new()),
            requests: Shelf::default(),
            responses: Shelf::default(),
            fields: Shelf::default(),
            pipes: Pipes::default(),
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

    /// Frees what is kept for reuse.
    pub fn free_kept(&self) {
        self.0.free.take();
        self.0.requests.0.take();
        self.0.responses.0.take();
        self.0.fields.0.take();
    }

    /// An empty pipe for a large body, if there is one left.
    pub fn pipe(&self) -> Option<Pipe> {
        self.0.pipes.lend()
    }

    /// An empty request head.
    pub fn request_head(&self) -> Lent<RequestHead> {
        self.0.requests.lend()
    }

    /// An empty response head.
    pub fn response_head(&self) -> Lent<ResponseHead> {
        self.0.responses.lend()
    }

    /// An empty list of fields.
    pub fn fields(&self) -> Lent<Fields> {
        self.0.fields.lend()
    }
}

/// Something that keeps its memory when it is emptied.
pub trait Reusable: Default {
    /// Empties it.
    fn clear(&mut self);
}

impl Reusable for RequestHead {
    fn clear(&mut self) {
        Self::clear(self);
    }
}

impl Reusable for ResponseHead {
    fn clear(&mut self) {
        Self::clear(self);
    }
}

impl Reusable for Fields {
    fn clear(&mut self) {
        Self::clear(self);
    }
}

/// Values that wait for their next use.
struct Shelf<T>(Rc<RefCell<Vec<Box<T>>>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<T: Reusable> Shelf<T> {
    fn lend(&self) -> Lent<T> {
        let value = self.0.borrow_mut().pop().unwrap_or_default();
        Lent {
            value: Some(value),
            shelf: Rc::clone(&self.0),
        }
    }
}

/// A value that goes back to where it was taken from when it is dropped.
pub struct Lent<T: Reusable> {
    value: Option<Box<T>>,
    shelf: Rc<RefCell<Vec<Box<T>>>>,
}

impl<T: Reusable> Deref for Lent<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("taken only in drop")
    }
}

impl<T: Reusable> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("taken only in drop")
    }
}

impl<T: Reusable> Drop for Lent<T> {
    fn drop(&mut self) {
        let mut shelf = self.shelf.borrow_mut();
        if let Some(mut value) = self.value.take()
            && shelf.len() < KEPT
        {
            value.clear();
            shelf.push(value);
        }
    }
}
