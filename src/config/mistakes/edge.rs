//! Tests: what is said about PROXY headers, lists of addresses, and the process as a whole.

use super::*;

/// With further lines at the top of the file.
fn topped(lines: &str) -> String {
    format!("{lines}\n{GROUND}")
}

#[test]
fn mistakes_at_the_door_are_named() {
    let open = "{ address: \"127.0.0.1:80\", ";
    let at = |keys: &str, column: u32, path: &str, message: &str, help: &str| {
        in_listener(&format!("{open}{keys} }}"), column, path, message, help);
    };
    at(
        "proxy_protocol: on",
        51,
        ".proxy_protocol",
        "`require`",
        "`from`",
    );
    at(
        "proxy_protocol: { from: [] }",
        59,
        ".proxy_protocol.from",
        "at least one",
        "",
    );
    at(
        "proxy_protocol: { others: refuse }",
        51,
        ".proxy_protocol",
        "`from` is missing",
        "",
    );
    at(
        "proxy_protocol: { from: [10.0.0.1/8] }",
        60,
        ".proxy_protocol.from[0]",
        "network",
        "10.0.0.0/8",
    );
    at(
        "addresses: { allow: [10.0.0.0/8], deny: [unix, 10.0.0.0/8] }",
        82,
        ".addresses.deny[1]",
        "`allow` has the same entry",
        "remove one",
    );
    at(
        "addresses: { permit: [10.0.0.0/8] }",
        48,
        ".addresses.permit",
        "not known",
        "",
    );
    at(
        "limits: { per_address: 0 }",
        58,
        ".limits.per_address",
        "out of range",
        "",
    );
    at(
        "limits: { per_address_prefix: { v4: 33 } }",
        71,
        ".limits.per_address_prefix.v4",
        "from 1 to 32",
        "",
    );
}

#[test]
fn mistakes_of_the_process_are_named() {
    one(
        &topped("group: daemon"),
        (1, 1),
        "group",
        "would stay root",
        "`user`",
    );
    one(
        &topped("memory: { shed_at: 80%, resume_at: 85% }"),
        (1, 36),
        "memory.resume_at",
        "above `shed_at`",
        "below",
    );
    one(
        &topped("memory: { limit: 1KiB }"),
        (1, 18),
        "memory.limit",
        "out of range",
        "",
    );
    one(
        &topped("access_log: { redact_query: token }"),
        (1, 29),
        "access_log.redact_query",
        "a list of names",
        "[token]",
    );
    in_upstream(
        "    proxy_protocol: v3",
        (8, 21),
        "proxy_protocol",
        "v3",
        "",
    );
}

#[test]
fn what_is_dangerous_or_without_effect_is_warned_of() {
    let listener = |text: &str| GROUND.replace("{ address: \"127.0.0.1:8080\" }", text);
    warned(
        &listener("{ address: \"0.0.0.0:80\", proxy_protocol: require }"),
        (2, 49),
        "listeners.web.proxy_protocol",
        "every peer is believed",
        "others: refuse",
    );
    warned(
        &listener("{ address: \"unix:/run/p.sock\", limits: { per_address: 5 } }"),
        (2, 49),
        "listeners.web.limits.per_address",
        "without effect",
        "proxy_protocol",
    );
    warned(
        &format!("{GROUND}    proxy_protocol: v2\n    connections: {{ idle: 5 }}\n"),
        (9, 20),
        "upstreams.api.connections.idle",
        "without effect",
        "remove it",
    );
    for fine in [
        "{ address: \"127.0.0.1:80\", proxy_protocol: require }",
        "{ address: \"0.0.0.0:80\", proxy_protocol: { from: [10.0.0.0/8, unix], others: refuse } }",
        "{ address: \"unix:/run/p.sock\", proxy_protocol: require, limits: { per_address: 5 } }",
        "{ address: \"0.0.0.0:80\", proxy_protocol: off, addresses: { deny: [10.0.0.0/8] } }",
    ] {
        let loaded = from_text("p.yaml", &listener(fine), &|_| None);
        assert_eq!(loaded.unwrap().warnings, [], "{fine}");
    }
}
