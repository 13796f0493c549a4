//! `plimsoll drain`: a running process accepts nothing new, finishes what it has, and ends.

use std::process::ExitCode;
use std::time::Duration;

use super::{ask, print, say};
use crate::config::Address;

/// Let a running process finish what it has, and end.
///
/// Exit code 0 when it has begun to, 1 when it cannot be asked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its admin API listens; by default as plimsoll.yaml here or in /etc/plimsoll says, else 127.0.0.1:9900.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
    /// Wait until it has ended.
    #[arg(long)]
    pub wait: bool,
}

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks once, and waits where that is wanted.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let admin = ask::admin(args.admin.as_ref());
    let (status, body) = ask::order(&admin, "/api/v1/drain", TIMEOUT)?;
    let text = String::from_utf8_lossy(&body);
    if !status.is_success() {
        say(&format!("plimsoll: {status}: {}", text.trim_end()));
        return Ok(ExitCode::FAILURE);
    }
    let told: serde_json::Value = serde_json::from_str(&text)?;
    print(&format!(
        "{}\n",
        told["text"].as_str().unwrap_or("draining")
    ))?;
    if args.wait {
        // Its admin API is open as long as it is there.
        while ask::ask(&admin, "/live", TIMEOUT).is_ok() {
            std::thread::sleep(PAUSE);
        }
        print("ended\n")?;
    }
    Ok(ExitCode::SUCCESS)
}
