//! The command line: one file per subcommand, thin.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 failed at run time; 2 bad usage or
//! configuration, nothing was started; 3 something could not be bound or read.

mod ask;
pub mod backend;
mod balancing;
pub mod cert;
mod certificates;
pub mod check;
mod checks;
pub mod completions;
pub mod demo;
mod demo_report;
pub mod diff;
pub mod drain;
pub mod health;
pub mod lab;
mod lab_isolation;
mod lab_metastable;
mod lab_report;
mod limits;
mod panic;
pub mod password;
pub mod proxy;
pub mod reload;
mod retries;
pub mod route;
pub mod run;
pub mod schema;
mod serve;
pub mod status;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::lifecycle;

/// A layer-7 load balancer and reverse proxy that shows what it does.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Proxy(proxy::Args),
    Demo(demo::Args),
    Backend(backend::Args),
    Lab(lab::Args),
    Check(check::Args),
    Route(route::Args),
    Reload(reload::Args),
    Diff(diff::Args),
    Cert(cert::Args),
    Status(status::Args),
    Drain(drain::Args),
    Health(health::Args),
    Schema(schema::Args),
    Password(password::Args),
    Completions(completions::Args),
}

/// Exit code for bad usage or configuration.
pub const USAGE: u8 = 2;
/// Exit code for what cannot be bound or read.
pub const UNAVAILABLE: u8 = 3;

/// Carries out the command line of this process.
pub fn main() -> ExitCode {
    panic::tell(say);
    if let Some(code) = stand_between() {
        return code;
    }
    let done = match Arguments::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Proxy(args) => proxy::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Backend(args) => backend::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Route(args) => route::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Password(args) => password::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    done.unwrap_or_else(|error| {
        say(&format!("plimsoll: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Where this process only stands between one that serves and its successor: how that ended.
fn stand_between() -> Option<ExitCode> {
    match lifecycle::between::stand(&|name| std::env::var_os(name))? {
        Ok(code) => Some(code.into()),
        Err(error) => {
            say(&format!("plimsoll: cannot start the new process: {error}"));
            Some(ExitCode::FAILURE)
        }
    }
}

/// A line to stderr. That nobody reads it is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A result to stdout. That its reader has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    print_on(text).map(|_| ())
}

/// The same for one of many; whether its reader wants to see more.
fn print_on(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Where a configuration is looked for when none is named.
const DEFAULTS: [&str; 2] = ["plimsoll.yaml", "/etc/plimsoll/plimsoll.yaml"];

/// The file that is named, else the first default that exists, else the first default.
fn config_path(named: Option<&Path>) -> PathBuf {
    let existing = || {
        DEFAULTS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
    };
    named
        .map(Path::to_owned)
        .or_else(existing)
        .unwrap_or_else(|| PathBuf::from(DEFAULTS[0]))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_manual_page_names_every_command() {
        let page = include_str!("../../packaging/plimsoll.1");
        let all = Arguments::command();
        for command in all.get_subcommands() {
            let name = command.get_name();
            assert!(page.contains(&format!("\n.B {name}\n")), "{name}");
        }
    }
}
