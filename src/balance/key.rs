//! What a request is hashed by: compiled from the configuration, read from a request without copying it.
//!
//! Whoever sends the same value meets the same endpoint, through every proxy that has the same
//! configuration: the hash is XXH3 of 64 bits without a seed. A request that lacks what is asked for,
//! or has it empty, has no key; its upstream then balances it by another rule, since all such requests
//! together would else fall upon one endpoint (nginx and HAProxy do the same).
//!
//! Not here: which endpoint a key belongs to, and whether the value is one that may be believed.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::sticky::{SameSite, SetCookie};
use crate::asked::{Asked, HOST_BYTES, each_cookie, host_name, parameter};

/// The part of a request that its key is made of.
///
/// Of values that occur more than once the first that is not empty counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// The client's address; one of IPv4 written as IPv6 is the same.
    ClientIp,
    /// The host without its port and the dot of the root, in any case.
    Host,
    /// The path as received: that is what an endpoint's cache goes by, too.
    Path,
    /// A header of this name, in any case: its first line as a whole.
    Header(Box<str>),
    /// The cookie of this name (case counts), with its quotes if it has any.
    Cookie {
        /// A token of RFC 9110, 5.6.2.
        name: Box<str>,
        /// How a client that lacks it is given one; `None`: it is not.
        create: Option<CreateCookie>,
    },
    /// The query parameter of this name. Both are compared decoded, so that no spelling parts what an
    /// endpoint reads as one value: `%41` is `A`, `+` is a space, a `%` that begins no escape stands
    /// for itself.
    Query(Box<str>),
}

/// A cookie that clients are given to be hashed by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CreateCookie {
    /// For how long the client keeps it; `None`: until it is closed.
    pub ttl: Option<Duration>,
    /// Below which path the client sends it; without control characters and `;`.
    pub path: Box<str>,
}

/// What a request is hashed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Of the whole value.
    pub hash: u64,
    /// For people; `None` where the value may be a secret: of a header, a cookie or a parameter.
    pub text: Option<Text>,
}

/// The beginning of a key's value as it is shown to people, held without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text(Shown);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Written out only when it is looked at, since that takes longer than hashing it.
    Address(IpAddr),
    Bytes {
        bytes: [u8; TEXT_BYTES],
        length: u8,
        is_clipped: bool,
    },
}

/// Bytes of a value that are shown.
const TEXT_BYTES: usize = 48;

/// Digits of a cookie that is made here: 64 bits.
const COOKIE_DIGITS: usize = 16;

impl HashKey {
    /// By a header.
    pub fn header(name: &str) -> Self {
        Self::Header(name.into())
    }

    /// By a cookie; with `create` one is made for clients that lack it.
    pub fn cookie(name: &str, create: Option<CreateCookie>) -> Self {
        let name = name.into();
        Self::Cookie { name, create }
    }

    /// By a query parameter.
    pub fn query(name: &str) -> Self {
        Self::Query(name.into())
    }

    /// The key of a request; `None` when it lacks what it would be hashed by.
    pub fn of(&self, asked: &impl Asked) -> Option<Key> {
        match self {
            Self::ClientIp => asked.client_ip().map(Key::of_address),
            Self::Host => Key::of_host(asked.host()?),
            Self::Path => Some(asked.path())
                .filter(|path| !path.is_empty())
                .map(Key::shown),
            Self::Header(name) => first(|each| asked.each_header(name, each)),
            Self::Cookie { name, .. } => first(|each| each_cookie(asked, name, each)),
            Self::Query(name) => of_parameter(asked.query()?, name.as_bytes()),
        }
    }

    /// A new cookie for a client that lacks it: the key that the client has from now on, so that its
    /// first request meets the same endpoint, and the value of `Set-Cookie` for the answer. `None` when
    /// no cookie is to be made. `random` need not be secret: it spreads clients and proves nothing.
    pub fn create(&self, random: u64, is_tls: bool) -> Option<(Key, Vec<u8>)> {
        let Self::Cookie { name, create } = self else {
            return None;
        };
        let create = create.as_ref()?;
        let value = format!("{random:0width$x}", width = COOKIE_DIGITS);
        let cookie = SetCookie {
            name,
            value: value.as_bytes(),
            path: &create.path,
            ttl: create.ttl,
            same_site: SameSite::Lax,
            is_tls,
        };
        Some((Key::hidden(xxh3_64(value.as_bytes())), cookie.written()))
    }
}

impl Key {
    fn of_address(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let hash = match address {
            IpAddr::V4(v4) => xxh3_64(&v4.octets()),
            IpAddr::V6(v6) => xxh3_64(&v6.octets()),
        };
        let text = Some(Text(Shown::Address(address)));
        Self { hash, text }
    }

    fn of_host(host: &[u8]) -> Option<Self> {
        let mut buffer = [0; HOST_BYTES];
        Some(Self::shown(host_name(host, &mut buffer)?))
    }

    fn shown(value: &[u8]) -> Self {
        Self {
            hash: xxh3_64(value),
            text: Some(Text::of(value)),
        }
    }

    fn hidden(hash: u64) -> Self {
        Self { hash, text: None }
    }
}

impl Text {
    fn of(value: &[u8]) -> Self {
        let is_clipped = value.len() > TEXT_BYTES;
        let length = if is_clipped {
            // Not within a character: its bytes after the first, 3 at most, begin with the bits 10.
            let begins = |at: &usize| value[*at] & 0xC0 != 0x80;
            let mut ends = (TEXT_BYTES - 3..=TEXT_BYTES).rev();
            ends.find(begins).unwrap_or(TEXT_BYTES)
        } else {
            value.len()
        };
        let mut bytes = [0; TEXT_BYTES];
        bytes[..length].copy_from_slice(&value[..length]);
        Self(Shown::Bytes {
            bytes,
            // At most 48.
            length: length as u8,
            is_clipped,
        })
    }
}

/// What does not print is escaped, so that a client cannot write to the terminal of who looks at its
/// key; bytes that are no UTF-8 become the replacement character.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, is_clipped) = match &self.0 {
            Shown::Address(address) => return address.fmt(f),
            Shown::Bytes {
                bytes,
                length,
                is_clipped,
            } => (&bytes[..usize::from(*length)], *is_clipped),
        };
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\'' | '\\' => f.write_char(character)?,
                    other => write!(f, "{}", other.escape_debug())?,
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        f.write_str(if is_clipped { "…" } else { "" })
    }
}

/// The key of the first value that is not empty.
fn first(each_value: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Option<Key> {
    let mut key = None;
    each_value(&mut |value| {
        if key.is_none() && !value.is_empty() {
            key = Some(Key::hidden(xxh3_64(value)));
        }
    });
    key
}

fn of_parameter(query: &[u8], name: &[u8]) -> Option<Key> {
    let value = parameter(query, name)?;
    Some(Key::hidden(match value.as_plain() {
        Some(plain) => xxh3_64(plain),
        None => hash_each(value.bytes()),
    }))
}

/// [`xxh3_64`] of bytes that come one by one.
fn hash_each(bytes: impl Iterator<Item = u8>) -> u64 {
    let mut hash = Xxh3Default::new();
    let mut chunk = [0; 64];
    let mut filled = 0;
    for byte in bytes {
        if filled == chunk.len() {
            hash.update(&chunk);
            filled = 0;
        }
        chunk[filled] = byte;
        filled += 1;
    }
    hash.update(&chunk[..filled]);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked of a request, spelt out.
    #[derive(Default)]
    struct Request {
        client_ip: Option<IpAddr>,
        host: &'static str,
        path: &'static str,
        query: &'static str,
        headers: Vec<(&'static str, &'static [u8])>,
    }

    impl Asked for Request {
        fn client_ip(&self) -> Option<IpAddr> {
            self.client_ip
        }
        fn host(&self) -> Option<&[u8]> {
            Some(self.host.as_bytes())
        }
        fn path(&self) -> &[u8] {
            self.path.as_bytes()
        }
        fn query(&self) -> Option<&[u8]> {
            Some(self.query.as_bytes())
        }
        fn each_header(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
            let same = |(spelt, _): &&(&str, &[u8])| spelt.eq_ignore_ascii_case(name);
            for (_, value) in self.headers.iter().filter(same) {
                each(value);
            }
        }
    }

    fn with(change: impl FnOnce(&mut Request)) -> Request {
        let mut request = Request::default();
        change(&mut request);
        request
    }

    fn hash(value: &str) -> Option<u64> {
        Some(xxh3_64(value.as_bytes()))
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let key = |text: &str| {
            let client_ip = Some(text.parse().unwrap());
            HashKey::ClientIp
                .of(&with(|asked| asked.client_ip = client_ip))
                .unwrap()
        };
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_eq!(key("192.0.2.1").hash, xxh3_64(&[192, 0, 2, 1]));
        assert_ne!(key("2001:db8::1").hash, key("2001:db8::2").hash);
        let text = key("2001:DB8:0::1").text.map(|text| text.to_string());
        assert_eq!(text.as_deref(), Some("2001:db8::1"));
        assert_eq!(HashKey::ClientIp.of(&Request::default()), None);
    }

    #[test]
    fn a_host_counts_without_case_port_and_dot() {
        let key = |host| HashKey::Host.of(&with(|asked| asked.host = host));
        let expected = key("example.com").unwrap();
        for host in ["Example.COM:8080", "example.com.", "EXAMPLE.com.:80"] {
            assert_eq!(key(host), Some(expected), "{host}");
        }
        assert_eq!(Some(expected.hash), hash("example.com"));
        let shown = |key: Option<Key>| key.and_then(|key| Some(key.text?.to_string()));
        assert_eq!(shown(key("[::A]:80")).as_deref(), Some("[::a]"));
        assert_eq!((key(""), key("."), key(":80")), (None, None, None));
        let long: &'static str = String::leak("a".repeat(HOST_BYTES + 1));
        assert!(key(&long[1..]).is_some());
        assert_eq!(key(long), None);
    }

    #[test]
    fn a_path_counts_as_received() {
        let key = |path| HashKey::Path.of(&with(|asked| asked.path = path));
        assert_ne!(key("/a"), key("/%61"));
        assert_eq!(key("/a").map(|key| key.hash), hash("/a"));
        assert_eq!(key(""), None);
    }

    #[test]
    fn of_several_values_the_first_that_is_not_empty_counts() {
        let request = Request {
            query: "u=&&u=a%2&%75=b",
            headers: vec![
                ("Cookie", b" b=2 ; sid=;sid2=x; SID=y;sid"),
                ("X-User", b""),
                ("x-user", b"a, b"),
                ("X-User", b"c"),
                ("cookie", b"c=\xff;sid=\"q=1\"\t; sid=z"),
            ],
            ..Request::default()
        };
        let key = |by: HashKey| by.of(&request).map(|key| key.hash);
        assert_eq!(key(HashKey::header("X-USER")), hash("a, b"));
        assert_eq!(key(HashKey::cookie("sid", None)), hash("\"q=1\""));
        assert_eq!(key(HashKey::query("u")), hash("a%2"));
        for by in ["x", "", "si", "sid3"] {
            assert_eq!(key(HashKey::header(by)), None, "{by}");
            assert_eq!(key(HashKey::cookie(by, None)), None, "{by}");
            assert_eq!(key(HashKey::query(by)), None, "{by}");
        }
    }

    #[test]
    fn spellings_of_a_parameter_are_one_key() {
        let key = |query| {
            let request = with(|asked| asked.query = query);
            HashKey::query("a b").of(&request).map(|key| key.hash)
        };
        let expected = hash("x y%zz%\u{e4}");
        for query in [
            "a+b=x+y%zz%\u{e4}",
            "a%20b=x%20y%zz%\u{e4}&a+b=2",
            "%61+b=%78+%79%zz%%c3%A4",
        ] {
            assert_eq!(key(query), expected, "{query}");
        }
        let long: &'static str = String::leak(format!("a+b={}%20", "0123456789".repeat(30)));
        assert_eq!(key(long), hash(&("0123456789".repeat(30) + " ")));
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let request = Request {
            client_ip: Some([127, 0, 0, 1].into()),
            host: "a",
            path: "/a",
            query: "a=secret",
            headers: vec![("a", b"secret"), ("cookie", b"a=secret")],
        };
        for by in [HashKey::ClientIp, HashKey::Host, HashKey::Path] {
            assert!(by.of(&request).unwrap().text.is_some(), "{by:?}");
        }
        let hidden = [
            HashKey::header("a"),
            HashKey::cookie("a", None),
            HashKey::query("a"),
        ];
        for by in hidden {
            assert_eq!(by.of(&request).unwrap().text, None, "{by:?}");
        }
    }

    #[test]
    fn text_is_clipped_between_characters_and_safe_to_print() {
        let shown = |value: &[u8]| Text::of(value).to_string();
        assert_eq!(shown(&[b'a'; 48]), "a".repeat(48));
        assert_eq!(shown(&[b'a'; 49]), "a".repeat(48) + "…");
        let three_bytes_each = "\u{20ac}".repeat(17);
        let ascii_first = format!("a{three_bytes_each}");
        assert_eq!(
            shown(three_bytes_each.as_bytes()),
            "\u{20ac}".repeat(16) + "…"
        );
        let clipped = format!("a{}…", "\u{20ac}".repeat(15));
        assert_eq!(shown(ascii_first.as_bytes()), clipped);
        assert_eq!(shown(&[0x80; 49]), "\u{fffd}".repeat(48) + "…");
        assert_eq!(shown(b"/a'\x1b[2J\xff"), "/a'\\u{1b}[2J\u{fffd}");
    }

    #[test]
    fn a_cookie_that_is_created_leads_back_to_its_key() {
        let create = |ttl, path: &str| {
            let path = path.into();
            HashKey::cookie("sid", Some(CreateCookie { ttl, path }))
        };
        let (key, line) = create(None, "/").create(0xABC, false).unwrap();
        let value: &[u8] = b"sid=0000000000000abc; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(line, value);
        let request = with(|asked| asked.headers = vec![("cookie", b"sid=0000000000000abc")]);
        assert_eq!(create(None, "/").of(&request), Some(key));

        let ttl = Some(Duration::from_millis(1500));
        let (_, line) = create(ttl, "/x").create(u64::MAX, true).unwrap();
        let value: &[u8] =
            b"sid=ffffffffffffffff; Path=/x; Max-Age=2; HttpOnly; SameSite=Lax; Secure";
        assert_eq!(line, value);
        assert_eq!(HashKey::cookie("sid", None).create(1, true), None);
        assert_eq!(HashKey::Host.create(1, true), None);
    }
}
