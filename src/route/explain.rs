//! Why a request meets the route that it meets: which tests the routes before it fail.
//!
//! Reads the routes one by one, as they were written, and so also says what the lookup of [`Table::find`] must find; that
//! the two agree is a law of the tests. Not for the request path.

use std::fmt;

use super::host::{HostPattern, with_normal};
use super::matcher::{Expected, Matcher, ValueTest, holds_for};
use super::path::PathPattern;
use super::query;
use super::table::Table;
use super::{Request, Route};

/// Bytes of a value that are shown.
const SHOWN: usize = 128;

/// The way of a request through the table, from top to bottom.
#[derive(Debug)]
pub struct Explanation<'t> {
    /// The routes that do not match, each with why.
    pub passed: Vec<Passed<'t>>,
    /// The first that matches; `None`: none does.
    pub found: Option<&'t Route>,
    /// How many stand below it, and were not asked.
    pub not_reached: usize,
}

/// A route that does not match.
#[derive(Debug)]
pub struct Passed<'t> {
    pub route: &'t Route,
    /// Every test that it failed; at least one.
    pub failed: Vec<Failed>,
}

/// A test that a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub test: Test,
    /// What would have passed, in the manner of [`default_name`](super::default_name).
    pub wanted: String,
    /// What the request has; `None`: nothing of the kind.
    pub given: Option<String>,
}

/// What a test looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    Listener,
    Host,
    Path,
    Method,
    /// The header of this name.
    Header(String),
    /// The query parameter of this name.
    Query(String),
}

impl Test {
    /// The key of the configuration that asks for it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Header(_) => "header",
            Self::Query(_) => "query",
        }
    }

    /// What is tested of those that have names.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Header(name) | Self::Query(name) => Some(name),
            Self::Listener | Self::Host | Self::Path | Self::Method => None,
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())?;
        self.name().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

impl Table {
    /// Asks the routes from top to bottom, up to the first that matches. `listeners` are the names that the table was
    /// compiled with.
    pub fn explain(&self, request: &Request<'_>, listeners: &[String]) -> Explanation<'_> {
        let mut passed = Vec::new();
        let all = self.routes().iter().zip(&self.matchers);
        for (route, matcher) in all {
            let failed = failures(matcher, request, listeners);
            if failed.is_empty() {
                return Explanation {
                    passed,
                    found: Some(route),
                    not_reached: self.routes().len() - route.index - 1,
                };
            }
            passed.push(Passed { route, failed });
        }
        Explanation {
            passed,
            found: None,
            not_reached: 0,
        }
    }
}

/// The tests that a request fails, in the order in which they are written.
fn failures(matcher: &Matcher, request: &Request<'_>, listeners: &[String]) -> Vec<Failed> {
    let mut failed = Vec::new();
    let mut fail = |test, wanted, given: Option<String>| {
        failed.push(Failed {
            test,
            wanted,
            given,
        });
    };
    if !holds_for(&matcher.listeners, &request.listener) {
        let name = |i: &usize| listeners.get(*i).cloned().unwrap_or_default();
        let wanted = listed(matcher.listeners.iter().map(name));
        fail(Test::Listener, wanted, Some(name(&request.listener)));
    }
    let takes = |host: &[u8]| matcher.hosts.iter().any(|pattern| pattern.takes(host));
    if !with_normal(request.host, takes) {
        let wanted = listed(matcher.hosts.iter().map(host));
        let given = Some(request.host).filter(|host| !host.is_empty());
        fail(Test::Host, wanted, given.map(shown));
    }
    if !matcher.path.takes(request.path) {
        fail(Test::Path, path(&matcher.path), Some(shown(request.path)));
    }
    if !holds_for(&matcher.methods, request.method) {
        let wanted = listed(matcher.methods.iter().map(ToString::to_string));
        fail(Test::Method, wanted, Some(request.method.to_string()));
    }
    let in_fields = |test: &&ValueTest| !test.holds_in_fields(request);
    for test in matcher.fields.iter().filter(in_fields) {
        let given = all(|each| request.headers.any(&test.name, each));
        fail(Test::Header(test.name.to_string()), value(test), given);
    }
    let in_query = |test: &&ValueTest| !test.holds_in_query(request.query);
    for test in matcher.parameters.iter().filter(in_query) {
        let query = request.query.unwrap_or_default();
        let given = all(|each| query::any(query, test.name.as_bytes(), each));
        fail(Test::Query(test.name.to_string()), value(test), given);
    }
    failed
}

fn listed(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => shown(name),
        HostPattern::Under(domain) => format!("*.{}", shown(domain)),
    }
}

fn path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Prefix(path) => format!("{}/*", shown(path)),
        PathPattern::Exact(path) => shown(path),
        PathPattern::Regex(regex) => format!("~{}", regex.text()),
    }
}

fn value(test: &ValueTest) -> String {
    match &test.expected {
        Expected::Exact(value) => shown(value),
        Expected::Regex(regex) => format!("~{}", regex.text()),
        Expected::Present => "any value".to_owned(),
        Expected::Absent => "no value".to_owned(),
    }
}

/// All values that a search which goes on until one is accepted comes by.
fn all(search: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> bool) -> Option<String> {
    let mut values = Vec::new();
    search(&mut |value| {
        values.push(shown(value));
        false
    });
    (!values.is_empty()).then(|| values.join(", "))
}

/// In letters that a terminal can be trusted with.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let mut safe: String = text.chars().flat_map(printable).collect();
    if bytes.len() > SHOWN {
        safe.push('…');
    }
    safe
}

fn printable(letter: char) -> impl Iterator<Item = char> {
    let (control, plain) = if letter.is_control() {
        (Some(letter.escape_default()), None)
    } else {
        (None, Some(letter))
    };
    control.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_without_control_characters() {
        assert_eq!(shown(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(
            shown("gr\u{fc}n \u{1f600}".as_bytes()),
            "gr\u{fc}n \u{1f600}"
        );
        assert_eq!(shown(&[b'a'; SHOWN]), "a".repeat(SHOWN));
        assert_eq!(shown(&[b'a'; SHOWN + 1]), "a".repeat(SHOWN) + "…");
    }
}
