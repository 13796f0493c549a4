//! The reader's hand on the tree: it knows the path, collects what is wrong, and goes on.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use super::diagnostic::{Mark, Problem, Problems};
use super::expand::expand;
use super::nearest::{list, nearest};
use super::setting::{Limits, Setting};
use super::tree::{Entry, Node, Value, join};

/// Reads values out of the tree and keeps every problem.
pub(crate) struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    path: String,
    pub(crate) problems: Problems,
    /// Names that may be referred to, from the tree: a block with an error in it still exists.
    pub(crate) names: Names,
}

/// What routes may refer to.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) listeners: BTreeSet<String>,
    pub(crate) upstreams: BTreeSet<String>,
    /// Of all kinds.
    pub(crate) limiters: BTreeSet<String>,
}

/// A single value with its variables replaced.
pub(crate) struct Text<'n> {
    pub(crate) value: Cow<'n, str>,
    /// As written in the file: what messages may show.
    written: &'n str,
    /// Without quotes, or made of a variable: may be read as a number or as `true`.
    pub(crate) bare: bool,
}

impl Text<'_> {
    /// Whether a variable was replaced, so that the value must stay out of messages.
    pub(crate) fn is_expanded(&self) -> bool {
        matches!(self.value, Cow::Owned(_))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.written.chars();
        let head: String = shown
            .by_ref()
            .take(60)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let tail = if shown.next().is_some() { "…" } else { "" };
        write!(f, "`{head}{tail}`")
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            path: String::new(),
            problems: Problems::default(),
            names: Names::default(),
        }
    }

    /// Reports an error at `node`.
    pub(crate) fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.problems
            .push(Problem::error(node.mark, self.path.clone(), message));
    }

    pub(crate) fn error_with_help(
        &mut self,
        node: &Node,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems
            .push(Problem::error(node.mark, self.path.clone(), message).help(help));
    }

    /// Reports an error at a key of the block in hand.
    pub(crate) fn error_at_key(
        &mut self,
        key: &str,
        mark: Mark,
        message: String,
        help: Option<String>,
    ) {
        let problem = Problem::error(mark, join(&self.path, key), message);
        self.problems.push(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }

    /// Reads with `key` added to the path.
    pub(crate) fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
        let value = read(self);
        self.path.truncate(length);
        value
    }

    /// Reads with `[index]` added to the path.
    pub(crate) fn at<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let value = read(self);
        self.path.truncate(length);
        value
    }

    /// Checks that `node` is a map (or nothing, which is an empty one) and names its unknown keys.
    pub(crate) fn open(&mut self, node: &Node, keys: &[&str]) -> Option<()> {
        match &node.value {
            Value::Null => Some(()),
            Value::Map(entries) => {
                for entry in entries {
                    if !keys.contains(&entry.key.as_str()) {
                        self.unknown_key(&entry.key, entry.mark, keys);
                    }
                }
                Some(())
            }
            _ => {
                let message = format!("expected a map, found {}", node.kind());
                self.error_with_help(
                    node,
                    message,
                    format!("its keys are {}", list(keys.iter().copied())),
                );
                None
            }
        }
    }

    fn unknown_key(&mut self, key: &str, mark: Mark, keys: &[&str]) {
        let help = match self.meant(key, keys.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("known here: {}", list(keys.iter().copied())),
        };
        self.error_at_key(
            key,
            mark,
            format!("the key `{}` is not known here", clipped(key)),
            Some(help),
        );
    }

    /// Reads one key of a block. A missing key has its default; so has one with an error in it,
    /// so that reading goes on. `None` only for a key that must be given and is not usable.
    pub(crate) fn field<K: Setting<T>, T>(
        &mut self,
        block: &Node,
        key: &str,
        default: Option<T>,
        limits: Option<Limits<T>>,
    ) -> Option<T> {
        let Some(entry) = block.child(key) else {
            if default.is_none() {
                let message = format!("the key `{key}` is missing");
                self.error(block, message);
            }
            return default;
        };
        let value = self.under(key, |reader| {
            let value = K::read(&entry.node, reader)?;
            if let Some(limits) = limits
                && !K::is_off(&value)
                && !limits.hold(&value)
            {
                let message = format!("out of range; from {} to {}", limits.low, limits.high);
                reader.error(&entry.node, message);
            }
            Some(value)
        });
        value.or(default)
    }

    /// A single value; `wanted` says what, in messages.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, wanted: &str) -> Option<Text<'n>> {
        let Value::Scalar { text, plain } = &node.value else {
            self.error(node, format!("expected {wanted}, found {}", node.kind()));
            return None;
        };
        match expand(text, self.env) {
            Ok(value) => {
                let bare = *plain || matches!(value, Cow::Owned(_));
                Some(Text {
                    value,
                    written: text,
                    bare,
                })
            }
            Err(error) => {
                self.error_with_help(node, error.to_string(), error.help());
                None
            }
        }
    }

    /// A single value in the given syntax. The error of `parse` must not repeat the text.
    pub(crate) fn parse<T, E: fmt::Display>(
        &mut self,
        node: &Node,
        wanted: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(node, wanted)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error_with_help(
                    node,
                    format!("expected {wanted}, found {text}"),
                    error.to_string(),
                );
                None
            }
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&mut self, node: &Node) -> Option<u64> {
        let text = self.text(node, "a whole number")?;
        let digits = !text.value.is_empty() && text.value.bytes().all(|byte| byte.is_ascii_digit());
        let help = match (digits, text.bare) {
            (true, false) => "remove the quotes",
            (true, true) => match text.value.parse() {
                Ok(number) => return Some(number),
                Err(_) => "the number is too large",
            },
            (false, _) if text.value.starts_with('-') => "a negative number has no meaning here",
            (false, _) => "write digits only, without a unit",
        };
        self.error_with_help(node, format!("expected a whole number, found {text}"), help);
        None
    }

    /// One of several names; gives its index.
    pub(crate) fn choice(
        &mut self,
        node: &Node,
        what: &str,
        names: &[(&'static str, &'static [&'static str])],
    ) -> Option<usize> {
        let text = self.text(node, what)?;
        let found = names.iter().position(|(name, _)| *name == text.value);
        if found.is_none() {
            self.unknown_name(node, &text, what, names.iter().map(|(name, _)| *name));
        }
        found
    }

    /// Reports a name that is none of `names`, with the nearest one.
    pub(crate) fn unknown_name<'n>(
        &mut self,
        node: &Node,
        text: &Text<'_>,
        what: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) {
        let known = list(names.clone());
        let help = match self.meant(&text.value, names) {
            // The nearest name to the value of a variable would give a part of it away.
            Some(name) if !text.is_expanded() => format!("did you mean `{name}`? known: {known}"),
            _ if known.is_empty() => "none is defined".to_owned(),
            _ => format!("known: {known}"),
        };
        self.error_with_help(node, format!("{text} is not {what}"), help);
    }

    /// The name that was probably meant, while the findings are few enough to search.
    fn meant<'n>(&self, name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
        if self.problems.searching() {
            nearest(name, names)
        } else {
            None
        }
    }

    /// Reports a key that should name an upstream.
    pub(crate) fn unknown_upstream(&mut self, entry: &Entry) {
        let known = list(self.names.upstreams.iter().map(String::as_str));
        let near = self.meant(&entry.key, self.names.upstreams.iter().map(String::as_str));
        let help = match near {
            Some(name) => format!("did you mean `{name}`? known: {known}"),
            None if known.is_empty() => "none is defined".to_owned(),
            None => format!("known: {known}"),
        };
        let message = format!("`{}` is not the name of an upstream", clipped(&entry.key));
        self.error_at_key(&entry.key, entry.mark, message, Some(help));
    }

    /// A list whose items are read one by one; every faulty item is reported.
    pub(crate) fn list<T>(
        &mut self,
        node: &Node,
        read: impl Fn(&Node, &mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::List(items) = &node.value else {
            let message = format!("expected a list, found {}", node.kind());
            self.error_with_help(
                node,
                message,
                "write `[a, b]`, or one `- item` on each line",
            );
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            values.extend(self.at(index, |reader| read(item, reader)));
        }
        // With a faulty item the rest is still worth checking; the error is on record.
        Some(values)
    }

    /// A map with free keys, in the order of the file.
    pub(crate) fn map<T>(
        &mut self,
        node: &Node,
        check: impl Fn(&str) -> Result<(), String>,
        read: impl Fn(&Node, &mut Self) -> Option<T>,
    ) -> Option<Vec<(String, T)>> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                self.error(node, format!("expected a map, found {}", node.kind()));
                return None;
            }
        };
        let mut values = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Err(message) = check(&entry.key) {
                self.error_at_key(&entry.key, entry.mark, message, None);
            }
            let value = self.under(&entry.key, |reader| read(&entry.node, reader));
            values.extend(value.map(|value| (entry.key.clone(), value)));
        }
        Some(values)
    }
}

/// A key as a message shows it, whatever its length.
pub(crate) fn clipped(key: &str) -> String {
    key.chars().take(60).collect()
}
