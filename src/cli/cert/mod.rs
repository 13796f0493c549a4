//! `plimsoll cert`: a certificate authority of one's own and certificates of it, for staging, tests and the demo; and what
//! stands in a certificate.

mod files;
pub(super) mod make;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use clap::Subcommand;

use super::{UNAVAILABLE, USAGE, print, say};
use crate::clock;
use files::{Made, Pair};
use make::{Authority, Request, Span};

/// Make a local certificate authority and certificates for staging, or show what stands in one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ca(CaArgs),
    Issue(IssueArgs),
    Show(show::Args),
}

/// Make a certificate authority: ca.pem, to be trusted by clients, and ca.key, to be kept.
#[derive(Debug, clap::Args)]
struct CaArgs {
    /// The folder for ca.pem and ca.key; it is made if it is missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// What it calls itself; by default "Plimsoll local CA" and a number by chance.
    #[arg(long)]
    name: Option<String>,
    /// How many days it is good for.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// A key of RSA, 2048 bits, instead of ECDSA on P-256.
    #[arg(long)]
    rsa: bool,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// Issue a certificate: NAME.pem and NAME.key, after its first name.
#[derive(Debug, clap::Args)]
struct IssueArgs {
    /// The folder with ca.pem and ca.key.
    #[arg(long, value_name = "DIR", default_value = ".")]
    ca: PathBuf,
    /// A host name, `*.example.test`, or an IP address; for a client also a mail address, a URI or any text. May be given
    /// several times.
    #[arg(long = "name", value_name = "NAME", required = true)]
    names: Vec<String>,
    /// The folder for the files; by default that of the authority.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How many days it is good for. Not more than all browsers accept, unless asked for.
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// A key of RSA, 2048 bits, instead of ECDSA on P-256.
    #[arg(long)]
    rsa: bool,
    /// For a client that shows itself to a server, instead of for a server.
    #[arg(long)]
    client: bool,
    /// One whose time was over yesterday, to see what happens.
    #[arg(long)]
    expired: bool,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// Carries out one of them.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Ca(args) => ca(args),
        Command::Issue(args) => issue(args),
        Command::Show(args) => show::run(args),
    }
}

fn ca(args: &CaArgs) -> anyhow::Result<ExitCode> {
    let pair = Pair::new(&args.out, "ca");
    let span = Span::days(now(), args.days);
    let authority = Authority::new(args.name.as_deref(), args.rsa, span)?;
    let (cert, key) = authority.pem();
    let code = written(&pair, pair.write(&cert, &key, args.force))?;
    if code == ExitCode::SUCCESS {
        say("plimsoll: whoever has ca.key can vouch for any name to those who trust ca.pem");
    }
    Ok(code)
}

fn issue(args: &IssueArgs) -> anyhow::Result<ExitCode> {
    let of_authority = Pair::new(&args.ca, "ca");
    let authority = match Authority::load(&of_authority.cert, &of_authority.key) {
        Ok(authority) => authority,
        Err(error) => {
            say(&format!("plimsoll: {error:#}"));
            return Ok(UNAVAILABLE.into());
        }
    };
    let span = if args.expired {
        Span::expired(now(), args.days)
    } else {
        Span::days(now(), args.days)
    };
    let request = Request {
        names: &args.names,
        rsa: args.rsa,
        client: args.client,
        span,
    };
    let (cert, key) = match authority.issue(&request) {
        Ok(issued) => issued,
        Err(error) => {
            say(&format!("plimsoll: {error:#}"));
            return Ok(USAGE.into());
        }
    };
    let first = args.names.first().context("no name is given")?;
    let out = args.out.as_ref().unwrap_or(&args.ca);
    let pair = Pair::new(out, &files::stem(first));
    written(&pair, pair.write(&cert, &key, args.force))
}

/// Says what became of a pair of files.
fn written(pair: &Pair, made: Result<Made, files::FilesError>) -> anyhow::Result<ExitCode> {
    match made {
        Ok(made) => {
            let word = match made {
                Made::New => "made",
                Made::Replaced => "replaced",
            };
            let (cert, key) = (pair.cert.display(), pair.key.display());
            print(&format!("{word} {cert} and {key}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            say(&format!("plimsoll: {error}"));
            Ok(match error {
                files::FilesError::Exists(_) => USAGE.into(),
                files::FilesError::Write { .. } => UNAVAILABLE.into(),
            })
        }
    }
}

/// Since 1970.
fn now() -> Duration {
    clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}
