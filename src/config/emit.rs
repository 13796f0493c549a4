//! Writes a configuration as YAML: short, for a file to start from, or complete, with every key
//! and its documentation.

use std::fmt;

use super::expand::escape;
use super::setting::Key;

/// A value on its way to a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Text(String),
    Number(u64),
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
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Off => f.write_str("off"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}: {value}", quoted(key)))
                    .collect();
                if entries.is_empty() {
                    f.write_str("{}")
                } else {
                    write!(f, "{{ {} }}", entries.join(", "))
                }
            }
            Self::Block(_) => Self::Map(self.entries(false)).fmt(f),
        }
    }
}

impl Yaml {
    fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Text(_) | Self::Number(_) | Self::Bool(_) | Self::Off
        )
    }

    /// The entries of a map or block; of a block only those that say more than its defaults,
    /// unless all are asked for.
    fn entries(&self, all: bool) -> Vec<(String, Self)> {
        match self {
            Self::Map(entries) => entries.clone(),
            Self::Block(entries) => entries
                .iter()
                .filter(|(key, value)| all || key.default.as_ref() != Some(value))
                .map(|(key, value)| (key.name.to_owned(), value.clone()))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The value without the keys that only repeat a default.
    pub(crate) fn short(&self) -> Self {
        match self {
            Self::Block(_) | Self::Map(_) => Self::Map(
                self.entries(false)
                    .into_iter()
                    .map(|(key, value)| (key, value.short()))
                    .collect(),
            ),
            Self::List(items) => Self::List(items.iter().map(Self::short).collect()),
            other => other.clone(),
        }
    }
}

/// Writes a map or block as a file.
pub(crate) fn file(yaml: &Yaml, documented: bool) -> String {
    let mut writer = Writer {
        out: String::new(),
        documented,
        explained: Vec::new(),
    };
    writer.map(yaml, 0);
    writer.out
}

struct Writer {
    out: String,
    /// Write the documentation of each key above its first appearance.
    documented: bool,
    explained: Vec<(&'static str, &'static str)>,
}

impl Writer {
    fn map(&mut self, yaml: &Yaml, indent: usize) {
        match yaml {
            Yaml::Block(entries) => {
                for (key, value) in entries {
                    self.explain(key, indent);
                    self.entry(key.name, value, indent);
                }
            }
            Yaml::Map(entries) => {
                for (key, value) in entries {
                    self.entry(&quoted(key), value, indent);
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, key: &str, value: &Yaml, indent: usize) {
        let margin = " ".repeat(indent);
        match value {
            Yaml::Map(entries) if !entries.is_empty() => {
                self.out.push_str(&format!("{margin}{key}:\n"));
                self.map(value, indent + 2);
            }
            Yaml::Block(entries) if !entries.is_empty() => {
                self.out.push_str(&format!("{margin}{key}:\n"));
                self.map(value, indent + 2);
            }
            Yaml::List(items) if items.iter().any(|item| !item.is_scalar()) => {
                self.out.push_str(&format!("{margin}{key}:\n"));
                for item in items {
                    self.item(item, indent + 2);
                }
            }
            short => self.out.push_str(&format!("{margin}{key}: {short}\n")),
        }
    }

    /// One item of a list. Its first line carries the dash, which takes the place of two blanks.
    fn item(&mut self, item: &Yaml, indent: usize) {
        let margin = " ".repeat(indent);
        let nested = matches!(item, Yaml::Map(entries) if !entries.is_empty())
            || matches!(item, Yaml::Block(_));
        if !nested {
            self.out.push_str(&format!("{margin}- {item}\n"));
            return;
        }
        if self.documented {
            // Comments come first, so the dash stands alone.
            self.out.push_str(&format!("{margin}-\n"));
            self.map(item, indent + 2);
            return;
        }
        let start = self.out.len();
        self.map(item, indent + 2);
        self.out
            .replace_range(start + indent..start + indent + 2, "- ");
    }

    fn explain(&mut self, key: &Key, indent: usize) {
        if !self.documented || self.explained.contains(&(key.block, key.name)) {
            return;
        }
        self.explained.push((key.block, key.name));
        let margin = " ".repeat(indent);
        for line in key.doc {
            self.out.push_str(format!("{margin}#{line}").trim_end());
            self.out.push('\n');
        }
        self.out.push_str(&format!("{margin}# {}\n", key.facts()));
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

/// A text as a YAML value or key: plain where that is safe in any reader of YAML, else in quotes.
fn quoted(text: &str) -> String {
    let escaped = escape(text);
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let first = escaped.chars().next();
    let taken = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let safe = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/')
        && escaped.chars().all(word)
        && !taken.contains(&escaped.to_ascii_lowercase().as_str());
    // A quantity such as `10s` begins with a digit and is still no number.
    let quantity = first.is_some_and(|c| c.is_ascii_digit())
        && escaped.chars().all(|c| c.is_ascii_alphanumeric())
        && escaped.chars().any(|c| matches!(c, 's' | 'm' | 'h' | 'B'))
        && !escaped.starts_with("0x");
    if safe || quantity {
        return escaped;
    }
    let mut out = String::from("\"");
    for c in escaped.chars() {
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
