//! What the first process of a container owes the others: whoever loses its parent there becomes its child, and stays in
//! the table of processes until it is waited for.

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for whoever ends as a child of this process, where this is the first process. That one starts none itself (it
/// refuses upgrades), so that nobody else waits for any. To be called within a runtime, and ends with it.
pub(super) fn take_in() {
    if std::process::id() != 1 {
        return;
    }
    // Without it the process serves all the same.
    let Ok(mut ends) = signal(SignalKind::child()) else {
        return;
    };
    tokio::spawn(async move {
        while ends.recv().await.is_some() {
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        }
    });
}
