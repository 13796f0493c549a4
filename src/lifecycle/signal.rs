//! What the system asks for: TERM and INT to end, HUP to read the file again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::Command;

/// The signals that are obeyed. From its creation on they no longer kill the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// To be called within the runtime that waits for them.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What the next signal asks for.
    pub(super) async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.terminate.recv() => Command::End,
            _ = self.interrupt.recv() => Command::End,
            _ = self.hangup.recv() => Command::Reread,
        }
    }
}
