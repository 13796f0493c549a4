//! The JSON Schema (draft 2020-12) of the configuration, for editors and for `plimsoll schema`.

use serde_json::{Map, Value as Json, json};

use super::emit::Yaml;
use super::schema::Config;
use super::setting::{Block, Book, Key, Setting};

/// The schema of a whole file.
pub fn json_schema() -> Json {
    let mut book = Book::default();
    let top = Config::shape(&mut book);
    let mut schema = Map::new();
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("Plimsoll configuration"));
    schema.insert("description".to_owned(), json!(prose(Config::DOC)));
    if let Json::Object(top) = top {
        schema.extend(top);
    }
    schema.insert(
        "$defs".to_owned(),
        Json::Object(book.blocks.into_iter().collect()),
    );
    Json::Object(schema)
}

/// The schema of one block.
pub(crate) fn block(doc: &[&str], keys: Vec<(Key, Json)>) -> Json {
    let required: Vec<&str> = keys
        .iter()
        .filter(|(key, _)| key.default.is_none())
        .map(|(key, _)| key.name)
        .collect();
    let properties: Map<String, Json> = keys
        .iter()
        .map(|(key, shape)| (key.name.to_owned(), property(key, shape.clone())))
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": prose(doc),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(key: &Key, mut shape: Json) -> Json {
    let description = format!("{} {}", prose(key.doc), key.facts());
    if let Some((low, high)) = &key.range
        && let (Some(low), Some(high)) = (number(low), number(high))
    {
        bound(&mut shape, &low, &high);
    }
    if let Some(shape) = shape.as_object_mut() {
        shape.insert("description".to_owned(), json!(description));
        if let Some(default) = key
            .default
            .as_ref()
            .filter(|default| !matches!(default, Yaml::Block(_)))
        {
            shape.insert("default".to_owned(), plain(default));
        }
    }
    shape
}

/// What a bound of numbers is written as; `None` for other quantities, which carry their unit in a text.
fn number(yaml: &Yaml) -> Option<Json> {
    match yaml {
        Yaml::Number(number) => Some(json!(number)),
        Yaml::Decimal(number) => Some(json!(number.value())),
        _ => None,
    }
}

/// Bounds the number in `shape`, which may be one of several forms.
fn bound(shape: &mut Json, low: &Json, high: &Json) {
    if shape["type"] == "integer" || shape["type"] == "number" {
        shape["minimum"] = low.clone();
        shape["maximum"] = high.clone();
    }
    for form in shape
        .get_mut("anyOf")
        .and_then(Json::as_array_mut)
        .into_iter()
        .flatten()
    {
        bound(form, low, high);
    }
}

/// A value of `shape`, or a text with a variable that will become one.
pub(crate) fn or_variable(shape: Json) -> Json {
    json!({ "anyOf": [shape, { "type": "string", "pattern": "\\$\\{" }] })
}

/// The schema of one of several names.
pub(crate) fn choice(names: &[(&'static str, &'static [&'static str])]) -> Json {
    let one = |(name, doc): &(&str, &[&str])| {
        // A version such as `1.2` is a number to editors when it is written without quotes.
        let number: Option<f64> = name.parse().ok();
        let names = std::iter::once(json!(name)).chain(number.map(|number| json!(number)));
        json!({ "enum": names.collect::<Vec<_>>(), "description": prose(doc) })
    };
    or_variable(json!({ "anyOf": names.iter().map(one).collect::<Vec<_>>() }))
}

fn plain(yaml: &Yaml) -> Json {
    match yaml {
        Yaml::Text(text) => json!(text),
        Yaml::Number(number) => json!(number),
        Yaml::Decimal(number) => json!(number.value()),
        Yaml::Bool(value) => json!(value),
        Yaml::Off => json!("off"),
        Yaml::List(items) => items.iter().map(plain).collect(),
        Yaml::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
        Yaml::Block(entries) => entries
            .iter()
            .map(|(key, value)| (key.name.to_owned(), plain(value)))
            .collect(),
    }
}

/// Lines of documentation as one paragraph.
fn prose(doc: &[&str]) -> String {
    doc.iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::tree::{self, Node, Value};
    use super::*;

    fn kind(value: &Json) -> &'static str {
        match value {
            Json::Object(_) => "object",
            Json::Array(_) => "array",
            Json::String(_) => "string",
            Json::Bool(_) => "boolean",
            Json::Number(number) if number.is_f64() => "number",
            Json::Number(_) => "integer",
            Json::Null => "null",
        }
    }

    /// Checks the keywords that the schema uses; enough to hold it to the shipped files.
    fn fits(value: &Json, schema: &Json, root: &Json) -> bool {
        if let Some(name) = schema["$ref"].as_str() {
            let block = &root["$defs"][name.trim_start_matches("#/$defs/")];
            assert!(block.is_object(), "{name} is not defined");
            return fits(value, block, root);
        }
        let is = |wanted: &Json| {
            wanted == kind(value) || (wanted == "number" && kind(value) == "integer")
        };
        let typed = match &schema["type"] {
            Json::Null => true,
            Json::Array(any) => any.iter().any(is),
            one => is(one),
        };
        let any = |key: &str, test: &dyn Fn(&Json) -> bool| {
            schema[key]
                .as_array()
                .is_none_or(|all| all.iter().any(test))
        };
        let at_most = |key: &str, size: u64| schema[key].as_u64().is_none_or(|most| size <= most);
        let at_least =
            |key: &str, size: u64| schema[key].as_u64().is_none_or(|least| size >= least);
        let inside = match value {
            Json::Number(number) => number.as_f64().is_none_or(|number| {
                schema["minimum"]
                    .as_f64()
                    .is_none_or(|least| number >= least)
                    && schema["maximum"].as_f64().is_none_or(|most| number <= most)
                    && schema["exclusiveMinimum"]
                        .as_f64()
                        .is_none_or(|least| number > least)
            }),
            Json::String(text) => schema["pattern"]
                .as_str()
                .is_none_or(|pattern| regex::Regex::new(pattern).unwrap().is_match(text)),
            Json::Array(items) => {
                at_least("minItems", items.len() as u64)
                    && items.iter().all(|item| fits(item, &schema["items"], root))
            }
            Json::Object(map) => {
                keys_fit(map, schema, root)
                    && at_least("minProperties", map.len() as u64)
                    && at_most("maxProperties", map.len() as u64)
            }
            _ => true,
        };
        typed
            && inside
            && (schema["const"].is_null() || schema["const"] == *value)
            && any("enum", &|one| one == value)
            && any("anyOf", &|one| fits(value, one, root))
    }

    fn keys_fit(map: &Map<String, Json>, schema: &Json, root: &Json) -> bool {
        let required = schema["required"].as_array().into_iter().flatten();
        required
            .into_iter()
            .all(|key| map.contains_key(key.as_str().unwrap()))
            && map.iter().all(|(key, value)| {
                match (&schema["properties"][key], &schema["additionalProperties"]) {
                    (Json::Null, Json::Bool(free)) => *free,
                    (Json::Null, Json::Null) => true,
                    (Json::Null, schema) | (schema, _) => fits(value, schema, root),
                }
            })
    }

    /// What an editor sees: plain numbers and booleans have their types.
    fn seen(node: &Node) -> Json {
        match &node.value {
            Value::Null => Json::Null,
            Value::Scalar { text, plain: true } => {
                serde_json::from_str(text).unwrap_or_else(|_| json!(text))
            }
            Value::Scalar { text, .. } => json!(text),
            Value::List(items) => items.iter().map(|item| seen(item)).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), seen(&entry.node)))
                .collect(),
        }
    }

    fn valid(text: &str) -> bool {
        let schema = json_schema();
        let tree = tree::parse(text, &mut Default::default()).unwrap();
        fits(&seen(&tree), &schema, &schema)
    }

    #[test]
    fn the_schema_accepts_every_shipped_file() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert!(
                valid(&std::fs::read_to_string(&path).unwrap()),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn the_schema_refuses_what_the_reader_refuses() {
        let with = |upstream: &str| {
            format!("listeners: {{}}\nupstreams: {{ a: {{ endpoints: ['h:1'], {upstream} }} }}")
        };
        assert!(valid(&with("balance: { p2c: { choices: 3 } }")));
        assert!(valid(&with("connections: { max: '${MAX}' }")));
        assert!(valid(&with(
            "balance: { consistent_hash: { bounded_load: on } }"
        )));
        assert!(valid(&with(
            "balance: { consistent_hash: { bounded_load: 2 } }"
        )));
        for mistake in [
            "blanace: p2c",
            "balance: p2d",
            "balance: { p2c: { choices: 1 } }",
            "balance: { p2c: {}, random: {} }",
            "balance: { prequal: { q_rif: 0.84 } }",
            "balance: { consistent_hash: { bounded_load: 1 } }",
            "balance: { consistent_hash: { bounded_load: 10.5 } }",
            "balance: { consistent_hash: { virtual_nodes: 0 } }",
            "balance: { consistent_hash: { key: { header: a, query: a } } }",
            "timeouts: { connect: 10 }",
            "timeouts: { connect: 10x }",
            "connections: { max: 0 }",
            "tls: { verify: yes }",
            "protocol: h3",
        ] {
            assert!(!valid(&with(mistake)), "{mistake}");
        }
    }
}
