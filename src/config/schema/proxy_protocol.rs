//! Keys of the PROXY protocol, by which a proxy tells whose connection it passes on.

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::kinds::AtLeastOne;
use super::super::setting::{Block, Book, Setting, block, choice};
use super::super::tree::{Node, Value};
use super::TrustedProxy;

/// Whose PROXY headers a listener reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ProxyProtocolIn {
    /// Nobody's.
    #[default]
    Off,
    /// Everybody's: a connection without one is closed.
    Require,
    /// Those of these peers, which have to send one.
    From(ProxyProtocolFrom),
}

block! {
    /// Peers that tell by a PROXY header whose connection they pass on.
    pub struct ProxyProtocolFrom {
        /// Networks, or `unix` for those on a Unix socket. Each connection of these peers begins with a
        /// header, version 1 or 2; one without is closed. Not a choice for each connection: what a
        /// client of theirs sends would then be taken for their word where they forgot it.
        pub from: Vec<TrustedProxy> as AtLeastOne<TrustedProxy>;
        /// What becomes of connections from all other peers: `plain`, which are served without a header
        /// and closed if they send one, or `refuse`, which are closed. Plain, so that a client on the
        /// same network, or a check, needs no proxy.
        pub others: ProxyProtocolOthers = ProxyProtocolOthers::Plain;
    }
}

choice! {
    /// What becomes of peers that are not believed.
    pub enum ProxyProtocolOthers, "a treatment of other peers" {
        /// They are served as they are; a PROXY header of theirs closes the connection.
        Plain = "plain",
        /// Their connections are closed.
        Refuse = "refuse",
    }
}

choice! {
    /// A version of the PROXY protocol.
    pub enum ProxyProtocol, "a version of the PROXY protocol" {
        /// A line of text.
        V1 = "v1",
        /// Binary.
        V2 = "v2",
    }
}

const WANTED: &str = "`off`, `require`, or `{ from: [10.0.0.0/8] }`";

impl Setting for ProxyProtocolIn {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return ProxyProtocolFrom::read_block(node, reader).map(Self::From);
        }
        let text = reader.text(node, WANTED)?;
        match &*text.value {
            "off" => Some(Self::Off),
            "require" => Some(Self::Require),
            _ => {
                let help = "`require` believes every peer; name those to believe with `from`";
                reader.error_with_help(node, format!("expected {WANTED}, found {text}"), help);
                None
            }
        }
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::Off => Yaml::Off,
            Self::Require => Yaml::Text("require".to_owned()),
            Self::From(peers) => peers.write_block(),
        }
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "anyOf": [{ "enum": ["off", "require"] }, book.refer::<ProxyProtocolFrom>()] })
    }
    fn is_off(value: &Self) -> bool {
        *value == Self::Off
    }
}
