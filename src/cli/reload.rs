//! `plimsoll reload`: has a running process read its file again, and says what came of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use hyper::StatusCode;
use serde::Deserialize;

use super::{USAGE, ask, print, say};
use crate::config::Address;

/// What names that are asked for may take, with some room.
const PATIENCE: Duration = Duration::from_secs(60);

/// Have a running process read its configuration file again: it is put in force as a whole, or nothing changes.
///
/// Says what was added, changed, removed and kept. Exit code 0 when it is in force, 2 when it was refused, 1 when nobody
/// answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its admin API listens; by default as plimsoll.yaml here or in /etc/plimsoll says, else 127.0.0.1:9900.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
    /// For programs: the answer of `/api/v1/reload` as it is.
    #[arg(long)]
    pub json: bool,
}

#[derive(Deserialize)]
struct Told {
    /// What changed.
    text: Option<String>,
    /// Why nothing did.
    error: Option<String>,
}

/// Orders it, and waits until it is done.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let admin = ask::admin(args.admin.as_ref());
    let (status, body) = ask::order(&admin, "/api/v1/reload", PATIENCE)?;
    let told: Told = serde_json::from_slice(&body)
        .with_context(|| format!("{admin} is no admin API of this version: it answers {status}"))?;
    if args.json {
        print(&String::from_utf8_lossy(&body))?;
    } else if let Some(text) = &told.text {
        print(&format!("{text}\n"))?;
    }
    if status.is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        let error = told.error.unwrap_or_else(|| status.to_string());
        say(&format!(
            "{error}\nplimsoll: reload refused; what is in force stays"
        ));
    }
    Ok(if status == StatusCode::CONFLICT {
        USAGE.into()
    } else {
        ExitCode::FAILURE
    })
}
