//! Following the file of the configuration: told of each time when it may hold something else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::watch::Watch;

/// Watches as the configuration in force says.
pub(super) struct Watching {
    path: Option<PathBuf>,
    clock: Clock,
    touched: Arc<Notify>,
    task: Option<(Duration, JoinHandle<()>)>,
}

impl Watching {
    /// Watches nothing yet; nothing ever without a file.
    pub(super) fn new(path: Option<&Path>, clock: Clock) -> Self {
        Self {
            path: path.map(Path::to_owned),
            clock,
            touched: Arc::default(),
            task: None,
        }
    }

    /// From now on as `config` says. To be called within a runtime.
    pub(super) fn keep_to(&mut self, config: &Config) {
        let wanted = config.watch.as_ref().map(|watch| watch.poll);
        let wanted = wanted.filter(|_| self.path.is_some());
        if self.task.as_ref().map(|(poll, _)| *poll) == wanted {
            return;
        }
        if let Some((_, task)) = self.task.take() {
            task.abort();
        }
        if let (Some(poll), Some(path)) = (wanted, &self.path) {
            let (path, clock, touched) = (path.clone(), self.clock, Arc::clone(&self.touched));
            let task = tokio::spawn(async move {
                let mut watch = Watch::open(&path, poll).await;
                loop {
                    // At first as well: it may have changed since it was read.
                    touched.notify_one();
                    watch.next(&clock).await;
                }
            });
            self.task = Some((poll, task));
        }
    }

    /// Waits until the file may hold something else.
    pub(super) async fn changed(&self) {
        self.touched.notified().await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some((_, task)) = self.task.take() {
            task.abort();
        }
    }
}
