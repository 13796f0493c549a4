//! What differs between two texts of the configuration, key by key, as they are written: variables stay variables, so
//! that no value of the environment is shown (pure).

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::diagnostic::Problems;
use super::tree::{self, Node, Value};

/// Characters of a value that are shown.
const SHOWN: usize = 96;
/// Keys that are told; more are counted.
const MOST: usize = 200;

/// A key with another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `upstreams.api.endpoints[1].weight`
    pub path: String,
    /// `None`: it was not written.
    pub before: Option<String>,
    /// `None`: it is no more.
    pub after: Option<String>,
}

/// All keys that differ, in the order of the new text; at most `MOST`, and how many there are beyond. Nothing where a
/// text is no YAML.
pub fn differences(before: &str, after: &str) -> (Vec<Difference>, usize) {
    let mut found = Vec::new();
    let parse = |text: &str| tree::parse(text, &mut Problems::default());
    match (parse(before), parse(after)) {
        (Some(before), Some(after)) => compare("", &before, &after, &mut found),
        _ => return (found, 0),
    }
    let beyond = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    (found, beyond)
}

fn compare(path: &str, before: &Node, after: &Node, found: &mut Vec<Difference>) {
    match (&before.value, &after.value) {
        (Value::Map(_), Value::Map(_)) => {
            for entry in after.entries() {
                let path = below(path, &entry.key);
                match before.child(&entry.key) {
                    Some(old) => compare(&path, &old.node, &entry.node, found),
                    None => note(path, None, Some(&entry.node), found),
                }
            }
            let gone = before.entries().iter();
            for entry in gone.filter(|entry| after.child(&entry.key).is_none()) {
                note(below(path, &entry.key), Some(&entry.node), None, found);
            }
        }
        (Value::List(old), Value::List(new)) => lists(path, old, new, found),
        _ if text(before) == text(after) => {}
        _ => note(path.to_owned(), Some(before), Some(after), found),
    }
}

/// What both begin and end with is the same; what stands between is compared place by place, by places of the new list.
fn lists(path: &str, old: &[Rc<Node>], new: &[Rc<Node>], found: &mut Vec<Difference>) {
    let same = |pair: &(&Rc<Node>, &Rc<Node>)| text(pair.0) == text(pair.1);
    let start = old.iter().zip(new).take_while(same).count();
    let (rest_old, rest_new) = (&old[start..], &new[start..]);
    let both = rest_old.iter().rev().zip(rest_new.iter().rev());
    let end = both.take_while(same).count();
    let (old, new) = (
        &rest_old[..rest_old.len() - end],
        &rest_new[..rest_new.len() - end],
    );
    for place in 0..old.len().max(new.len()) {
        let path = format!("{path}[{}]", start + place);
        match (old.get(place), new.get(place)) {
            (Some(old), Some(new)) => compare(&path, old, new, found),
            (old, new) => note(
                path,
                old.map(|node| &**node),
                new.map(|node| &**node),
                found,
            ),
        }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn note(path: String, before: Option<&Node>, after: Option<&Node>, found: &mut Vec<Difference>) {
    let shown = |node: &Node| clipped(text(node));
    found.push(Difference {
        path,
        before: before.map(shown),
        after: after.map(shown),
    });
}

fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The value on one line. Maps are the same in any order of their keys, and are written in one.
fn text(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Scalar { text, plain: true } => text.clone(),
        Value::Scalar { text, .. } => format!("{text:?}"),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(AsRef::as_ref).map(text).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let each = entries.iter();
            let mut pairs: Vec<String> = each
                .map(|entry| format!("{}: {}", entry.key, text(&entry.node)))
                .collect();
            pairs.sort_unstable();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &str, after: &str) -> Vec<String> {
        let (found, _) = differences(before, after);
        let each = found.into_iter();
        let or = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        each.map(|one| format!("{}: {} > {}", one.path, or(one.before), or(one.after)))
            .collect()
    }

    const BEFORE: &str = "listeners: { web: { address: '127.0.0.1:80' } }\n\
        routes: [ { name: a, upstream: api }, { name: b, upstream: api } ]\n\
        upstreams:\n  api:\n    endpoints: [ 'h:1', { address: 'h:2', weight: 1 } ]\n    retry: off\n";

    #[test]
    fn the_same_in_another_order_and_form_is_no_difference() {
        let after = "upstreams: { api: { retry: off, endpoints: [ 'h:1', { weight: 1, address: 'h:2' } ] } }\n\
            routes:\n  - { upstream: api, name: a }\n  - { name: b, upstream: api }\n\
            listeners: { web: { address: '127.0.0.1:80' } }\n";
        assert_eq!(told(BEFORE, after), Vec::<String>::new());
    }

    #[test]
    fn keys_are_told_with_what_they_were_and_are() {
        let after = BEFORE
            .replace("weight: 1", "weight: 3")
            .replace("retry: off", "zone_aware: on")
            .replace("web:", "www:");
        let expected = [
            "listeners.www: - > { address: \"127.0.0.1:80\" }",
            "listeners.web: { address: \"127.0.0.1:80\" } > -",
            "upstreams.api.endpoints[1].weight: 1 > 3",
            "upstreams.api.zone_aware: - > on",
            "upstreams.api.retry: off > -",
        ];
        assert_eq!(told(BEFORE, &after), expected);
    }

    #[test]
    fn an_insertion_into_a_list_is_one_difference() {
        let first = BEFORE.replace("[ { name: a,", "[ { name: new, upstream: api }, { name: a,");
        assert_eq!(
            told(BEFORE, &first),
            ["routes[0]: - > { name: new, upstream: api }"]
        );
        assert_eq!(
            told(&first, BEFORE),
            ["routes[0]: { name: new, upstream: api } > -"]
        );
    }

    #[test]
    fn variables_stay_as_they_are_written_and_long_values_are_clipped() {
        let found = told("zone: ${OLD}\n", "zone: ${ZONE}\n");
        assert_eq!(found, ["zone: ${OLD} > ${ZONE}"]);
        let long = format!("zone: {}\n", "z".repeat(500));
        assert!(told("zone: a\n", &long)[0].chars().count() < 120);
        let many: String = (0..500).map(|key| format!("key{key}: 1\n")).collect();
        let (found, beyond) = differences("a: 1\n", &many);
        assert_eq!((found.len(), beyond), (MOST, 301));
    }
}
