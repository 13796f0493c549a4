//! `plimsoll run`: the proxy, from a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{UNAVAILABLE, USAGE, say};
use crate::clock::Clock;
use crate::config::read;
use crate::lifecycle;

/// Where a configuration is looked for when none is named.
const DEFAULTS: [&str; 2] = ["plimsoll.yaml", "/etc/plimsoll/plimsoll.yaml"];

/// Run the proxy from a configuration file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; by default ./plimsoll.yaml, then /etc/plimsoll/plimsoll.yaml.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Serves until TERM or INT.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = args.config.clone().or_else(|| {
        DEFAULTS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
    });
    let path = path.as_deref().unwrap_or(Path::new(DEFAULTS[0]));
    let loaded = match read::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(refusal) => {
            say(&refusal.to_string());
            return Ok(USAGE.into());
        }
    };
    let running = match lifecycle::start(loaded.config, Clock::system()) {
        Ok(running) => running,
        Err(error) => {
            say(&format!("plimsoll: {error}"));
            return Ok(UNAVAILABLE.into());
        }
    };
    running.join();
    Ok(ExitCode::SUCCESS)
}
