//! `plimsoll schema`: the JSON Schema of the configuration.

use std::process::ExitCode;

use super::print;
use crate::config;

/// Print the JSON Schema of the configuration, for editors.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints it.
pub fn run(_: &Args) -> anyhow::Result<ExitCode> {
    print(&format!("{:#}\n", config::json_schema()))?;
    Ok(ExitCode::SUCCESS)
}
