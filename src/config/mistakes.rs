//! Tests: what is said about each mistake, and where.

use super::read::from_text;
use super::{Level, Refusal};

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
    let env = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
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

#[test]
fn an_unknown_key_names_the_nearest() {
    in_upstream(
        "    blanace: p2c",
        (8, 5),
        "blanace",
        "not known here",
        "did you mean `balance`?",
    );
    one(
        &format!("{GROUND}upstream: {{}}"),
        (8, 1),
        "upstream",
        "not known",
        "did you mean `upstreams`?",
    );
    in_listener(
        "{ address: \"127.0.0.1:1\", timeout: {} }",
        34,
        ".timeout",
        "not known",
        "`timeouts`",
    );
}

#[test]
fn an_unknown_key_with_nothing_near_lists_what_is_known() {
    in_upstream(
        "    zzz: 1",
        (8, 5),
        "zzz",
        "not known here",
        "known here: `endpoints`, `protocol`, `balance`",
    );
}

#[test]
fn keys_of_later_versions_are_unknown() {
    for key in ["health", "breaker", "bulkhead", "retry", "hedge"] {
        let text = format!("{GROUND}    {key}: {{}}\n");
        assert_eq!(
            refusal(&text).diagnostics[0].path,
            format!("upstreams.api.{key}")
        );
    }
}

#[test]
fn an_unknown_policy_names_the_nearest() {
    in_upstream(
        "    balance: p2d",
        (8, 14),
        "balance",
        "`p2d` is not a balance policy",
        "did you mean `p2c`?",
    );
    in_upstream(
        "    balance: { p2c: { choice: 3 } }",
        (8, 23),
        "balance.p2c.choice",
        "not known",
        "`choices`",
    );
    in_upstream(
        "    balance: { leastconnections: {} }",
        (8, 16),
        "balance.leastconnections",
        "not a balance",
        "`least_connections`",
    );
    in_upstream(
        "    balance: { random: { choices: 2 } }",
        (8, 24),
        "balance.random",
        "has no options",
        "",
    );
    in_upstream(
        "    balance: { random: {}, p2c: {} }",
        (8, 14),
        "balance",
        "exactly one policy",
        "p2c: { choices: 3 }",
    );
    in_upstream(
        "    balance: { p2c: { choices: 1 } }",
        (8, 32),
        "balance.p2c.choices",
        "from 2 to 16",
        "",
    );
}

#[test]
fn a_wrong_kind_of_value_says_what_was_found() {
    in_upstream(
        "    protocol: [h1]",
        (8, 15),
        "protocol",
        "expected a protocol, found a list",
        "",
    );
    in_upstream(
        "    timeouts: 10s",
        (8, 15),
        "timeouts",
        "expected a map, found a single value",
        "`connect`",
    );
    let text = GROUND.replace("[\"127.0.0.1:9001\"]", "\"127.0.0.1:9001\"");
    one(
        &text,
        (7, 16),
        "upstreams.api.endpoints",
        "expected a list, found a single value",
        "[a, b]",
    );
}

#[test]
fn an_empty_value_is_shown_at_its_key() {
    in_upstream(
        "    protocol:",
        (8, 5),
        "protocol",
        "expected a protocol, found nothing",
        "",
    );
}

#[test]
fn durations_and_sizes_need_their_units() {
    let at = (8, 27);
    in_upstream(
        "    timeouts: { connect:  10 }",
        at,
        "timeouts.connect",
        "expected a duration",
        "the unit is missing",
    );
    in_upstream(
        "    timeouts: { connect:  10x }",
        at,
        "timeouts.connect",
        "found `10x`",
        "the unit is none of",
    );
    in_upstream(
        "    timeouts: { connect:  1.5s }",
        at,
        "timeouts.connect",
        "found `1.5s`",
        "take a smaller unit",
    );
    in_upstream(
        "    timeouts: { connect:  0s }",
        at,
        "timeouts.connect",
        "out of range; from 1ms to 1h",
        "",
    );
    let listener = "{ address: \"127.0.0.1:1\", limits: { head_bytes: 64KB } }";
    in_listener(listener, 56, ".limits.head_bytes", "found `64KB`", "`KiB`");
}

#[test]
fn numbers_are_strict() {
    in_upstream(
        "    connections: { max: \"5\" }",
        (8, 25),
        "connections.max",
        "whole number",
        "remove the quotes",
    );
    in_upstream(
        "    connections: { max: -1 }",
        (8, 25),
        "connections.max",
        "found `-1`",
        "negative",
    );
    in_upstream(
        "    connections: { max: 0 }",
        (8, 25),
        "connections.max",
        "from 1 to 1000000",
        "",
    );
    in_upstream(
        "    connections: { max: 99999999999999999999 }",
        (8, 25),
        "connections.max",
        "whole number",
        "too large",
    );
}

#[test]
fn booleans_are_true_and_false_only() {
    let listener = "{ address: \"127.0.0.1:1\", forwarding: { forwarded: yes } }";
    in_listener(
        listener,
        59,
        ".forwarding.forwarded",
        "found `yes`",
        "write `true`",
    );
}

#[test]
fn addresses_of_listeners_name_the_remedy() {
    in_listener(
        "{ address: \":8080\" }",
        19,
        ".address",
        "expected an address",
        "`0.0.0.0` or `[::]`",
    );
    in_listener(
        "{ address: \"127.0.0.1\" }",
        19,
        ".address",
        "found `127.0.0.1`",
        "the port is missing",
    );
    in_listener(
        "{ address: \"127.0.0.1:70000\" }",
        19,
        ".address",
        "70000",
        "0 to 65535",
    );
    in_listener("{ address: \"::1\" }", 19, ".address", "`::1`", "brackets");
    in_listener(
        "{ address: \"localhost:80\" }",
        19,
        ".address",
        "localhost",
        "write an IP address",
    );
    in_listener(
        "{ address: \"unix:run.sock\" }",
        19,
        ".address",
        "unix:run.sock",
        "in full",
    );
}

#[test]
fn addresses_of_endpoints_name_the_remedy() {
    let with = |address: &str, help: &str| {
        let text = GROUND.replace("127.0.0.1:9001", address);
        one(
            &text,
            (7, 17),
            "upstreams.api.endpoints[0]",
            "expected the address of an endpoint",
            help,
        );
    };
    with("http://a:1", "leave the scheme out");
    with("a", "the port is missing");
    with("a:0", "1 to 65535");
    with("300.1.1.1:80", "a host name has letters");
}

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
fn an_upstream_with_an_error_in_it_still_exists() {
    in_upstream(
        "    protocol: h3",
        (8, 15),
        "protocol",
        "`h3` is not a protocol",
        "`h1`",
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

#[test]
fn tls_needs_a_certificate() {
    let listener = "{ address: \"127.0.0.1:1\", tls: { certificates: [] } }";
    in_listener(
        listener,
        55,
        ".tls.certificates",
        "at least one is needed",
        "",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_from_a_faulty_one() {
    let missing = std::path::Path::new("no-such-folder/plimsoll.yaml");
    let refusal = super::read::load(missing, &|_| None).unwrap_err();
    assert!(refusal.unreadable);
    assert!(
        refusal
            .to_string()
            .starts_with("no-such-folder/plimsoll.yaml: error: cannot be read: "),
        "{refusal}"
    );
}

#[test]
fn a_missing_key_is_shown_at_its_block() {
    in_listener("{ tls: off }", 8, "", "the key `address` is missing", "");
    let text = GROUND.replace("endpoints: [\"127.0.0.1:9001\"]", "protocol: h1");
    one(
        &text,
        (7, 5),
        "upstreams.api",
        "the key `endpoints` is missing",
        "",
    );
}

#[test]
fn networks_have_no_bits_beyond_their_prefix() {
    let listener =
        |network: &str| format!("{{ address: \"127.0.0.1:1\", trusted_proxies: [\"{network}\"] }}");
    in_listener(
        &listener("10.0.0.1/8"),
        52,
        ".trusted_proxies[0]",
        "10.0.0.1/8",
        "would be 10.0.0.0/8",
    );
    in_listener(
        &listener("10.0.0.0/33"),
        52,
        ".trusted_proxies[0]",
        "10.0.0.0/33",
        "up to 32",
    );
}

#[test]
fn what_is_given_twice_is_shown_the_second_time() {
    in_upstream(
        "    protocol: h1\n    protocol: h2",
        (9, 5),
        "protocol",
        "given twice; it stands on line 8",
        "keep one",
    );
    let routes = "name: a\n    upstream: api\n  - name: a\n    upstream: api";
    one(
        &GROUND.replace("upstream: api", routes),
        (6, 11),
        "routes[1].name",
        "routes[0] has the same name",
        "",
    );
    let endpoints = "[\"h:1\", { address: \"h:2\", id: \"h\" }, { address: \"h:3\", id: \"h\" }]";
    let text = GROUND.replace("[\"127.0.0.1:9001\"]", endpoints);
    one(
        &text,
        (7, 75),
        "upstreams.api.endpoints[2]",
        "endpoints[1] has the same id",
        "unique",
    );
    let text = GROUND.replace("[\"127.0.0.1:9001\"]", "[\"h:1\", \"h:1\"]");
    one(
        &text,
        (7, 24),
        "upstreams.api.endpoints[1]",
        "endpoints[0] has the same address",
        "`weight`",
    );
}

#[test]
fn two_listeners_cannot_share_an_address() {
    let text = GROUND.replace("routes:", "  x: { address: \"127.0.0.1:8080\" }\nroutes:");
    one(
        &text,
        (3, 17),
        "listeners.x.address",
        "`listeners.web` has the same address",
        "",
    );
    let text = format!("{GROUND}admin: {{ address: \"127.0.0.1:8080\" }}\n");
    one(
        &text,
        (8, 19),
        "admin.address",
        "`listeners.web` has the same address",
        "",
    );
}

#[test]
fn nothing_to_serve_is_an_error() {
    one("", (1, 1), "", "the file is empty", "`listeners`");
    one("# nothing\n", (1, 1), "", "the file is empty", "");
    one(
        "routes: []\n",
        (1, 1),
        "listeners",
        "no listener is given",
        "0.0.0.0:8080",
    );
    one(
        "listeners: {}\n",
        (1, 1),
        "listeners",
        "no listener is given",
        "",
    );
    one(
        &GROUND.replace("[\"127.0.0.1:9001\"]", "[]"),
        (7, 16),
        "upstreams.api.endpoints",
        "no endpoints",
        "",
    );
    one(
        "- a\n",
        (1, 1),
        "",
        "expected a map, found a list",
        "`listeners`",
    );
}

#[test]
fn what_is_no_yaml_is_shown_where_reading_stopped() {
    let refusal = refusal("listeners:\n  web: { address: 'x' \nroutes: []\n");
    let [error] = refusal.diagnostics.as_slice() else {
        panic!("{refusal}")
    };
    assert!(error.message.starts_with("this is not YAML: "), "{refusal}");
    assert_eq!(error.line, 3, "{refusal}");
    one(
        "a: 1\n---\nb: 2\n",
        (2, 1),
        "",
        "a second document",
        "`---`",
    );
    one("listeners: !x {}\n", (1, 15), "listeners", "tags", "");
    one("? [a]\n: b\n", (1, 3), "", "a key must be text", "");
    one(
        "a: &a [*a]\n",
        (1, 8),
        "a[0]",
        "names the value that it stands in",
        "",
    );
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let parts = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
    }
    let refusal = refusal(&text);
    assert!(
        refusal
            .to_string()
            .contains("expands to more than 1000000 values"),
        "{refusal}"
    );
    let deep = format!("a: {}{}\n", "[".repeat(30), "]".repeat(30));
    assert!(refusal_of_depth(&deep).contains("a: the key `a` is not known"));
    let deeper = format!("a: {}{}\n", "[".repeat(40_000), "]".repeat(40_000));
    assert!(refusal_of_depth(&deeper).contains("this is not YAML"));
}

fn refusal_of_depth(text: &str) -> String {
    refusal(text).to_string()
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let text = "#".repeat(super::read::MAX_BYTES as usize + 1);
    assert!(refusal(&text).to_string().contains("larger than 4 MiB"));
}

#[test]
fn variables_are_named_and_their_values_never_shown() {
    in_upstream(
        "    protocol: ${NOPE}",
        (8, 15),
        "protocol",
        "`NOPE` is not set",
        "${NOPE:-default}",
    );
    in_upstream(
        "    protocol: ${NOPE",
        (8, 15),
        "protocol",
        "without a closing `}`",
        "$${",
    );
    let values = "    protocol: ${SECRET}
    balance: ${SECRET}
    timeouts: { connect: \"${SECRET}\" }
    connections: { max: \"${SECRET}\" }
    tls: { name: \"${SECRET}/\", verify: \"${SECRET}\" }
";
    let routes = "match: { path: { regex: \"(${SECRET}\" }, method: \"${SECRET}\", host: \"${SECRET}:\" }\n    upstream: ${SECRET}";
    let text = format!(
        "{}{values}admin: {{ address: \"${{SECRET}}\" }}\n",
        GROUND.replace("upstream: api", routes)
    );
    let refusal = refusal(&text);
    assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    assert_eq!(refusal.errors(), 11, "{refusal}");
}

#[test]
fn every_error_is_listed_in_the_order_of_the_file() {
    let text = "\
listeners:
  web: { adress: \"127.0.0.1:80\" }
routes:
  - upstream: api
    rewite: { prefix: / }
upstreams:
  apis:
    endpoints: [a]
    balance: fastest
";
    let refusal = refusal(text);
    let places: Vec<_> = refusal
        .diagnostics
        .iter()
        .map(|diagnostic| (diagnostic.line, diagnostic.column))
        .collect();
    assert_eq!(
        places,
        [(2, 8), (2, 10), (4, 15), (5, 5), (8, 17), (9, 14)],
        "{refusal}"
    );
}

#[test]
fn an_error_is_rendered_with_its_line_and_a_caret() {
    let text = format!("{GROUND}    balance: p2d # the best\n");
    let expected = "\
p.yaml:8:14: error: upstreams.api.balance: `p2d` is not a balance policy
 8 |     balance: p2d # the best
   |              ^^^
  = did you mean `p2c`? known: `round_robin`, `random`, `least_connections`, `p2c`, `weighted_round_robin`

1 error";
    assert_eq!(refusal(&text).to_string(), expected);
    let json = serde_json::to_value(refusal(&text)).unwrap();
    let one = &json["diagnostics"][0];
    assert_eq!(
        (&one["line"], &one["column"], &one["level"]),
        (&8.into(), &14.into(), &"error".into())
    );
}

#[test]
fn warnings_do_not_refuse() {
    let text = "\
listeners:
  web: { address: \"127.0.0.1:0\" }
  idle: { address: \"127.0.0.1:0\" }
routes:
  - { match: { listener: web }, upstream: api }
  - { match: { listener: web, path: /x }, respond: {}, host: endpoint }
upstreams:
  api:
    endpoints: [{ address: \"h:1\", weight: 0 }]
    tls: { verify: false }
    timeouts: { connect: 40s }
    connections: { max: 1, idle: 2 }
  spare: { endpoints: [\"h:2\"] }
admin: { address: \"0.0.0.0:0\" }
";
    let warnings = from_text("p.yaml", text, &|_| None).unwrap().warnings;
    let found: Vec<_> = warnings
        .iter()
        .map(|warning| (warning.line, warning.path.as_str()))
        .collect();
    let expected = [
        (3, "listeners.idle"),
        (6, "routes[1].host"),
        (9, "upstreams.api.endpoints"),
        (10, "upstreams.api.tls.verify"),
        (11, "upstreams.api.timeouts.connect"),
        (12, "upstreams.api.connections.idle"),
        (13, "upstreams.spare"),
        (14, "admin.address"),
    ];
    assert_eq!(found, expected);
    assert!(
        warnings
            .iter()
            .all(|warning| warning.level == Level::Warning && warning.help.is_some())
    );
}
