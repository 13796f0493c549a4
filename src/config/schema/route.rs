//! Keys of a route: what it matches, what it does, what it edits.

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::json_schema::or_variable;
use super::super::kinds::{
    FieldName, FieldValue, Fields, Filled, HostAndPort, LimiterName, Name, PathAndQuery, PathText,
    Pattern, Scheme, UpstreamName,
};
use super::super::setting::{Block, Book, Setting, block, choice, with_default, written_as_map};
use super::super::tree::{Node, Value};
use super::addresses::Addresses;
use super::auth::Auth;
use super::fault::Fault;
use super::idempotency::Idempotency;
use super::matcher::{Match, one_key, one_of, single};
use super::upstream::RouteBreaker;

/// What to do with the requests that match.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Route {
    /// By default the canonical text of its match.
    pub name: Option<String>,
    pub matcher: Match,
    pub action: Action,
    /// The value for the `subset` of its upstreams.
    pub subset: Option<String>,
    /// For all that goes to its upstreams.
    pub breaker: Option<RouteBreaker>,
    pub priority: Priority,
    /// The request header that names another priority.
    pub priority_header: Option<String>,
    /// New path towards the endpoint.
    pub rewrite: Option<Rewrite>,
    /// `Host` towards the endpoint; `None` keeps the client's.
    pub host: Option<HostRewrite>,
    pub request_fields: FieldEdits,
    pub response_fields: FieldEdits,
    /// What is injected on purpose.
    pub fault: Option<Fault>,
    /// Executes a request with a key once.
    pub idempotency: Option<Idempotency>,
    /// Whose requests are answered.
    pub addresses: Addresses,
    /// The limiters of its clients, by name.
    pub limits: Vec<String>,
    /// Who may enter.
    pub auth: Option<Auth>,
}

impl Route {
    /// What its numbers are kept under: its name, or the canonical text of its match.
    pub fn identity(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.matcher.canonical(),
        }
    }

    /// Whether it asks something of its clients: who they are, where they are, or how much they want.
    pub fn is_guarded(&self) -> bool {
        self.auth.is_some() || !self.limits.is_empty() || self.addresses != Addresses::default()
    }
}

/// What a route does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Upstream(String),
    /// Upstream and weight.
    Split(Vec<(String, u32)>),
    Redirect(Redirect),
    Respond(Respond),
}

impl Action {
    /// The upstreams that requests may go to.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let (one, parts): (_, &[(String, u32)]) = match self {
            Self::Upstream(name) => (Some(name.as_str()), &[]),
            Self::Split(parts) => (None, parts),
            Self::Redirect(_) | Self::Respond(_) => (None, &[]),
        };
        one.into_iter()
            .chain(parts.iter().map(|(name, _)| name.as_str()))
    }
}

impl Default for Action {
    fn default() -> Self {
        Self::Respond(Respond {
            status: 404,
            ..Respond::default()
        })
    }
}

block! {
    /// What to do with the requests that match. Exactly one of `upstream`, `split`, `redirect` and
    /// `respond` is given.
    pub struct RouteKeys {
        /// What its numbers are kept under across reloads, and its label in metrics. Off: the text
        /// of its match. No two routes share a name.
        pub name: Option<String> as Option<Name> = None;
        /// Which requests; without it, all.
        pub matcher ("match"): Match = Match::default();
        /// Forwards to this upstream.
        pub upstream: Option<String> as Option<UpstreamName> = None;
        /// Forwards to one of several upstreams, each as often as its weight says.
        pub split: Option<Vec<(String, u32)>> as Option<Split> = None;
        /// The value that the `subset` of the upstream asks for, before what the request's header
        /// says. Every upstream of the route has a `subset`. Off: the request decides.
        pub subset: Option<String> as Option<Filled> = None;
        /// A breaker of the route's own, besides those of its upstreams: while it is open, the
        /// route's requests are answered with 503. Kept under the route's name. Off, because most
        /// failures are those of endpoints; for a part of an application that fails by itself.
        pub breaker: Option<RouteBreaker> = None;
        /// `high`, `normal` or `low`: who waits less where the upstream has no place free (`bulkhead`), and who is
        /// refused first when the queue is full or this proxy runs late. `normal`, so that what stands
        /// out is said.
        pub priority: Priority = Priority::Normal;
        /// The request header that says `high`, `normal` or `low` in place of `priority`. Anybody may say less than
        /// `priority`, more only a proxy that the listener trusts (`trusted_proxies`); another value counts for
        /// nothing. Off: the route alone decides.
        pub priority_header: Option<String> as Option<FieldName> = None;
        /// Answers with another address.
        pub redirect: Option<Redirect> = None;
        /// Answers directly.
        pub respond: Option<Respond> = None;
        /// New path towards the endpoint, one of `{ prefix: /x }`, `{ path: /x }` and
        /// `{ regex: "^/a/(.*)$", to: "/b/$1" }`; a group by name is `$${name}`. Off: the target is passed on byte for byte.
        pub rewrite: Option<Rewrite> = None;
        /// `Host` towards the endpoint: `endpoint` for its address as written, or a name. Off: the
        /// client's, since applications build links from it.
        pub host: Option<HostRewrite> = None;
        /// Edits of the request's header fields, made after the forwarding fields were written.
        pub request_headers: FieldEdits = FieldEdits::default();
        /// Edits of the response's header fields, also of a redirect and a direct answer; errors
        /// of the proxy stay as they are.
        pub response_headers: FieldEdits = FieldEdits::default();
        /// Faults that are injected on purpose, for staging. Off.
        pub fault: Option<Fault> = None;
        /// Makes requests with an idempotency key safe to repeat: the first is executed, its result is
        /// kept in memory and given to its repeats. Off: the field is passed on and means nothing
        /// here.
        pub idempotency: Option<Idempotency> = None;
        /// Whose requests are answered, by the address of the client as `trusted_proxies` tell it; all others
        /// get 403. By default all.
        pub addresses: Addresses = Addresses::default();
        /// The names of limits that its requests are held to, in the order in which they are asked: of `rate_limits`,
        /// `concurrency_limits` and `bandwidth_limits`. What one refuses takes nothing of the others. Asked after
        /// those of the listener; none by default.
        pub limits: Vec<String> as Vec<LimiterName> = Vec::new();
        /// Who may enter, and how they show who they are. Off: everybody.
        pub auth: Option<Auth> = None;
    }
}

choice! {
    /// How much it matters that a request is answered when not all can be. The lowest first.
    pub enum Priority, "a priority" {
        /// Can be repeated later: reports, prefetches, crawlers.
        Low = "low",
        /// What is neither.
        Normal = "normal",
        /// Somebody waits for it, or it keeps the system going: health, logins, orders.
        High = "high",
    }
}

impl Priority {
    /// All of them, in the order of their numbers, the lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];
}

#[allow(
    clippy::derivable_impls,
    reason = "the macro that gives the names marks none of them as the default"
)]
impl Default for Priority {
    fn default() -> Self {
        Self::Normal
    }
}

impl RouteKeys {
    const ACTIONS: &'static str = "`upstream`, `split`, `redirect` and `respond`";

    /// The route, if the keys name exactly one action.
    fn route(self, node: &Node, reader: &mut Reader<'_>) -> Option<Route> {
        // A faulty action still counts as given: its own error says enough.
        let given: Vec<_> = ["upstream", "split", "redirect", "respond"]
            .into_iter()
            .filter_map(|key| node.child(key))
            .filter(|entry| !matches!(&entry.node.value, Value::Scalar { text, plain: true } if text == "off"))
            .collect();
        match given.as_slice() {
            [] => {
                let help = format!("add one of {}", Self::ACTIONS);
                reader.error_with_help(
                    node,
                    "the route has no action: nothing would answer its requests",
                    help,
                );
            }
            [_] => {}
            [first, rest @ ..] => {
                for entry in rest {
                    let message = format!("the route has an action already, `{}`", first.key);
                    let help = format!("keep one of {}", Self::ACTIONS);
                    reader.error_at_key(&entry.key, entry.mark, message, Some(help));
                }
            }
        }
        let action = match (self.upstream, self.split, self.redirect, self.respond) {
            (Some(upstream), ..) => Action::Upstream(upstream),
            (_, Some(split), ..) => Action::Split(split),
            (.., Some(redirect), _) => Action::Redirect(redirect),
            (.., Some(respond)) => Action::Respond(respond),
            (None, None, None, None) => return None,
        };
        Some(Route {
            name: self.name,
            matcher: self.matcher,
            action,
            subset: self.subset,
            breaker: self.breaker,
            priority: self.priority,
            priority_header: self.priority_header,
            rewrite: self.rewrite,
            host: self.host,
            request_fields: self.request_headers,
            response_fields: self.response_headers,
            fault: self.fault,
            idempotency: self.idempotency,
            addresses: self.addresses,
            limits: self.limits,
            auth: self.auth,
        })
    }

    fn of(route: &Route) -> Self {
        let (mut upstream, mut split, mut redirect, mut respond) = (None, None, None, None);
        match route.action.clone() {
            Action::Upstream(name) => upstream = Some(name),
            Action::Split(parts) => split = Some(parts),
            Action::Redirect(to) => redirect = Some(to),
            Action::Respond(with) => respond = Some(with),
        }
        Self {
            name: route.name.clone(),
            matcher: route.matcher.clone(),
            upstream,
            split,
            subset: route.subset.clone(),
            breaker: route.breaker.clone(),
            priority: route.priority,
            priority_header: route.priority_header.clone(),
            redirect,
            respond,
            rewrite: route.rewrite.clone(),
            host: route.host.clone(),
            request_headers: route.request_fields.clone(),
            response_headers: route.response_fields.clone(),
            fault: route.fault.clone(),
            idempotency: route.idempotency.clone(),
            addresses: route.addresses.clone(),
            limits: route.limits.clone(),
            auth: route.auth.clone(),
        }
    }
}

impl Setting for Route {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            reader.error(node, format!("expected a map, found {}", node.kind()));
            return None;
        };
        RouteKeys::read_block(node, reader)?.route(node, reader)
    }
    fn write(value: &Self) -> Yaml {
        RouteKeys::of(value).write_block()
    }
    fn shape(book: &mut Book) -> Json {
        book.refer::<RouteKeys>()
    }
}

/// Upstreams and weights.
pub(crate) struct Split;

impl Setting<Vec<(String, u32)>> for Split {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<(String, u32)>> {
        let parts = reader.map(
            node,
            |_| Ok(()),
            |node, reader| {
                let weight = u32::read(node, reader)?;
                if weight > 1_000_000 {
                    reader.error(node, "out of range; from 0 to 1000000");
                }
                Some(weight)
            },
        )?;
        for entry in node.entries() {
            if !reader.names.upstreams.contains(&entry.key) {
                reader.unknown_upstream(entry);
            }
        }
        if node.entries().is_empty() {
            reader.error_with_help(
                node,
                "the split is empty: nothing would answer its requests",
                "write `{ api: 95, canary: 5 }`",
            );
        } else if parts.len() == node.entries().len()
            && parts.iter().all(|(_, weight)| *weight == 0)
        {
            reader.error(
                node,
                "every weight of the split is 0: nothing would answer its requests",
            );
        }
        Some(parts)
    }
    fn write(value: &Vec<(String, u32)>) -> Yaml {
        Yaml::Map(
            value
                .iter()
                .map(|(name, weight)| (name.clone(), Yaml::Number((*weight).into())))
                .collect(),
        )
    }
    fn shape(_: &mut Book) -> Json {
        let weight = json!({ "type": "integer", "minimum": 0, "maximum": 1_000_000 });
        json!({ "type": "object", "minProperties": 1, "additionalProperties": weight })
    }
}

block! {
    /// Another address for the client. Parts that are not given are kept from the request.
    pub struct Redirect {
        /// 301, 302, 303, 307 or 308. 308 by default: permanent, and the method is kept (RFC 9110,
        /// 15.4.9).
        pub status: u16 as RedirectStatus = 308;
        /// `http` or `https`.
        pub scheme: Option<String> as Option<Scheme> = None;
        /// With or without a port.
        pub host: Option<String> as Option<HostAndPort> = None;
        /// Replaces path and query.
        pub path: Option<String> as Option<PathAndQuery> = None;
    }
}

block! {
    /// A direct answer.
    pub struct Respond {
        /// 200 to 599.
        pub status: u16 = 200, in 200..=599;
        /// The body; it stands in memory, so keep it small.
        pub body: String = String::new();
        /// `Content-Type`, sent when there is a body.
        pub content_type: String as FieldValue = "text/plain; charset=utf-8".to_owned();
    }
}

/// A status that carries `Location`.
pub(crate) struct RedirectStatus;

impl RedirectStatus {
    const ALLOWED: [u16; 5] = [301, 302, 303, 307, 308];
}

impl Setting<u16> for RedirectStatus {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<u16> {
        let status = u16::read(node, reader)?;
        if !Self::ALLOWED.contains(&status) {
            let help = "301, 302, 303, 307 or 308; 307 and 308 keep the method";
            reader.error_with_help(node, "this status does not redirect", help);
        }
        Some(status)
    }
    fn write(value: &u16) -> Yaml {
        Yaml::Number((*value).into())
    }
    fn shape(_: &mut Book) -> Json {
        or_variable(json!({ "enum": Self::ALLOWED }))
    }
}

/// A new path towards the endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Rewrite {
    /// Replaces the matched prefix.
    Prefix(String),
    /// Replaces the whole path; the query stays.
    Path(String),
    /// `{ regex, to }`: `$1` names a group; the query stays.
    Regex { regex: String, to: String },
}

impl Setting for Rewrite {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            let message = format!("expected a map, found {}", node.kind());
            reader.error_with_help(
                node,
                message,
                "write `{ prefix: /x }`, `{ path: /x }` or `{ regex: …, to: … }`",
            );
            return None;
        };
        if node.child("regex").is_none() && node.child("to").is_none() {
            let (key, value) = one_of(node, reader, &["prefix", "path", "regex"])?;
            let path = reader.under(key, |reader| PathText::read(value, reader))?;
            return Some(if key == "path" {
                Self::Path(path)
            } else {
                Self::Prefix(path)
            });
        }
        reader.open(node, &["regex", "to"])?;
        let regex = reader.field::<Pattern, String>(node, "regex", None, None);
        let to = reader.field::<String, String>(node, "to", None, None);
        Some(Self::Regex {
            regex: regex?,
            to: to?,
        })
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::Prefix(path) => single("prefix", Yaml::Text(path.clone())),
            Self::Path(path) => single("path", Yaml::Text(path.clone())),
            Self::Regex { regex, to } => Yaml::Map(vec![
                ("regex".to_owned(), Yaml::Text(regex.clone())),
                ("to".to_owned(), Yaml::Text(to.clone())),
            ]),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let (path, pattern) = (PathText::shape(book), Pattern::shape(book));
        let substitution = json!({
            "type": "object",
            "properties": { "regex": pattern, "to": { "type": "string" } },
            "required": ["regex", "to"],
            "additionalProperties": false,
        });
        json!({ "anyOf": [one_key(&[("prefix", &path), ("path", &path)]), substitution] })
    }
}

/// `Host` towards the endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum HostRewrite {
    /// The address of the endpoint as written.
    Endpoint,
    To(String),
}

impl Setting for HostRewrite {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let host = HostAndPort::read(node, reader)?;
        Some(if host == "endpoint" {
            Self::Endpoint
        } else {
            Self::To(host)
        })
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(match value {
            Self::Endpoint => "endpoint".to_owned(),
            Self::To(host) => host.clone(),
        })
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

block! {
    /// Edits of header fields, carried out in this order: remove, set, add.
    pub struct FieldEdits {
        /// Names of fields to take away.
        pub remove: Vec<String> as Vec<FieldName> = Vec::new();
        /// Fields that replace all of their name.
        pub set: Vec<(String, String)> as Fields<FieldValue> = Vec::new();
        /// Fields that stand beside others of their name.
        pub add: Vec<(String, String)> as Fields<FieldValue> = Vec::new();
    }
}

written_as_map!(Redirect, Respond, FieldEdits);
with_default!(Redirect, Respond, FieldEdits);
