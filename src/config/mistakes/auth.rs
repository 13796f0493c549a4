//! Tests: mistakes in the `auth` of a route.

use super::*;

/// The file with this route instead of its own.
fn with(auth: &str) -> String {
    GROUND.replace(
        "upstream: api\n",
        &format!("{{ upstream: api, auth: {auth} }}\n"),
    )
}

#[test]
fn exactly_one_way_is_given() {
    let path = "routes[0].auth";
    one(
        &with("{}"),
        (4, 28),
        path,
        "not said how clients show who they are",
        "add one of",
    );
    one(
        &with("{ basic: off }"),
        (4, 28),
        path,
        "not said how clients show who they are",
        "add one of",
    );
    one(
        &with("{ basic: { users_file: u }, api_key: { keys_file: k } }"),
        (4, 56),
        "routes[0].auth.api_key",
        "by `basic` already",
        "keep one of",
    );
    one(
        &with("{ api_key: { keys_file: k, header: off } }"),
        (4, 28),
        path,
        "not said where the key stands",
        "`header` or a `query`",
    );
}

#[test]
fn files_and_upstreams_must_be_named() {
    one(
        &with("{ basic: {} }"),
        (4, 37),
        "routes[0].auth.basic",
        "`users_file` is missing",
        "",
    );
    one(
        &with("{ api_key: {} }"),
        (4, 39),
        "routes[0].auth.api_key",
        "`keys_file` is missing",
        "",
    );
    one(
        &with("{ forward: { upstream: apj } }"),
        (4, 51),
        "routes[0].auth.forward.upstream",
        "",
        "`api`",
    );
}

#[test]
fn values_are_such_as_can_be_sent() {
    one(
        &with("{ basic: { users_file: u, realm: 'a\"b' } }"),
        (4, 61),
        "routes[0].auth.basic.realm",
        "a text that browsers show",
        "without quotes",
    );
    one(
        &with("{ basic: { users_file: u }, identity_header: \"X User\" }"),
        (4, 73),
        "routes[0].auth.identity_header",
        "the name of a header field",
        "",
    );
    one(
        &with("{ forward: { upstream: api, timeout: 2m } }"),
        (4, 65),
        "routes[0].auth.forward.timeout",
        "out of range",
        "",
    );
    one(
        &with("{ forward: { upstream: api, on_failure: ajar } }"),
        (4, 68),
        "routes[0].auth.forward.on_failure",
        "",
        "",
    );
}

#[test]
fn what_would_not_work_is_told() {
    warned(
        &with("{ forward: { upstream: api }, keep_credentials: true }"),
        (4, 76),
        "routes[0].auth.keep_credentials",
        "without effect",
        "remove it",
    );
    warned(
        &with("{ forward: { upstream: api } }").replace("127.0.0.1:9001", "localhost:8080"),
        (4, 51),
        "routes[0].auth.forward.upstream",
        "where this proxy listens",
        "the service itself",
    );
}

#[test]
fn endpoints_are_told_by_fields_that_mean_nothing_else() {
    for (name, message) in [
        ("Host", "frames a request"),
        ("transfer_encoding", "frames a request"),
        ("Connection", "frames a request"),
        ("Proxy-Authorization", "speaks of one message"),
        ("X-Forwarded-For", "where proxies tell"),
        ("X_Real_IP", "where proxies tell"),
        ("Authorization", "clients show who they are"),
        ("Cookie", "clients show who they are"),
        ("Content-Type", "means something else"),
    ] {
        one(
            &with(&format!(
                "{{ basic: {{ users_file: u }}, identity_header: {name} }}"
            )),
            (4, 73),
            "routes[0].auth.identity_header",
            message,
            "`X-User`",
        );
    }
    for (name, message) in [
        ("Content-Length", "frames a request"),
        ("Connection", "frames a request"),
        ("Forwarded", "where proxies tell"),
        ("Expect", "speaks of one message"),
    ] {
        one(
            &with(&format!(
                "{{ forward: {{ upstream: api, copy: [X-Groups, {name}] }} }}"
            )),
            (4, 73),
            "routes[0].auth.forward.copy[1]",
            message,
            "remove it",
        );
    }
    one(
        &with("{ api_key: { keys_file: k, header: Host } }"),
        (4, 63),
        "routes[0].auth.api_key.header",
        "frames a request",
        "`X-Api-Key`",
    );
    let fine = "{ forward: { upstream: api, copy: [Authorization, Cookie, Accept-Language, X-Forwarded-User] }, identity_header: X-Forwarded-Email }";
    let loaded = from_text("p.yaml", &with(fine), &|_| None).unwrap();
    assert_eq!(loaded.warnings, []);
}
