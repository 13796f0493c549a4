//! What one route asks of keyed requests, compiled; and what tells their clients and their contents apart.

use std::sync::Arc;

use ::http::Method;

use super::key::{Hash, Hasher, KeyError, read};
use super::{Limits, Store, Stores};
use crate::config::{self, Idempotency};

/// The `idempotency` of a route with its keys.
#[derive(Debug)]
pub struct Guard {
    pub rules: Idempotency,
    pub limits: Limits,
    pub store: Arc<Store>,
    route: String,
    methods: Vec<Method>,
    /// Cookies that this proxy sets. They change without the client's doing and say nothing of who it is.
    own_cookies: Vec<String>,
}

/// What a key is good for: another of any of these is another client's, or means another thing.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub method: &'a Method,
    pub host: &'a [u8],
    /// In canonical form, without the query.
    pub path: &'a [u8],
    pub key: &'a [u8],
    /// What was found out of who the client is, whatever the route names as its credentials: pairs of what it is, and its value.
    pub who: &'a [(&'a [u8], &'a [u8])],
}

/// Calls its second argument with each value of the field that the first one names.
pub type EachValue<'a> = &'a dyn Fn(&str, &mut dyn FnMut(&[u8]));

impl Guard {
    /// `None` where the route asks for nothing. `own_cookies` are those that its upstreams have this proxy set.
    pub fn compile(
        route: &config::Route,
        name: &str,
        own_cookies: Vec<String>,
        stores: &Stores,
    ) -> Option<Self> {
        let rules = route.idempotency.clone()?;
        // Validated when it was read: each of them is a token.
        let methods = rules.methods.iter();
        let methods = methods.filter_map(|method| Method::from_bytes(method.as_bytes()).ok());
        Some(Self {
            limits: Limits {
                ttl: rules.ttl,
                entries: rules.entries,
                bytes: rules.bytes,
            },
            store: stores.of(name),
            route: name.to_owned(),
            methods: methods.collect(),
            own_cookies,
            rules,
        })
    }

    /// The name of the route.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Bytes of requests that may be held at the same time. The largest that is allowed always fits when it is alone.
    pub fn room(&self) -> usize {
        self.rules.bytes.max(self.rules.request_bytes)
    }

    /// Whether a key is looked for in requests of this method.
    pub fn is_for(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    /// The key that a request carries; `None`: it carries none, and needs none.
    pub fn key(&self, each: EachValue<'_>) -> Result<Option<Vec<u8>>, KeyError> {
        let mut values: Vec<Vec<u8>> = Vec::new();
        each(&self.rules.header, &mut |value| values.push(value.to_vec()));
        match read(values.iter().map(Vec::as_slice), self.rules.key_bytes)? {
            None if self.rules.required => Err(KeyError::Missing),
            key => Ok(key),
        }
    }

    /// What a key is looked up by.
    pub fn scoped(&self, scope: &Scope<'_>, each: EachValue<'_>) -> Hash {
        let mut hasher = Hasher::default();
        hasher.part(self.route.as_bytes());
        hasher.part(scope.method.as_str().as_bytes());
        hasher.part(&scope.host.to_ascii_lowercase());
        hasher.part(scope.path);
        hasher.part(scope.key);
        hasher.part(&(scope.who.len() as u64).to_be_bytes());
        for (what, value) in scope.who {
            hasher.part(what);
            hasher.part(value);
        }
        for name in &self.rules.credentials {
            let mut values: Vec<Vec<u8>> = Vec::new();
            if name.eq_ignore_ascii_case("cookie") {
                each(name, &mut |value| self.cookies(value, &mut values));
            } else {
                each(name, &mut |value| values.push(value.to_vec()));
            }
            hasher.part(&(values.len() as u64).to_be_bytes());
            values.iter().for_each(|value| hasher.part(value));
        }
        hasher.finish()
    }

    /// The cookies of one field, of which HTTP/2 may make several (RFC 9113, 8.2.3).
    fn cookies(&self, value: &[u8], out: &mut Vec<Vec<u8>>) {
        for cookie in value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            let name = cookie
                .split(|byte| *byte == b'=')
                .next()
                .unwrap_or_default();
            let is_own = |own: &String| own.as_bytes() == name;
            if !cookie.is_empty() && !self.own_cookies.iter().any(is_own) {
                out.push(cookie.to_vec());
            }
        }
    }
}

/// What two requests with the same key must agree in.
pub fn content(target: &[u8], body: &[u8]) -> Hash {
    let mut hasher = Hasher::default();
    hasher.part(target);
    hasher.part(body);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::event::Events;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn guard(credentials: &[&str]) -> Guard {
        let rules = Idempotency {
            credentials: credentials.iter().map(|&name| name.to_owned()).collect(),
            ..Idempotency::default()
        };
        let route = config::Route {
            idempotency: Some(rules),
            ..config::Route::default()
        };
        let stores = Stores::new(Arc::new(Events::default()));
        Guard::compile(&route, "pay", vec!["plimsoll".to_owned()], &stores).unwrap()
    }

    fn scoped(guard: &Guard, host: &str, path: &str, fields: Fields<'_>) -> Hash {
        of_somebody(guard, host, path, fields, &[])
    }

    fn of_somebody(
        guard: &Guard,
        host: &str,
        path: &str,
        fields: Fields<'_>,
        who: &[(&[u8], &[u8])],
    ) -> Hash {
        let scope = Scope {
            method: &Method::POST,
            host: host.as_bytes(),
            path: path.as_bytes(),
            key: b"1",
            who,
        };
        guard.scoped(&scope, &|name, each| {
            let named = fields
                .iter()
                .filter(|(known, _)| known.eq_ignore_ascii_case(name));
            named.for_each(|(_, value)| each(value.as_bytes()));
        })
    }

    #[test]
    fn no_client_meets_the_key_of_another() {
        let guard = guard(&["Authorization", "Cookie"]);
        let all: [(&str, &str, Fields<'_>); 8] = [
            ("a", "/pay", &[]),
            ("b", "/pay", &[]),
            ("a", "/pay/1", &[]),
            ("a", "/pay", &[("authorization", "Bearer 1")]),
            ("a", "/pay", &[("authorization", "Bearer 2")]),
            ("a", "/pay", &[("cookie", "Bearer 1")]),
            ("a", "/pay", &[("cookie", "session=1")]),
            (
                "a",
                "/pay",
                &[("authorization", "Bearer 1"), ("cookie", "session=1")],
            ),
        ];
        let hashes: std::collections::HashSet<Hash> = all
            .iter()
            .map(|(host, path, fields)| scoped(&guard, host, path, fields))
            .collect();
        assert_eq!(hashes.len(), all.len());
        let other = Guard {
            route: "other".to_owned(),
            ..self::guard(&["Authorization", "Cookie"])
        };
        assert!(!hashes.contains(&scoped(&other, "a", "/pay", &[])));
    }

    #[test]
    fn who_somebody_was_found_to_be_counts_without_any_credentials() {
        let guard = guard(&[]);
        let of = |who: &[(&[u8], &[u8])]| of_somebody(&guard, "a", "/", &[], who);
        let all = [
            of(&[]),
            of(&[(b"name", b"")]),
            of(&[(b"name", b"ann")]),
            of(&[(b"name", b"bob")]),
            of(&[(b"names", b"bob")]),
            of(&[(b"name", b"ann"), (b"issuer", b"")]),
            of(&[(b"name", b"ann"), (b"issuer", b"ann")]),
        ];
        let different: std::collections::HashSet<Hash> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(of(&[(b"name", b"ann")]), all[2]);
    }

    #[test]
    fn a_client_meets_its_own_key_however_its_request_comes() {
        let guard = guard(&["Authorization", "Cookie"]);
        let once = scoped(&guard, "A", "/", &[("cookie", "a=1; b=2")]);
        let again: [Fields<'_>; 3] = [
            &[("cookie", "a=1"), ("Cookie", "b=2")],
            &[("cookie", "a=1;b=2;")],
            &[("cookie", "a=1; plimsoll=x; b=2")],
        ];
        for fields in again {
            assert_eq!(scoped(&guard, "a", "/", fields), once, "{fields:?}");
        }
        assert_ne!(scoped(&guard, "a", "/", &[("cookie", "a=1; b=3")]), once);
    }

    #[test]
    fn a_body_is_not_taken_for_a_target() {
        assert_ne!(content(b"/a", b"b"), content(b"/ab", b""));
    }
}
