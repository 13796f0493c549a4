//! What the system asks for by signals. Those that are obeyed no longer kill the process, from the moment on that it
//! listens to them; as the first process of a container, too, where signals that nobody listens to are lost.
//!
//! | signal | asks for |
//! |---|---|
//! | TERM, INT | draining within `drain_timeout`; a second one ends at once |
//! | QUIT | draining however long it takes |
//! | HUP | the file to be read again, and the log files opened anew |
//! | USR1 | the log files opened anew |
//! | USR2 | another process of the program to take over |

use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::Command;

/// The signals that are obeyed.
pub(super) struct Signals([(Signal, fn() -> Command); 6]);

impl Signals {
    /// To be called within the runtime that waits for them.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self([
            (signal(SignalKind::terminate())?, || Command::End),
            (signal(SignalKind::interrupt())?, || Command::End),
            (signal(SignalKind::quit())?, || Command::Quit),
            (signal(SignalKind::hangup())?, || Command::Reread),
            (signal(SignalKind::user_defined1())?, || Command::ReopenLogs),
            (signal(SignalKind::user_defined2())?, || Command::Upgrade),
        ]))
    }

    /// What the next signal asks for.
    pub(super) async fn next(&mut self) -> Command {
        std::future::poll_fn(|cx| {
            for (signal, command) in &mut self.0 {
                if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                    return Poll::Ready(command());
                }
            }
            Poll::Pending
        })
        .await
    }
}
