//! Ending: no traffic wanted any more, then accepting nothing new and finishing what runs, within a bound.
//!
//! When which of these is due is decided by `ending`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::control::{Say, WorkerEnd};
use super::cut::Ended;
use super::ending::Spans;
use crate::admin::Live;
use crate::admin::live::Farewell;
use crate::clock::Instant;
use crate::config::units::format_duration;
use crate::worker::Mail;

/// What cutting may take: a worker that hangs is then left to the end of the process.
const CUT: Duration = Duration::from_secs(1);

/// How long draining may take, as configured now.
pub(super) fn spans(live: &Live) -> Spans {
    let config = &live.snapshot.load().config;
    Spans {
        delay: config.drain_delay,
        timeout: config.drain_timeout,
    }
}

/// Turns readiness negative, while connections are still accepted until `closes`.
pub(super) fn leave(live: &Live, now: Instant, closes: Instant, say: &Say) {
    let left = closes.since(now);
    if !left.is_zero() {
        let left = format_duration(left);
        say(&format!(
            "plimsoll: not ready any more; connections are still accepted for {left}"
        ));
    }
    live.bid(Farewell {
        since: now,
        closes: Some(closes),
        deadline: None,
    });
}

/// Tells every worker to accept nothing new, to finish what runs and then to end. Sets of sockets that are `left` are
/// another process's.
pub(super) fn close(
    live: &Live,
    now: Instant,
    deadline: Option<Instant>,
    left: HashSet<usize>,
    say: &Say,
) {
    let open = open(live);
    let allowed = match deadline {
        Some(deadline) => format_duration(deadline.since(now)),
        None => "as long as it takes".to_owned(),
    };
    say(&format!("plimsoll: draining: {open} {allowed}"));
    bound(live, deadline);
    let left = Arc::new(left);
    tell(live, || Mail::Drain {
        left: Arc::clone(&left),
    });
}

/// How many connections are open, to be followed by the time that they have.
pub(super) fn open(live: &Live) -> String {
    match live.connections() {
        1 => "1 connection is open and has".to_owned(),
        open => format!("{open} connections are open and have"),
    }
}

/// What is left, in a line.
pub(super) fn status(live: &Live) -> String {
    let open = live.connections();
    let plural = if open == 1 { "" } else { "s" };
    format!("draining: {open} connection{plural} open")
}

/// Shows until when what runs may be finished.
pub(super) fn bound(live: &Live, deadline: Option<Instant>) {
    let since = live.farewell().map(|farewell| farewell.since);
    live.bid(Farewell {
        since: since.unwrap_or_else(|| live.clock.now()),
        closes: None,
        deadline,
    });
}

/// Ends every worker at once, and says which requests that cut; gives how many connections.
pub(super) async fn cut(
    live: &Live,
    ends: &mut mpsc::UnboundedReceiver<WorkerEnd>,
    mut left: usize,
    say: &Say,
) -> usize {
    bound(live, Some(live.clock.now()));
    let connections = live.connections();
    let before = Ended::read(live);
    tell(live, || Mail::Stop);
    let ending = async {
        while left > 0 && ends.recv().await.is_some() {
            left -= 1;
        }
    };
    let _ = tokio::time::timeout(CUT, ending).await;
    if let Some(cut) = Ended::read(live).since(&before) {
        say(&format!("plimsoll: {cut}"));
    }
    connections
}

fn tell(live: &Live, mail: impl Fn() -> Mail) {
    for mailbox in live.mailboxes.iter() {
        // A worker that has ended already needs no telling.
        let _ = mailbox.inbox.send(mail());
    }
}
