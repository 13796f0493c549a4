//! Keys of an upstream.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::json_schema::or_variable;
use super::super::kinds::{EndpointAddress, Name, ServerName, Size};
use super::super::nearest::nearest;
use super::super::setting::{Block, Book, Setting, block, choice, with_default, written_as_map};
use super::super::tree::{Node, Value};
use super::super::units::{Target, UnitError};
use super::{Certificate, DAY, HOUR, millis, seconds};

block! {
    /// A group of interchangeable endpoints under one policy.
    pub struct Upstream {
        /// The endpoints, each an address or a map. At least one.
        pub endpoints: Vec<Endpoint>;
        /// `h1`, `h2` or `auto`. HTTP/1.1 by default, which every server speaks.
        pub protocol: Protocol = Protocol::H1;
        /// The policy that picks an endpoint: `round_robin`, `random`, `least_connections` or
        /// `p2c`; or one name with options, `{ p2c: { choices: 3 } }`. The best of two sampled
        /// endpoints by default: nearly as even as comparing all, and without the herd that runs
        /// to the least loaded one.
        pub balance: Balance = Balance::default();
        /// TLS towards the endpoints. Off: clear text.
        pub tls: Option<ClientTls> = None;
        /// How long endpoints may take.
        pub timeouts: UpstreamTimeouts = UpstreamTimeouts::default();
        /// Connections to each endpoint, counted for the whole process.
        pub connections: Connections = Connections::default();
        /// When a request may be sent again, and what that may cost.
        pub retry: Retry = Retry::default();
    }
}

impl Upstream {
    /// An upstream of `endpoints` with every default.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            protocol: Protocol::H1,
            balance: Balance::default(),
            tls: None,
            timeouts: UpstreamTimeouts::default(),
            connections: Connections::default(),
            retry: Retry::default(),
        }
    }
}

block! {
    /// One address of an upstream.
    pub struct Endpoint {
        /// `host:port`, `[v6]:port` or `unix:/path`. A host name is resolved at start and stands
        /// for each of its addresses.
        pub address: String as EndpointAddress;
        /// What its numbers are kept under across reloads. Off: the address as written. With an id
        /// of its own an endpoint may change its address and keep its history.
        pub id: Option<String> as Option<Name> = None;
        /// Its share of the traffic relative to the others; 0 gets none. Each address of a host name
        /// has it, so that a name with three addresses gets three times as much as one address.
        pub weight: u32 = 1, in 0..=1000;
    }
}

impl Endpoint {
    /// An endpoint with weight 1, known by its address.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            id: None,
            weight: 1,
        }
    }

    /// The id, or the address as written.
    pub fn identity(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.address)
    }

    /// What the address says. Never fails for an endpoint that was read from a file.
    pub fn target(&self) -> Result<Target, UnitError> {
        self.address.parse()
    }
}

/// An address, or a map of keys.
impl Setting for Endpoint {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { .. } => EndpointAddress::read(node, reader).map(Self::new),
            Value::Map(_) => Self::read_block(node, reader),
            _ => {
                let message = format!("expected an address or a map, found {}", node.kind());
                reader.error_with_help(
                    node,
                    message,
                    "write `127.0.0.1:9001`, or `{ address: \"127.0.0.1:9001\", weight: 2 }`",
                );
                None
            }
        }
    }
    fn write(value: &Self) -> Yaml {
        if value.id.is_none() && value.weight == 1 {
            return Yaml::Text(value.address.clone());
        }
        value.write_block()
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "anyOf": [EndpointAddress::shape(book), book.refer::<Self>()] })
    }
}

choice! {
    /// The protocol spoken with endpoints.
    pub enum Protocol, "a protocol" {
        /// HTTP/1.1.
        H1 = "h1",
        /// HTTP/2: by prior knowledge in clear text, by ALPN over TLS.
        H2 = "h2",
        /// What ALPN chooses over TLS; HTTP/1.1 in clear text.
        Auto = "auto",
    }
}

/// The policy that picks an endpoint. Weights count in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
    /// The one with the fewest attempts in flight.
    LeastConnections,
    /// `choices` endpoints are sampled and the least loaded taken.
    P2c { choices: usize },
}

impl Default for Balance {
    fn default() -> Self {
        Self::P2c {
            choices: P2cOptions::default().choices,
        }
    }
}

block! {
    /// Options of the policy `p2c`.
    pub struct P2cOptions {
        /// Endpoints sampled for each pick. Two, since more bring little and cost a load each
        /// (Mitzenmacher, "The power of two choices", 2001).
        pub choices: usize = 2, in 2..=16;
    }
}

impl Balance {
    /// Every name that is accepted; the last is a second name of the first.
    pub const NAMES: [&'static str; 5] = [
        "round_robin",
        "random",
        "least_connections",
        "p2c",
        "weighted_round_robin",
    ];

    /// The policy of that name with its default options.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "round_robin" | "weighted_round_robin" => Self::RoundRobin,
            "random" => Self::Random,
            "least_connections" => Self::LeastConnections,
            "p2c" => Self::default(),
            _ => return None,
        })
    }

    /// The name under which it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::P2c { .. } => "p2c",
        }
    }

    /// One key, whose value holds the options.
    fn read_options(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let [entry] = node.entries() else {
            let help = "write one name, or one name with its options: `{ p2c: { choices: 3 } }`";
            reader.error_with_help(node, "exactly one policy is needed", help);
            return None;
        };
        let Some(policy) = Self::named(&entry.key) else {
            let help = match nearest(&entry.key, Self::NAMES) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known: {}", super::super::nearest::list(Self::NAMES)),
            };
            let message = format!(
                "`{}` is not a balance policy",
                super::super::cursor::clipped(&entry.key)
            );
            reader.error_at_key(&entry.key, entry.mark, message, Some(help));
            return None;
        };
        reader.under(&entry.key, |reader| match policy {
            Self::P2c { .. } => {
                P2cOptions::read_block(&entry.node, reader).map(|options| Self::P2c {
                    choices: options.choices,
                })
            }
            _ if entry.node.entries().is_empty()
                && !matches!(entry.node.value, Value::Scalar { .. } | Value::List(_)) =>
            {
                Some(policy)
            }
            _ => {
                reader.error(&entry.node, format!("`{}` has no options", policy.name()));
                None
            }
        })
    }
}

/// A name, or one name with its options.
impl Setting for Balance {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return Self::read_options(node, reader);
        }
        let text = reader.text(node, "a balance policy")?;
        let policy = Self::named(&text.value);
        if policy.is_none() {
            reader.unknown_name(node, &text, "a balance policy", Self::NAMES.into_iter());
        }
        policy
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::P2c { choices } if *value != Self::default() => {
                let options = P2cOptions { choices: *choices };
                Yaml::Map(vec![("p2c".to_owned(), options.write_block())])
            }
            _ => Yaml::Text(value.name().to_owned()),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let none = json!({ "type": "object", "maxProperties": 0 });
        let mut properties: serde_json::Map<String, Json> = Self::NAMES
            .iter()
            .map(|name| ((*name).to_owned(), none.clone()))
            .collect();
        properties.insert("p2c".to_owned(), book.refer::<P2cOptions>());
        let one = json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 });
        or_variable(json!({ "anyOf": [{ "enum": Self::NAMES }, one] }))
    }
}

block! {
    /// TLS towards the endpoints of an upstream.
    pub struct ClientTls {
        /// The file of trusted roots, PEM. Off: those of the system.
        pub ca: Option<PathBuf> = None;
        /// The name that the certificate must carry, also sent as SNI. Off: the host of the address.
        pub name: Option<String> as Option<ServerName> = None;
        /// A certificate to show to endpoints that ask for one.
        pub certificate: Option<Certificate> = None;
        /// `false` accepts any certificate, so that anybody on the way can read and change the
        /// traffic. For staging only; `check` warns of it.
        pub verify: bool = true;
    }
}

block! {
    /// How long endpoints may take.
    pub struct UpstreamTimeouts {
        /// TCP and TLS together. One lost SYN is sent again after a second, so a longer wait seldom
        /// helps and another endpoint does.
        pub connect: Duration = seconds(1), in millis(1)..=HOUR;
        /// From the request sent to the response head, for each attempt.
        pub first_byte: Duration = seconds(10), in millis(1)..=DAY;
        /// From the request head received to the response head, queueing and all attempts included.
        /// Half of the minute after which most clients give up.
        pub total: Duration = seconds(30), in millis(1)..=DAY;
        /// No byte either way after the response head. A stream that moves is never cut.
        pub idle: Duration = seconds(60), in millis(1)..=DAY;
        /// No byte either way in a tunnel (WebSocket, CONNECT). Long, because tunnels rest.
        pub tunnel_idle: Duration = HOUR, in millis(1)..=seconds(30 * 24 * 3600);
        /// The whole exchange, from the request head to the last byte of the response. Off,
        /// because it would cut healthy downloads and streams.
        pub max_duration: Option<Duration> = None, in Some(millis(1))..=Some(seconds(30 * 24 * 3600));
    }
}

block! {
    /// Connections to each endpoint, counted for the whole process.
    pub struct Connections {
        /// Open at once, idle ones included. Further attempts go to another endpoint; when all are
        /// full, idle connections of other workers are closed for them, and when there is none
        /// the answer is 503.
        pub max: usize = 1024, in 1..=1_000_000;
        /// Idle ones kept; 0 opens a connection for each request, or for several that share one at
        /// the same time. Divided among the workers, of which each uses its own: with fewer than
        /// one for each, some keep none. More stay for a second, so that a load with more requests
        /// in flight does not dial again and again.
        pub idle: usize = 64, in 0..=1_000_000;
        /// How long an idle one is kept. Below the 60 s after which many servers close theirs, so
        /// that a request seldom meets a connection that is being closed.
        pub idle_timeout: Duration = seconds(30), in millis(1)..=DAY;
        /// How long a connection is used at all, so that changes of DNS and of balancers further on
        /// are followed.
        pub lifetime: Duration = HOUR, in seconds(1)..=seconds(30 * 24 * 3600);
        /// Streams at once on one HTTP/2 connection before another is opened.
        pub streams: usize = 100, in 1..=10_000;
    }
}

block! {
    /// When a request may be sent again, and what that may cost.
    pub struct Retry {
        /// Bytes of a request body that are kept until the response head comes, so that a request
        /// can be sent again whose idle connection turns out to be dead, or with which an HTTP/2
        /// endpoint says that it did nothing; of a larger body 502 is the answer. Off: nothing is
        /// kept. 64 KiB holds nearly all bodies that are no uploads, and is what one read brings.
        /// At most so much for each request that waits for its answer.
        pub buffer: Option<usize> as Option<Size> = Some(64 * 1024), in Some(0)..=Some(16 * 1024 * 1024);
    }
}

written_as_map!(
    Upstream,
    P2cOptions,
    ClientTls,
    UpstreamTimeouts,
    Connections,
    Retry
);
with_default!(P2cOptions, ClientTls, UpstreamTimeouts, Connections, Retry);
