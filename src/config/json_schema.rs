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
    if let (Some((Yaml::Number(low), Yaml::Number(high))), Some(shape)) =
        (&key.range, shape.as_object_mut())
    {
        // `anyOf` stands for a number that can also be `off`.
        let number = match shape
            .get_mut("anyOf")
            .and_then(Json::as_array_mut)
            .and_then(|any| any.last_mut())
        {
            Some(number) => number.as_object_mut(),
            None => Some(shape),
        };
        if let Some(number) = number {
            number.insert("minimum".to_owned(), json!(low));
            number.insert("maximum".to_owned(), json!(high));
        }
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

/// The schema of one of several names.
pub(crate) fn choice(names: &[(&'static str, &'static [&'static str])]) -> Json {
    let one = |(name, doc): &(&str, &[&str])| {
        // A version such as `1.2` is a number to editors when it is written without quotes.
        let number: Option<f64> = name.parse().ok();
        let names = std::iter::once(json!(name)).chain(number.map(|number| json!(number)));
        json!({ "enum": names.collect::<Vec<_>>(), "description": prose(doc) })
    };
    json!({ "anyOf": names.iter().map(one).collect::<Vec<_>>() })
}

fn plain(yaml: &Yaml) -> Json {
    match yaml {
        Yaml::Text(text) => json!(text),
        Yaml::Number(number) => json!(number),
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
