//! Tests: mistakes in what weighs and narrows endpoints: zones, subsets, sessions, slow start.

use super::*;

/// The ground with other endpoints, which begin at line 7, column 16.
fn endpoints(list: &str) -> String {
    GROUND.replace("[\"127.0.0.1:9001\"]", list)
}

/// The mistake stands in the only endpoint, which begins at line 7, column 17.
#[track_caller]
fn in_endpoint(keys: &str, column: u32, key: &str, message: &str, help: &str) {
    one(
        &endpoints(&format!("[{{ address: \"h:1\", {keys} }}]")),
        (7, column),
        &format!("upstreams.api.endpoints[0].{key}"),
        message,
        help,
    );
}

#[test]
fn keys_of_endpoints_have_ranges() {
    in_endpoint(
        "weight: 1001",
        43,
        "weight",
        "out of range; from 0 to 1000",
        "",
    );
    in_endpoint("weight: -1", 43, "weight", "found `-1`", "negative");
    in_endpoint(
        "weight: 0.5",
        43,
        "weight",
        "expected a whole number",
        "digits only",
    );
    in_endpoint(
        "priority: 16",
        45,
        "priority",
        "out of range; from 0 to 15",
        "",
    );
    in_endpoint(
        "priority: 300",
        45,
        "priority",
        "too large; at most 255",
        "",
    );
    in_endpoint(
        "backup: yes",
        43,
        "backup",
        "expected `true`",
        "write `true`",
    );
    in_endpoint("zone: \"a b\"", 41, "zone", "expected a name", "letters");
    in_endpoint(
        "metadata: { \"a b\": c }",
        47,
        "metadata.a b",
        "a name has letters",
        "",
    );
    in_endpoint(
        "metadata: { a: [b] }",
        50,
        "metadata.a",
        "expected a text, found a list",
        "",
    );
    in_endpoint(
        "drainin: true",
        35,
        "drainin",
        "not known",
        "did you mean `draining`?",
    );
}

#[test]
fn endpoints_that_are_all_set_aside_are_told() {
    warned(
        &endpoints("[{ address: \"h:1\", backup: true }, { address: \"h:2\", backup: true }]"),
        (7, 16),
        "upstreams.api.endpoints",
        "every endpoint is a backup",
        "without `backup`",
    );
    warned(
        &endpoints("[{ address: \"h:1\", draining: true }]"),
        (7, 16),
        "upstreams.api.endpoints",
        "every endpoint is draining",
        "without `draining`",
    );
}

#[test]
fn weights_that_are_all_0_are_told() {
    warned(
        &endpoints("[{ address: \"h:1\", weight: 0 }]"),
        (7, 16),
        "upstreams.api.endpoints",
        "all serve as if it were 1",
        "1 or more",
    );
}

#[test]
fn a_first_priority_may_stay_empty() {
    let text = endpoints("[{ address: \"h:1\", priority: 1 }, { address: \"h:2\", priority: 3 }]");
    assert_eq!(from_text("p.yaml", &text, &|_| None).unwrap().warnings, []);
}

#[test]
fn what_weighs_endpoints_has_ranges() {
    in_upstream(
        "    slow_start: { window: 1ms }",
        (8, 27),
        "slow_start.window",
        "from 100ms to 1d",
        "",
    );
    in_upstream(
        "    slow_start: { aggression: 0.05 }",
        (8, 31),
        "slow_start.aggression",
        "from 0.1 to 10",
        "",
    );
    in_upstream(
        "    slow_start: { aggression: 1.0005 }",
        (8, 31),
        "slow_start.aggression",
        "expected a number such as `1.25`",
        "three decimals",
    );
    in_upstream(
        "    slow_start: { min_weight: 0.5% }",
        (8, 31),
        "slow_start.min_weight",
        "from 1% to 100%",
        "",
    );
    in_upstream(
        "    slow_start: 30s",
        (8, 17),
        "slow_start",
        "expected a map",
        "`window`",
    );
    in_upstream(
        "    failure_penalty: { window: 1h }",
        (8, 32),
        "failure_penalty.window",
        "from 1s to 10m",
        "",
    );
    in_upstream(
        "    decisions: { keep: 0 }",
        (8, 24),
        "decisions.keep",
        "from 1 to 4096",
        "",
    );
    in_upstream(
        "    decisions: off",
        (8, 16),
        "decisions",
        "expected a map",
        "`sample`",
    );
}

#[test]
fn a_panic_has_a_rule() {
    in_upstream(
        "    panic: { rule: open }",
        (8, 20),
        "panic.rule",
        "`open` is not a rule for a panic",
        "known: `fail_open`, `fail_closed`",
    );
    in_upstream(
        "    panic: { threshold: 50 }",
        (8, 25),
        "panic.threshold",
        "expected a share",
        "percentage",
    );
}

#[test]
fn a_random_subset_is_smaller_than_the_whole() {
    in_upstream(
        "    random_subset: 1",
        (8, 20),
        "random_subset",
        "from 2 to 100000",
        "",
    );
    warned(
        &format!("{GROUND}    random_subset: 2\n"),
        (8, 20),
        "upstreams.api.random_subset",
        "has no effect: there are only 1 endpoints",
        "remove it",
    );
    // How many a name stands for is not known yet.
    let text = format!(
        "{}    random_subset: 2\n",
        endpoints("[\"many.internal:1\"]")
    );
    assert_eq!(from_text("p.yaml", &text, &|_| None).unwrap().warnings, []);
}

#[test]
fn a_sticky_session_has_a_cookie_that_browsers_keep() {
    in_upstream(
        "    sticky: { cookie: \"a=b\" }",
        (8, 23),
        "sticky.cookie",
        "the name of a cookie",
        "letters",
    );
    in_upstream(
        "    sticky: { path: app }",
        (8, 21),
        "sticky.path",
        "expected a path",
        "begins with `/`",
    );
    in_upstream(
        "    sticky: { ttl: 366d }",
        (8, 20),
        "sticky.ttl",
        "from 1s to 365d",
        "",
    );
    in_upstream(
        "    sticky: { secret: x }",
        (8, 15),
        "sticky.secret",
        "not known",
        "`secret_file`",
    );
    in_upstream(
        "    sticky: { cookie: a }\n    balance: { consistent_hash: { key: { cookie: a } } }",
        (8, 23),
        "sticky.cookie",
        "requests are hashed by this cookie",
        "another name",
    );
    let text = format!("{GROUND}    sticky: {{ same_site: none }}\n");
    let help = "write `lax` or `strict`";
    warned(
        &text,
        (8, 26),
        "upstreams.api.sticky.same_site",
        "no listener speaks",
        help,
    );
    // A trusted proxy in front may speak TLS.
    let text = text.replace(":8080\"", ":8080\", trusted_proxies: [10.0.0.0/8]");
    assert_eq!(from_text("p.yaml", &text, &|_| None).unwrap().warnings, []);
}

#[test]
fn sticky_upstreams_of_one_host_need_cookies_of_their_own() {
    let text = |hosts: (&str, &str), cookie: &str| {
        format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:1\" }} }}\nroutes:\n  \
             - {{ match: {{ path: /a{} }}, upstream: a }}\n  - {{ match: {{ path: /b{} }}, upstream: b }}\n\
             upstreams:\n  a: {{ endpoints: [\"h:1\"], sticky: {{}} }}\n  b: {{ endpoints: [\"h:2\"], sticky: {{ {cookie} }} }}\n",
            hosts.0, hosts.1
        )
    };
    warned(
        &text(("", ""), ""),
        (7, 36),
        "upstreams.b.sticky.cookie",
        "`a` serves the same host with a cookie of this name",
        "its own `path`",
    );
    for apart in [
        text(("", ""), "cookie: b"),
        text(("", ""), "path: /b"),
        text((", host: a.example", ", host: b.example"), ""),
    ] {
        assert_eq!(from_text("p.yaml", &apart, &|_| None).unwrap().warnings, []);
    }
}

const WITH_SUBSET: &str = "    subset: { metadata: version }\n";

#[test]
fn a_route_asks_for_the_subset_of_an_upstream_that_has_one() {
    in_route(
        "{ upstream: api, subset: v1 }",
        30,
        ".subset",
        "the upstream `api` has no `subset`",
        "upstreams.api.subset",
    );
    in_route(
        "{ upstream: api, subset: \"\" }",
        30,
        ".subset",
        "expected a text",
        "empty",
    );
    in_upstream(
        "    subset: { header: X-Version }",
        (8, 13),
        "subset",
        "the key `metadata` is missing",
        "",
    );
    in_upstream(
        "    subset: { metadata: a, header: \"X Version\" }",
        (8, 36),
        "subset.header",
        "the name of a header field",
        "",
    );
    in_upstream(
        "    subset: { metadata: a, otherwise: all }",
        (8, 39),
        "subset.otherwise",
        "`all` is not what a request gets",
        "`any`, `none`",
    );
    // One with an error in it is there all the same.
    let text = GROUND.replace("upstream: api", "{ upstream: api, subset: v1 }");
    one(
        &format!("{text}    subset: {{ metadata: a, otherwise: all }}\n"),
        (8, 39),
        "upstreams.api.subset.otherwise",
        "`all`",
        "",
    );
    // Each upstream of a split needs one.
    let split = "{ split: { api: 1, other: 1 }, subset: v1 }";
    let list = "[{ address: \"h:1\", metadata: { version: v1 } }]";
    let text = endpoints(list).replace("upstream: api", split);
    one(
        &format!("{text}{WITH_SUBSET}  other: {{ endpoints: [\"h:2\"] }}\n"),
        (4, 44),
        "routes[0].subset",
        "the upstream `other` has no `subset`",
        "",
    );
}

#[test]
fn a_subset_that_no_endpoint_is_in_is_told() {
    warned(
        &format!("{GROUND}{WITH_SUBSET}"),
        (8, 25),
        "upstreams.api.subset.metadata",
        "no endpoint has this in its `metadata`",
        "metadata: { … }",
    );
    let route = |otherwise: &str| {
        let list = "[{ address: \"h:1\", metadata: { version: v1 } }]";
        let text = endpoints(list).replace("upstream: api", "{ upstream: api, subset: v2 }");
        format!("{text}    subset: {{ metadata: version, otherwise: {otherwise} }}\n")
    };
    let message = "no endpoint of `api` has this value";
    warned(
        &route("any"),
        (4, 30),
        "routes[0].subset",
        message,
        "go to any endpoint",
    );
    warned(&route("none"), (4, 30), "routes[0].subset", message, "503");
    warned(
        &GROUND.replace(
            "upstream: api",
            "{ upstream: api, match: { path: /x } }\n  - { respond: {}, subset: v1 }",
        ),
        (5, 20),
        "routes[1].subset",
        "without effect: the route answers itself",
        "remove it",
    );
}

#[test]
fn zones_are_compared_with_the_proxys_own() {
    warned(
        &format!("{GROUND}zone: a\n"),
        (8, 1),
        "zone",
        "without effect: no endpoint is in a zone",
        "give endpoints their `zone`",
    );
    let zoned = endpoints("[\"h:1\", { address: \"h:2\", zone: a }]");
    warned(
        &zoned,
        (7, 42),
        "upstreams.api.endpoints[1].zone",
        "where this proxy stands is not known",
        "at the top",
    );
    for meant in [format!("{zoned}zone: b\n"), format!("{zoned}zone: off\n")] {
        assert_eq!(from_text("p.yaml", &meant, &|_| None).unwrap().warnings, []);
    }
}

#[test]
fn decisions_are_explained_to_named_networks() {
    let listener =
        |network: &str| format!("{{ address: \"127.0.0.1:1\", explain_to: [{network}] }}");
    in_listener(
        &listener("everyone"),
        47,
        ".explain_to[0]",
        "expected a network",
        "IP address",
    );
    warned(
        &GROUND.replace("{ address: \"127.0.0.1:8080\" }", &listener("\"::/0\"")),
        (2, 46),
        "listeners.web.explain_to",
        "holds every address",
        "name the networks",
    );
}
