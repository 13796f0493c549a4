//! Several slashes in a row, and slashes by another spelling: `%2F`, and what some servers take for one, the backslash and
//! `%5C`.
//!
//! To some servers `//admin`, `/x/..%2Fadmin` and `/admin` are one resource, to others three (nginx merges and decodes, most
//! proxies do neither). Here they can be found and rewritten; what is done about them is decided by `proxy::slashes`.

use memchr::{memchr, memchr2_iter, memmem};

/// Which of them are brought into one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// Several in a row become one.
    pub merge: bool,
    /// Other spellings become a slash.
    pub decode: bool,
}

impl Plain {
    /// All of them.
    pub const ALL: Self = Self {
        merge: true,
        decode: true,
    };
}

/// Whether the path of a target has slashes in a row.
pub fn are_repeated(target: &[u8]) -> bool {
    memmem::find(path(target), b"//").is_some()
}

/// Whether the path of a target has slashes by another spelling.
pub fn are_disguised(target: &[u8]) -> bool {
    let path = path(target);
    memchr2_iter(b'%', b'\\', path).any(|at| disguised(&path[at..]).is_some())
}

/// Writes a target with its slashes in one form. Its query stays as it is.
pub fn rewrite(target: &[u8], plain: Plain, out: &mut Vec<u8>) {
    out.clear();
    let path = path(target);
    let mut rest = path;
    while let [byte, ..] = rest {
        let spelt = disguised(rest).filter(|_| plain.decode);
        let byte = if spelt.is_some() { b'/' } else { *byte };
        if !(plain.merge && byte == b'/' && out.last() == Some(&b'/')) {
            out.push(byte);
        }
        rest = &rest[spelt.unwrap_or(1)..];
    }
    out.extend_from_slice(&target[path.len()..]);
}

fn path(target: &[u8]) -> &[u8] {
    &target[..memchr(b'?', target).unwrap_or(target.len())]
}

/// The length of another spelling of a slash at the beginning of `text`.
fn disguised(text: &[u8]) -> Option<usize> {
    match text {
        [b'\\', ..] => Some(1),
        [b'%', b'2', b'f' | b'F', ..] | [b'%', b'5', b'c' | b'C', ..] => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(target: &str, merge: bool, decode: bool) -> String {
        let mut out = Vec::new();
        rewrite(target.as_bytes(), Plain { merge, decode }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn slashes_are_found_and_brought_into_one_form() {
        for (target, repeated, disguised, merged, decoded, both) in [
            ("*", false, false, "*", "*", "*"),
            (
                "/a/b?c//d%2f",
                false,
                false,
                "/a/b?c//d%2f",
                "/a/b?c//d%2f",
                "/a/b?c//d%2f",
            ),
            ("//a///b/", true, false, "/a/b/", "//a///b/", "/a/b/"),
            ("/%2fa", false, true, "/%2fa", "//a", "/a"),
            ("/a%2F%2fb", false, true, "/a%2F%2fb", "/a//b", "/a/b"),
            ("/a\\%5c%5Cb", false, true, "/a\\%5c%5Cb", "/a///b", "/a/b"),
            (
                "/a%2e%252f%2",
                false,
                false,
                "/a%2e%252f%2",
                "/a%2e%252f%2",
                "/a%2e%252f%2",
            ),
            ("/x//..%2fa", true, true, "/x/..%2fa", "/x//../a", "/x/../a"),
        ] {
            assert_eq!(are_repeated(target.as_bytes()), repeated, "{target}");
            assert_eq!(are_disguised(target.as_bytes()), disguised, "{target}");
            assert_eq!(plain(target, true, false), merged);
            assert_eq!(plain(target, false, true), decoded);
            assert_eq!(plain(target, true, true), both);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_be_found(target in "/([/a.%\\\\?]|%2[fF]|%5[cC]){0,16}") {
            let mut out = Vec::new();
            rewrite(target.as_bytes(), Plain::ALL, &mut out);
            prop_assert!(out.starts_with(b"/"));
            prop_assert!(!are_repeated(&out));
            prop_assert!(!are_disguised(&out));
            let mut again = Vec::new();
            rewrite(&out, Plain::ALL, &mut again);
            prop_assert_eq!(out, again);
        }
    }
}
