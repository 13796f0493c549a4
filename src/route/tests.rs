//! The table as a whole: against a plain scan from top to bottom, and case by case.

use std::net::Ipv4Addr;

use ::http::Method;
use proptest::prelude::*;

use super::*;
use crate::config::{self, Match, PathMatch, ValueMatch};

const LISTENERS: [&str; 3] = ["web", "secure", "inside"];
const UPSTREAMS: [&str; 2] = ["api", "canary"];

#[derive(Debug, Clone, Default)]
struct Fields(Vec<(String, String)>);

impl Headers for Fields {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0
            .iter()
            .any(|(key, value)| key == name && test(value.as_bytes()))
    }
}

/// A request that owns its parts.
#[derive(Debug, Clone)]
struct Asked {
    listener: usize,
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    fields: Fields,
}

impl Asked {
    fn get(host: &str, path: &str) -> Self {
        Self {
            listener: 0,
            host: host.into(),
            path: path.into(),
            query: None,
            method: Method::GET,
            fields: Fields::default(),
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            listener: self.listener,
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.as_deref().map(str::as_bytes),
            method: &self.method,
            headers: &self.fields,
        }
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn try_compile(routes: &[config::Route]) -> Result<Table, Vec<CompileError>> {
    Table::compile(routes, &strings(&LISTENERS), &strings(&UPSTREAMS))
}

/// Routes to `api` by these matches, with their numbers as names.
fn routes(matches: impl IntoIterator<Item = Match>) -> Vec<config::Route> {
    let route = |(index, matcher): (usize, Match)| config::Route {
        name: Some(index.to_string()),
        matcher,
        action: config::Action::Upstream("api".into()),
        ..config::Route::default()
    };
    matches.into_iter().enumerate().map(route).collect()
}

fn table(matches: impl IntoIterator<Item = Match>) -> Table {
    try_compile(&routes(matches)).unwrap()
}

fn at(host: &[&str], path: Option<PathMatch>) -> Match {
    let host = strings(host);
    Match {
        host,
        path,
        ..Match::default()
    }
}

fn prefix(path: &str) -> Option<PathMatch> {
    Some(PathMatch::Prefix(path.into()))
}

fn exact(path: &str) -> Option<PathMatch> {
    Some(PathMatch::Exact(path.into()))
}

fn regex(path: &str) -> Option<PathMatch> {
    Some(PathMatch::Regex(path.into()))
}

fn found(table: &Table, asked: &Asked) -> Option<usize> {
    table.find(&asked.request()).map(|route| route.index)
}

/// What the written match says, read part by part and without any of the compiled forms.
mod plain {
    use super::*;

    pub(super) fn matches(written: &Match, asked: &Asked) -> bool {
        let any = |list: &[String], test: &dyn Fn(&str) -> bool| {
            list.is_empty() || list.iter().any(|one| test(one))
        };
        let mut name = asked.host.to_lowercase();
        name = name
            .split(':')
            .next()
            .unwrap_or_default()
            .trim_end_matches('.')
            .to_owned();
        any(&written.listener, &|listener| {
            LISTENERS[asked.listener] == listener
        }) && any(&written.host, &|pattern| {
            host(&pattern.to_lowercase(), &name)
        }) && written
            .path
            .as_ref()
            .is_none_or(|pattern| path(pattern, &asked.path))
            && any(&written.method, &|method| asked.method.as_str() == method)
            && written.header.iter().all(|(key, expected)| {
                let given = asked
                    .fields
                    .0
                    .iter()
                    .filter(|(name, _)| name.eq_ignore_ascii_case(key));
                value(expected, given.map(|(_, value)| &**value).collect())
            })
            && written.query.iter().all(|(key, expected)| {
                let pairs = asked.query.iter().flat_map(|query| query.split('&'));
                let pairs = pairs.filter(|pair| !pair.is_empty());
                let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                value(
                    expected,
                    pairs
                        .filter(|(name, _)| name == key)
                        .map(|(_, v)| v)
                        .collect(),
                )
            })
    }

    fn host(pattern: &str, name: &str) -> bool {
        match pattern.strip_prefix('*') {
            Some("") => true,
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => name == pattern,
        }
    }

    fn path(pattern: &PathMatch, path: &str) -> bool {
        match pattern {
            PathMatch::Exact(text) => path == text,
            PathMatch::Regex(text) => whole(text, path),
            PathMatch::Prefix(text) if text == "/" => true,
            PathMatch::Prefix(text) => {
                let text = text.strip_suffix('/').unwrap_or(text);
                path == text || path.starts_with(&format!("{text}/"))
            }
        }
    }

    fn value(expected: &ValueMatch, given: Vec<&str>) -> bool {
        match expected {
            ValueMatch::Exact(text) => given.contains(&&**text),
            ValueMatch::Regex(text) => given.iter().any(|value| whole(text, value)),
            ValueMatch::Present => !given.is_empty(),
            ValueMatch::Absent => given.is_empty(),
        }
    }

    fn whole(pattern: &str, text: &str) -> bool {
        let found = ::regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        found.is_match(text)
    }
}

fn a_host() -> impl Strategy<Value = String> {
    const NAMES: [&str; 7] = [
        "a.com",
        "x.a.com",
        "y.x.a.com",
        "b.org",
        "a.b.org",
        "com",
        "A.Com",
    ];
    prop::sample::select(&NAMES[..]).prop_map(str::to_owned)
}

fn a_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(&["a", "b", "v1", "v10", "", "c", "d", "e", "f"][..]);
    prop::collection::vec(segment, 1..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn a_value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        prop::sample::select(&["1", "2"][..]).prop_map(|text| ValueMatch::Exact(text.into())),
        Just(ValueMatch::Regex("[12]".into())),
        Just(ValueMatch::Regex("1|".into())),
        Just(ValueMatch::Present),
        Just(ValueMatch::Absent),
    ]
}

fn tests(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, ValueMatch)>> {
    let name = prop::sample::select(names).prop_map(str::to_owned);
    prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec((name, a_value()), 1..3),
    ]
}

fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::sample::subsequence(names, 1..=names.len()).prop_map(|some| strings(&some)),
    ]
}

fn a_match() -> impl Strategy<Value = Match> {
    let pattern = prop_oneof![
        4 => a_host(),
        3 => a_host().prop_map(|host| format!("*.{host}")),
        1 => Just("*".to_owned()),
    ];
    let written = prop_oneof![
        2 => Just("/a/[a-z]+"), 1 => Just("/v1(/.*)?"), 1 => Just("/a/b/.*|/b"), 1 => Just(".*"),
    ];
    let path = prop_oneof![
        2 => Just(None),
        1 => Just(prefix("/")),
        6 => a_path().prop_map(|path| prefix(&path)),
        4 => a_path().prop_map(|path| exact(&path)),
        2 => written.prop_map(regex),
    ];
    let host = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(pattern, 1..3)];
    let listener = some_of(&LISTENERS);
    let method = some_of(&["GET", "POST", "PURGE"]);
    (
        listener,
        host,
        path,
        method,
        tests(&["X-A", "x-b"]),
        tests(&["q", "r"]),
    )
        .prop_map(|(listener, host, path, method, header, query)| Match {
            listener,
            host,
            path,
            method,
            header,
            query,
        })
}

fn a_request() -> impl Strategy<Value = Asked> {
    let host = prop_oneof![
        4 => a_host(),
        1 => a_host().prop_map(|host| format!("{}.:8080", host.to_uppercase())),
        1 => a_host().prop_map(|host| format!(".{host}")),
        1 => Just(String::new()),
    ];
    let path = prop_oneof![12 => a_path(), 1 => Just("*".to_owned()), 1 => Just(String::new())];
    let number = || prop::sample::select(&["", "1", "2", "3"][..]).prop_map(str::to_owned);
    let field = (
        prop::sample::select(&["x-a", "x-b"][..]).prop_map(str::to_owned),
        number(),
    );
    let pair = (prop::sample::select(&["q", "r"][..]), number());
    let pair = pair.prop_map(|(name, value)| format!("{name}={value}"));
    let query = prop::collection::vec(pair, 0..3).prop_map(|pairs| pairs.join("&"));
    let method = prop::sample::select(&["GET", "POST", "PURGE"][..]);
    let fields = prop::collection::vec(field, 0..3).prop_map(Fields);
    (
        0..LISTENERS.len(),
        host,
        path,
        prop::option::of(query),
        method,
        fields,
    )
        .prop_map(|(listener, host, path, query, method, fields)| Asked {
            listener,
            host,
            path,
            query,
            method: method.parse().unwrap(),
            fields,
        })
}

proptest! {
    #[test]
    fn the_table_answers_as_a_scan_from_top_to_bottom_would(
        matches in prop::collection::vec(a_match(), 0..30),
        requests in prop::collection::vec(a_request(), 20),
    ) {
        let table = table(matches.clone());
        for asked in requests {
            let expected = matches.iter().position(|written| plain::matches(written, &asked));
            prop_assert_eq!(found(&table, &asked), expected, "{:?}", asked);
        }
    }

    #[test]
    fn a_route_told_to_be_unreachable_never_matches_first(
        matches in prop::collection::vec(a_match(), 0..30),
        requests in prop::collection::vec(a_request(), 20),
    ) {
        let unreachable = table(matches.clone()).unreachable();
        for &(hidden, by) in &unreachable {
            prop_assert!(by < hidden);
        }
        for asked in requests {
            let first = matches.iter().position(|written| plain::matches(written, &asked));
            let told = unreachable.iter().find(|&&(hidden, _)| Some(hidden) == first);
            prop_assert_eq!(told, None, "{:?}", asked);
        }
    }
}

#[test]
fn the_first_match_wins_and_not_the_most_specific() {
    let table = table([
        at(&["*.example.com"], prefix("/v1")),
        at(&["api.example.com"], exact("/v1/x")),
        at(&["api.example.com"], None),
        at(&[], regex("/v1/.*")),
        at(&[], None),
    ]);
    assert_eq!(
        found(&table, &Asked::get("api.example.com", "/v1/x")),
        Some(0)
    );
    assert_eq!(
        found(&table, &Asked::get("api.example.com", "/v2")),
        Some(2)
    );
    assert_eq!(found(&table, &Asked::get("example.com", "/v1/x")), Some(3));
    assert_eq!(found(&table, &Asked::get("example.com", "*")), Some(4));
}

#[test]
fn a_prefix_ends_on_a_segment_border() {
    for written in ["/v1", "/v1/"] {
        let table = table([at(&[], prefix(written))]);
        for path in ["/v1", "/v1/", "/v1/x", "/v1//"] {
            assert_eq!(
                found(&table, &Asked::get("", path)),
                Some(0),
                "{written} on {path}"
            );
        }
        for path in ["/v10", "/v", "/", "*", "", "/V1", "//v1"] {
            assert_eq!(
                found(&table, &Asked::get("", path)),
                None,
                "{written} on {path}"
            );
        }
    }
}

#[test]
fn ten_thousand_routes_are_told_apart() {
    let matches = (0..10_000).map(|number| match number % 4 {
        0 => at(&[&format!("h{number}.example.com")], prefix("/a")),
        1 => at(&[&format!("*.d{number}.example.com")], exact("/a")),
        2 => at(&[], prefix(&format!("/p/{number}"))),
        _ => at(&[], regex(&format!("/r/{number}/[0-9]+"))),
    });
    let table = table(matches);
    assert_eq!(table.routes().len(), 10_000);
    let asked = [
        (9_996, "h9996.example.com", "/a/b".to_owned()),
        (9_997, "x.y.d9997.example.com", "/a".to_owned()),
        (9_998, "h1.example.com", "/p/9998/x".to_owned()),
        (9_999, "", "/r/9999/12".to_owned()),
    ];
    for (expected, host, path) in asked {
        assert_eq!(found(&table, &Asked::get(host, &path)), Some(expected));
    }
    assert_eq!(
        found(&table, &Asked::get("h1.example.com", "/r/9999/x")),
        None
    );
    assert_eq!(table.unreachable(), []);
}

#[test]
fn a_hostile_host_or_path_is_looked_up_in_bounds() {
    let table = table([
        at(&["*.example.com"], prefix("/a/b")),
        at(&[], prefix("/z")),
    ]);
    let (dots, slashes) = (".".repeat(60_000), "/".repeat(60_000));
    assert_eq!(found(&table, &Asked::get(&dots, "/z")), Some(1));
    assert_eq!(found(&table, &Asked::get("a.example.com", &slashes)), None);
    let deep = format!("/a/b{slashes}");
    assert_eq!(found(&table, &Asked::get("a.example.com", &deep)), Some(0));
}

#[test]
fn covered_routes_are_told_with_what_covers_them() {
    let get = |path| Match {
        method: strings(&["GET"]),
        ..at(&[], path)
    };
    let table = table([
        at(&["*.a.com"], prefix("/v1")),
        at(&["x.a.com", "*.y.a.com"], exact("/v1/z")), // by 0
        at(&["a.com"], prefix("/v1")),
        at(&["*.a.com", "a.com"], regex("/v1/[0-9]+")), // by 0 and 2
        get(prefix("/only")),
        at(&[], prefix("/only")),
        get(exact("/only")), // by 4
        at(&["b.org"], regex("/r/[a-z]+")),
        at(&["b.org"], exact("/r/abc")), // by 7
        at(&["b.org"], exact("/r/ABC")),
        at(&[], prefix("/")),
        at(&["b.org"], prefix("/late")), // by 10
        at(&[], None),                   // by 10
    ]);
    assert_eq!(
        table.unreachable(),
        [(1, 0), (3, 2), (6, 4), (8, 7), (11, 10), (12, 10)]
    );
}

#[test]
fn names_default_to_the_match_and_must_differ() {
    let mut written = routes([
        at(&["a.com"], prefix("/v1/")),
        at(&["A.com."], prefix("/v1")),
    ]);
    written[0].name = None;
    let names: Vec<_> = try_compile(&written)
        .unwrap()
        .routes()
        .iter()
        .map(|r| r.name.clone())
        .collect();
    assert_eq!(names, ["a.com/v1/*".into(), Box::<str>::from("1")]);
    written[1].name = None;
    let errors = try_compile(&written).unwrap_err();
    assert_eq!(
        errors[0].fault,
        Fault::DuplicateName {
            name: "a.com/v1/*".into(),
            first: 0
        }
    );
    assert_eq!((errors[0].route, &*errors[0].place), (1, "routes[1].name"));
}

#[test]
fn every_fault_of_every_route_is_told_at_once() {
    let mut written = routes([
        Match {
            listener: strings(&["web", "wbe"]),
            host: strings(&["a:80", "*"]),
            path: prefix("v1"),
            method: strings(&["get", "G T"]),
            header: vec![("a b".into(), ValueMatch::Present)],
            query: vec![("q".into(), ValueMatch::Regex("(".into()))],
        },
        Match::default(),
    ]);
    written[0].action = config::Action::Split(vec![("apu".into(), 1)]);
    written[1].action = config::Action::Redirect(config::Redirect {
        status: 200,
        scheme: None,
        host: None,
        path: None,
    });
    written[1].rewrite = Some(config::Rewrite::Path("x".into()));
    written[1]
        .request_fields
        .set
        .push(("Host".into(), Ipv4Addr::LOCALHOST.to_string()));
    let places: Vec<_> = try_compile(&written)
        .unwrap_err()
        .into_iter()
        .map(|e| e.place)
        .collect();
    let expected = [
        "routes[0].match.listener",
        "routes[0].match.host",
        "routes[0].match.path",
        "routes[0].match.method",
        "routes[0].match.method",
        "routes[0].match.header",
        "routes[0].match.query",
        "routes[0].split",
        "routes[1].redirect.status",
        "routes[1].rewrite",
        "routes[1].request_fields.set",
    ];
    assert_eq!(places, expected);
}

#[test]
fn an_empty_table_matches_nothing() {
    let table = table([]);
    assert_eq!(found(&table, &Asked::get("a", "/")), None);
    assert_eq!(table.unreachable(), []);
}
