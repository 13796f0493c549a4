//! The command line: one file per subcommand, thin.

pub mod backend;
pub mod run;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A layer-7 load balancer and reverse proxy that shows what it does.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy from a configuration file.
    Run(run::Args),
    Backend(backend::Args),
}

/// Exit code for bad usage or configuration.
pub const USAGE: u8 = 2;
/// Exit code for what cannot be bound or read.
pub const UNAVAILABLE: u8 = 3;

/// Carries out the command line of this process.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Backend(args) => backend::run(&args),
    };
    done.unwrap_or_else(|error| {
        say(&format!("plimsoll: {error:#}"));
        ExitCode::FAILURE
    })
}

/// A line to stderr. That nobody reads it is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
