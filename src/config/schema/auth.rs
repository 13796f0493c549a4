//! Keys of a route that say who may enter.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use super::{MINUTE, millis, seconds};
use crate::config::cursor::Reader;
use crate::config::emit::Yaml;
use crate::config::kinds::{FieldName, Filled, PathAndQuery, Realm, UpstreamName};
use crate::config::setting::{Block, Book, Setting, block, choice, with_default, written_as_map};
use crate::config::tree::{Node, Value};

/// Who may enter a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    pub way: AuthWay,
    /// The field by which endpoints are told who it is.
    pub identity_header: Option<String>,
    pub keep_credentials: bool,
}

impl Auth {
    /// The upstream that is asked.
    pub fn upstream(&self) -> Option<&str> {
        match &self.way {
            AuthWay::Forward(forward) => Some(&forward.upstream),
            AuthWay::Basic(_) | AuthWay::ApiKey(_) => None,
        }
    }
}

/// How it is found out who a client is.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthWay {
    Basic(BasicAuth),
    ApiKey(ApiKeyAuth),
    Forward(ForwardAuth),
}

block! {
    /// Who may enter a route: everybody else is answered with 401. Exactly one of `basic`, `api_key`
    /// and `forward` is given. It is asked before anything is forwarded, redirected or answered by the
    /// route, and before `idempotency`. A CORS preflight carries no credentials: give `OPTIONS` a route of
    /// its own above this one.
    pub struct AuthKeys {
        /// A user and a password (RFC 7617).
        pub basic: Option<BasicAuth> = None;
        /// A key in a field of the request, or in its query.
        pub api_key: Option<ApiKeyAuth> = None;
        /// A service of your own is asked.
        pub forward: Option<ForwardAuth> = None;
        /// The request header by which endpoints are told the name of who entered: the user, the name of the
        /// key, or what the service calls it (`identity`). What a client sends under this name, also with `_`
        /// for `-` and in trailers, is taken away, on this route from everybody, on all other routes from whom
        /// the listener does not trust, so that nobody is who he says. A name of your own: none that frames
        /// requests, and none by which proxies or clients say something else. Off: they are told nothing.
        pub identity_header: Option<String> as Option<FieldName> = None;
        /// Whether endpoints see the password or key, too. Not by default: what they do not know they
        /// cannot leak. A key in the query is always taken out. Nothing is taken away with `forward`, since
        /// what the service judges, such as a cookie, is often the application's own.
        pub keep_credentials: bool = false;
    }
}

block! {
    /// A user and a password in `Authorization: Basic`. Only with TLS are they hidden on the way.
    pub struct BasicAuth {
        /// A file of users, one on each line, `NAME:$pbkdf2-sha256$…`, as `plimsoll password NAME`
        /// writes it. It is watched: what changes counts from the next request on, without a reload; of a
        /// file that is of no use the users that it had before stay.
        pub users_file: PathBuf;
        /// What browsers show when they ask for the password, and remember it by.
        pub realm: String as Realm = "restricted".to_owned();
    }
}

block! {
    /// A key that programs send. A bearer token may be one: `header: Authorization`.
    pub struct ApiKeyAuth {
        /// A file of keys, one on each line, `NAME:` and the SHA-256 of the key in hexadecimal digits, as
        /// `plimsoll password --key NAME` writes it. A name may have several, so that a key can be changed
        /// without a gap. It is watched as the file of users is.
        pub keys_file: PathBuf;
        /// The request header that holds the key. Of `Authorization` it is what follows `Bearer`. The name
        /// that most use. Off: none does.
        pub header: Option<String> as Option<FieldName> = Some("X-Api-Key".to_owned());
        /// The query parameter that holds the key where the header is absent. Off, because addresses stand in
        /// the logs of others; here it is taken out before anything is logged or forwarded.
        pub query: Option<String> as Option<Filled> = None;
    }
}

block! {
    /// A service is asked about every request by a GET with its header fields, without its body, and with
    /// `X-Forwarded-Method` and `X-Forwarded-Uri` besides the forwarding fields of the listener and what its
    /// `tls.client.header` tells of the client's certificate. An answer of
    /// 2xx lets it in. Any other below 500 is given to the client as it is, so that the service can send it
    /// to a login.
    pub struct ForwardAuth {
        /// Which one: its `bulkhead`, `breaker`, `health` and `tls` are those of this upstream.
        pub upstream: String as UpstreamName;
        /// What it is asked for.
        pub path: String as PathAndQuery = "/".to_owned();
        /// How long its answer may take in all, besides `timeouts` and `retry` of the upstream. A second: it is
        /// part of every request.
        pub timeout: Duration = seconds(1), in millis(1)..=MINUTE;
        /// Fields of its answer that the request is forwarded with. What the client sends under these names is
        /// taken away, as with `identity_header`. Also `Authorization` and `Cookie`, where the service changes
        /// what the client showed for what the application wants; none that frames requests, or that proxies write.
        pub copy: Vec<String> as Vec<FieldName> = Vec::new();
        /// The field of its answer that names who it is, for logs, limits and `identity_header`. Off:
        /// nobody does.
        pub identity: Option<String> as Option<FieldName> = None;
        /// What happens when it cannot be asked, does not answer in time, or answers with 5xx: `closed` is 503,
        /// `open` lets everybody in, nameless. Closed, because a door that opens when it is
        /// kicked is none.
        pub on_failure: OnAuthFailure = OnAuthFailure::Closed;
    }
}

choice! {
    /// What happens when nobody can say who may enter.
    pub enum OnAuthFailure, "a behaviour" {
        /// 503.
        Closed = "closed",
        /// Everybody is let in.
        Open = "open",
    }
}

impl AuthKeys {
    const WAYS: [&'static str; 3] = ["basic", "api_key", "forward"];

    /// What is asked, if the keys name exactly one way.
    fn auth(self, node: &Node, reader: &mut Reader<'_>) -> Option<Auth> {
        let given = Self::WAYS.into_iter().filter_map(|key| node.child(key));
        let given: Vec<_> = given
            .filter(|entry| !matches!(&entry.node.value, Value::Scalar { text, plain: true } if text == "off"))
            .collect();
        match given.as_slice() {
            [] => reader.error_with_help(
                node,
                "it is not said how clients show who they are",
                "add one of `basic`, `api_key` and `forward`, or write `off`",
            ),
            [_] => {}
            [first, rest @ ..] => {
                for entry in rest {
                    let message = format!("clients show who they are by `{}` already", first.key);
                    let help = "keep one of `basic`, `api_key` and `forward`".to_owned();
                    reader.error_at_key(&entry.key, entry.mark, message, Some(help));
                }
            }
        }
        let way = match (self.basic, self.api_key, self.forward) {
            (Some(basic), ..) => AuthWay::Basic(basic),
            (_, Some(api_key), _) => AuthWay::ApiKey(api_key),
            (.., Some(forward)) => AuthWay::Forward(forward),
            (None, None, None) => return None,
        };
        if let AuthWay::ApiKey(ApiKeyAuth {
            header: None,
            query: None,
            ..
        }) = &way
        {
            let help = "name a `header` or a `query` parameter";
            reader.error_with_help(node, "it is not said where the key stands", help);
        }
        Some(Auth {
            way,
            identity_header: self.identity_header,
            keep_credentials: self.keep_credentials,
        })
    }

    fn of(auth: &Auth) -> Self {
        let (mut basic, mut api_key, mut forward) = (None, None, None);
        match auth.way.clone() {
            AuthWay::Basic(way) => basic = Some(way),
            AuthWay::ApiKey(way) => api_key = Some(way),
            AuthWay::Forward(way) => forward = Some(way),
        }
        Self {
            basic,
            api_key,
            forward,
            identity_header: auth.identity_header.clone(),
            keep_credentials: auth.keep_credentials,
        }
    }
}

impl Setting for Auth {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        AuthKeys::read_block(node, reader)?.auth(node, reader)
    }
    fn write(value: &Self) -> Yaml {
        AuthKeys::of(value).write_block()
    }
    fn shape(book: &mut Book) -> Json {
        book.refer::<AuthKeys>()
    }
}

written_as_map!(BasicAuth, ApiKeyAuth, ForwardAuth);
with_default!(AuthKeys);
