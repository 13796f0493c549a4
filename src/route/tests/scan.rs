//! The law: the table answers as a plain scan of the written matches from top to bottom would.

use proptest::prelude::*;

use super::*;

/// What the written match says, read part by part and without any of the compiled forms.
fn holds(written: &Match, asked: &Asked) -> bool {
    failing(written, asked).is_empty()
}

/// The parts of a match that do not hold, each header and each parameter by itself.
fn failing(written: &Match, asked: &Asked) -> Vec<Test> {
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
    let listener = any(&written.listener, &|listener| {
        LISTENERS[asked.listener] == listener
    });
    let host = any(&written.host, &|pattern| {
        host(&pattern.to_lowercase(), &name)
    });
    let path = written
        .path
        .as_ref()
        .is_none_or(|pattern| path(pattern, &asked.path));
    let method = any(&written.method, &|method| asked.method.as_str() == method);
    let mut parts = vec![
        (Test::Listener, listener),
        (Test::Host, host),
        (Test::Path, path),
        (Test::Method, method),
    ];
    parts.extend(written.header.iter().map(|(key, expected)| {
        let given = asked
            .fields
            .0
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(key));
        let holds = value(expected, given.map(|(_, value)| &**value).collect());
        (Test::Header(key.to_lowercase()), holds)
    }));
    parts.extend(written.query.iter().map(|(key, expected)| {
        let pairs = asked.query.iter().flat_map(|query| query.split('&'));
        let pairs = pairs.filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let given = pairs.filter(|(name, _)| name == key).map(|(_, v)| v);
        (Test::Query(key.clone()), value(expected, given.collect()))
    }));
    let failing = parts.into_iter().filter(|(_, holds)| !holds);
    failing.map(|(test, _)| test).collect()
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
            let expected = matches.iter().position(|written| holds(written, &asked));
            prop_assert_eq!(found(&table, &asked), expected, "{:?}", asked);
        }
    }

    #[test]
    fn the_explanation_finds_the_same_route_and_names_the_tests_that_the_others_fail(
        matches in prop::collection::vec(a_match(), 0..30),
        requests in prop::collection::vec(a_request(), 20),
    ) {
        let table = table(matches.clone());
        for asked in requests {
            let told = table.explain(&asked.request(), &strings(&LISTENERS));
            let index = told.found.map(|route| route.index);
            prop_assert_eq!(index, found(&table, &asked), "{:?}", asked);
            let before = index.unwrap_or(matches.len());
            prop_assert_eq!(told.passed.len(), before);
            prop_assert_eq!(told.not_reached, matches.len().saturating_sub(before + 1));
            for (passed, written) in told.passed.iter().zip(&matches) {
                let tests: Vec<_> = passed.failed.iter().map(|failed| failed.test.clone()).collect();
                prop_assert_eq!(tests, failing(written, &asked), "{:?}", asked);
            }
        }
    }

    #[test]
    fn a_route_told_to_be_unreachable_never_matches_first(
        matches in prop::collection::vec(a_match(), 0..30),
        requests in prop::collection::vec(a_request(), 20),
    ) {
        let unreachable = table(matches.clone()).unreachable();
        for covered in &unreachable {
            prop_assert!(!covered.by.is_empty() && covered.by.iter().all(|&by| by < covered.route));
        }
        for asked in requests {
            let first = matches.iter().position(|written| holds(written, &asked));
            let told = unreachable.iter().find(|covered| Some(covered.route) == first);
            prop_assert_eq!(told, None, "{:?}", asked);
        }
    }
}
