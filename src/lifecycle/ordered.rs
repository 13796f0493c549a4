//! Obeying what operators ask for through the admin API.

use std::path::PathBuf;

use serde_json::json;
use tokio::sync::oneshot;

use super::Changes;
use super::reload::{Job, ReloadError, Reloader, Source};
use crate::admin::command::{Command, Order, Told};

/// Begins with what was ordered; its answer is given when it is done.
pub(super) fn obey(order: Order, file: Option<PathBuf>, reloader: &Reloader) {
    let Order { command, answer } = order;
    match command {
        Command::Reload => reload(file, reloader, answer),
    }
}

/// To be called within a runtime.
fn reload(file: Option<PathBuf>, reloader: &Reloader, answer: oneshot::Sender<Told>) {
    let Some(path) = file else {
        let _ = answer.send(reloaded(&Err(ReloadError::NoFile)));
        return;
    };
    let (done, outcome) = oneshot::channel();
    reloader.ask(Job {
        source: Source::File(path),
        answer: Some(done),
    });
    tokio::spawn(async move {
        let outcome = outcome.await.unwrap_or(Err(ReloadError::Ending));
        // Whoever asked may have left.
        let _ = answer.send(reloaded(&outcome));
    });
}

/// What is told of a reload.
fn reloaded(outcome: &Result<Changes, ReloadError>) -> Told {
    match outcome {
        Ok(changes) => Told {
            status: 200,
            body: json!({ "applied": true, "changes": changes, "text": changes.to_string() }),
        },
        Err(error) => Told {
            status: match error {
                ReloadError::Ending => 503,
                ReloadError::Panicked => 500,
                _ => 409,
            },
            body: json!({ "applied": false, "error": error.to_string() }),
        },
    }
}
