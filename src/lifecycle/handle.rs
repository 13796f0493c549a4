//! A proxy that runs beside the caller: its control loop on a thread of its own. For tests and experiments.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::control::{Command, Commands, Ended, Options, Running, Say};
use super::{Changes, Notify, ReloadError};
use crate::admin::Live;
use crate::config::Config;

/// A running proxy; it stops when dropped.
pub struct Handle {
    pub live: Arc<Live>,
    commands: Commands,
    thread: Option<JoinHandle<Ended>>,
}

impl Running {
    /// Lets the control loop run on a thread of its own, without signals; `say` hears what it has to tell.
    pub fn spawn(self, say: Say) -> std::io::Result<Handle> {
        let (live, commands) = (Arc::clone(&self.live), self.commands());
        let options = Options {
            file: None,
            signals: false,
            say,
            notify: Notify::off(),
            predecessor: None,
        };
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || self.serve(options))?;
        Ok(Handle {
            live,
            commands,
            thread: Some(thread),
        })
    }
}

impl Handle {
    /// Puts another configuration in force, or changes nothing and says why.
    pub async fn reload(&self, config: Config) -> Result<Changes, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let _ = self
            .commands
            .send(Command::Reload(Box::new(config), answer));
        answered.await.unwrap_or(Err(ReloadError::Ending))
    }

    /// Begins to drain.
    pub fn drain(&self) {
        let _ = self.commands.send(Command::Drain);
    }

    /// Whether the control loop has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of what was asked to drain or to stop.
    pub fn join(mut self) -> Ended {
        let ended = self.thread.take().map(JoinHandle::join);
        match ended {
            Some(Ok(ended)) => ended,
            _ => Ended::Failed("the control thread panicked".to_owned()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already printed by the panic hook.
            let _ = thread.join();
        }
    }
}
