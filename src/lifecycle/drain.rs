//! Ending: no traffic wanted any more, then accepting nothing new and finishing what runs, within a bound.
//!
//! When which of these is due is decided by [`ending`](super::ending).

use std::time::Duration;

use tokio::sync::mpsc;

use super::control::{Say, WorkerEnd};
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

/// Tells every worker to accept nothing new, to finish what runs and then to end.
pub(super) fn close(live: &Live, now: Instant, deadline: Option<Instant>, say: &Say) {
    let open = live.connections();
    let (plural, have) = if open == 1 {
        ("connection is", "has")
    } else {
        ("connections are", "have")
    };
    let allowed = match deadline {
        Some(deadline) => format_duration(deadline.since(now)),
        None => "all the time they need".to_owned(),
    };
    say(&format!(
        "plimsoll: draining: {open} {plural} open and {have} {allowed}"
    ));
    bound(live, deadline);
    tell(live, || Mail::Drain);
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

/// Ends every worker at once; gives how many connections were cut.
pub(super) async fn cut(
    live: &Live,
    ends: &mut mpsc::UnboundedReceiver<WorkerEnd>,
    mut left: usize,
) -> usize {
    bound(live, Some(live.clock.now()));
    let connections = live.connections();
    tell(live, || Mail::Stop);
    let ending = async {
        while left > 0 && ends.recv().await.is_some() {
            left -= 1;
        }
    };
    let _ = tokio::time::timeout(CUT, ending).await;
    connections
}

fn tell(live: &Live, mail: impl Fn() -> Mail) {
    for mailbox in live.mailboxes.iter() {
        // A worker that has ended already needs no telling.
        let _ = mailbox.inbox.send(mail());
    }
}
