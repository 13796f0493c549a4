//! Many files at once: what shows that one has changed, and being told of it. A listener may have ten thousand, and a process may
//! have 128 watchers.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// What is another one when a file was replaced or written; `None` where it cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, u64, i64, i64)>);

/// Looks at files, through symbolic links. Blocks.
pub fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let each = files.iter().map(|file| {
        let found = std::fs::metadata(file).ok();
        Stamp(found.map(|found| {
            (
                found.dev(),
                found.ino(),
                found.size(),
                found.mtime(),
                found.mtime_nsec(),
            )
        }))
    });
    each.collect()
}

/// What is watched: folders, and files themselves where they are few.
#[derive(Default)]
pub struct Cover {
    /// `None`: the system has no more watches to give; it is asked again the next time.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

/// So many files are watched themselves, beside their folders. It matters only for a file that is mounted on its own, whose folder
/// sees nothing of what is written to it; of more, the poll finds it.
const FEW: usize = 256;

impl Cover {
    /// Watches what is to be watched now, and has `touched` notified of each change. Blocks.
    pub fn renew(&mut self, files: &HashSet<PathBuf>, touched: &Arc<Notify>) {
        if files.is_empty() {
            *self = Self::default();
            return;
        }
        if self.watcher.is_none() {
            let touched = Arc::clone(touched);
            self.watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
                if event.as_ref().map_or(true, changes) {
                    touched.notify_one();
                }
            })
            .ok();
            self.watched.clear();
        }
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let places = places(files);
        for gone in self.watched.difference(&places) {
            // It is not watched any more when it was removed.
            let _ = watcher.unwatch(gone);
        }
        let mut covered = BTreeSet::new();
        for place in places {
            // Files anew each time: what was removed and made again is another one, though its name is the same.
            let known = self.watched.contains(&place) && place.is_dir();
            if known || watcher.watch(&place, RecursiveMode::NonRecursive).is_ok() {
                covered.insert(place);
            }
        }
        if covered != self.watched {
            // What was written between the last look and now was seen by nobody.
            touched.notify_one();
        }
        self.watched = covered;
    }
}

/// The folders of the paths as written and of the files behind them; and these, where they are few.
fn places(files: &HashSet<PathBuf>) -> BTreeSet<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut places = BTreeSet::new();
    for file in files {
        places.insert(folder(file));
        if let Ok(real) = file.canonicalize() {
            places.insert(folder(&real));
            if files.len() <= FEW {
                places.insert(real);
            }
        }
    }
    places
}

/// Whether an event can mean another content; looking at files causes events, too.
fn changes(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
