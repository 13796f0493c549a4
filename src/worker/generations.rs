//! Which configurations that were replaced still have exchanges on this worker. Nothing is counted for it: an exchange
//! holds its listener as its configuration has it, and how often that is held is known anyway.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::view::{ListenerView, View};
use crate::clock::Instant;

/// A configuration that was replaced, and what still runs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Older {
    pub generation: u64,
    /// Exchanges: requests, streams and tunnels.
    pub streams: usize,
    /// When it was replaced.
    pub replaced: Instant,
}

#[derive(Default)]
pub(super) struct Generations(RefCell<Vec<Replaced>>);

struct Replaced {
    generation: u64,
    at: Instant,
    /// Held by requests that have no answer yet; holds the listeners itself.
    view: Weak<View>,
    listeners: Vec<Weak<ListenerView>>,
}

impl Replaced {
    fn streams(&self) -> usize {
        let held: usize = self.listeners.iter().map(Weak::strong_count).sum();
        let own = if self.view.strong_count() > 0 {
            self.listeners.len()
        } else {
            0
        };
        held - own.min(held)
    }
}

impl Generations {
    /// `view` is no more in force. A view of the same generation follows when a list of endpoints has changed.
    pub(super) fn replace(&self, view: &Rc<View>, now: Instant) {
        self.0.borrow_mut().push(Replaced {
            generation: view.snapshot.generation,
            at: now,
            view: Rc::downgrade(view),
            listeners: view.listeners().map(Rc::downgrade).collect(),
        });
    }

    /// Those before `generation` on which anything runs; forgets what nothing runs on any more.
    pub(super) fn read(&self, generation: u64) -> Vec<Older> {
        let mut all = self.0.borrow_mut();
        all.retain(|one| one.view.strong_count() > 0 || one.streams() > 0);
        let mut older: Vec<Older> = Vec::new();
        for one in all.iter().filter(|one| one.generation < generation) {
            let streams = one.streams();
            match older.last_mut() {
                Some(last) if last.generation == one.generation => {
                    last.streams += streams;
                    last.replaced = one.at;
                }
                _ => older.push(Older {
                    generation: one.generation,
                    streams,
                    replaced: one.at,
                }),
            }
        }
        older.retain(|one| one.streams > 0);
        older
    }
}

/// What several workers have, together, the oldest first.
pub fn together(each: impl IntoIterator<Item = Older>) -> Vec<Older> {
    let mut all: Vec<Older> = each.into_iter().collect();
    all.sort_by_key(|one| one.generation);
    all.dedup_by(|next, kept| {
        let same = next.generation == kept.generation;
        if same {
            kept.streams += next.streams;
            kept.replaced = kept.replaced.min(next.replaced);
        }
        same
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_generation_are_summed_over_the_workers() {
        let older = |generation, streams, replaced| Older {
            generation,
            streams,
            replaced: Instant(replaced),
        };
        let each = [
            older(3, 1, 30),
            older(7, 2, 70),
            older(3, 4, 29),
            older(1, 1, 10),
        ];
        let expected = [older(1, 1, 10), older(3, 5, 29), older(7, 2, 70)];
        assert_eq!(together(each), expected);
    }
}
