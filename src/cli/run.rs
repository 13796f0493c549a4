//! `plimsoll run`: the proxy, from a file.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{UNAVAILABLE, USAGE, config_path, say, serve};
use crate::config::read;

/// Run the proxy from a configuration file.
///
/// TERM and INT drain within `drain_timeout`, a second one ends at once; QUIT drains however long it takes. HUP reads
/// the file again and opens the access log anew, USR1 only the latter. USR2 lets another process of this program, a
/// newer version of the file as a rule, take over every listening socket.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; by default ./plimsoll.yaml, then /etc/plimsoll/plimsoll.yaml.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Serves until TERM or INT.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ancestry = serve::Ancestry::find()?;
    let path = config_path(args.config.as_deref());
    match read::load(&path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                say(&warning.to_string());
            }
            let places = loaded.places;
            let written = serve::Written { path, places };
            Ok(serve::serve(
                loaded.config,
                Some(written),
                ancestry,
                |_| Ok(()),
            )?)
        }
        Err(refusal) => {
            say(&refusal.to_string());
            ancestry.refuse(&refusal.to_string());
            let code = if refusal.unreadable {
                UNAVAILABLE
            } else {
                USAGE
            };
            Ok(code.into())
        }
    }
}
