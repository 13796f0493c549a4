//! Tests: mistakes in single values and keys.

use super::*;

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
    for key in ["mirror", "rate_limit", "cache"] {
        let text = format!("{GROUND}    {key}: {{}}\n");
        assert_eq!(
            refusal(&text).diagnostics[0].path,
            format!("upstreams.api.{key}")
        );
    }
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
