//! The policies and their options.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::{HOUR, millis, seconds};
use super::{ConsistentHash, HashAlgorithm};
use crate::config::cursor::{Reader, clipped};
use crate::config::emit::Yaml;
use crate::config::json_schema::or_variable;
use crate::config::kinds::FieldName;
use crate::config::nearest::{list, nearest};
use crate::config::setting::{Block, Book, Setting, block, with_default, written_as_map};
use crate::config::tree::{Node, Value};
use crate::config::units::Share;

/// The policy that picks an endpoint. Weights count in all of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
    /// The one with the fewest attempts in flight.
    LeastConnections,
    /// `choices` endpoints are sampled and the least loaded taken.
    P2c { choices: usize },
    /// Of those sampled the one that probably answers first.
    PeakEwma(PeakEwma),
    /// Of those with few attempts in flight the fastest.
    Prequal(Prequal),
    /// The same one for the same key.
    ConsistentHash(ConsistentHash),
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

block! {
    /// Options of the policy `peak_ewma`: of those sampled the lowest latency × (in flight + 1) /
    /// weight.
    pub struct PeakEwma {
        /// How slowly the latency of an endpoint falls: to about a third of it in this time.
        /// It rises at once, so that a pause is answered within one request. As Finagle's and
        /// linkerd's; shorter forgets a slow endpoint sooner, and tries it again sooner.
        pub decay: Duration = seconds(10), in millis(100)..=HOUR;
        /// Endpoints sampled for each pick. Two, so that not everybody runs to the fastest one.
        pub choices: usize = 2, in 2..=16;
    }
}

block! {
    /// Options of the policy `prequal` (Wydrowski et al., "Load is not what you should balance",
    /// NSDI 2024): an endpoint is hot when it has more in flight than most. Among the cold ones
    /// the lowest latency is taken; when all are hot, the fewest in flight.
    pub struct Prequal {
        /// The share of endpoints, ordered by attempts in flight, beyond which one is hot. The
        /// paper found 84 % (2^-0.25) best and 60 % to 90 % good. 0% looks at nothing but
        /// attempts in flight, 100% at nothing but latency, which swings.
        pub q_rif: Share = Share::percent(84), in Share::percent(0)..=Share::percent(100);
        /// Probes that are remembered and compared: what was known of an endpoint when it was
        /// last looked at. 16 as in the paper.
        pub pool: usize = 16, in 2..=64;
        /// Endpoints that each pick looks at anew. Three as in the paper, which saw the tail grow
        /// below one.
        pub probes: usize = 3, in 1..=16;
        /// The header of a response in which an endpoint says how many requests it has in flight,
        /// from all its clients, as a number. For several proxies that share endpoints, each of
        /// which only counts its own requests; a number is trusted for a second. Off: this proxy's
        /// own count, which for a single proxy is exact and never late.
        pub report: Option<String> as Option<FieldName> = None;
    }
}

impl Balance {
    /// Every name that is accepted; the last is a second name of the first.
    pub const NAMES: [&'static str; 8] = [
        "round_robin",
        "random",
        "least_connections",
        "p2c",
        "peak_ewma",
        "prequal",
        "consistent_hash",
        "weighted_round_robin",
    ];

    /// The policy of that name with its default options.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "round_robin" | "weighted_round_robin" => Self::RoundRobin,
            "random" => Self::Random,
            "least_connections" => Self::LeastConnections,
            "p2c" => Self::default(),
            "peak_ewma" => Self::PeakEwma(PeakEwma::default()),
            "prequal" => Self::Prequal(Prequal::default()),
            "consistent_hash" => Self::ConsistentHash(ConsistentHash::default()),
            _ => return None,
        })
    }

    /// The name under which it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastConnections => "least_connections",
            Self::P2c { .. } => "p2c",
            Self::PeakEwma(_) => "peak_ewma",
            Self::Prequal(_) => "prequal",
            Self::ConsistentHash(_) => "consistent_hash",
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
            let help = match (algorithm_help(&entry.key), nearest(&entry.key, Self::NAMES)) {
                (Some(help), _) => help,
                (None, Some(name)) => format!("did you mean `{name}`?"),
                (None, None) => format!("known: {}", list(Self::NAMES)),
            };
            let message = format!("`{}` is not a balance policy", clipped(&entry.key));
            reader.error_at_key(&entry.key, entry.mark, message, Some(help));
            return None;
        };
        reader.under(&entry.key, |reader| {
            policy.with_options(&entry.node, reader)
        })
    }

    /// This policy with the options of `node`.
    fn with_options(self, node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match self {
            Self::P2c { .. } => P2cOptions::read_block(node, reader).map(|options| Self::P2c {
                choices: options.choices,
            }),
            Self::PeakEwma(_) => PeakEwma::read_block(node, reader).map(Self::PeakEwma),
            Self::Prequal(_) => Prequal::read_block(node, reader).map(Self::Prequal),
            Self::ConsistentHash(_) => {
                ConsistentHash::read_block(node, reader).map(Self::ConsistentHash)
            }
            Self::RoundRobin | Self::Random | Self::LeastConnections => {
                let nothing = matches!(node.value, Value::Null)
                    || matches!(&node.value, Value::Map(entries) if entries.is_empty());
                if !nothing {
                    reader.error(node, format!("`{}` has no options", self.name()));
                }
                nothing.then_some(self)
            }
        }
    }

    /// The options as they would be written; `None` for a policy without any.
    fn options(&self) -> Option<Yaml> {
        match self {
            Self::RoundRobin | Self::Random | Self::LeastConnections => None,
            Self::P2c { choices } => Some(P2cOptions { choices: *choices }.write_block()),
            Self::PeakEwma(options) => Some(options.write_block()),
            Self::Prequal(options) => Some(options.write_block()),
            Self::ConsistentHash(options) => Some(options.write_block()),
        }
    }
}

/// What to write instead of an algorithm where a policy was asked for.
fn algorithm_help(name: &str) -> Option<String> {
    let mut algorithms = HashAlgorithm::NAMES.iter();
    algorithms
        .any(|(algorithm, _)| *algorithm == name)
        .then(|| format!("write `{{ consistent_hash: {{ algorithm: {name} }} }}`"))
}

/// A name, or one name with its options.
impl Setting for Balance {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return Self::read_options(node, reader);
        }
        let text = reader.text(node, "a balance policy")?;
        let policy = Self::named(&text.value);
        match algorithm_help(&text.value).filter(|_| !text.is_expanded()) {
            _ if policy.is_some() => {}
            Some(help) => {
                reader.error_with_help(node, format!("{text} is not a balance policy"), help);
            }
            None => reader.unknown_name(node, &text, "a balance policy", Self::NAMES.into_iter()),
        }
        policy
    }
    fn write(value: &Self) -> Yaml {
        let name = value.name().to_owned();
        match value.options() {
            Some(options) if Self::named(&name).as_ref() != Some(value) => {
                Yaml::Map(vec![(name, options)])
            }
            _ => Yaml::Text(name),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let none = json!({ "type": "object", "maxProperties": 0 });
        let mut properties: serde_json::Map<String, Json> = Self::NAMES
            .iter()
            .map(|name| ((*name).to_owned(), none.clone()))
            .collect();
        for (name, options) in [
            ("p2c", book.refer::<P2cOptions>()),
            ("peak_ewma", book.refer::<PeakEwma>()),
            ("prequal", book.refer::<Prequal>()),
            ("consistent_hash", book.refer::<ConsistentHash>()),
        ] {
            properties.insert(name.to_owned(), options);
        }
        let one = json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 });
        or_variable(json!({ "anyOf": [{ "enum": Self::NAMES }, one] }))
    }
}

written_as_map!(P2cOptions, PeakEwma, Prequal);
with_default!(P2cOptions, PeakEwma, Prequal);
