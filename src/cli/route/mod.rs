//! `plimsoll route`: where a request would go and why, which keys would move, and what the running process decides.

mod answer;
mod clocks;
mod entry;
mod key_file;
mod keys;
mod moves;
mod present;
mod question;
mod text;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::StatusCode;
use serde::de::DeserializeOwned;

use super::{USAGE, ask, print, say};
use crate::config::Address;
use crate::config::units::parse_duration;

/// Show where a request would go, and why: routes, upstream, candidates with scores, the pick.
///
/// The request takes the way of a real one, except that nothing is sent; of the configuration only what it meets is
/// resolved, and no certificate read. Exit code 0 when the request has a place to go, 1 when no route
/// matches, its client may not enter, or nobody can be picked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request: a URL such as `http://example.com/path`, or only its path; before it the method, if it is not GET.
    #[arg(value_name = "METHOD URL", num_args = 0..=2, required_unless_present_any = ["keys", "watch"])]
    pub request: Vec<String>,
    /// A header of the request; may be repeated. `Host` stands for that of the URL.
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME: VALUE",
        requires = "request"
    )]
    pub headers: Vec<String>,
    /// The configuration; by default ./plimsoll.yaml, then /etc/plimsoll/plimsoll.yaml.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The listener where the request arrives; by default the one of the URL's port, else the first.
    #[arg(long, value_name = "NAME", requires = "request")]
    pub listener: Option<String>,
    /// The address of the client; by default 127.0.0.1.
    #[arg(long, value_name = "IP", requires = "request")]
    pub client: Option<IpAddr>,
    /// The admin API of a running proxy, whose load the endpoints are given: where would the request go now, under this
    /// file?
    #[arg(long, value_name = "ADMIN", conflicts_with = "keys")]
    pub against: Option<Address>,
    /// Follow the decisions of a running proxy, one line each; with a request, those of the route that it matches. At most
    /// one in a millisecond is written down for each upstream.
    #[arg(long, conflicts_with = "keys")]
    pub watch: bool,
    /// End watching after this time, `10s`.
    #[arg(long = "for", value_name = "TIME", value_parser = time, requires = "watch")]
    pub length: Option<Duration>,
    /// Keys of a `consistent_hash` upstream, one on each line of FILE, `-` for stdin: who owns each.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    pub keys: Option<PathBuf>,
    /// Which of the keys would move if this endpoint were gone, and where to.
    #[arg(long, value_name = "ENDPOINT", requires = "keys")]
    pub without: Option<String>,
    /// The upstream of the keys, or of the decisions.
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Also the clocks that run on the request: who sets them, when they run, what comes of it when they are up.
    #[arg(long, requires = "request", conflicts_with = "watch")]
    pub timeouts: bool,
    /// For programs: JSON.
    #[arg(long)]
    pub json: bool,
}

impl Args {
    fn words(&self) -> question::Words<'_> {
        question::Words {
            request: &self.request,
            headers: &self.headers,
            listener: self.listener.as_deref(),
            client: self.client,
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Why there is no answer, and the exit code that says so.
#[derive(Debug)]
struct Stop {
    code: u8,
    text: String,
}

impl Stop {
    fn usage(text: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            text: format!("plimsoll: {}", text.into()),
        }
    }
}

/// Anything that fails on the way.
impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self {
            code: 1,
            text: format!("plimsoll: {error:#}"),
        }
    }
}

/// Answers the question that the arguments ask.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    Ok(answer(args).unwrap_or_else(|stop| {
        say(&stop.text);
        stop.code.into()
    }))
}

fn answer(args: &Args) -> Result<ExitCode, Stop> {
    if let Some(file) = &args.keys {
        return keys::run(args, file);
    }
    if args.watch {
        return watch::run(args);
    }
    if args.upstream.is_some() {
        return Err(Stop::usage(
            "--upstream goes with --keys or --watch; a request finds its own",
        ));
    }
    let (config, places) = present::load(args.config.as_deref())?;
    let question = question::Question::of(&args.words(), &config.listeners).map_err(Stop::usage)?;
    let mut present = present::Present::new(config, places)?;
    if let Some(admin) = &args.against {
        present.ask(&ask::admin_of(Some(admin), args.config.as_deref()))?;
    }
    let mut answer = answer::Answer::to(&question, &present)?;
    if args.timeouts {
        answer.clocks = Some(answer.clocks_of(&present.config));
    }
    if args.json {
        print(&json(&answer)?)?;
    } else {
        print(&text::render(&answer))?;
    }
    Ok(if answer.is_served() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Over several lines, for a result as a whole.
fn json(result: &impl serde::Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(result).context("cannot write the result")?;
    Ok(text + "\n")
}

/// Asks the admin API of a running process, which must be of a version that has this path.
fn ask_api<T: DeserializeOwned>(admin: &ask::Admin, path: &str) -> anyhow::Result<T> {
    read_answer(
        admin,
        path,
        &ask::ask(admin, path, Duration::from_secs(10))?,
    )
}

fn read_answer<T: DeserializeOwned>(
    admin: &ask::Admin,
    path: &str,
    (status, body): &(StatusCode, Bytes),
) -> anyhow::Result<T> {
    if !status.is_success() {
        bail!("the admin API at {admin} answers {status} to {path}");
    }
    serde_json::from_slice(body).with_context(|| format!("{admin} is no admin API of this version"))
}
