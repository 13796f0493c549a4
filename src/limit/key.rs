//! Who is counted: the parts of a request that a limiter tells its clients apart by, hashed.
//!
//! The hash has 128 bits and a seed of the process, so that nobody can choose a value that meets another's; the values
//! themselves, of which some are secrets, are kept nowhere.
//!
//! Not here: whether a value may be believed. Whoever implements [`Client`] leaves out what a stranger may not write.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::notice::Whose;
use super::shown;
use crate::asked;
use crate::config;
use crate::config::units::masked;

/// What a request may be asked for.
pub trait Client {
    /// Where it meets the limiter that asks.
    fn whose(&self) -> Whose<'_>;
    /// The client, as far as proxies before this one are believed.
    fn client_ip(&self) -> Option<IpAddr>;
    /// Who it is found to be.
    fn identity(&self) -> Option<&[u8]>;
    /// Calls `with` with the host without its port and the dot of the root, in lower case.
    fn host(&self, with: &mut dyn FnMut(&[u8]));
    /// The path in its canonical form.
    fn path(&self, with: &mut dyn FnMut(&[u8]));
    /// The first value of a header that is not empty; its name counts in any case.
    fn header(&self, name: &str, with: &mut dyn FnMut(&[u8]));
    /// The first value of a cookie that is not empty.
    fn cookie(&self, name: &str, with: &mut dyn FnMut(&[u8]));
    /// The first value of a parameter of the query that is not empty, decoded.
    fn query(&self, name: &str, with: &mut dyn FnMut(&[u8]));
}

/// The parts of a request that tell clients apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    parts: Box<[config::KeyPart]>,
    seed: u64,
}

/// A request as a limiter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub hash: u128,
    /// The whole address of the client, where the key is that alone.
    pub address: Option<IpAddr>,
}

/// The most parts of one key.
pub const PARTS: usize = config::KEY_PARTS;

impl Key {
    /// With the seed of the process.
    pub fn new(parts: &[config::KeyPart], seed: u64) -> Self {
        Self {
            parts: parts.into(),
            seed,
        }
    }

    /// Whether it can be known only once it is known who the client is.
    pub fn is_of_identity(&self) -> bool {
        self.parts.contains(&config::KeyPart::Identity)
    }

    /// Whether it is the address of the client alone.
    pub fn is_of_address(&self) -> bool {
        matches!(&*self.parts, [config::KeyPart::ClientIp { .. }])
    }

    /// Of a request; `None` when it lacks a part.
    pub fn of(&self, asked: &impl Client) -> Option<Found> {
        let mut hashes = [0_u128; PARTS];
        let mut address = None;
        for (part, hash) in self.parts.iter().zip(&mut hashes) {
            *hash = match part {
                config::KeyPart::ClientIp { v4, v6 } => {
                    let client = asked.client_ip()?.to_canonical();
                    address = Some(client);
                    self.address(client, *v4, *v6)
                }
                other => self.value(other, asked)?,
            };
        }
        Some(Found {
            hash: self.joined(&hashes),
            address: address.filter(|_| self.parts.len() == 1),
        })
    }

    /// Of values as they are written in a configuration, one for each part, separated by a blank. `None` when they are not
    /// as many, or no addresses.
    pub fn of_text(&self, text: &str) -> Option<u128> {
        let values: Vec<&str> = match &*self.parts {
            [_] => vec![text],
            _ => text.split(' ').collect(),
        };
        if values.len() != self.parts.len() {
            return None;
        }
        let mut hashes = [0_u128; PARTS];
        for ((part, value), hash) in self.parts.iter().zip(values).zip(&mut hashes) {
            *hash = match part {
                config::KeyPart::ClientIp { v4, v6 } => {
                    let client: IpAddr = value.parse().ok()?;
                    self.address(client.to_canonical(), *v4, *v6)
                }
                config::KeyPart::Host => self.bytes(value.to_ascii_lowercase().as_bytes()),
                config::KeyPart::Constant => self.bytes(b""),
                _ => self.bytes(value.as_bytes()),
            };
        }
        Some(self.joined(&hashes))
    }

    /// Of a request, for people: in brief, and without what could be used in its name.
    pub fn text(&self, asked: &impl Client) -> String {
        shown::text(&self.parts, asked, |secret| self.bytes(secret))
    }

    /// For all requests that lack a part.
    pub fn of_none(&self) -> Found {
        Found {
            hash: self.bytes(b"none") ^ 1,
            address: None,
        }
    }

    fn value(&self, part: &config::KeyPart, asked: &impl Client) -> Option<u128> {
        let mut hash = None;
        ask(part, asked, &mut |value| hash = Some(self.bytes(value)));
        hash
    }

    fn address(&self, client: IpAddr, v4: u8, v6: u8) -> u128 {
        let prefix = if client.is_ipv4() { v4 } else { v6 };
        match masked(client, prefix) {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }

    fn bytes(&self, value: &[u8]) -> u128 {
        xxh3_128_with_seed(value, self.seed)
    }

    fn joined(&self, hashes: &[u128; PARTS]) -> u128 {
        if let [_] = &*self.parts {
            return hashes[0];
        }
        let mut bytes = [0; PARTS * 16];
        for (place, hash) in bytes.chunks_exact_mut(16).zip(hashes) {
            place.copy_from_slice(&hash.to_le_bytes());
        }
        self.bytes(&bytes[..self.parts.len() * 16])
    }
}

/// Calls `with` with what a request has of a part, if it has it; not of one that is no bytes.
pub(super) fn ask(part: &config::KeyPart, asked: &impl Client, with: &mut dyn FnMut(&[u8])) {
    match part {
        config::KeyPart::ClientIp { .. } => {}
        config::KeyPart::Host => asked.host(with),
        config::KeyPart::Path => asked.path(with),
        config::KeyPart::Constant => with(b""),
        config::KeyPart::Identity => {
            if let Some(identity) = asked.identity() {
                with(identity);
            }
        }
        config::KeyPart::Header(name) => asked.header(name, with),
        config::KeyPart::ApiKey(name) => {
            asked.header(name, &mut |value| with(credential(value)));
        }
        config::KeyPart::Cookie(name) => asked.cookie(name, with),
        config::KeyPart::Query(name) => asked.query(name, with),
    }
}

/// A key as it stands behind `Bearer ` (RFC 6750, 2.1), or by itself.
fn credential(value: &[u8]) -> &[u8] {
    asked::after_scheme(value, b"bearer").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeyPart;

    /// What is asked of a request, spelt out.
    #[derive(Default)]
    struct Request {
        client_ip: Option<&'static str>,
        identity: Option<&'static str>,
        header: &'static str,
    }

    impl Client for Request {
        fn whose(&self) -> Whose<'_> {
            Whose::Route("r")
        }
        fn client_ip(&self) -> Option<IpAddr> {
            Some(self.client_ip?.parse().unwrap())
        }
        fn identity(&self) -> Option<&[u8]> {
            self.identity.map(str::as_bytes)
        }
        fn host(&self, with: &mut dyn FnMut(&[u8])) {
            with(b"a.example");
        }
        fn path(&self, with: &mut dyn FnMut(&[u8])) {
            with(b"/a");
        }
        fn header(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
            if name == "x" && !self.header.is_empty() {
                with(self.header.as_bytes());
            }
        }
        fn cookie(&self, _: &str, with: &mut dyn FnMut(&[u8])) {
            with(b"biscuit");
        }
        fn query(&self, _: &str, with: &mut dyn FnMut(&[u8])) {
            with(b"q");
        }
    }

    fn key(parts: &[KeyPart]) -> Key {
        Key::new(parts, 7)
    }

    fn client(v4: u8, v6: u8) -> KeyPart {
        KeyPart::ClientIp { v4, v6 }
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let hash = |v4, v6, address| {
            let asked = Request {
                client_ip: Some(address),
                ..Request::default()
            };
            key(&[client(v4, v6)]).of(&asked).map(|found| found.hash)
        };
        let same = [
            (32, "192.0.2.1", "::ffff:192.0.2.1"),
            (24, "192.0.2.1", "192.0.2.99"),
            (0, "1.2.3.4", "9.9.9.9"),
        ];
        for (v4, one, other) in same {
            assert_eq!(hash(v4, 64, one), hash(v4, 64, other), "/{v4}");
        }
        assert_ne!(hash(32, 64, "192.0.2.1"), hash(32, 64, "192.0.2.2"));
        assert_eq!(hash(32, 64, "2001:db8::1"), hash(32, 64, "2001:db8::ffff"));
        assert_ne!(hash(32, 64, "2001:db8::1"), hash(32, 64, "2001:db8:0:1::1"));
        assert_ne!(hash(32, 128, "2001:db8::1"), hash(32, 128, "2001:db8::2"));
    }

    #[test]
    fn a_request_that_lacks_a_part_has_no_key() {
        let parts = [client(32, 64), KeyPart::Header("x".to_owned())];
        assert_eq!(key(&parts).of(&Request::default()), None);
        let asked = Request {
            client_ip: Some("192.0.2.1"),
            ..Request::default()
        };
        assert_eq!(key(&parts).of(&asked), None);
        assert!(key(&parts[..1]).of(&asked).is_some());
        assert_eq!(key(&[KeyPart::Identity]).of(&asked), None);
        assert!(key(&[KeyPart::Constant]).of(&asked).is_some());
    }

    #[test]
    fn combinations_tell_apart_where_one_value_ends() {
        let parts = [KeyPart::Header("x".to_owned()), KeyPart::Identity];
        let of = |header, identity| {
            let identity = Some(identity);
            let asked = Request {
                header,
                identity,
                ..Request::default()
            };
            key(&parts).of(&asked).map(|found| found.hash)
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("a", "b"), key(&parts).of_text("a b"));
        assert_eq!(key(&parts).of_text("a"), None);
        assert_ne!(of("a", "b"), Key::new(&parts, 8).of_text("a b"));
    }

    #[test]
    fn what_is_written_of_a_client_is_what_it_sends() {
        let asked = Request {
            client_ip: Some("2001:db8::5"),
            header: "bEarer  secret",
            ..Request::default()
        };
        let own = |part: KeyPart| key(&[part]).of(&asked).map(|found| found.hash);
        assert_eq!(
            own(client(32, 64)),
            key(&[client(32, 64)]).of_text("2001:DB8::9")
        );
        let api_key = KeyPart::ApiKey("x".to_owned());
        assert_eq!(own(api_key.clone()), key(&[api_key]).of_text("secret"));
        assert_eq!(
            own(KeyPart::Host),
            key(&[KeyPart::Host]).of_text("A.Example")
        );
        assert_eq!(own(KeyPart::Path), key(&[KeyPart::Path]).of_text("/a"));
        assert_eq!(key(&[client(32, 64)]).of_text("partner"), None);
    }
}
