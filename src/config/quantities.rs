//! Quantities that may stand under a key: durations, sizes, rates, shares, numbers with a point.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::cursor::Reader;
use super::emit::Yaml;
use super::json_schema::or_variable;
use super::setting::{Book, Setting};
use super::tree::Node;
use super::units::{self, Decimal, Rate, Share};

impl Setting for Duration {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.parse(node, "a duration such as `10s`", units::parse_duration)
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(units::format_duration(*value))
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(ns|us|ms|s|m|h|d)|.*\\$\\{.*)$" })
    }
}

/// A number of bytes with its unit.
pub(crate) struct Size;

impl Size {
    fn bytes(node: &Node, reader: &mut Reader<'_>) -> Option<u64> {
        reader.parse(node, "a size such as `64KiB`", units::parse_size)
    }

    fn pattern() -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(B|KiB|MiB|GiB)|.*\\$\\{.*)$" })
    }
}

impl Setting<u64> for Size {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<u64> {
        Self::bytes(node, reader)
    }
    fn write(value: &u64) -> Yaml {
        Yaml::Text(units::format_size(*value))
    }
    fn shape(_: &mut Book) -> Json {
        Self::pattern()
    }
}

impl Setting<usize> for Size {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<usize> {
        let bytes = Self::bytes(node, reader)?;
        // On a 32-bit target a size may not fit; the range of the key then refuses the rest.
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
    fn write(value: &usize) -> Yaml {
        Yaml::Text(units::format_size(*value as u64))
    }
    fn shape(_: &mut Book) -> Json {
        Self::pattern()
    }
}

/// A number of bytes per second, as a size with `/s` behind it.
pub(crate) struct SizePerSecond;

impl Setting<u64> for SizePerSecond {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<u64> {
        reader.parse(node, "bytes per second such as `64KiB/s`", |text| {
            let size = text.strip_suffix("/s").ok_or("write `/s` behind a size");
            size.and_then(|size| units::parse_size(size).map_err(|_| "write a size and `/s`"))
        })
    }
    fn write(value: &u64) -> Yaml {
        Yaml::Text(format!("{}/s", units::format_size(*value)))
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(B|KiB|MiB|GiB)/s|.*\\$\\{.*)$" })
    }
}

impl Setting for Rate {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let rate: Self = reader.parse(node, "a rate such as `100/s`", str::parse)?;
        let (low, high) = (Self::per_hour(1), Self::per_second(1_000_000));
        if rate < low || rate > high {
            reader.error(node, format!("out of range; from {low} to {high}"));
            return None;
        }
        Some(rate)
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(value.to_string())
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+/[smh]|.*\\$\\{.*)$" })
    }
}

impl Setting for Share {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.parse(node, "a share such as `10%`", str::parse::<Self>)
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(value.to_string())
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,4})?%|.*\\$\\{.*)$" })
    }
}

impl Setting for Decimal {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let wanted = "a number such as `1.25`";
        let text = reader.text(node, wanted)?;
        let help = match text.value.parse() {
            Ok(number) if text.bare => return Some(number),
            Ok(_) => "remove the quotes".to_owned(),
            Err(error) => error.to_string(),
        };
        reader.error_with_help(node, format!("expected {wanted}, found {text}"), help);
        None
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Decimal(*value)
    }
    fn shape(_: &mut Book) -> Json {
        or_variable(json!({ "type": "number", "minimum": 0 }))
    }
}
