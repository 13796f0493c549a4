//! Every key of the configuration, with its unit, its default and the reason for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// One configuration file.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub listeners: BTreeMap<String, Listener>,
    /// The first that matches wins.
    pub routes: Vec<Route>,
    pub upstreams: BTreeMap<String, Upstream>,
    pub admin: Option<Admin>,
    /// Threads that carry traffic; `None`: one per core that the process may use.
    pub workers: Option<NonZeroUsize>,
    pub access_log: Option<AccessLog>,
    /// How long draining may take before what is left is cut.
    pub drain_timeout: Duration,
    /// Idle connections to endpoints kept by the whole process.
    pub idle_connections: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    /// `unix:/run/plimsoll.sock`
    Unix(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Listener {
    pub address: Address,
    pub tls: Option<ServerTls>,
    pub timeouts: ListenerTimeouts,
    pub limits: ListenerLimits,
    /// Peers whose forwarding fields are kept and extended instead of dropped.
    pub trusted_proxies: Vec<Network>,
    pub forwarding: Forwarding,
}

#[derive(Debug, Clone)]
pub struct ListenerTimeouts {
    /// From the first byte of a request head (from the accept for a first one) to its last.
    pub head: Duration,
    /// Idle time between two requests of a connection.
    pub keep_alive: Duration,
    /// Between two reads of a request body.
    pub body: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
}

#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// Open connections of this listener, over all workers.
    pub connections: usize,
    /// Bytes of a request head, request line included; 431 beyond.
    pub head_bytes: usize,
    /// Fields of a request head; 431 beyond.
    pub fields: usize,
    /// Bytes of a request body; 413 beyond. `None`: no limit.
    pub body_bytes: Option<u64>,
    /// Streams at once on one HTTP/2 connection.
    pub streams: u32,
}

/// Which forwarding fields are written towards the endpoint.
#[derive(Debug, Clone)]
pub struct Forwarding {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `Via` with this pseudonym (RFC 9110, 7.6.3).
    pub via: Option<String>,
}

/// An address block, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The first is the default for clients without a matching name.
    pub certificates: Vec<Certificate>,
    pub min_version: TlsVersion,
    /// Offered by ALPN, in this order.
    pub alpn: Vec<Alpn>,
}

#[derive(Debug, Clone)]
pub struct Certificate {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    H2,
    Http11,
}

#[derive(Debug, Clone, Default)]
pub struct Route {
    /// By default the canonical text of its match.
    pub name: Option<String>,
    pub matcher: Match,
    pub action: Action,
    /// New path towards the endpoint.
    pub rewrite: Option<Rewrite>,
    /// `Host` towards the endpoint; `None` keeps the client's.
    pub host: Option<HostRewrite>,
    pub request_fields: FieldEdits,
    pub response_fields: FieldEdits,
}

/// Every part given must hold; within a part one of its values is enough.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// Names of listeners; empty: any.
    pub listener: Vec<String>,
    /// `api.example.com`, `*.example.com` (one or more labels before it); empty: any.
    pub host: Vec<String>,
    /// `None`: any path.
    pub path: Option<PathMatch>,
    /// Empty: any.
    pub method: Vec<String>,
    /// All must hold.
    pub header: Vec<(String, ValueMatch)>,
    /// All must hold.
    pub query: Vec<(String, ValueMatch)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// On segment borders: `/v1` and `/v1/` match `/v1`, `/v1/` and `/v1/x`, never `/v10`.
    Prefix(String),
    Exact(String),
    /// Anchored at both ends.
    Regex(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    /// Anchored at both ends.
    Regex(String),
    Present,
    Absent,
}

#[derive(Debug, Clone)]
pub enum Action {
    Upstream(String),
    /// Upstream and weight.
    Split(Vec<(String, u32)>),
    Redirect(Redirect),
    Respond(Respond),
}

impl Default for Action {
    fn default() -> Self {
        Self::Respond(Respond {
            status: 404,
            body: String::new(),
            content_type: "text/plain; charset=utf-8".to_owned(),
        })
    }
}

/// Parts that are not given are kept from the request.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub scheme: Option<String>,
    /// With or without a port.
    pub host: Option<String>,
    /// Replaces path and query.
    pub path: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Respond {
    pub status: u16,
    pub body: String,
    pub content_type: String,
}

#[derive(Debug, Clone)]
pub enum Rewrite {
    /// Replaces the matched prefix.
    Prefix(String),
    /// Replaces the whole path; the query stays.
    Path(String),
    /// `{ regex, to }`: `$1` names a group; the query stays.
    Regex { regex: String, to: String },
}

#[derive(Debug, Clone)]
pub enum HostRewrite {
    /// The address of the endpoint as written.
    Endpoint,
    To(String),
}

/// Carried out in this order: remove, set, add.
#[derive(Debug, Clone, Default)]
pub struct FieldEdits {
    pub remove: Vec<String>,
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct Upstream {
    pub endpoints: Vec<Endpoint>,
    pub protocol: Protocol,
    pub balance: Balance,
    pub tls: Option<ClientTls>,
    pub timeouts: UpstreamTimeouts,
    pub connections: Connections,
}

#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `host:port`, `[v6]:port` or `unix:/path`.
    pub address: String,
    /// By default the address as written.
    pub id: Option<String>,
    /// 0 to 1000; 0 gets no traffic.
    pub weight: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    H1,
    /// HTTP/2: by prior knowledge in clear text, by ALPN over TLS.
    H2,
    /// What ALPN chooses over TLS; HTTP/1.1 in clear text.
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    Random,
    LeastConnections,
    /// `choices` endpoints are sampled and the least loaded taken.
    P2c {
        choices: usize,
    },
}

#[derive(Debug, Clone)]
pub struct ClientTls {
    /// PEM roots; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Name that the certificate must carry, also sent as SNI; `None`: the host of the address.
    pub name: Option<String>,
    /// Client certificate.
    pub certificate: Option<Certificate>,
    /// `false` accepts any certificate; for staging only, `check` warns.
    pub verify: bool,
}

#[derive(Debug, Clone)]
pub struct UpstreamTimeouts {
    /// TCP and TLS together.
    pub connect: Duration,
    /// From the request sent to the response head, per attempt.
    pub first_byte: Duration,
    /// From the request head received to the response head, retries and queueing included.
    pub total: Duration,
    /// No byte either way after the response head.
    pub idle: Duration,
    /// No byte either way in a tunnel (WebSocket, CONNECT).
    pub tunnel_idle: Duration,
    /// The whole exchange; `None`: off.
    pub max_duration: Option<Duration>,
}

/// Per endpoint, for the whole process.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Open at once.
    pub max: usize,
    /// Idle ones kept.
    pub idle: usize,
    pub idle_timeout: Duration,
    pub lifetime: Duration,
    /// Streams at once on one HTTP/2 connection before another is opened.
    pub streams: usize,
}

#[derive(Debug, Clone)]
pub struct Admin {
    pub address: Address,
}

#[derive(Debug, Clone)]
pub struct AccessLog {
    /// `stderr`, `stdout` or a file.
    pub path: LogTarget,
    pub format: LogFormat,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    Stderr,
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    /// Apache's combined format.
    Combined,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head: seconds(10),
            keep_alive: seconds(75),
            body: seconds(60),
            handshake: seconds(10),
        }
    }
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            head_bytes: 32 * 1024,
            fields: 100,
            body_bytes: None,
            streams: 128,
        }
    }
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            x_forwarded: true,
            forwarded: false,
            via: None,
        }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(1),
            first_byte: seconds(10),
            total: seconds(30),
            idle: seconds(60),
            tunnel_idle: seconds(3600),
            max_duration: None,
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: 1024,
            idle: 64,
            idle_timeout: Duration::from_secs(30),
            lifetime: Duration::from_secs(3600),
            streams: 100,
        }
    }
}
