//! Obeying what operators ask for through the admin API.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::oneshot;

use super::diff::{Diff, diff};
use super::reload::{Job, ReloadError, Reloader, Source};
use super::{Changes, control, drain};
use crate::admin::Live;
use crate::admin::command::{Command, Order, Told};
use crate::admin::live::Cause;
use crate::config::Refusal;
use crate::config::units::format_duration;

/// Begins with what was ordered; its answer is given when it is done, or has begun where that ends the process. Gives
/// what is left for the control loop to do.
pub(super) fn obey(order: Order, reloader: &Reloader, live: &Live) -> Option<control::Command> {
    let Order { command, answer } = order;
    match command {
        Command::Reload => reload(reloader, answer),
        Command::Diff => compare(reloader, answer),
        Command::Drain => {
            // Whoever asked may have left.
            let _ = answer.send(draining(live));
            return Some(control::Command::Drain);
        }
    }
    None
}

/// What is told of a drain that begins, or has begun before.
fn draining(live: &Live) -> Told {
    let spans = drain::spans(live);
    let timeout = format_duration(spans.timeout);
    let mut text = format!("draining: {} {timeout}", drain::open(live));
    if !spans.delay.is_zero() {
        let delay = format_duration(spans.delay);
        text.push_str(&format!(", beginning in {delay}"));
    }
    Told {
        status: 202,
        body: json!({
            "draining": true,
            "connections_open": live.connections(),
            "drain_delay_seconds": spans.delay.as_secs_f64(),
            "drain_timeout_seconds": spans.timeout.as_secs_f64(),
            "text": text,
        }),
    }
}

/// To be called within a runtime.
fn reload(reloader: &Reloader, answer: oneshot::Sender<Told>) {
    let Some(origin) = &reloader.origin else {
        let _ = answer.send(reloaded(&Err(ReloadError::NoFile)));
        return;
    };
    let (done, outcome) = oneshot::channel();
    reloader.ask(Job {
        source: Source::File(Arc::clone(origin)),
        cause: Cause::Api,
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
        Err(error) => refused(error),
    }
}

/// What is told of a file that cannot be put in force.
fn refused(error: &ReloadError) -> Told {
    let diagnostics = match error {
        ReloadError::Refused(Refusal { diagnostics, .. }) => Some(diagnostics),
        _ => None,
    };
    Told {
        status: match error {
            ReloadError::Ending => 503,
            ReloadError::Panicked => 500,
            _ => 409,
        },
        body: json!({ "applied": false, "error": error.to_string(), "diagnostics": diagnostics }),
    }
}

/// Compares the file with what is in force. To be called within a runtime.
fn compare(reloader: &Reloader, answer: oneshot::Sender<Told>) {
    let (origin, live) = (reloader.origin.clone(), Arc::clone(&reloader.live));
    tokio::spawn(async move {
        let compared = tokio::task::spawn_blocking(move || {
            let origin = origin.ok_or(ReloadError::NoFile)?;
            diff(&origin, &live.snapshot.load())
        });
        let told = match compared.await.unwrap_or(Err(ReloadError::Panicked)) {
            Ok(diff) => differs(&diff),
            Err(error) => refused(&error),
        };
        let _ = answer.send(told);
    });
}

fn differs(diff: &Diff) -> Told {
    Told {
        status: 200,
        body: json!(diff),
    }
}
