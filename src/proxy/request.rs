//! A request as routes, keys, sessions and subsets read it: what a stranger may not write is not there.
//!
//! All that it needs is the head, who sent it and the rules of the listener that took it, so that `plimsoll route` asks
//! with a request that nobody sent what the proxy asks with one that somebody did.

use std::net::IpAddr;

use super::client;
use super::error::ProxyError;
use crate::asked::Asked;
use crate::config::Underscores;
use crate::http::fields::{Name, Names};
use crate::http::h1::parse::ParseError;
use crate::http::head::RequestHead;
use crate::http::{headers, target};
use crate::route;
use crate::snapshot::Listener;

/// A head and where it came from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub head: &'a RequestHead,
    /// The address of whoever connected; `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether the client speaks TLS.
    pub tls: bool,
    /// Index of the listener, in the order of their names.
    pub listener: usize,
    /// Its rules.
    pub rules: &'a Listener,
}

impl Request<'_> {
    /// The address of the client; `None` on a Unix socket, unless a trusted proxy speaks there and tells.
    pub fn client(&self) -> Option<IpAddr> {
        client::address(&self.rules.trusted_proxies, self.peer, &self.head.fields)
    }

    /// Whether it comes from a proxy that is believed.
    pub fn is_trusted(&self) -> bool {
        client::is_trusted(&self.rules.trusted_proxies, self.peer)
    }

    /// Fields that count for nothing, as far as there are any, because the peer is not trusted.
    pub fn distrusted(&self) -> Names {
        if self.is_trusted() {
            Names::NONE
        } else {
            headers::strange(self.rules.underscores == Underscores::Pass)
        }
    }

    /// Refuses a stranger's field with `_` in its name where the listener asks for that.
    pub fn check_names(&self) -> Result<(), ProxyError> {
        let fields = &self.head.fields;
        if !fields.present().meets(headers::UNDERSCORED) {
            return Ok(());
        }
        let is_refused = self.rules.underscores == Underscores::Refuse
            && !self.is_trusted()
            && fields.iter().any(|(_, spelt, _)| spelt.contains(&b'_'));
        if is_refused {
            Err(ProxyError::Request(ParseError::Underscore))
        } else {
            Ok(())
        }
    }

    /// Asks the route table by `ask`. `buffer` is for a path that is not in canonical form. An empty host stands for a
    /// request without one, which only HTTP/1.0 allows.
    pub fn with_routes<R>(
        &self,
        buffer: &mut Vec<u8>,
        ask: impl FnOnce(&route::Request<'_>) -> R,
    ) -> Result<R, ProxyError> {
        self.with_routes_for(&self.head.target, buffer, ask)
    }

    /// The same, if its target were this one.
    pub fn with_routes_for<R>(
        &self,
        target: &[u8],
        buffer: &mut Vec<u8>,
        ask: impl FnOnce(&route::Request<'_>) -> R,
    ) -> Result<R, ProxyError> {
        let head = self.head;
        let canonical = target::canonical(target, buffer).map_err(|_| ProxyError::Target)?;
        Ok(ask(&route::Request {
            listener: self.listener,
            host: head.fields.get(Name::Host).unwrap_or_default(),
            path: canonical.path,
            query: canonical.query,
            // What HTTP/1 calls a GET with `Upgrade` (RFC 8441, 5).
            method: if head.method == ::http::Method::CONNECT {
                &::http::Method::GET
            } else {
                &head.method
            },
            headers: self,
        }))
    }

    fn split(&self) -> (&[u8], Option<&[u8]>) {
        let target = &self.head.target;
        match memchr::memchr(b'?', target) {
            Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
            None => (target, None),
        }
    }

    /// The values of a field, whose name counts in any case.
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let skip = self.distrusted();
        let fields = self.head.fields.iter();
        fields
            .filter(move |(known, spelt, _)| {
                spelt.eq_ignore_ascii_case(name.as_bytes()) && !skip.contains(*known)
            })
            .map(|(_, _, value)| value)
    }
}

impl route::Headers for Request<'_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.values(name).any(test)
    }
}

impl Asked for Request<'_> {
    fn client_ip(&self) -> Option<IpAddr> {
        self.client()
    }

    fn host(&self) -> Option<&[u8]> {
        self.head.fields.get(Name::Host)
    }

    fn path(&self) -> &[u8] {
        self.split().0
    }

    fn query(&self) -> Option<&[u8]> {
        self.split().1
    }

    fn each_header(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.values(name).for_each(each);
    }
}
