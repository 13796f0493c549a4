//! Targets and fields on their way to an endpoint: whatever a route rewrites and a client nominates, what leaves is one
//! request line and whole fields.

use arbitrary::{Arbitrary, Unstructured};
use plimsoll::config::{Action, Match, PathMatch, Respond, Rewrite, Route};
use plimsoll::http::fields::{Fields, Names};
use plimsoll::http::headers::{self, HOP_BY_HOP};
use plimsoll::http::target::canonical;
use plimsoll::route::{Headers, Request, Table};

const PREFIXES: [&str; 5] = ["/", "/a", "/a/b/", "/x%20y", "/é"];
const PATTERNS: [(&str, &str); 6] = [
    ("^/a/(.*)$", "/b/$1"),
    ("a", "$0$0"),
    ("(?P<n>[^/]+)$", "${n}?x#y"),
    (".*", "no/slash"),
    ("/", " \r\n"),
    ("[^a]", ""),
];

#[derive(Debug, Arbitrary)]
struct Drawn<'a> {
    kind: u8,
    matched: u8,
    to: u8,
    target: &'a [u8],
    fields: Vec<(&'a [u8], &'a [u8])>,
}

struct None;

impl Headers for None {
    fn any(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

pub fn run(data: &[u8]) {
    let Ok(drawn) = Drawn::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    nominated(&drawn.fields);
    target(&drawn);
}

fn target(drawn: &Drawn<'_>) {
    // No request has an empty one.
    if drawn.target.is_empty() {
        return;
    }
    let prefix = |by: u8| PREFIXES[usize::from(by) % PREFIXES.len()].to_owned();
    let (regex, to) = PATTERNS[usize::from(drawn.to) % PATTERNS.len()];
    let rewrite = match drawn.kind % 3 {
        0 => Rewrite::Prefix(prefix(drawn.to)),
        1 => Rewrite::Path(prefix(drawn.to)),
        _ => Rewrite::Regex {
            regex: regex.to_owned(),
            to: to.to_owned(),
        },
    };
    let route = Route {
        matcher: Match {
            path: Some(PathMatch::Prefix(prefix(drawn.matched))),
            ..Match::default()
        },
        action: Action::Respond(Respond::default()),
        rewrite: Some(rewrite),
        ..Route::default()
    };
    let Ok(table) = Table::compile(&[route], &[], &[]) else {
        return;
    };
    let mut buffer = Vec::new();
    let Ok(parts) = canonical(drawn.target, &mut buffer) else {
        return;
    };
    let request = Request {
        listener: 0,
        host: b"a",
        path: parts.path,
        query: parts.query,
        method: &http::Method::GET,
        headers: &None,
    };
    let Some(rewrite) = table
        .find(&request)
        .and_then(|route| route.rewrite.as_ref())
    else {
        return;
    };
    let mut out = b"kept".to_vec();
    rewrite.apply(drawn.target, parts.path, &mut out);
    let made = out.strip_prefix(b"kept").expect("what was there stays");
    assert!(!made.is_empty());
    assert!(
        made.iter().all(|byte| *byte > b' ' && *byte != 127),
        "{made:?}"
    );
    if drawn.target.first() == Some(&b'/') {
        assert_eq!(made.first(), Some(&b'/'));
        if let Some(query) = parts.query
            && query.iter().all(u8::is_ascii_graphic)
        {
            assert!(made.ends_with(query), "{made:?}");
        }
    }
}

/// What a client nominates is gone, and what a proxy must keep is not.
fn nominated(drawn: &[(&[u8], &[u8])]) {
    let mut fields = Fields::default();
    for (name, value) in drawn.iter().take(40) {
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let is_text = |byte: &u8| *byte > b' ' && *byte != 127;
        if !name.is_empty() && name.iter().all(is_token) && value.iter().all(is_text) {
            fields.push(name, value);
        }
    }
    let mut omit = Vec::new();
    headers::nominated(&fields, &mut omit);
    let mut lines = Vec::new();
    fields.write_lines(&mut lines, HOP_BY_HOP.and(Names::NONE), &omit);
    let text = String::from_utf8_lossy(&lines).to_ascii_lowercase();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, _) = line.split_once(':').expect("a field line");
        assert!(!omit.iter().any(|gone| gone == name.as_bytes()), "{name}");
        assert!(
            !["connection", "te", "upgrade", "keep-alive"].contains(&name),
            "{name}"
        );
    }
    for kept in ["host", "authorization", "cookie", "x-forwarded-for"] {
        assert!(!omit.iter().any(|gone| gone == kept.as_bytes()));
    }
}
