//! Who may use the admin API: tokens, and requests that a browser was made to send by a page of somebody else.
//!
//! A page that an operator looks at can have his browser post to an address on loopback. The browser says so: by
//! `Sec-Fetch-Site` (W3C Fetch Metadata), and by an `Origin` that is not the host that is asked. A page can also have its own
//! name resolve to loopback and then read what it likes ("DNS rebinding"); then the name stands in `Host`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::{Request, Version};

use crate::asked::after_scheme;
use crate::config::{Address, read};
use crate::http::target;
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
pub fn judge<B>(
    request: &Request<B>,
    changes: bool,
    tokens: Option<&Tokens>,
    listening: Option<&Address>,
) -> Result<(), Denied> {
    let on_loopback = matches!(listening, Some(Address::Tcp(address)) if address.ip().to_canonical().is_loopback());
    let fields = request.headers();
    if on_loopback && !asks_loopback(request) {
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

/// Whether neither `Host` nor the target names a name that can be made to lead here: only addresses, or `localhost`.
fn asks_loopback<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_told = match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_loopback(host.as_bytes()),
        // A browser always sends it, and so does whoever speaks HTTP/1.1.
        (None, _) => request.version() < Version::HTTP_11,
        _ => false,
    };
    let target = request.uri().authority();
    is_told && target.is_none_or(|target| is_loopback(target.as_str().as_bytes()))
}

/// Whether an authority is an address, or `localhost`, with or without a port.
fn is_loopback(authority: &[u8]) -> bool {
    let mut canonical = Vec::new();
    let Ok(host) = target::host(authority, &mut canonical) else {
        return false;
    };
    let address = std::str::from_utf8(host).ok();
    // What stands in brackets was read already.
    host == b"localhost"
        || host.starts_with(b"[")
        || address.is_some_and(|address| address.parse::<Ipv4Addr>().is_ok())
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

    fn asking(all: &[(&str, &str)]) -> Request<()> {
        let request = all
            .iter()
            .fold(Request::get("/"), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.body(()).unwrap()
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
            judge(&asking(&all), false, Some(&tokens), None)
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
            let judged = judge(&asking(&all), true, None, listening.as_ref());
            let expected = if passes {
                Ok(())
            } else {
                Err(Denied::CrossSite)
            };
            assert_eq!(judged, expected, "{more:?}");
            // To look is not forbidden; the browser keeps the answer from the page.
            assert_eq!(
                judge(&asking(&all), false, None, listening.as_ref()),
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
            // With the dot of the root it is the same name.
            ("localhost.", true),
            ("[::1].evil", false),
            ("127.0.0.1:9900@evil", false),
            ("127.0.0.1:evil", false),
            ("", false),
        ];
        for (host, passes) in cases {
            let judged = |listening: &str| {
                let listening = tcp(listening);
                judge(&asking(&[("host", host)]), false, None, listening.as_ref()).is_ok()
            };
            assert_eq!(judged("127.0.0.1:9900"), passes, "{host}");
            assert_eq!(judged("[::1]:9900"), passes, "{host}");
            // Elsewhere it has names of its own, and a token.
            assert!(judged("192.0.2.1:9900"), "{host}");
        }
    }

    #[test]
    fn the_target_counts_like_host_and_one_host_is_wanted() {
        let listening = tcp("127.0.0.1:9900");
        let passes = |target: &str, version: Version, hosts: &[&str]| {
            let mut request = Request::get(target).version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            judge(&request.body(()).unwrap(), false, None, listening.as_ref()).is_ok()
        };
        let local = "localhost:9900";
        assert!(passes("http://localhost/", Version::HTTP_11, &[local]));
        assert!(!passes("http://evil.example/", Version::HTTP_11, &[local]));
        assert!(!passes("http://evil.example/", Version::HTTP_10, &[]));
        assert!(passes("/", Version::HTTP_10, &[]));
        assert!(!passes("/", Version::HTTP_11, &[]));
        assert!(!passes("/", Version::HTTP_11, &[local, local]));
    }
}
