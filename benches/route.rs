//! What a lookup costs in tables of 1 to 10 000 routes, beside a plain scan of as many comparisons.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use plimsoll::config::{self, Match, PathMatch, ValueMatch};
use plimsoll::route::{Headers, Request, Table};

struct Fields(Vec<(&'static str, &'static str)>);

impl Headers for Fields {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0
            .iter()
            .any(|(key, value)| *key == name && test(value.as_bytes()))
    }
}

fn fields() -> Fields {
    Fields(vec![
        ("user-agent", "curl/8.14.1"),
        ("accept", "*/*"),
        ("x-tenant", "t7"),
    ])
}

fn compile(matches: Vec<Match>) -> Table {
    let route = |matcher| config::Route {
        matcher,
        ..config::Route::default()
    };
    let routes: Vec<_> = matches.into_iter().map(route).collect();
    Table::compile(&routes, &["web".to_owned()], &[]).expect("the routes are valid")
}

/// A mix as in the field: an API of many prefixes on one host, hosts of their own, wildcards, exact paths; of `kinds` 5
/// one in five is a regular expression, of 4 none is.
fn mixed(kinds: usize, number: usize) -> Match {
    let (host, path) = match number % kinds {
        0 => (
            "api.example.com".to_owned(),
            PathMatch::Prefix(format!("/v1/service-{number}")),
        ),
        1 => (
            format!("shop-{number}.example.com"),
            PathMatch::Prefix("/".into()),
        ),
        2 => (
            format!("*.tenant-{number}.example.com"),
            PathMatch::Prefix("/app".into()),
        ),
        3 => (
            "www.example.com".to_owned(),
            PathMatch::Exact(format!("/pages/{number}.html")),
        ),
        _ => (
            "api.example.com".to_owned(),
            PathMatch::Regex(format!("/v2/item-{number}/[0-9]+")),
        ),
    };
    Match {
        host: vec![host],
        path: Some(path),
        ..Match::default()
    }
}

fn host_and_path(kinds: usize, number: usize) -> (String, String) {
    match number % kinds {
        0 => (
            "api.example.com".to_owned(),
            format!("/v1/service-{number}/users/17"),
        ),
        1 => (
            format!("shop-{number}.example.com"),
            "/cart/items".to_owned(),
        ),
        2 => (
            format!("eu.tenant-{number}.example.com"),
            "/app/x".to_owned(),
        ),
        3 => (
            "www.example.com".to_owned(),
            format!("/pages/{number}.html"),
        ),
        _ => (
            "api.example.com".to_owned(),
            format!("/v2/item-{number}/1234"),
        ),
    }
}

fn look_up(table: &Table, asked: &(String, String), headers: &Fields) -> Option<usize> {
    let request = Request {
        listener: 0,
        host: asked.0.as_bytes(),
        path: asked.1.as_bytes(),
        query: None,
        method: &Method::GET,
        headers,
    };
    table.find(black_box(&request)).map(|route| route.index)
}

/// The routes of a mixed table in turn, so that caches see the whole of it.
fn lookup(criterion: &mut Criterion) {
    let headers = fields();
    let mut group = criterion.benchmark_group("route");
    for (name, kinds) in [("mixed", 4), ("mixed_with_regex", 5)] {
        for routes in [1, 10, 1_000, 10_000] {
            let table = compile((0..routes).map(|number| mixed(kinds, number)).collect());
            let asked: Vec<_> = (0..routes)
                .map(|number| host_and_path(kinds, number))
                .collect();
            // Prime to every count of routes here: neighbours in the table are not asked one after the other.
            let mut at = 0;
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter(|| {
                    at = (at + 7919) % routes;
                    let found = look_up(&table, &asked[at], &headers);
                    debug_assert_eq!(found, Some(at));
                    found
                });
            });
        }
    }
    for routes in [1, 8, 10_000] {
        let prefix = |number| Some(PathMatch::Prefix(format!("/service-{number}")));
        let path = |number| Match {
            path: prefix(number),
            ..Match::default()
        };
        let table = compile((0..routes).map(path).collect());
        let asked = (
            "example.com".to_owned(),
            format!("/service-{}/users/17", routes - 1),
        );
        group.bench_function(BenchmarkId::new("prefix", routes), |bencher| {
            bencher.iter(|| look_up(&table, &asked, &headers));
        });
        let asked = ("example.com".to_owned(), "/nowhere/users/17".to_owned());
        group.bench_function(BenchmarkId::new("miss", routes), |bencher| {
            bencher.iter(|| look_up(&table, &asked, &headers));
        });
    }
    group.finish();
}

/// One route that takes all, and a canary by header before it: what most tables look like.
fn small(criterion: &mut Criterion) {
    let headers = fields();
    let asked = ("example.com".to_owned(), "/users/17".to_owned());
    let canary = Match {
        header: vec![("X-Beta".into(), ValueMatch::Exact("1".into()))],
        ..Match::default()
    };
    let table = compile(vec![Match::default()]);
    criterion.bench_function("route/all", |bencher| {
        bencher.iter(|| look_up(&table, &asked, &headers));
    });
    let table = compile(vec![canary, Match::default()]);
    criterion.bench_function("route/canary_by_header", |bencher| {
        bencher.iter(|| look_up(&table, &asked, &headers));
    });
}

criterion_group!(benches, lookup, small);
criterion_main!(benches);
