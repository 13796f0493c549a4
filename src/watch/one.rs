//! Following one file by its content.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::cover::Cover;
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
            cover.renew(&HashSet::from([path]), &touched);
            cover
        });
        self.cover = renewing.await.ok();
    }
}
