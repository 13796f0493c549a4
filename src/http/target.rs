//! Host and path in one canonical form, for matching only: the bytes that are forwarded stay as received.
//!
//! Two spellings of one resource must meet the same route, or a rule that protects `/admin` is passed by `/%61dmin` or
//! `/x/../admin`. Decided here, where servers differ:
//! - Escapes of unreserved characters are decoded, other escapes kept with upper-case digits, bytes above 0x7F escaped.
//!   `%2F` stays an escape and separates nothing; a backslash is an ordinary character.
//! - Dot segments are removed (RFC 3986, 5.2.4), also those spelt `%2e`; above the root there is nothing.
//! - Repeated slashes are kept: `//a` is not `/a` (nginx merges them, HAProxy and Envoy by default do not). What becomes of
//!   those that an endpoint may read otherwise is decided by the listener ([`super::slashes`]).
//! - An escape without two hexadecimal digits, and `%00`, are refused, as nginx does.
//! - The query is not touched.

use std::io::Write as _;

use memchr::{memchr, memchr2_iter};

/// Why a target has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("the path holds a percent sign without two hexadecimal digits")]
    BadEscape,
    #[error("the path holds an escaped NUL")]
    Nul,
    #[error("the host is malformed")]
    BadHost,
}

/// A target, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    pub path: &'a [u8],
    /// After the first question mark.
    pub query: Option<&'a [u8]>,
}

/// The canonical form of a target in origin form. The path is borrowed from `target` where it is canonical already,
/// as nearly all are; else it is written to `out`. A target that does not start with a slash (`*`) is its own path.
pub fn canonical<'a>(target: &'a [u8], out: &'a mut Vec<u8>) -> Result<Parts<'a>, TargetError> {
    let (path, query) = match memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    if is_canonical(path) {
        return Ok(Parts { path, query });
    }
    out.clear();
    out.push(b'/');
    let mut segments = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        decode(segment, out)?;
        match &out[start..] {
            b"." => out.truncate(start),
            b".." => {
                out.truncate(start);
                remove_segment(out);
            }
            _ if segments.peek().is_some() => out.push(b'/'),
            _ => {}
        }
    }
    Ok(Parts { path: out, query })
}

/// Whether nothing in the path has another spelling. May say no where the answer is yes.
fn is_canonical(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return true;
    }
    // The first byte is a slash, so a dot always has a byte before it.
    path.is_ascii()
        && memchr2_iter(b'%', b'.', path).all(|at| path[at] == b'.' && path[at - 1] != b'/')
}

/// Appends a segment with its escapes in canonical form.
fn decode(segment: &[u8], out: &mut Vec<u8>) -> Result<(), TargetError> {
    let mut rest = segment;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let [high, low, after @ ..] = after else {
                    return Err(TargetError::BadEscape);
                };
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                    return Err(TargetError::BadEscape);
                };
                rest = after;
                match high << 4 | low {
                    0 => return Err(TargetError::Nul),
                    byte if is_unreserved(byte) => out.push(byte),
                    byte => escape(byte, out),
                }
            }
            0x80.. => escape(*byte, out),
            _ => out.push(*byte),
        }
    }
    Ok(())
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[
        b'%',
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]);
}

/// Takes the last segment off a path that ends in a slash; the root stays.
fn remove_segment(path: &mut Vec<u8>) {
    path.pop();
    let end = path
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    path.truncate(end);
    if path.is_empty() {
        path.push(b'/');
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The host of an authority in the one form in which routes compare it: without port, in lower case, without the dot
/// of the root behind it. Borrowed from `value` where it is so already, else written to `out`.
pub fn host<'a>(value: &'a [u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], TargetError> {
    let (host, _) = split_port(value).ok_or(TargetError::BadHost)?;
    if let [b'[', address @ .., b']'] = host {
        let address = parse_v6(address).ok_or(TargetError::BadHost)?;
        out.clear();
        // Writing to a vector does not fail.
        let _ = write!(out, "[{address}]");
        return Ok(out);
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() || host.ends_with(b".") {
        return Err(TargetError::BadHost);
    }
    if host.iter().any(u8::is_ascii_uppercase) {
        out.clear();
        out.extend(host.iter().map(u8::to_ascii_lowercase));
        return Ok(out);
    }
    Ok(host)
}

/// Whether `value` is `host [ ":" port ]` with a host that is not empty (RFC 9110, 4.2.1 and 7.2): no user
/// information, no white space. An empty port is allowed (RFC 3986, 3.2.3), a port above 65535 is not.
/// Narrower than RFC 3986 in two points: percent escapes are refused, since one reader decodes them and another does
/// not, and so is the comma, since it looks like two values joined.
pub fn is_authority(value: &[u8]) -> bool {
    split_port(value).is_some()
}

/// [`is_authority`] with a port that is not empty: the target of CONNECT (RFC 9112, 3.2.3).
pub fn is_host_and_port(value: &[u8]) -> bool {
    split_port(value).is_some_and(|(_, port)| port.is_some_and(|port| !port.is_empty()))
}

/// Host and port of a valid authority. An address in brackets keeps them.
fn split_port(value: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let end = if value.first() == Some(&b'[') {
        let end = value.iter().position(|byte| *byte == b']')?;
        parse_v6(&value[1..end])?;
        end + 1
    } else {
        let end = value
            .iter()
            .position(|byte| !HOST_BYTES[usize::from(*byte)]);
        let end = end.unwrap_or(value.len());
        if end == 0 {
            return None;
        }
        end
    };
    match &value[end..] {
        [] => Some((&value[..end], None)),
        [b':', port @ ..] if is_port(port) => Some((&value[..end], Some(port))),
        _ => None,
    }
}

fn parse_v6(text: &[u8]) -> Option<std::net::Ipv6Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port
            .iter()
            .fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
            <= 65_535
}

/// Unreserved characters and sub-delimiters of RFC 3986 without the comma.
/// Which bytes a host name may have; a colon, which ends it, is none of them.
const HOST_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = is_host_byte(byte as u8);
        byte += 1;
    }
    bytes
};

const fn is_host_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{TargetError, canonical, host, is_authority, is_host_and_port};

    fn path(target: &str) -> Result<String, TargetError> {
        let mut out = Vec::new();
        let parts = canonical(target.as_bytes(), &mut out)?;
        Ok(String::from_utf8(parts.path.to_vec()).unwrap())
    }

    #[test]
    fn one_spelling_per_path() {
        let cases = [
            ("/", "/"),
            ("*", "*"),
            ("/a.b/c..d/...", "/a.b/c..d/..."),
            ("/%61dmin", "/admin"),
            ("/%7euser/%2D%5f", "/~user/-_"),
            ("/a%2fb%5cc", "/a%2Fb%5Cc"),
            ("/a\\b", "/a\\b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/../../b", "/b"),
            ("/..", "/"),
            ("//a//b", "//a//b"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("/a/..%2fb", "/a/..%2Fb"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/\u{e4}", "/%C3%A4"),
            ("/a;p=1/b", "/a;p=1/b"),
            ("/a/..;/b", "/a/..;/b"),
        ];
        for (target, expected) in cases {
            assert_eq!(path(target).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn refuses_what_servers_read_differently() {
        for target in ["/%", "/%4", "/%zz", "/a%g0", "/%\u{e4}"] {
            assert_eq!(path(target), Err(TargetError::BadEscape), "{target}");
        }
        assert_eq!(path("/a%00"), Err(TargetError::Nul));
    }

    #[test]
    fn the_query_is_left_alone() {
        let mut out = Vec::new();
        let parts = canonical(b"/a/../b?c=%zz/../?%61", &mut out).unwrap();
        assert_eq!(parts.path, b"/b");
        assert_eq!(parts.query, Some(&b"c=%zz/../?%61"[..]));
        assert_eq!(canonical(b"/a", &mut Vec::new()).unwrap().query, None);
    }

    #[test]
    fn one_spelling_per_host() {
        let cases = [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("a_b-c~1", "a_b-c~1"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
            ("a:", "a"),
        ];
        for (value, expected) in cases {
            let mut out = Vec::new();
            assert_eq!(
                host(value.as_bytes(), &mut out),
                Ok(expected.as_bytes()),
                "{value}"
            );
        }
    }

    #[test]
    fn refuses_malformed_hosts() {
        for value in [
            "",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "user@a",
            "a:80:80",
            "a:+80",
            "a:65536",
            "a:000080",
            "a:8o",
            "[::1",
            "::1",
            "[::1]x",
            "[1.2.3.4]",
            "[v1.a]",
            "[::1%25eth0]",
            "a%2eb",
            "\u{e4}",
            "a\"b",
            "a?b",
            "a#b",
            "a<b",
        ] {
            assert!(!is_authority(value.as_bytes()), "{value}");
        }
        assert!(host(b".", &mut Vec::new()).is_err());
        assert!(host(b"a..", &mut Vec::new()).is_err());
        assert!(is_host_and_port(b"a:443"));
        assert!(!is_host_and_port(b"a") && !is_host_and_port(b"a:"));
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(target in "/([./%aA2eEfF\u{e4}]|%2[eEfF]|%[0-9a-f]{2}|\\.\\./){0,24}") {
            let Ok(once) = path(&target) else { return Ok(()) };
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."));
            prop_assert_eq!(path(&once), Ok(once));
        }

        #[test]
        fn hosts_are_fixed_points(value in "[a-zA-Z0-9.:\\[\\]-]{0,12}") {
            let mut out = Vec::new();
            let Ok(once) = host(value.as_bytes(), &mut out) else { return Ok(()) };
            let once = once.to_vec();
            let mut out = Vec::new();
            prop_assert_eq!(host(&once, &mut out), Ok(once.as_slice()));
        }
    }
}
