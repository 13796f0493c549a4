//! Keys of an upstream.

mod balance;
mod breaker;
mod bulkhead;
mod discovery;
mod endpoint;
mod hash;
mod health;
mod hedge;
mod narrowing;
mod outlier;
mod retry;
mod weighing;

use std::path::PathBuf;
use std::time::Duration;

pub use balance::*;
pub use breaker::*;
pub use bulkhead::*;
pub use discovery::*;
pub use endpoint::*;
pub use hash::*;
pub use health::*;
pub use hedge::*;
pub use narrowing::*;
pub use outlier::*;
pub use retry::*;
pub use weighing::*;

use super::{DAY, HOUR, ProxyProtocol, millis, seconds};
use crate::config::kinds::{FieldName, ServerName};
use crate::config::setting::{block, choice, with_default, written_as_map};
use crate::config::units::Share;

block! {
    /// A group of interchangeable endpoints under one policy.
    pub struct Upstream {
        /// The endpoints, each an address or a map. At least one, unless there is an `endpoints_file`.
        pub endpoints: Vec<Endpoint> = Vec::new();
        /// A file of further endpoints: a YAML list of what may stand in `endpoints`. It is watched, and a
        /// change of it is put in force within a second, without a reload; for lists that another
        /// program writes. A file that cannot be read, has a mistake or names nobody changes nothing.
        /// What has the id of one in `endpoints` is left out. Off: there are no others.
        pub endpoints_file: Option<PathBuf> = None;
        /// How host names, SRV records and `endpoints_file` are followed while the process runs. What they
        /// say changes without a reload; while a source fails, its last good list serves.
        pub discovery: Discovery = Discovery::default();
        /// `h1`, `h2` or `auto`. HTTP/1.1 by default, which every server speaks.
        pub protocol: Protocol = Protocol::H1;
        /// The policy that picks an endpoint: a name, or one name with its options,
        /// `{ p2c: { choices: 3 } }`. Weights, `slow_start` and `failure_penalty` count in all of
        /// them. `p2c` by default: nearly as even as comparing all, and without the herd that runs
        /// to the least loaded one.
        ///
        /// - `p2c`: the less loaded of two drawn by chance, of all where there are eight or fewer. For
        ///   nearly everything. Not where a client must come back to its endpoint.
        /// - `round_robin`, or `weighted_round_robin`: each in turn, just as often as its weight
        ///   says. For like endpoints and like requests, and where shares must be exact. Not
        ///   where an endpoint may be slow: it gets its share all the same.
        /// - `random`: by chance. For comparison, and for many proxies that must not fall into
        ///   step. Not for few requests, whose shares stay uneven.
        /// - `least_connections`: the fewest in flight of all; of equals the one with the fewest
        ///   requests in the last second. For long requests, streams and tunnels. Not for thousands
        ///   of endpoints: each pick looks at all of them as long as none is idle.
        /// - `peak_ewma`: the lowest latency times load of two drawn by chance. For endpoints that
        ///   differ in speed or distance. Not where latency depends on what is asked for rather
        ///   than on who answers: it then follows noise.
        /// - `prequal`: the fastest of those with few in flight. For many endpoints near their
        ///   limits that share machines with other work. Not for a handful of endpoints or little
        ///   traffic, where it knows no more than `p2c`.
        /// - `consistent_hash`: the same endpoint for the same key. For caches, and state that can
        ///   be built anew. Not for even load, and not for sessions that must not move: `sticky`
        ///   holds those also when endpoints are added.
        pub balance: Balance = Balance::default();
        /// How an endpoint begins that becomes healthy, because it was added to a running process or
        /// has recovered: its weight and its caps are multiplied by max(`min_weight`,
        /// (t / `window`)^(1 / `aggression`)), where t is the time since then. Not at the start of the
        /// process, when all are new. Off, because most servers need no warming; for caches and
        /// just-in-time compilers, and wherever a new endpoint, being the least loaded, is overrun.
        pub slow_start: Option<SlowStart> = None;
        /// Lets an endpoint that fails (no connection, no answer, an answer cut short, 429, 502, 503,
        /// 504) count less: by its share of successes, though not below a tenth, relative to the best
        /// endpoint of its priority and zone; and each failure is held as load for about as long as an
        /// answer of the upstream takes. On, because an endpoint that fails fast looks idle, and
        /// without this the policies that look at load or latency send it the more. Off where such
        /// an answer is meant, and says nothing of the endpoint that gives it.
        pub failure_penalty: Option<FailurePenalty> = Some(FailurePenalty::default());
        /// Keeps a client at its endpoint by a signed cookie, which does not show the address. When the
        /// endpoint is lost, only its sessions move; when it is `draining`, it keeps them. Off,
        /// because HTTP needs no sessions; for applications that keep what a client did in memory.
        pub sticky: Option<Sticky> = None;
        /// What happens when too few endpoints are healthy. Off: what is unhealthy gets nothing, and
        /// when no endpoint is left the answer is 503.
        pub panic: Option<Panic> = None;
        /// Sends a request only to endpoints whose metadata fit it: versions, tenants, hardware. Off:
        /// to any.
        pub subset: Option<Subset> = None;
        /// How many endpoints of each priority and zone this proxy uses, drawn by chance once for each
        /// process. For hundreds of endpoints and many proxies, so that not every endpoint holds
        /// connections from every proxy; 20 to 100 is usual (Site Reliability Engineering, ch. 20).
        /// Not with `consistent_hash`, whose proxies would then disagree. Off: all.
        pub random_subset: Option<usize> = None, in Some(2)..=Some(100_000);
        /// Which picks are written down with their grounds.
        pub decisions: Decisions = Decisions::default();
        /// TLS towards the endpoints. Off: clear text.
        pub tls: Option<ClientTls> = None;
        /// A PROXY header before everything else on each connection, TLS included, which tells the endpoint
        /// the address of the client, as far as the listener's `trusted_proxies` tell it: `v1`, a line
        /// of text, or `v2`, binary, which tells the proxy's own checks from clients. Every request then has a
        /// connection of its own, because a header speaks for all that follows it. Checks of health that have
        /// no `port` of their own send one that names nobody. Off, because endpoints must expect it, and
        /// `X-Forwarded-For` says the same without costing connections.
        pub proxy_protocol: Option<ProxyProtocol> = None;
        /// How long endpoints may take.
        pub timeouts: UpstreamTimeouts = UpstreamTimeouts::default();
        /// Connections to each endpoint, counted for the whole process.
        pub connections: Connections = Connections::default();
        /// Stops sending where too much fails. On, so that what is down costs no waiting, and gets
        /// rest to recover in.
        pub breaker: Option<Breaker> = Some(Breaker::default());
        /// Takes endpoints out for a time that are worse than their peers. Off, because what is worse
        /// depends on what the endpoints are for.
        pub outlier: Option<Outlier> = None;
        /// How many attempts at once, and who waits for a place. On, because an upstream that gets slow
        /// otherwise takes sockets and memory from all others. Off: no cap but that on connections.
        pub bulkhead: Option<Bulkhead> = Some(Bulkhead::default());
        /// Which endpoints are healthy. Off: all are taken to be, since not every server has something
        /// to ask for; what requests meet there counts all the same.
        pub health: Option<Health> = None;
        /// When a request is sent again, and what that may cost. On, because endpoints fail and another one serves. Off is as
        /// `{ max_attempts: 1 }`: nothing is sent again that an endpoint may have begun with.
        pub retry: Option<Retry> = Some(Retry::default());
        /// When a second attempt runs beside a slow first one. Off, because it costs load; for reads whose slowest answers
        /// matter, where an endpoint is slow now and then and not the request itself.
        pub hedge: Option<Hedge> = None;
    }
}

impl Upstream {
    /// An upstream of `endpoints` with every default.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            endpoints_file: None,
            discovery: Discovery::default(),
            protocol: Protocol::H1,
            balance: Balance::default(),
            slow_start: None,
            failure_penalty: Some(FailurePenalty::default()),
            sticky: None,
            panic: None,
            subset: None,
            random_subset: None,
            decisions: Decisions::default(),
            tls: None,
            proxy_protocol: None,
            timeouts: UpstreamTimeouts::default(),
            connections: Connections::default(),
            breaker: Some(Breaker::default()),
            outlier: None,
            bulkhead: Some(Bulkhead::default()),
            retry: Some(Retry::default()),
            hedge: None,
            health: None,
        }
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

block! {
    /// TLS towards the endpoints of an upstream.
    pub struct ClientTls {
        /// The file of trusted roots, PEM. Off: those of the system.
        pub ca: Option<PathBuf> = None;
        /// The name that the certificate must carry, also sent as SNI. Off: the host of the address.
        pub name: Option<String> as Option<ServerName> = None;
        /// A certificate to show to endpoints that ask for one.
        pub certificate: Option<ClientCertificate> = None;
        /// `false` accepts any certificate, so that anybody on the way can read and change the
        /// traffic. For staging only; `check` warns of it.
        pub verify: bool = true;
    }
}

block! {
    /// A certificate to be shown and its key, both PEM. Read at start, on reload, and by themselves
    /// when they change, as the roots are.
    pub struct ClientCertificate {
        /// The file of the chain, the leaf first.
        pub cert: PathBuf;
        /// The file of the private key, without a passphrase.
        pub key: PathBuf;
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
        /// A header field that tells the endpoint how many milliseconds `total` leaves when the request is sent, such as
        /// `X-Deadline-Ms`, in place of what the client sent; to a gRPC call `grpc-timeout` is written too, unless the
        /// client's own is shorter. An endpoint that heeds it does no work for which nobody waits. Off, because few do.
        pub deadline_header: Option<String> as Option<FieldName> = None;
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
    /// Which picks are written down, with all candidates, their scores and who was left out, for the
    /// admin API to show.
    pub struct Decisions {
        /// The share of picks, besides those that a request asks for (`explain_to` of the listener).
        /// None, because each costs a look at every endpoint.
        pub sample: Share = Share::percent(0), in Share::percent(0)..=Share::percent(100);
        /// How many of the latest are kept; the older ones are lost.
        pub keep: usize = 64, in 1..=4096;
    }
}

written_as_map!(
    Upstream,
    Decisions,
    ClientTls,
    ClientCertificate,
    UpstreamTimeouts,
    Connections
);
with_default!(Decisions, ClientTls, UpstreamTimeouts, Connections);
