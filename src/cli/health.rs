//! `plimsoll health`: whether a running process is ready, by the exit code; for `HEALTHCHECK` and scripts.

use std::process::ExitCode;
use std::time::Duration;

use super::{ask, print, say};
use crate::config::Address;

/// Ask a running process whether it is ready. Exit code 0 when it is, 1 when not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its admin API listens; by default as plimsoll.yaml here or in /etc/plimsoll says, else 127.0.0.1:9900.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
}

/// Asks once.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let admin = ask::admin(args.admin.as_ref());
    let (status, body) = ask::ask(&admin, "/ready", Duration::from_secs(3))?;
    if status.is_success() {
        print("ready\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!(
        "not ready: {}",
        String::from_utf8_lossy(&body).trim_end()
    ));
    Ok(ExitCode::FAILURE)
}
