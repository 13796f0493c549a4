//! Keys of limiters: who is counted, and what is allowed to each.

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::json_schema::or_variable;
use super::super::kinds::{CookieName, FieldName, Filled, Pairs};
use super::super::quantities::{Size, SizePerSecond};
use super::super::setting::{Block, Book, Setting, block, choice, with_default, written_as_map};
use super::super::tree::{Node, Value};
use super::super::units::Rate;
use super::matcher::{one_key, one_of, single};

/// The most parts of one key.
pub const KEY_PARTS: usize = 4;

/// The most keys of one limiter.
const MOST_KEYS: usize = 4_000_000;

/// Keys of one limiter, if no other number is written: 3 MiB, and more clients than one proxy serves in most places at once.
const USUAL_KEYS: usize = 65_536;

block! {
    /// So many requests in a time. Each proxy counts by itself.
    pub struct RateLimit {
        /// Who is counted, each for itself: `client_ip` (or `{ client_ip: { v4: 24, v6: 56 } }`), `host`, `path`,
        /// `identity` (whoever `auth` found the client to be), `{ header: X }`, `{ cookie: X }`, `{ query: X }`,
        /// `{ api_key: X-Api-Key }` (a header, without `Bearer` before it), or a list of up to four that count together;
        /// `constant` counts all as one. What a client writes itself it can also invent: with `header`, `cookie`, `query` or
        /// `api_key` alone, whoever sends a new value each time has a new bucket each time, and takes up `keys`. Count by
        /// `identity` what `auth` has found to be true, or add a limit by `client_ip` beside it.
        pub key: Vec<KeyPart> as KeyOf;
        /// Requests in a second, a minute or an hour: `100/s`, `30/m`, `1000/h`. They come back one by one, not all
        /// when a window ends. From 1/h to 1000000/s.
        pub rate: Rate;
        /// Requests at once, after a time without any. Off: as many as come back in a second, and at least one;
        /// browsers ask for a dozen things at once.
        pub burst: Option<u64> = None, in Some(1)..=Some(1_000_000_000);
        /// Keys that are known at once; 48 bytes for each. Beyond them those are forgotten whose time has passed, of
        /// which nothing is lost; where there are none, further keys share one bucket. Raised at run time, what is known
        /// is taken over.
        pub keys: usize = USUAL_KEYS, in 1..=MOST_KEYS;
        /// Another `rate` and `burst` for some, by the value of their key, or `off` for none at all: `"10.0.0.5"`,
        /// where the key is `client_ip` alone also a network, `"10.0.0.0/8"`, in which each is still counted for itself.
        /// Where the key has several parts their values stand in its order, separated by a blank.
        pub overrides: Vec<(String, Option<RateOverride>)> as Pairs<Option<RateOverride>> = Vec::new();
        /// What becomes of a request that lacks a part of the key: `pass`, `shared` (all such requests count as one), or
        /// `refuse` (403). Passed, as nginx does: a limit on visitors by their cookie must not keep new ones out. Where
        /// leaving the key out would be a way around the limit, choose another.
        pub missing: MissingKey = MissingKey::Pass;
        /// Refuses nobody and only counts whom it would refuse: to try a limit on real traffic.
        pub dry_run: bool = false;
        /// Whether clients are told, by `RateLimit-Policy` and `RateLimit`, what is allowed and what remains, so that good
        /// ones slow down by themselves. `Retry-After` is told in any case.
        pub headers: bool = true;
    }
}

block! {
    /// What is allowed to one key.
    pub struct RateOverride {
        /// As the `rate` of the limit, in the same range.
        pub rate: Rate;
        /// As the `burst` of the limit. Off: as many as come back in a second, and at least one.
        pub burst: Option<u64> = None, in Some(1)..=Some(1_000_000_000);
    }
}

block! {
    /// So many requests at once, each from its head to the end of its answer, or of its tunnel.
    pub struct ConcurrencyLimit {
        /// Who is counted, each for itself, as the `key` of a rate limit.
        pub key: Vec<KeyPart> as KeyOf;
        /// Requests that may be under way at once; at least 1.
        pub max: u64 as PlaceCount;
        /// Keys that are known at once; 48 bytes for each. Beyond them those are forgotten that have nothing under way;
        /// where there are none, further keys share one count. Raised at run time, what is under way is counted anew.
        pub keys: usize = USUAL_KEYS, in 1..=MOST_KEYS;
        /// Another number for some, by the value of their key, or `off` for none at all; written as those of a rate limit.
        pub overrides: Vec<(String, Option<u64>)> as Pairs<Option<PlaceCount>> = Vec::new();
        /// What becomes of a request that lacks a part of the key: `pass`, `shared` or `refuse`, as of a rate limit.
        pub missing: MissingKey = MissingKey::Pass;
        /// Refuses nobody and only counts whom it would refuse.
        pub dry_run: bool = false;
    }
}

block! {
    /// So many bytes of bodies in a second, for all exchanges of a key together. Who exceeds it is slowed down, not refused.
    pub struct BandwidthLimit {
        /// Who is counted, each for itself, as the `key` of a rate limit; but not by `identity`.
        pub key: Vec<KeyPart> as KeyOf;
        /// Bytes of bodies in a second, framing not counted: `1MiB/s`. At least `1B/s`.
        pub rate: u64 as BytesPerSecond;
        /// Bytes at once, after a time without any. Off: what a second brings, so that small answers are not slowed down.
        pub burst: Option<u64> as Option<Size> = None, in Some(1)..=Some(1 << 40);
        /// `down` (answers), `up` (request bodies), or `both`, which count together. Answers by default: most bytes go there.
        pub direction: Direction = Direction::Down;
        /// Keys that are known at once; 48 bytes for each. Beyond them those are forgotten that moved nothing of late;
        /// where there are none, further keys share one bandwidth.
        pub keys: usize = USUAL_KEYS, in 1..=MOST_KEYS;
        /// What becomes of a request that lacks a part of the key: `pass` or `shared`. Not `refuse`: nobody is refused here,
        /// only slowed down.
        pub missing: MissingKey = MissingKey::Pass;
    }
}

choice! {
    /// What becomes of a request that lacks a part of the key.
    pub enum MissingKey, "what becomes of a request without the key" {
        /// It is not counted.
        Pass = "pass",
        /// It is counted together with all others that lack it.
        Shared = "shared",
        /// It is answered with 403.
        Refuse = "refuse",
    }
}

choice! {
    /// Which way bytes go.
    pub enum Direction, "a direction" {
        /// To the client.
        Down = "down",
        /// To the endpoint.
        Up = "up",
        /// Both ways together.
        Both = "both",
    }
}

/// A part of a request that tells clients apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address, of which only so many bits count.
    ClientIp { v4: u8, v6: u8 },
    /// The host that was asked for.
    Host,
    /// The path without the query.
    Path,
    /// All are one.
    Constant,
    /// Who the client was found to be.
    Identity,
    /// The first value of that header.
    Header(String),
    /// The same, without the scheme before it.
    ApiKey(String),
    /// The cookie of that name.
    Cookie(String),
    /// The first parameter of that name.
    Query(String),
}

block! {
    /// How much of a client's address counts.
    pub struct Prefixes {
        /// Bits of an IPv4 address. All 32, since each usually is a client or a household.
        pub v4: u8 = 32, in 0..=32;
        /// Bits of an IPv6 address. 64, because that is what one client is given (RFC 6177): with more it would have as
        /// many keys as it likes.
        pub v6: u8 = 64, in 0..=128;
    }
}

written_as_map!(
    RateLimit,
    RateOverride,
    ConcurrencyLimit,
    BandwidthLimit,
    Prefixes
);
with_default!(Prefixes);

impl RateLimit {
    /// With every default.
    pub fn new(key: Vec<KeyPart>, rate: Rate) -> Self {
        Self {
            key,
            rate,
            burst: None,
            keys: USUAL_KEYS,
            overrides: Vec::new(),
            missing: MissingKey::Pass,
            dry_run: false,
            headers: true,
        }
    }
}

impl ConcurrencyLimit {
    /// With every default.
    pub fn new(key: Vec<KeyPart>, max: u64) -> Self {
        Self {
            key,
            max,
            keys: USUAL_KEYS,
            overrides: Vec::new(),
            missing: MissingKey::Pass,
            dry_run: false,
        }
    }
}

impl BandwidthLimit {
    /// With every default.
    pub fn new(key: Vec<KeyPart>, rate: u64) -> Self {
        Self {
            key,
            rate,
            burst: None,
            direction: Direction::Down,
            keys: USUAL_KEYS,
            missing: MissingKey::Pass,
        }
    }
}

/// A number of places, at least one.
pub(crate) struct PlaceCount;

impl Setting<u64> for PlaceCount {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<u64> {
        let count = u64::read(node, reader)?;
        if count == 0 {
            reader.error(node, "0 would let nobody in; at least 1, or `off`");
            return None;
        }
        Some(count)
    }
    fn write(value: &u64) -> Yaml {
        Yaml::Number(*value)
    }
    fn shape(_: &mut Book) -> Json {
        or_variable(json!({ "type": "integer", "minimum": 1 }))
    }
}

/// A number of bytes per second, at least one.
pub(crate) struct BytesPerSecond;

impl Setting<u64> for BytesPerSecond {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<u64> {
        let bytes = SizePerSecond::read(node, reader)?;
        if bytes == 0 {
            reader.error(node, "0 would let nothing through; at least `1B/s`");
            return None;
        }
        Some(bytes)
    }
    fn write(value: &u64) -> Yaml {
        SizePerSecond::write(value)
    }
    fn shape(book: &mut Book) -> Json {
        SizePerSecond::shape(book)
    }
}

const PART_NAMES: [&str; 5] = ["client_ip", "host", "path", "constant", "identity"];
const PART_KINDS: [&str; 5] = ["client_ip", "header", "cookie", "query", "api_key"];

impl KeyPart {
    /// The address with its usual prefixes.
    pub fn client_ip() -> Self {
        let Prefixes { v4, v6 } = Prefixes::default();
        Self::ClientIp { v4, v6 }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "client_ip" => Self::client_ip(),
            "host" => Self::Host,
            "path" => Self::Path,
            "constant" => Self::Constant,
            "identity" => Self::Identity,
            _ => return None,
        })
    }
}

/// A name, or a map with one key.
impl Setting for KeyPart {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            let (key, value) = one_of(node, reader, &PART_KINDS)?;
            return reader.under(key, |reader| match key {
                "client_ip" => {
                    let Prefixes { v4, v6 } = Prefixes::read_block(value, reader)?;
                    Some(Self::ClientIp { v4, v6 })
                }
                "header" => FieldName::read(value, reader).map(Self::Header),
                "api_key" => FieldName::read(value, reader).map(Self::ApiKey),
                "cookie" => CookieName::read(value, reader).map(Self::Cookie),
                _ => Filled::read(value, reader).map(Self::Query),
            });
        }
        let what = "a part of the request to count by";
        let text = reader.text(node, what)?;
        let part = Self::named(&text.value);
        if part.is_none() && PART_KINDS.contains(&&*text.value) && !text.is_expanded() {
            let help = format!("write `{{ {}: NAME }}`", text.value);
            reader.error_with_help(node, format!("{text} needs a name"), help);
        } else if part.is_none() {
            let kinds = PART_KINDS.into_iter().skip(1);
            reader.unknown_name(node, &text, what, PART_NAMES.into_iter().chain(kinds));
        }
        part
    }
    fn write(value: &Self) -> Yaml {
        let text = |text: &str| Yaml::Text(text.to_owned());
        match value {
            Self::ClientIp { v4, v6 } if *value != Self::client_ip() => {
                let prefixes = Prefixes { v4: *v4, v6: *v6 };
                single("client_ip", prefixes.write_block())
            }
            Self::ClientIp { .. } => text("client_ip"),
            Self::Host => text("host"),
            Self::Path => text("path"),
            Self::Constant => text("constant"),
            Self::Identity => text("identity"),
            Self::Header(name) => single("header", text(name)),
            Self::ApiKey(name) => single("api_key", text(name)),
            Self::Cookie(name) => single("cookie", text(name)),
            Self::Query(name) => single("query", text(name)),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let (field, cookie) = (FieldName::shape(book), CookieName::shape(book));
        let (query, prefixes) = (Filled::shape(book), book.refer::<Prefixes>());
        let kinds = one_key(&[
            ("client_ip", &prefixes),
            ("header", &field),
            ("cookie", &cookie),
            ("query", &query),
            ("api_key", &field),
        ]);
        or_variable(json!({ "anyOf": [{ "enum": PART_NAMES }, kinds] }))
    }
}

/// One part of a key, or a list of them.
pub(crate) struct KeyOf;

impl Setting<Vec<KeyPart>> for KeyOf {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<KeyPart>> {
        let Value::List(items) = &node.value else {
            return KeyPart::read(node, reader).map(|part| vec![part]);
        };
        if items.is_empty() {
            let help = "write `constant` to count all requests as one";
            reader.error_with_help(node, "the list is empty, which tells nobody apart", help);
            return None;
        }
        if items.len() > KEY_PARTS {
            reader.error(node, format!("a key has at most {KEY_PARTS} parts"));
            return None;
        }
        let parts: Vec<KeyPart> = reader.list(node, KeyPart::read)?;
        // With a faulty part the key would be another.
        (parts.len() == items.len()).then_some(parts)
    }
    fn write(value: &Vec<KeyPart>) -> Yaml {
        match value.as_slice() {
            [one] => KeyPart::write(one),
            many => Yaml::List(many.iter().map(KeyPart::write).collect()),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let one = KeyPart::shape(book);
        json!({ "anyOf": [one, { "type": "array", "minItems": 1, "maxItems": KEY_PARTS, "items": one }] })
    }
}
