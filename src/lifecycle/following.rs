//! Following the names and files of endpoints that are in use: a task for each, on the control thread's runtime.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::config::{Config, Discovery};
use crate::discovery::follow::follow;
use crate::discovery::supply::Means;
use crate::discovery::{Feed, Source};

/// How long changes are gathered before they are put in force together: many names change at once when a fleet is replaced.
const GATHERED: Duration = Duration::from_millis(100);

/// The tasks; they end when it is dropped.
pub(super) struct Following {
    means: Means,
    changed: Arc<Notify>,
    tasks: HashMap<(String, Source), Task>,
}

struct Task {
    rules: Discovery,
    feed: Arc<Feed>,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Following {
    pub(super) fn new(means: Means) -> Self {
        Self {
            means,
            changed: Arc::default(),
            tasks: HashMap::new(),
        }
    }

    /// Waits for another list of any of them.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
        tokio::time::sleep(self.means.clock.real(GATHERED)).await;
    }

    /// Follows from now on what this configuration needs, and nothing else.
    pub(super) fn keep_to(&mut self, config: &Config) {
        let mut wanted = HashSet::new();
        for (name, written) in &config.upstreams {
            for feed in self.means.supply.wanted(name, written) {
                wanted.insert((feed.upstream.clone(), feed.source.clone()));
                self.follow(feed, &written.discovery);
            }
        }
        self.tasks.retain(|key, _| wanted.contains(key));
        self.means.supply.retain(&wanted);
    }

    fn follow(&mut self, feed: Arc<Feed>, rules: &Discovery) {
        let key = (feed.upstream.clone(), feed.source.clone());
        let known = self.tasks.get(&key);
        let is_followed = |task: &Task| {
            // One that ended has panicked, which is a bug that must not last longer than it has to.
            task.rules == *rules && Arc::ptr_eq(&task.feed, &feed) && !task.handle.is_finished()
        };
        if known.is_some_and(is_followed) {
            return;
        }
        // Other servers may know better.
        let at_once = known.is_some();
        let following = follow(
            self.means.clone(),
            Arc::clone(&feed),
            rules.clone(),
            Arc::clone(&self.changed),
            at_once,
        );
        let handle = tokio::spawn(following).abort_handle();
        let rules = rules.clone();
        self.tasks.insert(
            key,
            Task {
                rules,
                feed,
                handle,
            },
        );
    }
}
