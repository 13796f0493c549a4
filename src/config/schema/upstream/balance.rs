//! The policies and their options.

use serde_json::{Value as Json, json};

use crate::config::cursor::{Reader, clipped};
use crate::config::emit::Yaml;
use crate::config::json_schema::or_variable;
use crate::config::nearest::{list, nearest};
use crate::config::setting::{Block, Book, Setting, block, with_default, written_as_map};
use crate::config::tree::{Node, Value};

/// The policy that picks an endpoint. Weights count in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
    /// The one with the fewest attempts in flight.
    LeastConnections,
    /// `choices` endpoints are sampled and the least loaded taken.
    P2c { choices: usize },
}

impl Default for Balance {
    fn default() -> Self {
        Self::P2c {
            choices: P2cOptions::default().choices,
        }
    }
}

block! {
    /// Options of the policy `p2c`.
    pub struct P2cOptions {
        /// Endpoints sampled for each pick. Two, since more bring little and cost a load each
        /// (Mitzenmacher, "The power of two choices", 2001).
        pub choices: usize = 2, in 2..=16;
    }
}

impl Balance {
    /// Every name that is accepted; the last is a second name of the first.
    pub const NAMES: [&'static str; 5] = [
        "round_robin",
        "random",
        "least_connections",
        "p2c",
        "weighted_round_robin",
    ];

    /// The policy of that name with its default options.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "round_robin" | "weighted_round_robin" => Self::RoundRobin,
            "random" => Self::Random,
            "least_connections" => Self::LeastConnections,
            "p2c" => Self::default(),
            _ => return None,
        })
    }

    /// The name under which it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::P2c { .. } => "p2c",
        }
    }

    /// One key, whose value holds the options.
    fn read_options(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let [entry] = node.entries() else {
            let help = "write one name, or one name with its options: `{ p2c: { choices: 3 } }`";
            reader.error_with_help(node, "exactly one policy is needed", help);
            return None;
        };
        let Some(policy) = Self::named(&entry.key) else {
            let help = match nearest(&entry.key, Self::NAMES) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known: {}", list(Self::NAMES)),
            };
            let message = format!("`{}` is not a balance policy", clipped(&entry.key));
            reader.error_at_key(&entry.key, entry.mark, message, Some(help));
            return None;
        };
        reader.under(&entry.key, |reader| match policy {
            Self::P2c { .. } => {
                P2cOptions::read_block(&entry.node, reader).map(|options| Self::P2c {
                    choices: options.choices,
                })
            }
            _ if entry.node.entries().is_empty()
                && !matches!(entry.node.value, Value::Scalar { .. } | Value::List(_)) =>
            {
                Some(policy)
            }
            _ => {
                reader.error(&entry.node, format!("`{}` has no options", policy.name()));
                None
            }
        })
    }
}

/// A name, or one name with its options.
impl Setting for Balance {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return Self::read_options(node, reader);
        }
        let text = reader.text(node, "a balance policy")?;
        let policy = Self::named(&text.value);
        if policy.is_none() {
            reader.unknown_name(node, &text, "a balance policy", Self::NAMES.into_iter());
        }
        policy
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::P2c { choices } if *value != Self::default() => {
                let options = P2cOptions { choices: *choices };
                Yaml::Map(vec![("p2c".to_owned(), options.write_block())])
            }
            _ => Yaml::Text(value.name().to_owned()),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let none = json!({ "type": "object", "maxProperties": 0 });
        let mut properties: serde_json::Map<String, Json> = Self::NAMES
            .iter()
            .map(|name| ((*name).to_owned(), none.clone()))
            .collect();
        properties.insert("p2c".to_owned(), book.refer::<P2cOptions>());
        let one = json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 });
        or_variable(json!({ "anyOf": [{ "enum": Self::NAMES }, one] }))
    }
}

written_as_map!(P2cOptions);
with_default!(P2cOptions);
