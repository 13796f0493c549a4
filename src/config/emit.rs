//! Writes a configuration as YAML: short, for a file to start from, or complete, with every key
//! and its documentation.

use std::collections::BTreeSet;
use std::fmt;

use super::expand::escape;
use super::setting::Key;
use super::units::Decimal;

/// A value on its way to a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Text(String),
    Number(u64),
    Decimal(Decimal),
    Bool(bool),
    Off,
    List(Vec<Self>),
    /// A map with free keys.
    Map(Vec<(String, Self)>),
    /// A map with known keys.
    Block(Vec<(Key, Self)>),
}

impl fmt::Display for Yaml {
    /// In one line, as a message or a comment shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(&escape(text))),
            Self::Number(number) => number.fmt(f),
            Self::Decimal(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Off => f.write_str("off"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Map(_) | Self::Block(_) => {
                let entries: Vec<String> = self
                    .entries(false)
                    .map(|(name, _, value)| format!("{}: {value}", quoted(name)))
                    .collect();
                if entries.is_empty() {
                    f.write_str("{}")
                } else {
                    write!(f, "{{ {} }}", entries.join(", "))
                }
            }
        }
    }
}

impl Yaml {
    fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Text(_) | Self::Number(_) | Self::Decimal(_) | Self::Bool(_) | Self::Off
        )
    }

    /// The entries of a map or a block; of a block without those that repeat a default, unless
    /// all are asked for.
    fn entries(&self, all: bool) -> impl Iterator<Item = (&str, Option<&Key>, &Self)> {
        let (free, known): (&[_], &[_]) = match self {
            Self::Map(entries) => (entries, &[]),
            Self::Block(entries) => (&[], entries),
            _ => (&[], &[]),
        };
        let free = free
            .iter()
            .map(|(name, value)| (name.as_str(), None, value));
        let known = known
            .iter()
            .filter(move |(key, value)| all || key.default.as_ref() != Some(value));
        free.chain(known.map(|(key, value)| (key.name, Some(key), value)))
    }
}

/// Writes a map or block as a file: without what repeats a default, or, documented, with every
/// key and what is said about it where its block appears first.
pub(crate) fn file(yaml: &Yaml, documented: bool) -> String {
    let mut writer = Writer {
        out: String::new(),
        documented,
        explained: BTreeSet::new(),
    };
    writer.map(yaml, 0);
    writer.out
}

struct Writer {
    out: String,
    documented: bool,
    /// Blocks that were written in full already.
    explained: BTreeSet<&'static str>,
}

impl Writer {
    /// Whether this is the first appearance of a block that is to be documented.
    fn is_first(&mut self, yaml: &Yaml) -> bool {
        let Yaml::Block(entries) = yaml else {
            return false;
        };
        self.documented
            && entries
                .first()
                .is_some_and(|(key, _)| self.explained.insert(key.block))
    }

    /// Writes the entries, each on lines of its own; gives back whether the block was explained.
    fn map(&mut self, yaml: &Yaml, indent: usize) -> bool {
        let first = self.is_first(yaml);
        for (index, (name, key, value)) in yaml.entries(first).enumerate() {
            if let Some(key) = key.filter(|_| first) {
                if index > 0 {
                    self.out.push('\n');
                }
                self.explain(key, indent);
            }
            self.entry(&quoted(name), value, indent);
        }
        first
    }

    fn entry(&mut self, key: &str, value: &Yaml, indent: usize) {
        self.out.push_str(&format!("{:indent$}{key}:", ""));
        let line = self.out.len();
        match value {
            Yaml::Map(_) | Yaml::Block(_) => {
                self.out.push('\n');
                self.map(value, indent + 2);
                if self.out.len() == line + 1 {
                    self.out.truncate(line);
                    self.out.push_str(" {}\n");
                }
            }
            Yaml::List(items) if items.iter().any(|item| !item.is_scalar()) => {
                self.out.push('\n');
                for item in items {
                    self.item(item, indent + 2);
                }
            }
            short => self.out.push_str(&format!(" {short}\n")),
        }
    }

    /// One item of a list. The dash takes the place of two blanks before its first key; above a
    /// comment it stands alone.
    fn item(&mut self, item: &Yaml, indent: usize) {
        let start = self.out.len();
        let explained = self.map(item, indent + 2);
        if explained {
            self.out.insert_str(start, &format!("{:indent$}-\n", ""));
        } else if self.out.len() > start {
            self.out
                .replace_range(start + indent..start + indent + 2, "- ");
        } else {
            self.out.push_str(&format!("{:indent$}- {item}\n", ""));
        }
    }

    fn explain(&mut self, key: &Key, indent: usize) {
        for line in key.doc {
            self.out
                .push_str(format!("{:indent$}#{line}", "").trim_end());
            self.out.push('\n');
        }
        self.out
            .push_str(&format!("{:indent$}# {}\n", "", key.facts()));
    }
}

impl Key {
    /// Default and range in one line.
    pub(crate) fn facts(&self) -> String {
        let default = match &self.default {
            Some(Yaml::Block(_)) => "Default: those of its keys.".to_owned(),
            Some(default) => format!("Default: {default}."),
            None => "Must be given.".to_owned(),
        };
        match &self.range {
            Some((low, high)) => format!("{default} Range: {low} to {high}."),
            None => default,
        }
    }
}

/// A text in the syntax of YAML: plain where that is safe in any reader of YAML, else in quotes.
fn quoted(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let first = text.chars().next();
    let taken = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let safe = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(word)
        && !taken.contains(&text.to_ascii_lowercase().as_str());
    // A quantity such as `10s` begins with a digit and is still no number to any reader.
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let units = [
        "ns", "us", "ms", "s", "m", "h", "d", "B", "KiB", "MiB", "GiB", "%",
    ];
    let quantity = unit.len() < text.len() && units.contains(&unit);
    if safe || quantity {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04X}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
