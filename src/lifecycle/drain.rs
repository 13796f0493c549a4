//! Ending: accepting nothing new and finishing what runs, within a bound.

use std::time::Duration;

use tokio::sync::mpsc;

use super::control::{Say, WorkerEnd};
use crate::admin::Live;
use crate::config::units::format_duration;
use crate::worker::Mail;

/// What cutting may take: a worker that hangs is then left to the end of the process.
const CUT: Duration = Duration::from_secs(1);

/// Tells every worker to accept nothing new, to finish what runs and then to end.
pub(super) fn begin(live: &Live, allowed: Duration, say: &Say) {
    let (open, allowed) = (live.connections(), format_duration(allowed));
    say(&format!(
        "plimsoll: draining: {open} connections are open and have {allowed}"
    ));
    live.begin_draining();
    tell(live, || Mail::Drain);
}

/// Ends every worker at once; gives how many connections were cut.
pub(super) async fn cut(
    live: &Live,
    ends: &mut mpsc::UnboundedReceiver<WorkerEnd>,
    mut left: usize,
) -> usize {
    live.begin_draining();
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
