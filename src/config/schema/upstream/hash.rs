//! Options of consistent hashing: by what, how, and with which bound.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::matcher::{one_key, one_of, single};
use super::super::{YEAR, seconds};
use crate::config::cursor::Reader;
use crate::config::emit::Yaml;
use crate::config::json_schema::or_variable;
use crate::config::kinds::{CookieName, CookiePath, FieldName, Filled};
use crate::config::setting::{Block, Book, Setting, block, choice, with_default, written_as_map};
use crate::config::tree::{Node, Value};
use crate::config::units::Decimal;

block! {
    /// Options of the policy `consistent_hash`: requests with the same key go to the same endpoint,
    /// and a change of the endpoints moves few keys.
    pub struct ConsistentHash {
        /// What is hashed: `client_ip`, `host`, `path` (without the query), `{ header: X-User }`,
        /// `{ query: user }`, `{ cookie: NAME }`, or, for a cookie that the proxy sets where there
        /// is none, `{ cookie: { name: NAME, create: true } }`. A request that lacks it is balanced
        /// by `p2c`. The client's address by default, which every request has; where many clients
        /// share one (NAT, a proxy in front) a header or a cookie spreads better.
        pub key: HashKey = HashKey::ClientIp;
        /// `ring`, `maglev` or `rendezvous`. The ring moves the fewest keys and takes any number of
        /// endpoints and weights. Maglev: nearly equal shares, but a change of the endpoints moves
        /// some more keys than it must; for many endpoints of similar weight.
        /// Rendezvous: no table and the fewest moves, but each pick looks at every endpoint; for
        /// a few dozen at most.
        pub algorithm: HashAlgorithm = HashAlgorithm::Ring;
        /// Points of an endpoint of weight 1 on the ring. More make shares more equal and the ring
        /// larger; with 160, as in ketama, the most loaded of ten endpoints gets about 12 % and of
        /// a thousand about 28 % more than its share. At most four million in all: with more, each
        /// endpoint gets fewer in proportion. Only for `ring`.
        pub virtual_nodes: u32 = 160, in 1..=10_000;
        /// Entries of Maglev's table: a prime number, at least a hundred times that of endpoints, so
        /// that shares differ by at most about a percent. The smaller size of the paper (Eisenbud et
        /// al., NSDI 2016). Only for `maglev`.
        pub table_size: u32 as PrimeNumber = 65_537, in 3..=5_000_011;
        /// How many times the average in flight an endpoint may have before its keys spill to the
        /// next in their order: a number above 1, up to 10; `on` is 1.25, with which Google and
        /// Vimeo run it (Mirrokni et al., "Consistent hashing with bounded loads", 2018). A lower
        /// bound is more even and moves more keys. Off: a popular key loads its endpoint without
        /// bound, and load moves no key away from what its endpoint keeps for it. A bound makes each
        /// pick look at all endpoints, to know the average.
        pub bounded_load: Option<Decimal> as Option<LoadBound> = None;
    }
}

choice! {
    /// How keys are mapped to endpoints.
    pub enum HashAlgorithm, "a hash algorithm" {
        /// A ring of points, several for each endpoint (Karger et al., 1997).
        Ring = "ring",
        /// A table filled by permutations (Eisenbud et al., NSDI 2016).
        Maglev = "maglev",
        /// The highest hash of key and endpoint (Thaler and Ravishankar, 1998).
        Rendezvous = "rendezvous",
    }
}

/// What a request is hashed by.
#[derive(Debug, Clone, PartialEq)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// The host that was asked for.
    Host,
    /// The path without the query.
    Path,
    /// The first field of that name.
    Header(String),
    /// The first parameter of that name.
    Query(String),
    /// A cookie, which may be created.
    Cookie {
        name: String,
        /// `None`: a request without it has no key.
        create: Option<CreateCookie>,
    },
}

/// How a cookie is set for a client that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateCookie {
    /// `None`: until the browser is closed.
    pub ttl: Option<Duration>,
    pub path: String,
}

block! {
    /// A cookie to hash by.
    pub struct HashCookie {
        /// The name of the cookie.
        pub name: String as CookieName;
        /// Whether the answer to a client without the cookie sets one, with a random value. Off,
        /// because it is usually the application's.
        pub create: bool = false;
        /// How long a client keeps a cookie that was created. Off: until its browser is closed.
        pub ttl: Option<Duration> = None, in Some(seconds(1))..=Some(YEAR);
        /// Below which path a client sends a cookie that was created.
        pub path: String as CookiePath = "/".to_owned();
    }
}

const KEY_NAMES: [&str; 3] = ["client_ip", "host", "path"];
const KEY_KINDS: [&str; 3] = ["header", "query", "cookie"];

impl HashKey {
    /// A key without a name of its own.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "client_ip" => Self::ClientIp,
            "host" => Self::Host,
            "path" => Self::Path,
            _ => return None,
        })
    }

    /// The name of a cookie, or a map of keys.
    fn read_cookie(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            let name = CookieName::read(node, reader)?;
            return Some(Self::Cookie { name, create: None });
        };
        let keys = HashCookie::read_block(node, reader)?;
        for entry in node.entries().iter().filter(|_| !keys.create) {
            if matches!(&*entry.key, "ttl" | "path") {
                let message = "without effect: the cookie is not created".to_owned();
                let help = format!("add `create: true`, or remove `{}`", entry.key);
                reader.error_at_key(&entry.key, entry.mark, message, Some(help));
            }
        }
        let create = keys.create.then_some(CreateCookie {
            ttl: keys.ttl,
            path: keys.path,
        });
        Some(Self::Cookie {
            name: keys.name,
            create,
        })
    }

    fn write_cookie(name: &str, create: Option<&CreateCookie>) -> Yaml {
        match create.cloned() {
            None => Yaml::Text(name.to_owned()),
            Some(CreateCookie { ttl, path }) => {
                let (name, create) = (name.to_owned(), true);
                HashCookie {
                    name,
                    create,
                    ttl,
                    path,
                }
                .write_block()
            }
        }
    }
}

/// A name, or a map with one key.
impl Setting for HashKey {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            let (key, value) = one_of(node, reader, &KEY_KINDS)?;
            return reader.under(key, |reader| match key {
                "header" => FieldName::read(value, reader).map(Self::Header),
                "query" => Filled::read(value, reader).map(Self::Query),
                _ => Self::read_cookie(value, reader),
            });
        }
        let what = "a part of the request to hash by";
        let text = reader.text(node, what)?;
        let key = Self::named(&text.value);
        if key.is_none() && KEY_KINDS.contains(&&*text.value) && !text.is_expanded() {
            let help = format!("write `{{ {}: NAME }}`", text.value);
            reader.error_with_help(node, format!("{text} needs a name"), help);
        } else if key.is_none() {
            let names = KEY_NAMES.into_iter().chain(KEY_KINDS);
            reader.unknown_name(node, &text, what, names);
        }
        key
    }
    fn write(value: &Self) -> Yaml {
        let text = |text: &str| Yaml::Text(text.to_owned());
        match value {
            Self::ClientIp => text("client_ip"),
            Self::Host => text("host"),
            Self::Path => text("path"),
            Self::Header(name) => single("header", text(name)),
            Self::Query(name) => single("query", text(name)),
            Self::Cookie { name, create } => {
                single("cookie", Self::write_cookie(name, create.as_ref()))
            }
        }
    }
    fn shape(book: &mut Book) -> Json {
        let (field, query) = (FieldName::shape(book), Filled::shape(book));
        let cookie = json!({ "anyOf": [CookieName::shape(book), book.refer::<HashCookie>()] });
        let kinds = one_key(&[("header", &field), ("query", &query), ("cookie", &cookie)]);
        or_variable(json!({ "anyOf": [{ "enum": KEY_NAMES }, kinds] }))
    }
}

/// A prime number, as the size of a table through which every step must come past every entry.
pub(crate) struct PrimeNumber;

impl PrimeNumber {
    /// Beyond the largest table there is nothing to check: the range of the key refuses it.
    const CHECKED: u32 = 5_000_011;

    fn is_prime(number: u32) -> bool {
        number >= 2
            && (2..)
                .take_while(|by| by * by <= number)
                .all(|by| !number.is_multiple_of(by))
    }

    /// The nearest primes below and above.
    fn neighbours(number: u32) -> (Option<u32>, Option<u32>) {
        let below = (2..number).rev().find(|near| Self::is_prime(*near));
        let above = (number + 1..=Self::CHECKED).find(|near| Self::is_prime(*near));
        (below, above)
    }
}

impl Setting<u32> for PrimeNumber {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<u32> {
        let number = u32::read(node, reader)?;
        if number <= Self::CHECKED && !Self::is_prime(number) {
            let secret = reader.text(node, "a prime number")?.is_expanded();
            let help = match Self::neighbours(number) {
                // The nearest prime would give the value of a variable away.
                _ if secret => "65537 and 655373 are prime".to_owned(),
                (Some(below), Some(above)) => format!("the nearest are {below} and {above}"),
                (Some(near), None) | (None, Some(near)) => format!("the nearest is {near}"),
                (None, None) => String::new(),
            };
            reader.error_with_help(node, "not a prime number", help);
        }
        Some(number)
    }
    fn write(value: &u32) -> Yaml {
        u32::write(value)
    }
    fn shape(book: &mut Book) -> Json {
        u32::shape(book)
    }
}

/// A bound on the load of an endpoint, in multiples of the average.
pub(crate) struct LoadBound;

impl LoadBound {
    /// What `on` means.
    const USUAL: Decimal = Decimal { thousandths: 1250 };
    /// From here on a bound changes nothing.
    const MOST: Decimal = Decimal {
        thousandths: 10_000,
    };
}

impl Setting<Decimal> for LoadBound {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Decimal> {
        if matches!(&node.value, Value::Scalar { text, plain: true } if text == "on") {
            return Some(Self::USUAL);
        }
        let bound = Decimal::read(node, reader)?;
        if bound <= (Decimal { thousandths: 1000 }) || bound > Self::MOST {
            let message = format!("out of range; above 1, up to {}", Self::MOST);
            let help = if bound > Self::MOST {
                "it is no percentage: write 1.25 for 125 % of the average"
            } else {
                "no endpoint can stay below the average all the time; write `on` for 1.25"
            };
            reader.error_with_help(node, message, help);
        }
        Some(bound)
    }
    fn write(value: &Decimal) -> Yaml {
        Decimal::write(value)
    }
    fn shape(_: &mut Book) -> Json {
        let most = Self::MOST.value();
        let number = json!({ "type": "number", "exclusiveMinimum": 1, "maximum": most });
        or_variable(json!({ "anyOf": [{ "const": "on" }, number] }))
    }
}

written_as_map!(ConsistentHash, HashCookie);
with_default!(ConsistentHash);
