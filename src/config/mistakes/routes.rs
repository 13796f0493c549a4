//! Tests: mistakes in routes.

use super::*;

#[test]
fn a_reference_must_exist() {
    in_route(
        "upstream: apo",
        15,
        ".upstream",
        "`apo` is not the name of an upstream",
        "did you mean `api`?",
    );
    in_route(
        "{ match: { listener: wbe }, upstream: api }",
        26,
        ".match.listener",
        "name of a listener",
        "`web`",
    );
    in_route(
        "split: { apj: 1, api: 1 }",
        14,
        ".split.apj",
        "`apj` is not the name",
        "did you mean `api`?",
    );
}

#[test]
fn a_route_has_exactly_one_action() {
    in_route(
        "match: { path: / }",
        5,
        "",
        "no action",
        "`upstream`, `split`, `redirect` and `respond`",
    );
    in_route(
        "{ upstream: api, respond: {} }",
        22,
        ".respond",
        "has an action already, `upstream`",
        "keep one",
    );
}

#[test]
fn a_split_must_lead_somewhere() {
    in_route("split: {}", 12, ".split", "the split is empty", "api: 95");
    in_route(
        "split: { api: 0 }",
        12,
        ".split",
        "every weight of the split is 0",
        "",
    );
}

#[test]
fn what_a_route_matches_is_checked() {
    in_route(
        "{ match: { path: { regex: \"/(\" } }, upstream: api }",
        31,
        ".match.path.regex",
        "`/(`",
        "unclosed group",
    );
    in_route(
        "{ match: { path: v1 }, upstream: api }",
        22,
        ".match.path",
        "found `v1`",
        "begins with `/`",
    );
    in_route(
        "{ match: { path: { prefx: / } }, upstream: api }",
        24,
        ".match.path.prefx",
        "not known",
        "`prefix`",
    );
    in_route(
        "{ match: { method: get }, upstream: api }",
        24,
        ".match.method",
        "found `get`",
        "in capitals",
    );
    in_route(
        "{ match: { host: \"a.*.b\" }, upstream: api }",
        22,
        ".match.host",
        "a.*.b",
        "stands alone",
    );
    in_route(
        "{ match: { host: \"a.b:80\" }, upstream: api }",
        22,
        ".match.host",
        "a.b:80",
        "leave the port out",
    );
    in_route(
        "{ match: { host: [] }, upstream: api }",
        22,
        ".match.host",
        "the list is empty",
        "mean any",
    );
    in_route(
        "{ match: { header: { \"a b\": x } }, upstream: api }",
        26,
        ".match.header.a b",
        "name of a header",
        "",
    );
}

#[test]
fn what_a_route_does_is_checked() {
    in_route(
        "redirect: { status: 200 }",
        25,
        ".redirect.status",
        "does not redirect",
        "308",
    );
    in_route(
        "respond: { status: 99 }",
        24,
        ".respond.status",
        "from 200 to 599",
        "",
    );
    in_route(
        "{ upstream: api, rewrite: { regex: a } }",
        31,
        ".rewrite",
        "the key `to` is missing",
        "",
    );
    in_route(
        "{ upstream: api, rewrite: /x }",
        31,
        ".rewrite",
        "expected a map",
        "{ prefix: /x }",
    );
    let edits = "{ upstream: api, request_headers: { set: { A: \"b\\nc\" } } }";
    in_route(
        edits,
        51,
        ".request_headers.set.A",
        "value of a header field",
        "line breaks",
    );
}

#[test]
fn a_regular_expression_has_no_prefix_to_replace() {
    let route = "{ match: { path: { regex: /a } }, upstream: api, rewrite: { prefix: / } }";
    in_route(route, 63, ".rewrite", "no prefix to replace", "{ path: … }");
}
