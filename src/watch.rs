//! Being told when a file changes: one of endpoints, of the configuration, of a certificate.
//!
//! What is watched is the folder of the path, that of the file behind it, and that file: whoever replaces a file renames
//! another one over it, whoever mounts one swaps a symbolic link (Kubernetes), and some write in place. Where nothing can be
//! watched, or the system does not see the change, `poll` finds it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::read;

/// How long a file must stay as it is before it counts: what is written in place is there in part for a while.
const SETTLED: Duration = Duration::from_millis(100);
/// How often it is looked at for that before it is taken as it is.
const LOOKS: usize = 50;

/// Tells when a file may have changed.
pub struct Watch {
    path: PathBuf,
    poll: Duration,
    touched: Arc<Notify>,
    /// `None` only while it is renewed, or if that panicked.
    cover: Option<Cover>,
    /// What it held when it last was looked at.
    seen: Option<Vec<u8>>,
}

/// What is watched.
#[derive(Default)]
struct Cover {
    /// `None`: the system has no more watches to give; it is asked again with each poll.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Watch {
    /// Looks at the file now, and then at least each `poll`.
    pub async fn open(path: &Path, poll: Duration) -> Self {
        let mut watch = Self {
            path: path.to_owned(),
            poll,
            touched: Arc::default(),
            cover: None,
            seen: None,
        };
        watch.cover().await;
        watch.seen = watch.look().await;
        watch
    }

    /// Waits until the file is to be read again: it holds something else and has settled, or it is time to poll.
    pub async fn next(&mut self, clock: &Clock) {
        let due = clock.now() + self.poll;
        loop {
            let left = clock.real(due.since(clock.now()));
            // Whoever came between the last look and now has left a note.
            let told = tokio::time::timeout(left, self.touched.notified()).await;
            let is_due = told.is_err();
            let has_changed = self.settle(clock).await;
            // The file behind the path may be another one, in another folder.
            self.cover().await;
            if is_due || has_changed {
                return;
            }
            // Somebody writes other files beside it, a log perhaps: not each line is worth a look.
            tokio::time::sleep(clock.real(SETTLED)).await;
        }
    }

    /// Looks until it finds the same twice, and says whether that is something else than before.
    async fn settle(&mut self, clock: &Clock) -> bool {
        let mut before = self.seen.take();
        let mut has_changed = false;
        for _ in 0..LOOKS {
            self.seen = self.look().await;
            if self.seen == before {
                break;
            }
            has_changed = true;
            before = self.seen.take();
            tokio::time::sleep(clock.real(SETTLED)).await;
        }
        has_changed
    }

    async fn look(&self) -> Option<Vec<u8>> {
        let path = self.path.clone();
        let looking = tokio::task::spawn_blocking(move || read::bytes(&path).ok());
        looking.await.ok().flatten()
    }

    /// Watches what is to be watched now. Off this thread: a file system that hangs must hold nobody up but this watch.
    async fn cover(&mut self) {
        let mut cover = self.cover.take().unwrap_or_default();
        let (path, touched) = (self.path.clone(), Arc::clone(&self.touched));
        let renewing = tokio::task::spawn_blocking(move || {
            cover.renew(&path, &touched);
            cover
        });
        self.cover = renewing.await.ok();
    }
}

impl Cover {
    /// Watches what is to be watched now. Blocks.
    fn renew(&mut self, path: &Path, touched: &Arc<Notify>) {
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
        let places = places(path);
        for gone in self.watched.difference(&places) {
            // It is not watched any more when it was removed.
            let _ = watcher.unwatch(gone);
        }
        let mut covered = BTreeSet::new();
        for place in places {
            // Watched anew each time: what was removed and made again is another one, though its name is the same.
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

/// The folder of the path as written, the file behind it, and its folder.
fn places(path: &Path) -> BTreeSet<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut places = BTreeSet::from([folder(path)]);
    if let Ok(real) = path.canonicalize() {
        places.insert(folder(&real));
        places.insert(real);
    }
    places
}

/// Whether an event can mean another content; looking at the file causes events, too.
fn changes(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
