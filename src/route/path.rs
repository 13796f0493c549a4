//! Which paths a route takes.

use super::anchored::Anchored;
use super::error::Fault;
use crate::config::PathMatch;

/// A path pattern in the canonical form of [`Request::path`](super::Request::path).
#[derive(Debug, PartialEq)]
pub(super) enum PathPattern {
    /// Without a slash at its end; empty: every path, `*` too.
    Prefix(Box<[u8]>),
    Exact(Box<[u8]>),
    Regex(Anchored),
}

impl PathPattern {
    pub(super) fn compile(path: Option<&PathMatch>) -> Result<Self, Fault> {
        Ok(match path {
            None => Self::Prefix(Box::default()),
            Some(PathMatch::Prefix(text)) => Self::Prefix(prefix(text)?.into()),
            Some(PathMatch::Exact(text)) => Self::Exact(canonical(text)?.into()),
            Some(PathMatch::Regex(text)) => Self::Regex(Anchored::compile(text)?),
        })
    }

    /// Whether it takes `path`, which is in canonical form.
    pub(super) fn takes(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => path == &**text,
            Self::Regex(regex) => regex.matches(path),
            Self::Prefix(text) if text.is_empty() => true,
            Self::Prefix(text) => path
                .strip_prefix(&**text)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
        }
    }

    /// The prefix, on segment borders, under which all that it matches lies.
    pub(super) fn under(&self) -> &[u8] {
        match self {
            Self::Prefix(path) | Self::Exact(path) => path,
            Self::Regex(regex) => {
                let start = regex.start();
                let border = memchr::memrchr(b'/', start).unwrap_or(0);
                // What does not begin with a slash (`*`) lies under no segment.
                if start.starts_with(b"/") {
                    &start[..border]
                } else {
                    b""
                }
            }
        }
    }
}

/// The canonical form of a prefix, without the one slash at its end that makes no difference.
pub(super) fn prefix(text: &str) -> Result<Vec<u8>, Fault> {
    let mut path = canonical(text)?;
    if path.ends_with(b"/") {
        path.pop();
    }
    Ok(path)
}

/// The canonical form of a path as written by the operator; refuses what no canonical path can equal.
pub(super) fn canonical(text: &str) -> Result<Vec<u8>, Fault> {
    let refuse = |reason| {
        let text = text.to_owned();
        Err(Fault::Path { text, reason })
    };
    if !text.starts_with('/') {
        return refuse("it must begin with `/`");
    }
    let Some(path) = normal(text.as_bytes()) else {
        return refuse("`%` must be followed by two hexadecimal digits");
    };
    if path.iter().any(|byte| matches!(byte, b'?' | b'#')) {
        return refuse("the query is matched by `query`, and a fragment is never sent");
    }
    if path.split(|&byte| byte == b'/').any(is_dots) {
        return refuse("`.` and `..` segments are resolved before matching");
    }
    Ok(path)
}

/// Decodes unreserved triplets, writes others in upper case, encodes what a target cannot hold; `None` for a `%`
/// that begins no triplet.
fn normal(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let decoded = if *byte == b'%' {
            let value = triplet(tail)?;
            rest = &tail[2..];
            value
        } else {
            *byte
        };
        let plain = if *byte == b'%' {
            is_unreserved(decoded)
        } else {
            byte.is_ascii_graphic()
        };
        if plain {
            out.push(decoded);
        } else {
            encode(decoded, &mut out);
        }
    }
    Some(out)
}

/// The byte that two hexadecimal digits at the start of `digits` name.
pub(super) fn triplet(digits: &[u8]) -> Option<u8> {
    let value = |digit: u8| (digit as char).to_digit(16);
    let high = value(*digits.first()?)?;
    let low = value(*digits.get(1)?)?;
    u8::try_from(high * 16 + low).ok()
}

/// Appends `%XX`.
pub(super) fn encode(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
    out.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_dots(segment: &[u8]) -> bool {
    segment == b"." || segment == b".."
}

/// Whether `path`, as received, holds a dot segment, in plain or percent-encoded dots.
pub(super) fn has_dot_segments(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|mut segment| {
        let mut dots = 0;
        while !segment.is_empty() {
            segment = match segment {
                [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
                _ => return false,
            };
            dots += 1;
        }
        dots == 1 || dots == 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_path_takes_the_form_of_those_it_is_compared_with() {
        let cases = [
            ("/v1", "/v1"),
            ("/%7euser/%2f", "/~user/%2F"),
            ("/caf\u{e9} x", "/caf%C3%A9%20x"),
            ("/a.b/...", "/a.b/..."),
        ];
        for (written, expected) in cases {
            assert_eq!(
                canonical(written).unwrap(),
                expected.as_bytes(),
                "{written}"
            );
        }
        assert_eq!(prefix("/v1/").unwrap(), b"/v1");
        assert_eq!(prefix("/").unwrap(), b"");
    }

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        for text in ["", "v1", "/a?b", "/a#b", "/a/../b", "/a/%2e", "/%zz", "/%1"] {
            assert!(matches!(canonical(text), Err(Fault::Path { .. })), "{text}");
        }
    }

    #[test]
    fn dot_segments_are_seen_through_their_encoding() {
        for path in ["/..", "/.", "/a/%2e%2E/b", "/.%2e", "/a/./b"] {
            assert!(has_dot_segments(path.as_bytes()), "{path}");
        }
        for path in ["/", "/a.b", "/...", "/a//b", "/..a", "/%2e%2e%2e", "/%2f"] {
            assert!(!has_dot_segments(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_regex_lies_under_its_whole_literal_segments() {
        let under = |text: &str| {
            let pattern = PathPattern::compile(Some(&PathMatch::Regex(text.into()))).unwrap();
            String::from_utf8(pattern.under().to_vec()).unwrap()
        };
        assert_eq!(under("/users/[0-9]+"), "/users");
        assert_eq!(under("/users/a.*"), "/users");
        assert_eq!(under("/users.*"), "");
        assert_eq!(under(r"\*"), "");
        assert_eq!(under("a/b/.*"), "");
    }
}
