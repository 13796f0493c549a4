//! A new path for the endpoint.
//!
//! What is not rewritten stays byte for byte as the client sent it. Where that cannot be, since the client wrote dot
//! segments or a regular expression changes the path, the canonical path stands in for it: a rewrite must never send
//! a request elsewhere than the match has looked at (`/public/../admin`).

use regex::bytes::{Captures, Regex};

use super::anchored::search;
use super::error::Fault;
use super::path::{PathPattern, canonical, encode, has_dot_segments, prefix};
use crate::config;

/// How a route changes the path; the query always stays.
#[derive(Debug)]
pub struct Rewrite(Kind);

#[derive(Debug)]
enum Kind {
    /// Puts `to` (without a slash at its end) in the place of the matched `from` (so too).
    Prefix {
        from: Box<[u8]>,
        to: Box<[u8]>,
    },
    Path(Box<[u8]>),
    Regex {
        regex: Regex,
        to: Box<[Part]>,
    },
}

/// A piece of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<[u8]>),
    Group(usize),
}

impl Rewrite {
    /// `matched` is the path of the route's match.
    pub(super) fn compile(written: &config::Rewrite, matched: &PathPattern) -> Result<Self, Fault> {
        Ok(Self(match written {
            config::Rewrite::Prefix(to) => match matched {
                PathPattern::Prefix(from) => Kind::Prefix {
                    from: from.clone(),
                    to: prefix(to)?.into(),
                },
                // All of an exact path is matched, so all of it is replaced.
                PathPattern::Exact(_) => Kind::Path(canonical(to)?.into()),
                PathPattern::Regex(_) => return Err(Fault::NoPrefix),
            },
            config::Rewrite::Path(to) => Kind::Path(canonical(to)?.into()),
            config::Rewrite::Regex { regex: text, to } => {
                let regex = search(text)?;
                let to = template(to, &regex)?;
                Kind::Regex { regex, to }
            }
        }))
    }

    /// Appends the target for the endpoint to `out`: `target` (path and query in origin form, as received) with its
    /// path rewritten. `path` is its canonical form, which the route has matched. A target without a path (`*`, an
    /// authority) is not changed. What is appended never holds a control character or a space.
    pub fn apply(&self, target: &[u8], path: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let (raw, query) = split_query(target);
        if !raw.starts_with(b"/") {
            out.extend_from_slice(target);
            return make_safe(out, start);
        }
        match &self.0 {
            Kind::Prefix { from, to } => {
                out.extend_from_slice(to);
                out.extend_from_slice(tail(raw, path, from));
            }
            Kind::Path(to) => out.extend_from_slice(to),
            Kind::Regex { regex, to } => replace(regex, to, raw, path, out),
        }
        if out.get(start) != Some(&b'/') {
            out.insert(start, b'/');
        }
        out.extend_from_slice(query);
        make_safe(out, start);
    }
}

/// What follows the prefix `from` of the canonical `path`: as received where both have the same segments.
fn tail<'a>(raw: &'a [u8], path: &'a [u8], from: &[u8]) -> &'a [u8] {
    let slashes = |bytes: &[u8]| memchr::memchr_iter(b'/', bytes).count();
    if slashes(raw) != slashes(path) || has_dot_segments(raw) {
        return path.get(from.len()..).unwrap_or_default();
    }
    // The prefix holds as many segments as slashes; the tail begins with the slash after them.
    match memchr::memchr_iter(b'/', raw).nth(slashes(from)) {
        Some(border) => &raw[border..],
        None => b"",
    }
}

/// Replaces all that `regex` finds in `path`; appends `raw` when it finds nothing.
fn replace(regex: &Regex, to: &[Part], raw: &[u8], path: &[u8], out: &mut Vec<u8>) {
    let mut kept = None;
    for captures in regex.captures_iter(path) {
        let found = captures.get_match();
        out.extend_from_slice(&path[kept.unwrap_or(0)..found.start()]);
        expand(to, &captures, out);
        kept = Some(found.end());
    }
    out.extend_from_slice(kept.map_or(raw, |kept| &path[kept..]));
}

fn expand(to: &[Part], captures: &Captures<'_>, out: &mut Vec<u8>) {
    for part in to {
        match part {
            Part::Literal(bytes) => out.extend_from_slice(bytes),
            Part::Group(group) => {
                let text = captures
                    .get(*group)
                    .map_or(&b""[..], |found| found.as_bytes());
                out.extend_from_slice(text);
            }
        }
    }
}

/// Reads `$1`, `${1}`, `${name}` and `$$`; `$1` takes as many digits as follow, and no letter.
fn template(text: &str, regex: &Regex) -> Result<Box<[Part]>, Fault> {
    let refuse = |reason: String| {
        let text = text.to_owned();
        Err(Fault::Replacement { text, reason })
    };
    if text.contains(['?', '#']) {
        return refuse("the query stays as it is, and a fragment is never sent".to_owned());
    }
    let (mut parts, mut literal, mut rest) = (Vec::new(), Vec::new(), text);
    while let Some(dollar) = rest.find('$') {
        literal.extend_from_slice(&rest.as_bytes()[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            literal.push(b'$');
            rest = after;
            continue;
        }
        let (group, after) = match rest
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some(named) => named,
            None => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        };
        let Some(index) = group_index(regex, group) else {
            return refuse(format!("`${group}` names no group; `$$` is a dollar sign"));
        };
        flush(&mut literal, &mut parts);
        parts.push(Part::Group(index));
        rest = after;
    }
    literal.extend_from_slice(rest.as_bytes());
    flush(&mut literal, &mut parts);
    Ok(parts.into())
}

fn flush(literal: &mut Vec<u8>, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        make_visible(literal, 0);
        parts.push(Part::Literal(std::mem::take(literal).into()));
    }
}

fn group_index(regex: &Regex, group: &str) -> Option<usize> {
    match group.parse() {
        Ok(index) => (index < regex.captures_len()).then_some(index),
        Err(_) => regex.capture_names().position(|name| name == Some(group)),
    }
}

/// The path, and the query with its `?` (empty when there is none).
pub(super) fn split_query(target: &[u8]) -> (&[u8], &[u8]) {
    target.split_at(memchr::memchr(b'?', target).unwrap_or(target.len()))
}

/// Percent-encodes what would end a request line or a field in `out` from `start` on. A target that passed the codec
/// holds no such byte; this stands guard for all others.
fn make_safe(out: &mut Vec<u8>, start: usize) {
    encode_unless(|byte| byte > b' ' && byte != 0x7f, out, start);
}

/// Percent-encodes all that is not a visible ASCII character in `out` from `start` on.
pub(super) fn make_visible(out: &mut Vec<u8>, start: usize) {
    encode_unless(|byte| byte.is_ascii_graphic(), out, start);
}

fn encode_unless(kept: impl Fn(u8) -> bool, out: &mut Vec<u8>, start: usize) {
    if out[start..].iter().all(|&byte| kept(byte)) {
        return;
    }
    for byte in out.split_off(start) {
        if kept(byte) {
            out.push(byte);
        } else {
            encode(byte, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PathMatch;
    use proptest::prelude::*;

    fn rewrite(written: config::Rewrite, matched: Option<PathMatch>) -> Rewrite {
        let matched = PathPattern::compile(matched.as_ref()).unwrap();
        Rewrite::compile(&written, &matched).unwrap()
    }

    fn prefix_rewrite(from: &str, to: &str) -> Rewrite {
        rewrite(
            config::Rewrite::Prefix(to.into()),
            Some(PathMatch::Prefix(from.into())),
        )
    }

    fn regex_rewrite(regex: &str, to: &str) -> Result<Rewrite, Fault> {
        let (regex, to) = (regex.into(), to.into());
        let matched = PathPattern::compile(None).unwrap();
        Rewrite::compile(&config::Rewrite::Regex { regex, to }, &matched)
    }

    fn apply(rewrite: &Rewrite, target: &str, path: &str) -> String {
        let mut out = b"kept ".to_vec();
        rewrite.apply(target.as_bytes(), path.as_bytes(), &mut out);
        String::from_utf8(out.split_off(5)).unwrap()
    }

    #[test]
    fn a_prefix_is_replaced_and_the_rest_stays_as_received() {
        let cases = [
            ("/v1", "/new", "/v1", "/v1", "/new"),
            ("/v1", "/new/", "/v1/", "/v1/", "/new/"),
            (
                "/v1/",
                "/new",
                "/v1/%41%2f?a=/b",
                "/v1/A%2F",
                "/new/%41%2f?a=/b",
            ),
            ("/v1", "/", "/v1", "/v1", "/"),
            ("/v1", "/", "/v1?x", "/v1", "/?x"),
            ("/v1", "/", "/v1/x", "/v1/x", "/x"),
            ("/", "/app", "/x/y", "/x/y", "/app/x/y"),
            ("/", "/app", "/", "/", "/app/"),
            ("/a/b", "/c", "/%61/b//x", "/a/b//x", "/c//x"),
        ];
        for (from, to, target, path, expected) in cases {
            let made = apply(&prefix_rewrite(from, to), target, path);
            assert_eq!(made, expected, "{from} to {to} on {target}");
        }
    }

    #[test]
    fn a_rewrite_never_leaves_the_new_prefix_by_dot_segments() {
        let confined = prefix_rewrite("/v1", "/new");
        assert_eq!(apply(&confined, "/x/../v1/a", "/v1/a"), "/new/a");
        assert_eq!(apply(&confined, "/v1/a/%2e%2E/b?q", "/v1/b"), "/new/b?q");
        assert_eq!(apply(&prefix_rewrite("/", "/new"), "/..", "/"), "/new/");
        let regex = regex_rewrite("^/v1", "/new").unwrap();
        assert_eq!(apply(&regex, "/x/../v1/%61", "/v1/a"), "/new/a");
    }

    #[test]
    fn a_whole_path_is_replaced_and_the_query_stays() {
        let path = rewrite(config::Rewrite::Path("/index html".into()), None);
        assert_eq!(apply(&path, "/a/b?c?d", "/a/b"), "/index%20html?c?d");
        assert_eq!(apply(&path, "*", "*"), "*");
        let exact = Some(PathMatch::Exact("/a".into()));
        let path = rewrite(config::Rewrite::Prefix("/b".into()), exact);
        assert_eq!(apply(&path, "/a?c", "/a"), "/b?c");
    }

    #[test]
    fn groups_are_named_by_number_or_name() {
        let rewrite = regex_rewrite("^/u/(?P<id>[0-9]+)/(.*)$", "/$2x/${id}$$/${2}").unwrap();
        assert_eq!(apply(&rewrite, "/u/7/a/b?q", "/u/7/a/b"), "/a/bx/7$/a/b?q");
        assert_eq!(apply(&rewrite, "/%75/a?q", "/u/a"), "/%75/a?q");
        let slashes = regex_rewrite("/+", "/").unwrap();
        assert_eq!(apply(&slashes, "/a//b///c", "/a//b///c"), "/a/b/c");
        let bare = regex_rewrite("^/a", "b").unwrap();
        assert_eq!(apply(&bare, "/a/c", "/a/c"), "/b/c");
    }

    #[test]
    fn faulty_replacements_are_refused() {
        for to in ["$3", "${x", "${x}", "$x", "/a?b", "$"] {
            let found = regex_rewrite("(a)(b)", to);
            assert!(matches!(found, Err(Fault::Replacement { .. })), "{to}");
        }
        assert!(matches!(regex_rewrite("(", ""), Err(Fault::Regex { .. })));
        let matched = PathPattern::compile(Some(&PathMatch::Regex("/a".into()))).unwrap();
        let found = Rewrite::compile(&config::Rewrite::Prefix("/b".into()), &matched);
        assert!(matches!(found, Err(Fault::NoPrefix)));
    }

    proptest! {
        /// Whatever reaches it, what it writes is one word of a request line.
        #[test]
        fn never_writes_what_ends_a_request_line(target: Vec<u8>, path: Vec<u8>, to in "/[ -~]{0,8}") {
            let prefix = config::Rewrite::Prefix("/new".into());
            let regex = config::Rewrite::Regex { regex: "(.)/".into(), to: "/$1".into() };
            for written in [prefix, regex, config::Rewrite::Path(to)] {
                let matched = PathPattern::compile(Some(&PathMatch::Prefix("/v1".into()))).unwrap();
                let Ok(rewrite) = Rewrite::compile(&written, &matched) else { continue };
                for target in [target.clone(), [b"/", &*target].concat()] {
                    let mut out = Vec::new();
                    rewrite.apply(&target, &path, &mut out);
                    prop_assert!(out.iter().all(|&byte| byte > b' ' && byte != 0x7f));
                    prop_assert!(!target.starts_with(b"/") || out.starts_with(b"/"));
                }
            }
        }
    }
}
