//! Rust sources as text: what of a file is code, what of that is product, and which modules it names.
//!
//! Not here: a parser of Rust. Literals and comments are blanked, the rest is searched.

use std::collections::BTreeSet;
use std::fs;

use super::tree::{files, is_output, relative, root};

/// One `.rs` file, and what of it is product.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) name: String,
    pub(crate) text: String,
    /// Comments and literals blanked out, lines kept.
    pub(crate) code: String,
    /// `code` without what is compiled for tests alone.
    pub(crate) product: String,
    /// Declared under `#[cfg(test)]`, itself or a module around it.
    pub(crate) only_tests: bool,
}

impl Source {
    /// The top module below `src/`; `None` for the roots of crates.
    pub(crate) fn module(&self) -> Option<&str> {
        let first = self.name.strip_prefix("src/")?.split('/').next()?;
        let first = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(first, "lib" | "main")).then_some(first)
    }

    /// The path of its module from the crate's root.
    pub(crate) fn depth(&self) -> Vec<String> {
        let path = self
            .name
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod");
        path.split('/').map(str::to_owned).collect()
    }
}

/// The sources below a folder of the repository, in order.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let mut found: Vec<Source> = files(&root().join(folder), &|path| !is_output(path))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = blank(&text);
            let product = without_tests(&code);
            Source {
                name: relative(&path),
                text,
                code,
                product,
                only_tests: false,
            }
        })
        .collect();
    let tests: Vec<String> = found.iter().flat_map(test_modules).collect();
    for source in &mut found {
        source.only_tests = tests.iter().any(|test| {
            let rest = source.name.strip_prefix(test.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
    found
}

/// The files, without their ending, of modules that `source` declares under `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source.name.trim_end_matches(".rs");
    let folder = ["/mod", "/lib", "/main"]
        .iter()
        .find_map(|front| stem.strip_suffix(front))
        .unwrap_or(stem);
    let declared = source
        .code
        .split("#[cfg(test)]")
        .skip(1)
        .filter_map(|rest| {
            let (head, _) = rest.split_once([';', '{'])?;
            let name = head
                .trim()
                .strip_prefix("pub(crate) ")
                .unwrap_or_else(|| head.trim())
                .strip_prefix("mod ")?;
            rest[head.len()..]
                .starts_with(';')
                .then(|| name.trim().to_owned())
        });
    declared.map(|name| format!("{folder}/{name}")).collect()
}

/// The top modules that `code` names by a path from the crate's root, or by climbing up to it from
/// a module that lies at `depth`.
pub(crate) fn crate_paths(code: &str, depth: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["crate::".to_owned(), "super::".repeat(depth.len().max(1))] {
        if prefix.starts_with("super") && depth.is_empty() {
            continue;
        }
        for (at, _) in code.match_indices(&prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
                continue;
            }
            found.extend(first_segments(&code[at + prefix.len()..]));
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

/// `a::b` gives `a`; `{a::{b, c}, d}` gives `a` and `d`.
fn first_segments(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut found, mut depth) = (vec![name(group)], 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Removes every item under `#[cfg(test)]`, to its closing brace or semicolon.
fn without_tests(code: &str) -> String {
    let (mut kept, mut rest) = (String::new(), code);
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let mut depth = 0;
        let end = item.char_indices().find(|(_, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0 && matches!(c, '}' | ';')
        });
        rest = end.map_or("", |(end, _)| &item[end + 1..]);
    }
    kept + rest
}

/// Blanks comments and literals, keeping every line break.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = literal_or_comment(rest, code.chars().next_back());
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    code
}

/// Bytes of the comment or literal that `text` opens with; 0 when it opens with neither.
fn literal_or_comment(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return nested_comment(text);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = text
        .strip_prefix("br")
        .or_else(|| text.strip_prefix('r'))
        .filter(|_| !in_word);
    if let Some(after) = raw {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let open = text.len() - after.len() + hashes + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            return text[open..]
                .find(&close)
                .map_or(text.len(), |at| open + at + close.len());
        }
    }
    match text.chars().next() {
        Some('"') => quoted(text, '"'),
        // A lifetime has no closing quote after its first character.
        Some('\'') if text[1..].starts_with('\\') || text[1..].chars().nth(1) == Some('\'') => {
            quoted(text, '\'')
        }
        _ => 0,
    }
}

fn nested_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

#[test]
fn the_reader_of_paths_sees_every_form() {
    let text = r##"
        use crate::{clock::{Instant, wall}, config, };
        use crate::http::fields; // crate::lab
        pub(crate) use super::super::route::Table;
        use super::sibling;
        /* crate::cli /* nested */ crate::admin */
        const TEXT: (&str, &str, char) = ("crate::worker \" crate::proxy", r#"crate::proxy "#, '"');
        fn f<'a>(x: &'a crate::tls::Keys) {}
        #[cfg(test)]
        mod tests { use crate::lab::backend; fn g() { let _ = '}'; } }
        use crate::entropy;
    "##;
    let (code, product) = (blank(text), without_tests(&blank(text)));
    assert_eq!(code.lines().count(), text.lines().count());
    let found: Vec<_> = crate_paths(&product, &["upstream".to_owned(), "pool".to_owned()])
        .into_iter()
        .collect();
    assert_eq!(
        found,
        ["clock", "config", "entropy", "http", "route", "tls"]
    );
    assert!(crate_paths(&code, &[]).contains("lab"));
}
