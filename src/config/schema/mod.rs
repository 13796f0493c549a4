//! Every key of the configuration, with its unit, its default, its range and the reason for them.
//!
//! Each key is declared here once. The `block!` macro makes of it the field of a struct, the
//! reader that checks it, the line of the JSON Schema, and the lines of `config/reference.yaml`.

mod addresses;
mod admin;
mod auth;
mod fault;
mod idempotency;
mod limiters;
mod limits;
mod listener;
mod matcher;
mod process;
mod proxy_protocol;
mod redaction;
mod route;
mod tls;
mod upgrade;
mod upstream;
mod watch;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

pub use addresses::*;
pub use admin::*;
pub use auth::*;
pub use fault::*;
pub use idempotency::*;
pub use limiters::*;
pub use limits::*;
pub use listener::*;
pub use matcher::*;
pub use process::*;
pub use proxy_protocol::*;
pub use redaction::*;
pub use route::*;
use serde_json::{Value as Json, json};
pub use tls::*;
pub use upgrade::*;
pub use upstream::*;
pub use watch::*;

use super::cursor::Reader;
use super::emit::Yaml;
use super::kinds::{Filled, Name};
use super::setting::{Book, Setting, block, choice, with_default, written_as_map};
use super::tree::Node;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const MINUTE: Duration = seconds(60);
const HOUR: Duration = seconds(3600);
const DAY: Duration = seconds(24 * 3600);
const YEAR: Duration = seconds(365 * 24 * 3600);

block! {
    /// One configuration file. Values may hold `${VAR}` or `${VAR:-default}`, replaced from the
    /// environment after the file was parsed; `$${` stands for a literal `${`.
    pub struct Config {
        /// Where clients connect, by name. At least one, since nothing would be served otherwise.
        pub listeners: BTreeMap<String, Listener> = BTreeMap::new();
        /// Which request goes where: the first that matches wins. What no route matches is
        /// answered with 404.
        pub routes: Vec<Route> = Vec::new();
        /// Groups of interchangeable endpoints, by name.
        pub upstreams: BTreeMap<String, Upstream> = BTreeMap::new();
        /// Limits on requests in a time, by name. A name is used once, also among the other two kinds; routes and
        /// listeners refer to it by `limits`. What is known of clients stays under the name over reloads.
        pub rate_limits: BTreeMap<String, RateLimit> = BTreeMap::new();
        /// Limits on requests at once, by name.
        pub concurrency_limits: BTreeMap<String, ConcurrencyLimit> = BTreeMap::new();
        /// Limits on bytes of bodies in a time, by name.
        pub bandwidth_limits: BTreeMap<String, BandwidthLimit> = BTreeMap::new();
        /// Where this proxy stands. Of endpoints with the same `zone` those serve first, and others
        /// take what they cannot. One file for many proxies takes it from the environment:
        /// `${ZONE}`. Off: all endpoints are as near.
        pub zone: Option<String> as Option<Name> = None;
        /// The listener for operators: `/live`, `/ready`, `/metrics` and the API. Off, so that
        /// nothing is opened that was not asked for.
        pub admin: Option<Admin> = None;
        /// The file is put in force when it changes, as `plimsoll reload` does; what cannot be is
        /// refused and told, and what is in force stays. On, because a file that is not in force
        /// is a surprise for later. Off: only `HUP`, `plimsoll reload` and the admin API reload.
        pub watch: Option<FileWatch> = Some(FileWatch::default());
        /// Threads that carry traffic; off: one for each core that the process may use, which is
        /// the fastest, since a request never leaves its thread.
        pub workers: Option<NonZeroUsize> = None, in NonZeroUsize::new(1)..=NonZeroUsize::new(1024);
        /// One line for each request. Off, because it costs more than forwarding a small request.
        pub access_log: Option<AccessLog> = None;
        /// How long connections are still accepted after the process was told to end and `/ready`
        /// has turned negative, so that a balancer in front has stopped sending before anything
        /// is closed: as long as it takes to notice. Zero, since where nothing is in front it
        /// would only delay the end; `drain_timeout` begins after it.
        pub drain_delay: Duration = Duration::ZERO, in Duration::ZERO..=HOUR;
        /// How long draining may take before what is left is cut. Below the 30 s after which
        /// Kubernetes kills a process, so that there is time to say what was cut. QUIT knows no
        /// bound.
        pub drain_timeout: Duration = seconds(25), in Duration::ZERO..=DAY;
        /// How another process of the program takes over, which USR2 asks for.
        pub upgrade: Upgrade = Upgrade::default();
        /// Idle connections to endpoints kept by the whole process, over all upstreams. Each holds
        /// a descriptor; 4096 leaves room under the usual limit of 65 536. Divided among the
        /// workers, of which each uses its own.
        pub idle_connections: usize = 4096, in 0..=1_000_000;
        /// The user to be once every listener is bound, by name or number, with the groups of that user; what
        /// must be done as root, such as binding a port below 1024, is done by then. Certificates that a
        /// reload reads, the access log that it opens anew and the folders of Unix sockets must be open to
        /// this user. Cannot change while the process runs. Off: stays who it is, because a service
        /// manager or a container sees to that better.
        pub user: Option<String> as Option<Filled> = None;
        /// The group to be instead of the user's own, by name or number, with no further groups. Off: those
        /// of `user`.
        pub group: Option<String> as Option<Filled> = None;
        /// What happens before memory runs out. On, which does nothing where there is no limit; off: nothing.
        pub memory: Option<Memory> = Some(Memory::default());
    }
}

block! {
    /// Where the log of requests goes, and its form.
    pub struct AccessLog {
        /// `stdout`, `stderr`, or the path of a file, which is appended to. Standard output by
        /// default, where container runtimes collect logs.
        pub path: LogTarget = LogTarget::Stdout;
        /// `json` or `combined`. JSON by default, because it also holds times and attempts.
        pub format: LogFormat = LogFormat::Json;
        /// Parameters of a query whose values are written as `***`, in the target and in the referrer: a list
        /// of names, in any case, `all`, or `off`. By default those that carry keys, tokens and passwords
        /// most often. Header fields such as `Authorization` and `Cookie` are never logged.
        pub redact_query: Redaction = Redaction::default();
    }
}

choice! {
    /// The form of a line in the access log.
    pub enum LogFormat, "a form of the access log" {
        /// One JSON object for each request.
        Json = "json",
        /// Apache's combined format.
        Combined = "combined",
    }
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    Stderr,
    File(PathBuf),
}

impl Setting for LogTarget {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let path = PathBuf::read(node, reader)?;
        Some(match path.to_str() {
            Some("stdout") => Self::Stdout,
            Some("stderr") => Self::Stderr,
            _ => Self::File(path),
        })
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(match value {
            Self::Stdout => "stdout".to_owned(),
            Self::Stderr => "stderr".to_owned(),
            Self::File(path) => path.display().to_string(),
        })
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

written_as_map!(Config, AccessLog);
with_default!(Config, AccessLog);
