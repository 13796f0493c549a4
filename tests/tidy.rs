//! The code checks itself: who may use whom, how files open and how long they are, what tests may
//! not do, and that what ships loads. Rules: a folder uses only those below it; the reasons stand
//! beside [`ORDER`].

#![allow(
    clippy::unwrap_used,
    reason = "what a test cannot go on from is a failure of the test"
)]

#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tree.rs"]
mod tree;

use std::fs;

use plimsoll::config::read;

use source::{crate_paths, sources};
use tree::{files, is_output, relative, root};

/// The modules from top to bottom. Each may use those of the lines below its own; modules of one
/// line do not know each other.
const ORDER: &[&[&str]] = &[
    &["cli"],
    &["lab"],
    &["lifecycle"],
    &["admin"],
    &["proxy"],
    &["worker"],
    &["snapshot"],
    // Above its neighbours: an upstream owns a policy (`balance`) and speaks to endpoints (`http`).
    &["upstream"],
    &[
        "listener",
        "http",
        "route",
        "limit",
        "balance",
        "attempt",
        "discovery",
    ],
    &["observe"],
    // Reads files within the bound of `config`; used by whoever follows one.
    &["watch"],
    &["config"],
    &[
        "asked",
        "clock",
        "entropy",
        "stream",
        "tls",
        "proxy_protocol",
    ],
    // Used by whoever reads what an operator names: the configuration, certificates, secrets.
    &["file"],
];

/// Lines of a source file beyond which a seam must be found. Files of tests alone may be longer.
const MAX_LINES: usize = 600;

#[test]
fn modules_use_only_those_below_them() {
    let mut faults = Vec::new();
    for source in sources("src").iter().filter(|source| !source.only_tests) {
        let Some(user) = source.module() else {
            continue;
        };
        let Some(place) = place(user) else {
            faults.push(format!("{}: `{user}` has no place in ORDER", source.name));
            continue;
        };
        for used in crate_paths(&source.product, &source.depth()) {
            // What is no module is an item of the crate's root, which stays empty of them.
            if used == user || place_below(&used, place) {
                continue;
            }
            faults.push(format!("{}: `{user}` may not use `{used}`", source.name));
        }
    }
    assert_none(&faults);
}

#[test]
fn every_file_opens_with_what_lives_in_it() {
    let mut faults = Vec::new();
    // A fuzz target is one call into `fuzz/src`, where its subject is told.
    for source in ["src", "tests", "benches", "fuzz/src"]
        .into_iter()
        .flat_map(sources)
    {
        if !source.text.starts_with("//! ") {
            faults.push(format!("{}: opens without `//! ...`", source.name));
        }
    }
    assert_none(&faults);
}

#[test]
fn no_file_outgrows_its_subject() {
    let mut faults = Vec::new();
    for source in sources("src").iter().filter(|source| !source.only_tests) {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!(
                "{}: {lines} lines, more than {MAX_LINES}",
                source.name
            ));
        }
    }
    assert_none(&faults);
}

#[test]
fn no_test_waits_by_sleeping() {
    let mut faults = Vec::new();
    for source in sources("tests") {
        // The harness polls with a deadline (`eventually`), which pauses between two looks.
        let harness = source.name.contains("/harness");
        for (number, line) in source.code.lines().enumerate() {
            if line.contains("thread::sleep") || (!harness && line.contains("time::sleep")) {
                faults.push(format!("{}:{}: sleeps", source.name, number + 1));
            }
        }
    }
    // Beside the code only tests may not; a generator of load has a pace to keep.
    for source in sources("src") {
        let sleeps = |code: &str| code.matches("thread::sleep").count();
        if sleeps(&source.code) > sleeps(&source.product)
            || (source.only_tests && sleeps(&source.code) > 0)
        {
            faults.push(format!("{}: a test sleeps", source.name));
        }
    }
    assert_none(&faults);
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    // Put together, so that this file does not find itself.
    let folders = ["home", "root", "Users", "work", "tmp/wt"].map(|folder| format!("/{folder}/"));
    let mut faults = Vec::new();
    for path in files(&root(), &|path| !is_output(path)) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for folder in &folders {
                if line
                    .match_indices(folder.as_str())
                    .any(|(at, _)| starts_a_path(line, at))
                {
                    faults.push(format!("{}:{}: `{folder}`", relative(&path), number + 1));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_configuration_that_ships_loads() {
    let mut shipped: Vec<_> = files(&root().join("config"), &|_| true);
    shipped.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    assert!(!shipped.is_empty(), "config/ holds no example");
    for path in shipped {
        let loaded = read::load(&path, &|_| None);
        assert!(
            loaded.is_ok(),
            "{}: {}",
            relative(&path),
            loaded.unwrap_err()
        );
    }
}

#[test]
fn the_configuration_of_the_bench_loads() {
    let template = fs::read_to_string(root().join("benches/peers/plimsoll.yaml")).unwrap();
    let mut text = template;
    for (name, value) in [
        ("PLAIN", "8080"),
        ("TLS", "8443"),
        ("ORIGIN", "9001"),
        ("DIR", "."),
    ] {
        text = text.replace(&format!("@{name}@"), value);
    }
    let loaded = read::from_text("benches/peers/plimsoll.yaml", &text, &|_| None);
    assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
}

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|line| line.contains(&module))
}

fn place_below(module: &str, user: usize) -> bool {
    place(module).is_some_and(|place| place > user)
}

/// A folder in the middle of a longer path or of a URL is no path of a machine.
fn starts_a_path(line: &str, at: usize) -> bool {
    !line[..at]
        .chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '}' | '*'))
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults:\n  {}",
        faults.len(),
        faults.join("\n  ")
    );
}
