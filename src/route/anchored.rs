//! A regular expression that must match the whole of its subject.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

use super::error::Fault;

/// Works on bytes, with ASCII classes: the subjects are paths, field values and queries.
#[derive(Debug)]
pub(super) struct Anchored {
    text: Box<str>,
    regex: Regex,
    /// What every subject that matches begins with.
    start: Vec<u8>,
}

/// The same text is the same language; nothing finer is decided.
impl PartialEq for Anchored {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Anchored {
    pub(super) fn compile(text: &str) -> Result<Self, Fault> {
        // Alone first: `a)(b` would be well formed once it stands in the parentheses below.
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(text)
            .map_err(|error| fault(text, &error.to_string()))?;
        let mut start = Vec::new();
        literal_start(&hir, &mut start);
        Ok(Self {
            text: text.into(),
            regex: build(&format!(r"\A(?:{text})\z"), text)?,
            start,
        })
    }

    pub(super) fn matches(&self, subject: &[u8]) -> bool {
        self.regex.is_match(subject)
    }

    /// The pattern as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What every subject that matches begins with; may be empty.
    pub(super) fn start(&self) -> &[u8] {
        &self.start
    }
}

/// A pattern that may match anywhere in its subject, on bytes.
pub(super) fn search(text: &str) -> Result<Regex, Fault> {
    build(text, text)
}

fn build(pattern: &str, text: &str) -> Result<Regex, Fault> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .build()
        .map_err(|error| fault(text, &error.to_string()))
}

/// The last line of the parser's message says what is wrong; those above draw the pattern.
fn fault(text: &str, message: &str) -> Fault {
    let last = message.lines().last().unwrap_or(message);
    let reason = last.strip_prefix("error: ").unwrap_or(last).to_owned();
    Fault::Regex {
        text: text.to_owned(),
        reason,
    }
}

/// Appends the bytes that every match begins with; whether they are the whole of it.
fn literal_start(hir: &Hir, start: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => {
            start.extend_from_slice(&literal.0);
            true
        }
        // An assertion consumes nothing.
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Capture(group) => literal_start(&group.sub, start),
        HirKind::Concat(parts) => parts.iter().all(|part| literal_start(part, start)),
        HirKind::Alternation(branches) => {
            start.extend(common_start(branches));
            false
        }
        HirKind::Class(_) | HirKind::Repetition(_) => false,
    }
}

/// The bytes that the matches of every branch begin with.
fn common_start(branches: &[Hir]) -> Vec<u8> {
    let starts = branches.iter().map(|branch| {
        let mut start = Vec::new();
        literal_start(branch, &mut start);
        start
    });
    let common = |mut all: Vec<u8>, one: Vec<u8>| {
        let same = all.iter().zip(&one).take_while(|(a, b)| a == b).count();
        all.truncate(same);
        all
    };
    starts.reduce(common).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str) -> String {
        String::from_utf8(Anchored::compile(text).unwrap().start).unwrap()
    }

    #[test]
    fn matches_the_whole_subject_only() {
        let regex = Anchored::compile("a|bc").unwrap();
        assert!(regex.matches(b"a") && regex.matches(b"bc"));
        assert!(!regex.matches(b"ab") && !regex.matches(b"xa") && !regex.matches(b"a\n"));
    }

    #[test]
    fn knows_what_every_match_begins_with() {
        assert_eq!(start(r"/users/\d+"), "/users/");
        assert_eq!(start(r"^/a\.b/(v1)/x$"), "/a.b/v1/x");
        assert_eq!(start("/users?"), "/user");
        assert_eq!(start("/ab|/ac|/ad.*"), "/a");
        assert_eq!(start("/x/(ab|ac)d"), "/x/a");
        assert_eq!(start("/a|b"), "");
        assert_eq!(start("(?i)/a"), "/");
        assert_eq!(start("x*"), "");
    }

    #[test]
    fn a_pattern_that_closes_our_parentheses_is_refused() {
        assert!(matches!(
            Anchored::compile("a)(b"),
            Err(Fault::Regex { reason, .. }) if reason == "unopened group"
        ));
    }
}
