//! Who may use the admin API: tokens, and requests that a browser was made to send by a page of somebody else.
//!
//! A page that an operator looks at can have his browser post to an address on loopback. The browser says so: by
//! `Sec-Fetch-Site` (W3C Fetch Metadata), and by an `Origin` that is not the host that is asked. A page can also have its own
//! name resolve to loopback and then read what it likes ("DNS rebinding"); then the name stands in `Host`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};

use crate::asked::after_scheme;
use crate::config::{Address, read};
use crate::watch::Content;

/// Bytes of a token at least: what a program draws by chance, not what a person remembers.
const LEAST: usize = 16;

/// Why the tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("admin.token_file: {path} cannot be read: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("admin.token_file: {path} has no token; write one of at least {LEAST} bytes into it")]
    None { path: PathBuf },
    #[error(
        "admin.token_file: line {line} of {path} has fewer than {LEAST} bytes; `openssl rand -hex 32` makes a token"
    )]
    Short { path: PathBuf, line: usize },
}

/// The tokens that are accepted, as digests: all of one length, so that comparing them tells nothing.
pub struct Tokens(Vec<Digest>);

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.0.iter(), other.0.iter());
        own.map(Digest::as_ref).eq(others.map(Digest::as_ref))
    }
}

impl Content for Tokens {
    type Error = TokenError;

    /// One on each line.
    fn load(path: &Path) -> Result<Self, TokenError> {
        let text = read::bytes(path).map_err(|source| TokenError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn what() -> &'static str {
        "tokens"
    }
}

impl Tokens {
    fn parse(path: &Path, text: &[u8]) -> Result<Self, TokenError> {
        let path = path.to_owned();
        let lines = (1..).zip(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii));
        let mut tokens = Vec::new();
        for (line, token) in lines.filter(|(_, token)| !token.is_empty()) {
            if token.len() < LEAST {
                return Err(TokenError::Short { path, line });
            }
            tokens.push(digest(&SHA256, token));
        }
        if tokens.is_empty() {
            return Err(TokenError::None { path });
        }
        Ok(Self(tokens))
    }

    /// Whether it is one of them. Compares with all, in the same time for each.
    fn accept(&self, given: &[u8]) -> bool {
        let given = digest(&SHA256, given);
        let same = |token: &Digest| verify_slices_are_equal(token.as_ref(), given.as_ref()).is_ok();
        self.0
            .iter()
            .fold(false, |found, token| found | same(token))
    }
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It has no token, or a wrong one.
    Token,
    /// A browser sends it for the page of somebody else.
    CrossSite,
    /// It asks a name on loopback that is not that of loopback.
    Host,
}

impl Denied {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Token, Self::CrossSite, Self::Host];

    /// The word in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::CrossSite => "cross_site",
            Self::Host => "host",
        }
    }

    /// What is said to the client.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Token => {
                "a token of admin.token_file is wanted: send `Authorization: Bearer TOKEN`"
            }
            Self::CrossSite => "the page of another site may not ask for this",
            Self::Host => "on loopback the host is to be an address or `localhost`",
        }
    }
}

/// Judges a request by its fields. `changes`: it asks for more than to be told something.
pub fn judge(
    fields: &HeaderMap,
    changes: bool,
    tokens: Option<&Tokens>,
    listening: Option<&Address>,
) -> Result<(), Denied> {
    let on_loopback = matches!(listening, Some(Address::Tcp(address)) if address.ip().to_canonical().is_loopback());
    if on_loopback && !asks_loopback(fields) {
        return Err(Denied::Host);
    }
    if changes && is_cross_site(fields) {
        return Err(Denied::CrossSite);
    }
    match tokens {
        Some(tokens) if !bearer(fields).is_some_and(|given| tokens.accept(given)) => {
            Err(Denied::Token)
        }
        _ => Ok(()),
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1).
fn bearer(fields: &HeaderMap) -> Option<&[u8]> {
    let mut all = fields.get_all(AUTHORIZATION).iter();
    let (first, None) = (all.next()?, all.next()) else {
        return None;
    };
    after_scheme(first.as_bytes(), b"bearer")
}

/// Whether `Host` names no name that can be made to lead here: an address, or `localhost`.
fn asks_loopback(fields: &HeaderMap) -> bool {
    let Some(host) = fields.get(HOST) else {
        // HTTP/1.0; a browser always sends it.
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let host = without_port(host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

fn without_port(host: &str) -> &str {
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        return inside;
    }
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

/// Whether a browser says that another site is behind it.
fn is_cross_site(fields: &HeaderMap) -> bool {
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let of = |name: &HeaderName| fields.get_all(name).iter().map(|value| value.as_bytes());
    let own = |site: &[u8]| site == b"same-origin" || site == b"none";
    if of(&SITE).any(|site| !own(site)) {
        return true;
    }
    let host = fields.get(HOST).map(|host| host.as_bytes());
    of(&ORIGIN).any(|origin| {
        let authority = origin.strip_prefix(b"http://");
        let authority = authority.or_else(|| origin.strip_prefix(b"https://"));
        authority.is_none() || authority != host
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&str, &str)]) -> HeaderMap {
        let each = all.iter();
        each.map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, value.parse().unwrap())
        })
        .collect()
    }

    fn tcp(address: &str) -> Option<Address> {
        Some(Address::Tcp(address.parse().unwrap()))
    }

    #[test]
    fn a_token_is_wanted_as_written_and_once() {
        let file = Path::new("tokens");
        let tokens = Tokens::parse(file, b"0123456789abcdef\n\n  fedcba9876543210  \n").unwrap();
        let judged = |values: &[&str]| {
            let all: Vec<_> = values
                .iter()
                .map(|value| ("authorization", *value))
                .collect();
            let mut map = HeaderMap::new();
            for (name, value) in all {
                map.append(name, value.parse().unwrap());
            }
            judge(&map, false, Some(&tokens), None)
        };
        assert_eq!(judged(&["Bearer 0123456789abcdef"]), Ok(()));
        assert_eq!(judged(&["bearer  fedcba9876543210"]), Ok(()));
        let wrong: [&[&str]; 6] = [
            &[],
            &["Bearer 0123456789abcdeX"],
            &["Bearer 0123456789abcde"],
            &["Bearer"],
            &["Basic 0123456789abcdef"],
            &["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
        ];
        for values in wrong {
            assert_eq!(judged(values), Err(Denied::Token), "{values:?}");
        }
        assert!(matches!(
            Tokens::parse(file, b"\n\n"),
            Err(TokenError::None { .. })
        ));
        assert!(matches!(
            Tokens::parse(file, b"0123456789abcdef\nshort\n"),
            Err(TokenError::Short { line: 2, .. })
        ));
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let cases: [(&[(&str, &str)], bool); 8] = [
            (&[], true),
            (&[("origin", "http://127.0.0.1:9900")], true),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "http://127.0.0.1:9901")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
        ];
        for (more, passes) in cases {
            let all = [&[("host", "127.0.0.1:9900")], more].concat();
            let listening = tcp("127.0.0.1:9900");
            let judged = judge(&fields(&all), true, None, listening.as_ref());
            let expected = if passes {
                Ok(())
            } else {
                Err(Denied::CrossSite)
            };
            assert_eq!(judged, expected, "{more:?}");
            // To look is not forbidden; the browser keeps the answer from the page.
            assert_eq!(
                judge(&fields(&all), false, None, listening.as_ref()),
                Ok(())
            );
        }
    }

    #[test]
    fn a_name_that_was_made_to_lead_to_loopback_is_not_answered() {
        let cases = [
            ("127.0.0.1:9900", true),
            ("127.0.0.1", true),
            ("[::1]:9900", true),
            ("LOCALHOST:9900", true),
            ("evil.example:9900", false),
            ("localhost.evil.example", false),
            ("", false),
        ];
        for (host, passes) in cases {
            let judged = |listening: &str| {
                let listening = tcp(listening);
                judge(&fields(&[("host", host)]), false, None, listening.as_ref()).is_ok()
            };
            assert_eq!(judged("127.0.0.1:9900"), passes, "{host}");
            assert_eq!(judged("[::1]:9900"), passes, "{host}");
            // Elsewhere it has names of its own, and a token.
            assert!(judged("192.0.2.1:9900"), "{host}");
        }
    }
}
