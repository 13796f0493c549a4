//! Active checks: what is asked of an endpoint, how often, and what comes of the answers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::{DAY, HOUR, millis, seconds};
use crate::config::cursor::Reader;
use crate::config::emit::Yaml;
use crate::config::kinds::{Few, FieldValue, Fields, Filled, HostAndPort, Method, PathAndQuery};
use crate::config::setting::{Book, Setting, block, choice, with_default, written_as_map};
use crate::config::tree::Node;
use crate::config::units::Share;

block! {
    /// How it is found out which endpoints are healthy, besides by what requests meet there.
    pub struct Health {
        /// Checks that this proxy makes of its own accord. On where `health` is written, with
        /// every default: a server that answers `GET /healthz` needs no more.
        pub active: Option<ActiveHealth> = Some(ActiveHealth::default());
    }
}

block! {
    /// Checks that are made of each endpoint again and again, on connections of their own, over the
    /// upstream's `tls`. An endpoint that is unhealthy gets no requests, unless `panic` says
    /// otherwise. Draining endpoints are checked, those outside a `random_subset` are not.
    pub struct ActiveHealth {
        /// What a check does: `http`, `tcp` or `grpc`. HTTP by default: that a port is open says
        /// little of what is behind it.
        pub kind ("type"): CheckType = CheckType::Http;
        /// What `http` asks for, with or without a query. The path that most frameworks and
        /// orchestrators use.
        pub path: String as PathAndQuery = "/healthz".to_owned();
        /// The method of `http`. GET by default, which every server knows; HEAD spares the body.
        pub method: String as Method = "GET".to_owned();
        /// The host asked for, by `http` and `grpc`. Off: that of the endpoint's address as
        /// written, with the port that is checked; `localhost` at a Unix socket.
        pub host: Option<String> as Option<HostAndPort> = None;
        /// Further fields of the request, by `http` and `grpc`: credentials, or a `User-Agent`
        /// instead of `plimsoll/… (health check)`. None by default.
        pub headers: Vec<(String, String)> as Fields<FieldValue> = Vec::new();
        /// Where checks go instead of the endpoint's own port, at the same host, and over `tls`
        /// there, too. Off: the own port, so that what is checked is what serves.
        pub port: Option<u16> = None, in Some(1)..=Some(65535);
        /// Statuses with which `http` passes: one, a range, or a list of both. By default as in HAProxy:
        /// a redirect shows that the server works.
        pub status: Vec<StatusRange> as Few<StatusRange> = vec![StatusRange { first: 200, last: 399 }];
        /// A text that the body must hold within its first 64 KiB, letter for letter. Off, because
        /// the status says as much where the server is sound.
        pub body: Option<String> as Option<Filled> = None;
        /// Fields that the answer must have, with just these values. Off, as the text; for ports
        /// that another service may come to listen on.
        pub header: Option<Vec<(String, String)>> as Option<Fields<FieldValue>> = None;
        /// The service that `grpc` asks for (`grpc.health.v1.Health/Check`). Off: the server as a
        /// whole.
        pub service: Option<String> as Option<Filled> = None;
        /// From the beginning of a check to that of the next. Five seconds: an endpoint that refuses
        /// connections is out after about eight seconds at most, one that hangs after twelve, for a
        /// fifth of a request per second.
        pub interval: Duration = seconds(5), in millis(10)..=DAY;
        /// The same while the verdict may be about to change: before the first result, from the
        /// first result that speaks against it, and after an endpoint got another address. One
        /// second: two or three checks settle it soon.
        pub fast_interval: Duration = seconds(1), in millis(10)..=DAY;
        /// The same while an endpoint is unhealthy. Off: as `interval`, so that it is not missing
        /// longer than needed; longer where thousands are checked, or where each check costs.
        pub slow_interval: Option<Duration> = None, in Some(millis(10))..=Some(DAY);
        /// By how much of itself each interval is made longer or shorter by chance, and the time of
        /// `fast_interval` over which first checks are spread, so that neither endpoints nor
        /// proxies fall into step. A fifth: after a few rounds they are spread evenly.
        pub jitter: Share = Share::percent(20), in Share::percent(0)..=Share::percent(90);
        /// How long a check may take in all, from connecting to the last byte that decides. Longer
        /// than any sound answer of a health path, and shorter than what clients wait.
        pub timeout: Duration = seconds(2), in millis(1)..=HOUR;
        /// Checks that must pass in a row before an unhealthy endpoint is healthy. Two, as in
        /// HAProxy: the first may hit a server that is still starting.
        pub rise: u32 = 2, in 1..=100;
        /// Checks that must fail in a row before a healthy endpoint is unhealthy. Three, as in
        /// HAProxy: one blip takes nobody out.
        pub fall: u32 = 3, in 1..=100;
        /// What an endpoint is before it was checked: `healthy`, `unhealthy` or `first_check`. A
        /// reload keeps what is known.
        pub initial: InitialHealth = InitialHealth::Healthy;
        /// How many of the latest results are kept for each endpoint, with their reasons, for the
        /// admin API to show. Enough to see a flapping endpoint flap.
        pub history: usize = 16, in 1..=256;
        /// Checks of the upstream under way at the same time; further ones wait until one ends, and
        /// are that much late. Enough for some hundred endpoints that all hang; checks of other
        /// upstreams have places of their own.
        pub at_once: usize = 64, in 1..=1024;
    }
}

choice! {
    /// What a check does.
    pub enum CheckType, "a kind of check" {
        /// Asks for `path`, by the `protocol` of the upstream.
        Http = "http",
        /// Connects, and does the handshake where the upstream has `tls`. A client certificate
        /// that the endpoint refuses may go unnoticed, since TLS 1.3 says so only later.
        Tcp = "tcp",
        /// Asks the health service of gRPC (`grpc.health.v1`), over HTTP/2 whatever the `protocol`.
        Grpc = "grpc",
    }
}

choice! {
    /// What an endpoint is before it was checked.
    pub enum InitialHealth, "how an endpoint begins" {
        /// It gets requests at once. The default: a start or a reload never refuses requests only
        /// because nobody has looked yet.
        Healthy = "healthy",
        /// It gets none until `rise` checks have passed. For endpoints that are added before they
        /// serve.
        Unhealthy = "unhealthy",
        /// It gets none until its first check, which alone decides what it is. For both: soon in
        /// use, and not before anybody has looked.
        FirstCheck = "first_check",
    }
}

/// Statuses from the first to the last, `200-399`, or a single one, `200`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

impl StatusRange {
    /// Whether this status lies in it.
    pub fn holds(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for StatusRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            let status = text.parse().ok().filter(|_| digits);
            status
                .filter(|status| (200..=599).contains(status))
                .ok_or("a status lies between 200 and 599")
        };
        let range = Self {
            first: status(first)?,
            last: status(last)?,
        };
        if range.first <= range.last {
            Ok(range)
        } else {
            Err("the first status is above the last")
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Setting for StatusRange {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.parse(
            node,
            "a status such as `200`, or a range such as `200-399`",
            str::parse::<Self>,
        )
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(value.to_string())
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": ["string", "integer"], "minimum": 200, "maximum": 599, "pattern": "^([2-5][0-9]{2}(-[2-5][0-9]{2})?|.*\\$\\{.*)$" })
    }
}

written_as_map!(Health, ActiveHealth);
with_default!(Health, ActiveHealth);
