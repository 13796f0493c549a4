//! Keys of an endpoint.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::config::cursor::Reader;
use crate::config::emit::Yaml;
use crate::config::kinds::{EndpointAddress, Name};
use crate::config::setting::{Block, Book, Setting, block};
use crate::config::tree::{Node, Value};
use crate::config::units::{Target, UnitError};

block! {
    /// One address of an upstream.
    pub struct Endpoint {
        /// `host:port`, `[v6]:port`, `srv:name` or `unix:/path`. A host name stands for each of its
        /// addresses, `srv:_http._tcp.api.internal` for each host and port of its SRV records
        /// (RFC 2782); both are asked for again as `discovery` says, so that changes of DNS are
        /// followed. Of SRV records the lowest priority serves first, as with `priority`, to which they
        /// add; their weight multiplies `weight`, where 0 counts as 1: the least there is.
        pub address: String as EndpointAddress;
        /// What its numbers are kept under across reloads. Off: the address as written. With an id
        /// of its own an endpoint may change its address and keep its history.
        pub id: Option<String> as Option<Name> = None;
        /// Its share of the traffic relative to the others; 0 gets none while one of them has a weight.
        /// Each address of a host name has it, so that a name with three addresses gets three
        /// times as much as one address.
        pub weight: u32 = 1, in 0..=1000;
        /// Lower numbers serve first. The next one takes what the first cannot: each takes 1.4 times
        /// its share of healthy weight, so that up to two sevenths of it may be lost before any
        /// traffic goes on, as in Envoy.
        pub priority: u8 = 0, in 0..=15;
        /// Whether it serves only when no other endpoint can.
        pub backup: bool = false;
        /// Where it stands: the name of a zone, a data centre, a rack. Endpoints in the proxy's own
        /// zone (`zone` at the top) come first within their priority. Off: in no zone, as far away
        /// as any other.
        pub zone: Option<String> as Option<Name> = None;
        /// Whether it is being emptied: it takes no new session and keeps those that `sticky` has
        /// bound to it.
        pub draining: bool = false;
        /// What else is known of it, names and values, for `subset`.
        pub metadata: BTreeMap<String, String> = BTreeMap::new();
    }
}

impl Endpoint {
    /// An endpoint with every default: of weight 1, known by its address.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            id: None,
            weight: 1,
            priority: 0,
            backup: false,
            zone: None,
            draining: false,
            metadata: BTreeMap::new(),
        }
    }

    /// The id, or the address as written.
    pub fn identity(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.address)
    }

    /// What the address says. Never fails for an endpoint that was read from a file.
    pub fn target(&self) -> Result<Target, UnitError> {
        self.address.parse()
    }
}

/// An address, or a map of keys.
impl Setting for Endpoint {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { .. } => EndpointAddress::read(node, reader).map(Self::new),
            Value::Map(_) => Self::read_block(node, reader),
            _ => {
                let message = format!("expected an address or a map, found {}", node.kind());
                reader.error_with_help(
                    node,
                    message,
                    "write `127.0.0.1:9001`, or `{ address: \"127.0.0.1:9001\", weight: 2 }`",
                );
                None
            }
        }
    }
    fn write(value: &Self) -> Yaml {
        if *value == Self::new(&*value.address) {
            return Yaml::Text(value.address.clone());
        }
        value.write_block()
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "anyOf": [EndpointAddress::shape(book), book.refer::<Self>()] })
    }
}
