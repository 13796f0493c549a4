//! The tests of one route: listener, host, path, method, header and query.
//!
//! The [`Index`](super::index::Index) finds routes by host and path; what it does not prove is tested here.

use super::anchored::Anchored;
use super::error::{Fault, Faults};
use super::fields::field_name;
use super::host::HostPattern;
use super::path::PathPattern;
use super::query;
use super::{Headers, Request};
use crate::config::{Match, ValueMatch};
use ::http::Method;

/// Every part must hold; within a list one entry is enough, and an empty list asks nothing.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) listeners: Box<[usize]>,
    /// Never empty.
    pub(super) hosts: Box<[HostPattern]>,
    pub(super) path: PathPattern,
    pub(super) methods: Box<[Method]>,
    /// All must hold.
    pub(super) fields: Box<[ValueTest]>,
    /// All must hold.
    pub(super) parameters: Box<[ValueTest]>,
}

/// A test on the values of a header field or of a query parameter.
#[derive(Debug, PartialEq)]
pub(super) struct ValueTest {
    /// In lower case for a field.
    pub(super) name: Box<str>,
    pub(super) expected: Expected,
}

#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    Exact(Box<[u8]>),
    Regex(Anchored),
    Present,
    Absent,
}

impl Matcher {
    /// `None` when a fault was noted.
    pub(super) fn compile(
        written: &Match,
        listeners: &[String],
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        let tested = each(faults, &written.listener, "match.listener", |name| {
            let index = listeners.iter().position(|known| known == name);
            index.ok_or_else(|| Fault::UnknownListener(name.clone()))
        });
        let hosts = each(faults, &written.host, "match.host", |host| {
            HostPattern::compile(host)
        });
        let path = faults.keep("match.path", PathPattern::compile(written.path.as_ref()));
        let methods = each(faults, &written.method, "match.method", |name| method(name));
        let fields = each(faults, &written.header, "match.header", |(name, value)| {
            let name = field_name(name)?;
            ValueTest::compile(name, value)
        });
        let parameters = each(faults, &written.query, "match.query", |(name, value)| {
            ValueTest::compile(name.as_str().into(), value)
        });
        let mut hosts = hosts?.into_vec();
        if hosts.is_empty() || hosts.contains(&HostPattern::Any) {
            hosts = vec![HostPattern::Any];
        }
        let mut tested = tested?;
        if (0..listeners.len()).all(|listener| tested.contains(&listener)) {
            tested = Box::default();
        }
        Some(Self {
            listeners: tested,
            hosts: hosts.into(),
            path: path?,
            methods: methods?,
            fields: fields?,
            parameters: parameters?,
        })
    }

    /// Whether host and a path that is not a regular expression are all that is asked.
    pub(super) fn is_host_and_path(&self) -> bool {
        self.listeners.is_empty()
            && self.methods.is_empty()
            && self.fields.is_empty()
            && self.parameters.is_empty()
            && !matches!(self.path, PathPattern::Regex(_))
    }

    /// Whether `request`, whose host and path are known to fit as far as the index proves it, passes the other tests.
    pub(super) fn rest_holds(&self, request: &Request<'_>) -> bool {
        holds_for(&self.listeners, &request.listener)
            && holds_for(&self.methods, request.method)
            && match &self.path {
                PathPattern::Regex(regex) => regex.matches(request.path),
                PathPattern::Prefix(_) | PathPattern::Exact(_) => true,
            }
            && self.fields.iter().all(|test| test.holds_in_fields(request))
            && self
                .parameters
                .iter()
                .all(|test| test.holds_in_query(request.query))
    }

    /// Whether all requests of `other`, where host and path are known to be covered as far as the index proves it,
    /// pass the other tests of `self`. Answers false when it cannot be told.
    pub(super) fn rest_covers(&self, other: &Self) -> bool {
        all_in(&other.listeners, &self.listeners)
            && all_in(&other.methods, &self.methods)
            && match (&self.path, &other.path) {
                (PathPattern::Regex(regex), PathPattern::Exact(path)) => regex.matches(path),
                (PathPattern::Regex(_), _) => self.path == other.path,
                (PathPattern::Prefix(_) | PathPattern::Exact(_), _) => true,
            }
            && self.fields.iter().all(|test| other.fields.contains(test))
            && self
                .parameters
                .iter()
                .all(|test| other.parameters.contains(test))
    }
}

pub(super) fn holds_for<T: PartialEq>(wanted: &[T], given: &T) -> bool {
    wanted.is_empty() || wanted.contains(given)
}

/// Whether what the list `narrow` lets through, `wide` lets through; an empty list lets everything through.
fn all_in<T: PartialEq>(narrow: &[T], wide: &[T]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|one| wide.contains(one)))
}

impl ValueTest {
    pub(super) fn compile(name: Box<str>, value: &ValueMatch) -> Result<Self, Fault> {
        let expected = match value {
            ValueMatch::Exact(text) => Expected::Exact(text.as_bytes().into()),
            ValueMatch::Regex(text) => Expected::Regex(Anchored::compile(text)?),
            ValueMatch::Present => Expected::Present,
            ValueMatch::Absent => Expected::Absent,
        };
        Ok(Self { name, expected })
    }

    pub(super) fn holds_in_fields(&self, request: &Request<'_>) -> bool {
        self.holds_in(request.headers)
    }

    pub(super) fn holds_in(&self, headers: &dyn Headers) -> bool {
        self.holds(|test| headers.any(&self.name, test))
    }

    pub(super) fn holds_in_query(&self, query: Option<&[u8]>) -> bool {
        self.holds(|test| query.is_some_and(|query| query::any(query, self.name.as_bytes(), test)))
    }

    /// `any` says whether some value of the name passes a test.
    fn holds(&self, any: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> bool) -> bool {
        match &self.expected {
            Expected::Exact(value) => any(&mut |given| given == &**value),
            Expected::Regex(regex) => any(&mut |given| regex.matches(given)),
            Expected::Present => any(&mut |_| true),
            Expected::Absent => !any(&mut |_| true),
        }
    }
}

/// Methods are case-sensitive tokens (RFC 9110, 9.1).
fn method(text: &str) -> Result<Method, Fault> {
    let fault = |reason| Fault::Method {
        text: text.to_owned(),
        reason,
    };
    let method = Method::from_bytes(text.as_bytes()).map_err(|_| fault("it is not a token"))?;
    let upper = Method::from_bytes(text.to_ascii_uppercase().as_bytes());
    if !is_standard(&method) && upper.is_ok_and(|upper| is_standard(&upper)) {
        return Err(fault("write it in upper case, as clients do"));
    }
    Ok(method)
}

fn is_standard(method: &Method) -> bool {
    const STANDARD: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    STANDARD.contains(method)
}

/// Compiles every entry of the list at `key`; `None` when one of them is faulty.
pub(super) fn each<T, U>(
    faults: &mut Faults<'_>,
    written: &[T],
    key: &str,
    mut compile: impl FnMut(&T) -> Result<U, Fault>,
) -> Option<Box<[U]>> {
    let results: Vec<Option<U>> = written
        .iter()
        .map(|one| faults.keep(key, compile(one)))
        .collect();
    results.into_iter().collect()
}
