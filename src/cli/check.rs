//! `plimsoll check`: what is wrong with a configuration, all of it at once.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{UNAVAILABLE, USAGE, config_path, print, say};
use crate::config::{check, read};
use crate::lifecycle::findings;

/// Check a configuration and say everything that is wrong with it.
///
/// Exit code 0 when it can be used, 2 when not, 3 when it cannot be read. Of other files those of certificates are
/// read, as far as they are there; nothing is resolved or bound.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; by default ./plimsoll.yaml, then /etc/plimsoll/plimsoll.yaml.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// For programs: the findings as JSON, on stdout.
    #[arg(long)]
    pub json: bool,
    /// Warnings count as errors.
    #[arg(long)]
    pub strict: bool,
}

/// Checks one file.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = config_path(args.file.as_deref());
    let name = path.display().to_string();
    let outcome = read::load(&path, &|variable| std::env::var(variable).ok());
    let outcome = outcome.and_then(findings::with_routes);
    let outcome = outcome.and_then(findings::with_certificates);
    let outcome = outcome.map(findings::with_ports);
    let outcome = outcome.map(|loaded| findings::with_user(loaded, &path));
    if args.json {
        print(&format!("{:#}\n", check::json(&name, &outcome)))?;
    } else if outcome.is_ok() {
        print(&format!("{}\n", check::text(&name, &outcome)))?;
    } else {
        say(&check::text(&name, &outcome));
    }
    Ok(match outcome {
        Err(refusal) if refusal.unreadable => UNAVAILABLE.into(),
        Err(_) => USAGE.into(),
        Ok(loaded) if args.strict && !loaded.warnings.is_empty() => USAGE.into(),
        Ok(_) => ExitCode::SUCCESS,
    })
}
