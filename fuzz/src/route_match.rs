//! The route table: its index finds what the routes, read one by one, say.

use arbitrary::{Arbitrary, Unstructured};
use http::Method;
use plimsoll::config::{Action, Match, PathMatch, Respond, Route, ValueMatch};
use plimsoll::http::target::{canonical, host};
use plimsoll::route::{Headers, Request, Table};

const HOSTS: [&str; 8] = [
    "a.test", "b.test", "*.test", "*.a.test", "x.a.test", "10.0.0.1", "*", "A.test",
];
const PATHS: [&str; 10] = [
    "/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/A", "/%61", "/a//b", "/b",
];
const PATTERNS: [&str; 5] = ["/a.*", "/(a|b)/c", "/[ab]+", ".*", "/a/b/?"];
const METHODS: [&str; 3] = ["GET", "POST", "PURGE"];
const LISTENERS: [&str; 2] = ["web", "secure"];

#[derive(Debug, Arbitrary)]
struct Drawn {
    hosts: Vec<u8>,
    path: u8,
    kind: u8,
    methods: Vec<u8>,
    listener: u8,
    header: u8,
    query: u8,
}

#[derive(Debug, Arbitrary)]
struct Asked<'a> {
    host: u8,
    path: u8,
    own: &'a [u8],
    method: u8,
    listener: u8,
    header: u8,
    query: u8,
}

pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((routes, asked)) = <(Vec<Drawn>, Vec<Asked<'_>>)>::arbitrary(&mut input) else {
        return;
    };
    let routes: Vec<Route> = (0..).zip(routes.iter().take(40)).map(route).collect();
    let listeners = LISTENERS.map(str::to_owned);
    let Ok(table) = Table::compile(&routes, &listeners, &[]) else {
        return;
    };
    for asked in asked.iter().take(20) {
        ask(&table, &listeners, asked);
    }
}

fn pick<'a>(list: &[&'a str], by: u8) -> &'a str {
    list[usize::from(by) % list.len()]
}

fn route((number, drawn): (usize, &Drawn)) -> Route {
    let path = match drawn.kind % 4 {
        0 => None,
        1 => Some(PathMatch::Prefix(pick(&PATHS, drawn.path).to_owned())),
        2 => Some(PathMatch::Exact(pick(&PATHS, drawn.path).to_owned())),
        _ => Some(PathMatch::Regex(pick(&PATTERNS, drawn.path).to_owned())),
    };
    let hosts = drawn.hosts.iter().take(3);
    let methods = drawn.methods.iter().take(2);
    let value = |by: u8| match by % 4 {
        1 => vec![("x".to_owned(), ValueMatch::Present)],
        2 => vec![("x".to_owned(), ValueMatch::Absent)],
        3 => vec![("x".to_owned(), ValueMatch::Exact("1".to_owned()))],
        _ => Vec::new(),
    };
    Route {
        name: Some(format!("r{number}")),
        matcher: Match {
            listener: match drawn.listener % 3 {
                0 => Vec::new(),
                by => vec![LISTENERS[usize::from(by) - 1].to_owned()],
            },
            host: hosts.map(|by| pick(&HOSTS, *by).to_owned()).collect(),
            path,
            method: methods.map(|by| pick(&METHODS, *by).to_owned()).collect(),
            header: value(drawn.header),
            query: value(drawn.query),
        },
        action: Action::Respond(Respond::default()),
        ..Route::default()
    }
}

/// One header, or none.
struct Field(Option<&'static [u8]>);

impl Headers for Field {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        name == "x" && self.0.is_some_and(test)
    }
}

fn ask(table: &Table, listeners: &[String], asked: &Asked<'_>) {
    let target = if asked.own.first() == Some(&b'/') {
        asked.own
    } else {
        pick(&PATHS, asked.path).as_bytes()
    };
    let (mut buffer, mut host_buffer) = (Vec::new(), Vec::new());
    let Ok(parts) = canonical(target, &mut buffer) else {
        return;
    };
    let written = pick(&HOSTS, asked.host).replace('*', "y");
    let Ok(host) = host(written.as_bytes(), &mut host_buffer) else {
        return;
    };
    let query: Option<&[u8]> = match asked.query % 4 {
        0 => parts.query,
        1 => Some(b"x=1"),
        2 => Some(b"x&%78=1"),
        _ => None,
    };
    let header: [Option<&[u8]>; 3] = [None, Some(b"1"), Some(b"")];
    let field = Field(header[usize::from(asked.header) % 3]);
    let method = Method::from_bytes(pick(&METHODS, asked.method).as_bytes()).expect("a method");
    let request = Request {
        listener: usize::from(asked.listener) % LISTENERS.len(),
        host,
        path: parts.path,
        query,
        method: &method,
        headers: &field,
    };
    let found = table.find(&request).map(|route| route.index);
    let told = table.explain(&request, listeners);
    assert_eq!(found, told.found.map(|route| route.index));
    assert!(told.passed.iter().all(|passed| !passed.failed.is_empty()));
}
