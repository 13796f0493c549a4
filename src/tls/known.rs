//! What is made of the contents of files, found again as long as somebody uses it: whoever asks for the same gets the same,
//! on another listener and after a reload.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aws_lc_rs::digest::{Context, SHA256};

/// Stands for the contents of files and what is asked of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Takes a fingerprint, part after part.
pub struct Press(Context);

impl Press {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes one part in. Where it ends counts, too.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// The fingerprint of all parts.
    pub fn finish(self) -> Fingerprint {
        let mut all = [0; 32];
        all.copy_from_slice(self.0.finish().as_ref());
        Fingerprint(all)
    }
}

impl Default for Press {
    fn default() -> Self {
        Self::new()
    }
}

/// What was made, by its fingerprint.
pub struct Known<T: ?Sized>(Mutex<HashMap<Fingerprint, Weak<T>>>);

/// So many are kept, whether somebody uses them or not, before those that nobody does are forgotten.
const UNUSED: usize = 64;

impl<T: ?Sized> Known<T> {
    /// What is in use under this fingerprint, else what `make` gives.
    pub fn of<E>(
        &self,
        fingerprint: Fingerprint,
        make: impl FnOnce() -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let known = self.all().get(&fingerprint).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok(known);
        }
        // Without the lock: it takes long, and two who make the same do no harm.
        let made = make()?;
        let mut all = self.all();
        if all.len() >= UNUSED && all.len() == all.capacity() {
            all.retain(|_, known| known.strong_count() > 0);
        }
        all.insert(fingerprint, Arc::downgrade(&made));
        Ok(made)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Fingerprint, Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: ?Sized> fmt::Debug for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Known").field(&self.all().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn press(parts: &[&[u8]]) -> Fingerprint {
        let mut press = Press::new();
        parts.iter().for_each(|part| press.add(part));
        press.finish()
    }

    #[test]
    fn a_part_that_moves_to_another_changes_the_fingerprint() {
        assert_eq!(press(&[b"ab", b"c"]), press(&[b"ab", b"c"]));
        assert_ne!(press(&[b"ab", b"c"]), press(&[b"a", b"bc"]));
        assert_ne!(press(&[b"ab"]), press(&[b"ab", b""]));
    }

    #[test]
    fn the_same_is_found_as_long_as_it_is_used() {
        let known = Known::default();
        let of = |name: &[u8], value: u32| -> Arc<u32> {
            let made = known.of(press(&[name]), || Ok::<_, Infallible>(Arc::new(value)));
            made.unwrap()
        };
        let first = of(b"a", 1);
        assert_eq!((*of(b"a", 2), *of(b"b", 3)), (1, 3));
        drop(first);
        assert_eq!(*of(b"a", 4), 4);
        for name in 0..1000_u32 {
            of(&name.to_be_bytes(), name);
        }
        assert!(known.all().len() < 300, "what nobody uses is forgotten");
    }
}
