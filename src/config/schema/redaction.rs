//! Which values of a query stay out of logs.

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::kinds::Filled;
use super::super::setting::{Book, Setting};
use super::super::tree::{Node, Value};

/// Parameters of a query whose values are not written to logs.
#[derive(Debug, Clone, PartialEq)]
pub enum Redaction {
    /// Those with these names, in any case.
    Names(Vec<String>),
    /// All.
    All,
}

/// What carries keys and passwords most often.
const USUAL: [&str; 18] = [
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "client_secret",
    "code",
    "id_token",
    "jwt",
    "key",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "session",
    "sig",
    "signature",
    "token",
    "x-amz-signature",
];

impl Default for Redaction {
    fn default() -> Self {
        Self::Names(USUAL.map(str::to_owned).to_vec())
    }
}

const WANTED: &str = "`all`, `off`, or a list of names of query parameters";

impl Setting for Redaction {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::List(_) = &node.value {
            return reader.list(node, Filled::read).map(Self::Names);
        }
        let text = reader.text(node, WANTED)?;
        match &*text.value {
            "all" => Some(Self::All),
            "off" => Some(Self::Names(Vec::new())),
            _ => {
                let help = "write one name as a list, too: `[token]`";
                reader.error_with_help(node, format!("expected {WANTED}, found {text}"), help);
                None
            }
        }
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::Names(names) if names.is_empty() => Yaml::Off,
            Self::Names(names) => Yaml::List(names.iter().map(Filled::write).collect()),
            Self::All => Yaml::Text("all".to_owned()),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let name = Filled::shape(book);
        json!({ "anyOf": [{ "enum": ["all", "off"] }, { "type": "array", "items": name }] })
    }
    fn is_off(value: &Self) -> bool {
        matches!(value, Self::Names(names) if names.is_empty())
    }
}
