//! What of a target or a referrer is not written to a log: values of a query that may be keys, and the user in an address.

use crate::config::Redaction;

/// What stands in place of what is hidden.
const HIDDEN: &[u8] = b"***";

/// Hides values by the names of their parameters.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// In lower case.
    names: Vec<Box<[u8]>>,
    all: bool,
    /// Kept for reuse.
    target: Vec<u8>,
    referer: Vec<u8>,
}

impl Redactor {
    pub(super) fn new(written: &Redaction) -> Self {
        let names: &[String] = match written {
            Redaction::Names(names) => names,
            Redaction::All => &[],
        };
        let names = names.iter();
        Self {
            names: names
                .map(|name| name.to_ascii_lowercase().into_bytes().into())
                .collect(),
            all: *written == Redaction::All,
            target: Vec::new(),
            referer: Vec::new(),
        }
    }

    /// Target and referrer as they may be shown.
    pub(super) fn hide<'a>(
        &'a mut self,
        target: &'a [u8],
        referer: &'a [u8],
    ) -> (&'a [u8], &'a [u8]) {
        if self.names.is_empty() && !self.all {
            return (target, referer);
        }
        let (mut first, mut second) = (
            std::mem::take(&mut self.target),
            std::mem::take(&mut self.referer),
        );
        let has_first = self.rewrite(target, &mut first);
        let has_second = self.rewrite(referer, &mut second);
        (self.target, self.referer) = (first, second);
        (
            if has_first { &self.target } else { target },
            if has_second { &self.referer } else { referer },
        )
    }

    /// Writes `text` without what is hidden; false when nothing is.
    fn rewrite(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        // Where the next byte stands that was not written yet.
        let mut written = 0;
        if let Some((start, end)) = user_info(text) {
            out.extend_from_slice(&text[..start]);
            out.extend_from_slice(HIDDEN);
            written = end;
        }
        for (start, end) in parameters(text, written) {
            let sign = memchr::memchr(b'=', &text[start..end]).map(|at| start + at);
            if let Some(sign) = sign.filter(|sign| sign + 1 < end)
                && self.is_hidden(&text[start..sign])
            {
                out.extend_from_slice(&text[written..=sign]);
                out.extend_from_slice(HIDDEN);
                written = end;
            }
        }
        if written > 0 {
            out.extend_from_slice(&text[written..]);
        }
        written > 0
    }

    /// Whether the values of a parameter are hidden, however its name is spelt. Applications read more into a name than it
    /// says: `token[]`, `user[token]` and ` token` are a `token` to many.
    fn is_hidden(&self, name: &[u8]) -> bool {
        self.all || self.names.iter().any(|known| has_part(name, known))
    }
}

/// Whether a part of a name is this one. Parts end at brackets, question marks, white space and what is no character.
fn has_part(name: &[u8], known: &[u8]) -> bool {
    let is_end = |byte: u8| matches!(byte, b'[' | b']' | b'?' | 0..=b' ' | 0x7F);
    // As far as the part agrees; `None` from where it does not.
    let mut agrees = Some(0);
    for byte in decoded(name) {
        if is_end(byte) {
            if agrees == Some(known.len()) {
                return true;
            }
            agrees = Some(0);
        } else {
            agrees = agrees
                .filter(|at| known.get(*at) == Some(&byte))
                .map(|at| at + 1);
        }
    }
    agrees == Some(known.len())
}

/// Where what may be a name and a value stands, from `from` on: in the query and the fragment, behind a semicolon in the
/// path (RFC 3986, 3.3), and at the beginning of what is no address at all.
fn parameters(text: &[u8], from: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = from;
    let mut in_path = true;
    let mut counts = from == 0;
    std::iter::from_fn(move || {
        while start <= text.len() {
            let rest = &text[start..];
            let ends: &[u8] = if in_path { b"/?#;&" } else { b"&;#" };
            let end = rest.iter().position(|byte| ends.contains(byte));
            let end = start + end.unwrap_or(rest.len());
            let found = counts.then_some((start, end));
            match text.get(end) {
                Some(b'?' | b'#') => (in_path, counts) = (false, true),
                Some(b';') => counts = true,
                Some(b'/') => counts = false,
                _ => {}
            }
            start = end + 1;
            if found.is_some() {
                return found;
            }
        }
        None
    })
}

/// The name of a parameter in lower case, with what is percent-encoded in it decoded.
fn decoded(name: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *name.get(at)?;
        let pair = || {
            let digits = name.get(at + 1..at + 3)?;
            let text = std::str::from_utf8(digits).ok()?;
            let strict = digits.iter().all(u8::is_ascii_hexdigit);
            u8::from_str_radix(text, 16).ok().filter(|_| strict)
        };
        let (byte, length) = match (byte, pair()) {
            (b'%', Some(decoded)) => (decoded, 3),
            (b'+', _) => (b' ', 1),
            _ => (byte, 1),
        };
        at += length;
        Some(byte.to_ascii_lowercase())
    })
}

/// Where user and password stand in `scheme://user:password@host`.
fn user_info(text: &[u8]) -> Option<(usize, usize)> {
    let scheme = memchr::memmem::find(text, b"://")?;
    let path = memchr::memchr3(b'/', b'?', b'#', text);
    if path.is_some_and(|path| path < scheme) {
        // What looks like an address stands in a path or a query.
        return None;
    }
    let start = scheme + 3;
    let rest = &text[start..];
    let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    let sign = memchr::memrchr(b'@', &rest[..end])?;
    Some((start, start + sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(written: &Redaction, text: &str) -> String {
        let mut redactor = Redactor::new(written);
        let (target, referer) = redactor.hide(text.as_bytes(), text.as_bytes());
        assert_eq!(target, referer);
        String::from_utf8(target.to_vec()).unwrap()
    }

    #[test]
    fn values_of_known_names_are_hidden_however_they_are_spelt() {
        let usual = Redaction::default();
        for (text, expected) in [
            ("/", "/"),
            ("/a?b=c&d", "/a?b=c&d"),
            ("/a?token=abc", "/a?token=***"),
            ("/a?x=1&Token=abc&y=2", "/a?x=1&Token=***&y=2"),
            ("/a?x=1;api_key=abc;y=2", "/a?x=1;api_key=***;y=2"),
            (
                "/a?%74oke%6E=abc&access_token=",
                "/a?%74oke%6E=***&access_token=",
            ),
            ("/a?token=a=b&token=c", "/a?token=***&token=***"),
            ("/a?tokens=abc&%zz=1&%7=2", "/a?tokens=abc&%zz=1&%7=2"),
            ("/token=abc", "/token=abc"),
            ("/a?token", "/a?token"),
            (
                "https://user:pass@host/a?key=1#id_token=2",
                "https://***@host/a?key=***#id_token=***",
            ),
            ("https://host/a@b", "https://host/a@b"),
            ("/go?to=https://a@b/", "/go?to=https://a@b/"),
            (
                "/a?token[]=abc&user[token]=d",
                "/a?token[]=***&user[token]=***",
            ),
            (
                "/a?+token=abc&token%20=d&%00token=e",
                "/a?+token=***&token%20=***&%00token=***",
            ),
            ("/a??token=abc", "/a??token=***"),
            ("/a?my+token=abc&to+ken=d", "/a?my+token=***&to+ken=d"),
            (
                "/x;token=abc/y;v=1;key=d?e=f",
                "/x;token=***/y;v=1;key=***?e=f",
            ),
            ("token=abc&key=d", "token=***&key=***"),
            (
                "https://host/x;token=abc#token=d",
                "https://host/x;token=***#token=***",
            ),
            (
                "https://user;token=a@host/b?key=1",
                "https://***@host/b?key=***",
            ),
            ("https://host?token=abc/d?e", "https://host?token=***"),
            ("", ""),
        ] {
            assert_eq!(hidden(&usual, text), expected, "{text}");
        }
    }

    #[test]
    fn all_or_none_can_be_hidden() {
        let text = "/a?b=c&token=d&e";
        assert_eq!(hidden(&Redaction::All, text), "/a?b=***&token=***&e");
        assert_eq!(hidden(&Redaction::Names(Vec::new()), text), text);
        let own = Redaction::Names(vec!["B".to_owned()]);
        assert_eq!(hidden(&own, text), "/a?b=***&token=d&e");
    }

    #[test]
    fn a_redactor_forgets_the_text_before() {
        let mut redactor = Redactor::new(&Redaction::default());
        redactor.hide(b"/long/path?token=abc", b"");
        assert_eq!(redactor.hide(b"/?key=1", b"").0, b"/?key=***");
    }
}
