//! Following one source: asking it again and again, and telling when its list is another one.

use std::sync::Arc;

use tokio::sync::Notify;

use super::supply::Means;
use super::{Feed, Source};
use crate::config::Discovery;
use crate::watch::Watch;

/// Goes on until it is dropped. `changed` is notified of each other list; `at_once`: it is asked now, whenever it is due.
pub async fn follow(
    means: Means,
    feed: Arc<Feed>,
    rules: Discovery,
    changed: Arc<Notify>,
    mut at_once: bool,
) {
    match &feed.source {
        Source::File(path) => {
            let mut watch = Watch::open(path, rules.poll).await;
            loop {
                // Read also when nothing was told: what changed before the watch began was told to nobody.
                if means.ask(&feed, &rules).await {
                    changed.notify_one();
                }
                watch.next(&means.clock).await;
            }
        }
        Source::Host(_) | Source::Srv(_) => loop {
            if !std::mem::take(&mut at_once) {
                let pause = feed.due().since(means.clock.now());
                tokio::time::sleep(means.clock.real(pause)).await;
            }
            if means.ask(&feed, &rules).await {
                changed.notify_one();
            }
        },
    }
}
