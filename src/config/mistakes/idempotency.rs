//! Tests: mistakes in the `idempotency` of a route.

use super::*;

/// The file with this route instead of its own.
fn with(route: &str) -> String {
    GROUND.replace("upstream: api\n", &format!("{route}\n"))
}

#[test]
fn safe_methods_have_no_keys() {
    one(
        &with("{ upstream: api, idempotency: { methods: [POST, GET] } }"),
        (4, 53),
        "routes[0].idempotency.methods[1]",
        "requests of this method need no key",
        "`POST`",
    );
    one(
        &with("{ upstream: api, idempotency: { methods: [] } }"),
        (4, 46),
        "routes[0].idempotency.methods",
        "the list is empty",
        "",
    );
}

#[test]
fn bounds_have_a_range() {
    one(
        &with("{ upstream: api, idempotency: { ttl: 0s } }"),
        (4, 42),
        "routes[0].idempotency.ttl",
        "out of range",
        "",
    );
    one(
        &with("{ upstream: api, idempotency: { key_bytes: 8B } }"),
        (4, 48),
        "routes[0].idempotency.key_bytes",
        "out of range",
        "",
    );
}

#[test]
fn what_would_not_help_is_told() {
    warned(
        &with("{ upstream: api, idempotency: { bytes: 1KiB, body_bytes: 2KiB } }"),
        (4, 62),
        "routes[0].idempotency.body_bytes",
        "larger than `bytes`, 1KiB",
        "raise `bytes`",
    );
    warned(
        &with("{ upstream: api, idempotency: { bytes: 1KiB } }"),
        (4, 22),
        "routes[0].idempotency.body_bytes",
        "larger than `bytes`, 1KiB",
        "lower this",
    );
    warned(
        &with("{ upstream: api, idempotency: { credentials: [] } }"),
        (4, 50),
        "routes[0].idempotency.credentials",
        "clients are not told apart",
        "who they are",
    );
}

#[test]
fn a_service_that_names_nobody_is_told() {
    warned(
        &with("{ upstream: api, auth: { forward: { upstream: api } }, idempotency: {} }"),
        (4, 60),
        "routes[0].idempotency",
        "names nobody",
        "`identity`",
    );
}

#[test]
fn an_answer_of_the_proxy_is_not_executed() {
    let text = with("{ respond: {}, idempotency: {} }")
        .replace("upstreams:\n", "")
        .replace("  api:\n    endpoints: [\"127.0.0.1:9001\"]\n", "");
    warned(
        &text,
        (4, 20),
        "routes[0].idempotency",
        "without effect",
        "remove it",
    );
}
