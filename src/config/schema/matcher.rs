//! What a route matches.

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::kinds::{
    Few, Fields, HostPattern, ListenerName, Method, Pairs, PathText, Pattern,
};
use super::super::setting::{Book, Setting, block, with_default, written_as_map};
use super::super::tree::{Node, Value};

block! {
    /// Which requests. Every part given must hold; within a part one of its values is enough.
    pub struct Match {
        /// Names of listeners, one or a list. Empty: any.
        pub listener: Vec<String> as Few<ListenerName> = Vec::new();
        /// Hosts without a port, one or a list: `api.example.com`, or `*.example.com` for one or
        /// more labels before it. Empty: any.
        pub host: Vec<String> as Few<HostPattern> = Vec::new();
        /// The path: a prefix on segment borders (`/v1` matches `/v1/x`, never `/v10`), or
        /// `{ exact: /v1 }`, or `{ regex: "/v[0-9]+/.*" }`, which must match all of it. Off: any.
        pub path: Option<PathMatch> = None;
        /// Methods, one or a list. Empty: any.
        pub method: Vec<String> as Few<Method> = Vec::new();
        /// Header fields, all of which must hold: a value, `{ regex: … }` for all of a value, or
        /// `{ present: true }`.
        pub header: Vec<(String, ValueMatch)> as Fields<ValueMatch> = Vec::new();
        /// Query parameters, in the same manner.
        pub query: Vec<(String, ValueMatch)> as Pairs<ValueMatch> = Vec::new();
    }
}

/// A test of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// On segment borders: `/v1` and `/v1/` match `/v1`, `/v1/` and `/v1/x`, never `/v10`.
    Prefix(String),
    Exact(String),
    /// Anchored at both ends.
    Regex(String),
}

impl Setting for PathMatch {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            return PathText::read(node, reader).map(Self::Prefix);
        };
        let (key, value) = one_of(node, reader, &["prefix", "exact", "regex"])?;
        reader.under(key, |reader| match key {
            "prefix" => PathText::read(value, reader).map(Self::Prefix),
            "exact" => PathText::read(value, reader).map(Self::Exact),
            _ => Pattern::read(value, reader).map(Self::Regex),
        })
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::Prefix(path) => Yaml::Text(path.clone()),
            Self::Exact(path) => single("exact", Yaml::Text(path.clone())),
            Self::Regex(pattern) => single("regex", Yaml::Text(pattern.clone())),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let (path, pattern) = (PathText::shape(book), Pattern::shape(book));
        json!({ "anyOf": [path, one_key(&[("prefix", &path), ("exact", &path), ("regex", &pattern)])] })
    }
}

/// A test of a header field or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    /// Anchored at both ends.
    Regex(String),
    Present,
    Absent,
}

impl Setting for ValueMatch {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            return String::read(node, reader).map(Self::Exact);
        };
        let (key, value) = one_of(node, reader, &["exact", "regex", "present"])?;
        reader.under(key, |reader| match key {
            "exact" => String::read(value, reader).map(Self::Exact),
            "regex" => Pattern::read(value, reader).map(Self::Regex),
            _ => bool::read(value, reader)
                .map(|present| if present { Self::Present } else { Self::Absent }),
        })
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::Exact(text) => Yaml::Text(text.clone()),
            Self::Regex(pattern) => single("regex", Yaml::Text(pattern.clone())),
            Self::Present => single("present", Yaml::Bool(true)),
            Self::Absent => single("present", Yaml::Bool(false)),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let (pattern, flag) = (Pattern::shape(book), bool::shape(book));
        let text = json!({ "type": ["string", "number", "boolean"] });
        json!({ "anyOf": [text, one_key(&[("exact", &text), ("regex", &pattern), ("present", &flag)])] })
    }
}

written_as_map!(Match);
with_default!(Match);

impl Match {
    /// The match as one line, equal for two matches that mean the same. It is the name of a route
    /// that has none: `api.example.com GET|HEAD /v1 x-beta=1`; `*` for a match of everything.
    pub fn canonical(&self) -> String {
        let mut parts = Vec::new();
        if !self.listener.is_empty() {
            parts.push(format!(
                "listener:{}",
                alternatives(&self.listener, str::to_owned)
            ));
        }
        if !self.host.is_empty() {
            parts.push(alternatives(&self.host, str::to_ascii_lowercase));
        }
        if !self.method.is_empty() {
            parts.push(alternatives(&self.method, str::to_owned));
        }
        parts.extend(self.path.as_ref().map(|path| match path {
            PathMatch::Prefix(path) => match path.trim_end_matches('/') {
                "" => "/".to_owned(),
                path => path.to_owned(),
            },
            PathMatch::Exact(path) => format!("={path}"),
            PathMatch::Regex(pattern) => format!("~{pattern}"),
        }));
        let mut header: Vec<_> = self
            .header
            .iter()
            .map(|(name, test)| test.canonical(&name.to_ascii_lowercase()))
            .collect();
        let mut query: Vec<_> = self
            .query
            .iter()
            .map(|(name, test)| test.canonical(&format!("?{name}")))
            .collect();
        header.sort();
        query.sort();
        parts.extend(header);
        parts.extend(query);
        if parts.is_empty() {
            "*".to_owned()
        } else {
            parts.join(" ")
        }
    }
}

impl ValueMatch {
    fn canonical(&self, name: &str) -> String {
        match self {
            Self::Exact(text) => format!("{name}={text}"),
            Self::Regex(pattern) => format!("{name}~{pattern}"),
            Self::Present => name.to_owned(),
            Self::Absent => format!("!{name}"),
        }
    }
}

fn alternatives(values: &[String], form: impl Fn(&str) -> String) -> String {
    let mut values: Vec<String> = values.iter().map(|value| form(value)).collect();
    values.sort();
    values.dedup();
    values.join("|")
}

/// A map with exactly one of `keys`.
pub(super) fn one_of<'n>(
    node: &'n Node,
    reader: &mut Reader<'_>,
    keys: &[&'static str],
) -> Option<(&'static str, &'n Node)> {
    reader.open(node, keys)?;
    let names = super::super::nearest::list(keys.iter().copied());
    let mut found = keys
        .iter()
        .filter_map(|key| node.child(key).map(|entry| (*key, &*entry.node)));
    match (found.next(), found.next()) {
        (Some(one), None) => Some(one),
        (Some(_), Some(_)) => {
            reader.error(node, format!("exactly one of {names} is needed"));
            None
        }
        // An unknown key was reported already; only an empty map needs words.
        (None, _) => {
            if node.entries().is_empty() {
                reader.error(node, format!("exactly one of {names} is needed"));
            }
            None
        }
    }
}

pub(super) fn single(key: &str, value: Yaml) -> Yaml {
    Yaml::Map(vec![(key.to_owned(), value)])
}

pub(super) fn one_key(keys: &[(&str, &Json)]) -> Json {
    let properties: serde_json::Map<String, Json> = keys
        .iter()
        .map(|(key, shape)| ((*key).to_owned(), (*shape).clone()))
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_that_mean_the_same_have_one_canonical_text() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let one = Match {
            host: texts(&["B.example", "a.example"]),
            method: texts(&["HEAD", "GET"]),
            path: Some(PathMatch::Prefix("/v1/".to_owned())),
            header: vec![("X-Beta".to_owned(), ValueMatch::Exact("1".to_owned()))],
            ..Match::default()
        };
        let other = Match {
            host: texts(&["a.example", "b.example"]),
            method: texts(&["GET", "HEAD"]),
            path: Some(PathMatch::Prefix("/v1".to_owned())),
            header: vec![("x-beta".to_owned(), ValueMatch::Exact("1".to_owned()))],
            ..Match::default()
        };
        assert_eq!(one.canonical(), "a.example|b.example GET|HEAD /v1 x-beta=1");
        assert_eq!(one.canonical(), other.canonical());
        assert_eq!(Match::default().canonical(), "*");
    }
}
