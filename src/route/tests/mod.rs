//! The table as a whole, case by case; `scan` holds it to its law.

use std::net::Ipv4Addr;

use ::http::Method;

use super::*;
use crate::config::{self, Match, PathMatch, ValueMatch};

mod scan;

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
    let told = table.unreachable();
    let told: Vec<_> = told.iter().map(|one| (one.route, &*one.by)).collect();
    let expected: [(usize, &[usize]); 6] = [
        (1, &[0]),
        (3, &[0, 2]),
        (6, &[4]),
        (8, &[7]),
        (11, &[10]),
        (12, &[10]),
    ];
    assert_eq!(told, expected);
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
    assert_eq!(names, ["a.com/v1/*".into(), Arc::<str>::from("1")]);
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
        "routes[1].request_headers.set",
    ];
    assert_eq!(places, expected);
}

#[test]
fn an_explanation_says_what_was_wanted_and_what_was_given() {
    let mut both = at(&["api.example.com", "*.example.org"], prefix("/v1/"));
    both.listener = strings(&["secure"]);
    both.method = strings(&["PUT", "POST"]);
    both.header = vec![("X-Beta".into(), ValueMatch::Exact("1".into()))];
    both.query = vec![("debug".into(), ValueMatch::Absent)];
    let digits = Match {
        header: vec![("x-beta".into(), ValueMatch::Regex("[0-9]".into()))],
        ..at(&[], exact("/v2/x"))
    };
    let table = table([both, digits, at(&[], None), at(&[], None)]);
    let mut asked = Asked::get("Example.com:80", "/v2/x");
    asked.query = Some("debug".into());
    let field = |value: &str| ("x-beta".to_owned(), value.to_owned());
    asked.fields = Fields(vec![field("a"), field("b")]);
    let told = table.explain(&asked.request(), &strings(&LISTENERS));
    assert_eq!(told.found.map(|route| route.index), Some(2));
    assert_eq!(told.not_reached, 1);
    let words = |passed: &Passed<'_>| -> Vec<String> {
        let each = passed.failed.iter().map(|failed| {
            let given = failed.given.as_deref().unwrap_or("none");
            format!("{}: {} / {given}", failed.test, failed.wanted)
        });
        each.collect()
    };
    let expected = [
        "listener: secure / web",
        "host: api.example.com, *.example.org / Example.com:80",
        "path: /v1/* / /v2/x",
        "method: PUT, POST / GET",
        "header x-beta: 1 / a, b",
        "query debug: no value / ",
    ];
    assert_eq!(words(&told.passed[0]), expected);
    assert_eq!(words(&told.passed[1]), ["header x-beta: ~[0-9] / a, b"]);
    asked.fields = Fields::default();
    let told = table.explain(&asked.request(), &strings(&LISTENERS));
    assert_eq!(told.passed[1].failed[0].given, None);
}

#[test]
fn an_empty_table_matches_nothing() {
    let table = table([]);
    assert_eq!(found(&table, &Asked::get("a", "/")), None);
    assert_eq!(table.unreachable(), []);
}
