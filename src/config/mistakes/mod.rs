//! Tests: what is said about each mistake, and where.

use super::read::from_text;
use super::{Level, Refusal};

mod auth;
mod balance;
mod bulkhead;
mod discovery;
mod edge;
mod faults;
mod files;
mod health;
mod idempotency;
mod limits;
mod narrowing;
mod retries;
mod routes;
mod slashes;
mod tls;
mod values;
mod watched;

/// A valid file to make mistakes in; line 1 is `listeners`.
const GROUND: &str = "\
listeners:
  web: { address: \"127.0.0.1:8080\" }
routes:
  - upstream: api
upstreams:
  api:
    endpoints: [\"127.0.0.1:9001\"]
";

fn refusal(text: &str) -> Refusal {
    let env = |name: &str| match name {
        "SECRET" => Some("hunter2".to_owned()),
        "SIZE" => Some("1234".to_owned()),
        _ => None,
    };
    from_text("p.yaml", text, &env).expect_err("the text holds a mistake")
}

/// Asserts the one error that `text` has: its place, its path, its message, its help.
#[track_caller]
fn one(text: &str, place: (u32, u32), path: &str, message: &str, help: &str) {
    let refusal = refusal(text);
    let errors: Vec<_> = refusal
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.level == Level::Error)
        .collect();
    let [error] = errors.as_slice() else {
        panic!("expected one error:\n{refusal}")
    };
    assert_eq!((error.line, error.column), place, "{refusal}");
    assert_eq!(error.path, path, "{refusal}");
    assert!(error.message.contains(message), "{refusal}");
    assert!(
        error.help.as_deref().unwrap_or_default().contains(help),
        "{refusal}"
    );
}

/// Asserts the one warning that `text` has, which must not be refused.
#[track_caller]
fn warned(text: &str, place: (u32, u32), path: &str, message: &str, help: &str) {
    let loaded = from_text("p.yaml", text, &|_| None).unwrap_or_else(|refusal| panic!("{refusal}"));
    let [warning] = loaded.warnings.as_slice() else {
        panic!("expected one warning: {:#?}", loaded.warnings)
    };
    assert_eq!((warning.line, warning.column), place, "{warning}");
    assert_eq!(warning.path, path, "{warning}");
    assert!(warning.message.contains(message), "{warning}");
    assert!(
        warning.help.as_deref().unwrap_or_default().contains(help),
        "{warning}"
    );
}

/// The mistake stands in the last lines of the file, which continue the upstream `api`.
#[track_caller]
fn in_upstream(lines: &str, place: (u32, u32), path: &str, message: &str, help: &str) {
    one(
        &format!("{GROUND}{lines}\n"),
        place,
        &format!("upstreams.api.{path}"),
        message,
        help,
    );
}

/// The mistake stands in a route on line 4, column 5 and after.
#[track_caller]
fn in_route(route: &str, column: u32, path: &str, message: &str, help: &str) {
    one(
        &GROUND.replace("upstream: api", route),
        (4, column),
        &format!("routes[0]{path}"),
        message,
        help,
    );
}

/// The mistake stands in the listener, which begins at line 2, column 8.
#[track_caller]
fn in_listener(listener: &str, column: u32, path: &str, message: &str, help: &str) {
    let text = GROUND.replace("{ address: \"127.0.0.1:8080\" }", listener);
    one(
        &text,
        (2, column),
        &format!("listeners.web{path}"),
        message,
        help,
    );
}

#[test]
fn the_ground_has_no_mistake() {
    assert_eq!(from_text("p.yaml", GROUND, &|_| None).unwrap().warnings, []);
}
