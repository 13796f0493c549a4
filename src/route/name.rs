//! The name of a route that was given none: the canonical text of its match.

use super::host::HostPattern;
use super::path::{canonical, encode, prefix};
use crate::config::{Match, PathMatch, ValueMatch};

/// Two matches that are written differently but ask the same have the same name: order, letter case of hosts and
/// fields, and the slash at the end of a prefix make no difference.
///
/// `GET,HEAD *.example.com/v1/* listener=secure header:x-beta=1 query:debug`: methods, host and path (`/*` ends a
/// prefix, `~` begins a regular expression), then the other tests; `header:!x-beta` asks for its absence.
pub fn default_name(written: &Match) -> String {
    let mut words = Vec::new();
    if !written.method.is_empty() {
        words.push(sorted(written.method.iter().cloned()));
    }
    words.push(hosts(&written.host) + &path(written.path.as_ref()));
    if !written.listener.is_empty() {
        words.push(format!(
            "listener={}",
            sorted(written.listener.iter().map(|name| quoted(name)))
        ));
    }
    let lower = written
        .header
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value));
    words.extend(values("header", lower));
    let exact = written
        .query
        .iter()
        .map(|(name, value)| (quoted(name), value));
    words.extend(values("query", exact));
    words.join(" ")
}

fn sorted(texts: impl Iterator<Item = String>) -> String {
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    texts.dedup();
    texts.join(",")
}

/// Empty for any host.
fn hosts(written: &[String]) -> String {
    let text = |host: &String| match HostPattern::compile(host) {
        Ok(HostPattern::Any) => None,
        Ok(HostPattern::Exact(name)) => Some(String::from_utf8_lossy(&name).into_owned()),
        Ok(HostPattern::Under(name)) => Some(format!("*.{}", String::from_utf8_lossy(&name))),
        Err(_) => Some(quoted(host)),
    };
    let texts: Option<Vec<String>> = written.iter().map(text).collect();
    sorted(texts.unwrap_or_default().into_iter())
}

fn path(written: Option<&PathMatch>) -> String {
    let (text, form, end) = match written {
        None => return "/*".to_owned(),
        Some(PathMatch::Regex(text)) => return format!("~{}", quoted(text)),
        Some(PathMatch::Prefix(text)) => (text, prefix(text), "/*"),
        Some(PathMatch::Exact(text)) => (text, canonical(text), ""),
    };
    let Ok(form) = form else {
        return quoted(text) + end;
    };
    // A star of the path itself is told from that of a prefix.
    let mut bytes = Vec::new();
    for byte in form {
        if byte == b'*' {
            encode(byte, &mut bytes)
        } else {
            bytes.push(byte)
        }
    }
    String::from_utf8_lossy(&bytes).into_owned() + end
}

fn values<'a>(kind: &str, tests: impl Iterator<Item = (String, &'a ValueMatch)>) -> Vec<String> {
    let mut words: Vec<String> = tests
        .map(|(name, value)| match value {
            ValueMatch::Exact(text) => format!("{kind}:{name}={}", quoted(text)),
            ValueMatch::Regex(text) => format!("{kind}:{name}~{}", quoted(text)),
            ValueMatch::Present => format!("{kind}:{name}"),
            ValueMatch::Absent => format!("{kind}:!{name}"),
        })
        .collect();
    words.sort();
    words.dedup();
    words
}

/// In quotation marks when it would not read as one word.
fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_graphic() && !matches!(character, '"' | ',');
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn the_same_question_has_the_same_name() {
        let a = Match {
            listener: some(&["b", "a"]),
            host: some(&["Api.example.com.", "*.Example.org"]),
            path: Some(PathMatch::Prefix("/v1/".into())),
            method: some(&["HEAD", "GET"]),
            header: vec![
                ("X-Beta".into(), ValueMatch::Exact("a b".into())),
                ("X-Alpha".into(), ValueMatch::Absent),
            ],
            query: vec![("q".into(), ValueMatch::Regex("[0-9]+".into()))],
        };
        let mut b = a.clone();
        for list in [&mut b.listener, &mut b.host, &mut b.method] {
            list.reverse();
        }
        b.header.reverse();
        b.path = Some(PathMatch::Prefix("/%761".into()));
        let name = "GET,HEAD *.example.org,api.example.com/v1/* listener=a,b header:!x-alpha \
                    header:x-beta=\"a b\" query:q~[0-9]+";
        assert_eq!(default_name(&a), name);
        assert_eq!(default_name(&b), name);
    }

    #[test]
    fn different_paths_have_different_names() {
        let name = |path| {
            default_name(&Match {
                path,
                ..Match::default()
            })
        };
        assert_eq!(name(None), "/*");
        assert_eq!(name(Some(PathMatch::Prefix("/".into()))), "/*");
        assert_eq!(name(Some(PathMatch::Exact("/".into()))), "/");
        assert_eq!(name(Some(PathMatch::Exact("/*".into()))), "/%2A");
        assert_eq!(name(Some(PathMatch::Regex("/a+".into()))), "~/a+");
    }
}
