//! Tests: mistakes in limits on clients.

use super::*;

/// The file with these limits behind it, to which its route is held.
fn with(limits: &str, names: &str) -> String {
    let route = format!("{{ upstream: api, limits: [{names}] }}");
    let ground = GROUND.replace("upstream: api\n", &format!("{route}\n"));
    format!("{ground}{limits}\n")
}

/// The text without its caret, and where that stood.
fn marked(text: &str) -> (String, (u32, u32)) {
    let (before, _) = text.split_once('^').expect("a caret shows the place");
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|one| *one != '\n').count() + 1;
    (text.replacen('^', "", 1), (line as u32, column as u32))
}

/// The error stands where the caret does.
#[track_caller]
fn wrong(text: &str, path: &str, message: &str, help: &str) {
    let (text, place) = marked(text);
    one(&text, place, path, message, help);
}

/// The one rate limit `a` with these keys, behind its brace.
#[track_caller]
fn in_rate(keys: &str, path: &str, message: &str, help: &str) {
    let text = with(&format!("rate_limits: {{ a: {keys} }} }}"), "a");
    wrong(&text, &format!("rate_limits.a{path}"), message, help);
}

#[test]
fn rates_are_whole_numbers_in_a_time() {
    let rate = |rate: &str, message, help| {
        in_rate(
            &format!("{{ key: host, rate: ^{rate}"),
            ".rate",
            message,
            help,
        );
    };
    rate("10", "expected a rate such as `100/s`", "`30/m`");
    rate("1.5/s", "expected a rate", "whole number");
    rate("0/s", "out of range; from 1/h to 1000000/s", "");
    rate("2000000/s", "out of range", "");
    in_rate("^{ key: host", "", "the key `rate` is missing", "");
    in_rate("^{ rate: 1/s", "", "the key `key` is missing", "");
    in_rate(
        "{ key: host, rate: 1/s, burst: ^0",
        ".burst",
        "out of range",
        "",
    );
    in_rate(
        "{ key: host, rate: 1/s, keys: ^0",
        ".keys",
        "out of range",
        "",
    );
}

#[test]
fn keys_are_parts_of_a_request() {
    let key = |key: &str, path, message, help| {
        in_rate(&format!("{{ key: {key}, rate: 1/s"), path, message, help);
    };
    key(
        "^clientip",
        ".key",
        "is not a part of the request",
        "`client_ip`",
    );
    key("^header", ".key", "needs a name", "{ header: NAME }");
    key("^[]", ".key", "tells nobody apart", "`constant`");
    key(
        "^[host, path, host, path, host]",
        ".key",
        "at most 4 parts",
        "",
    );
    let name = "expected the name of a header field";
    key("{ header: ^'a b' }", ".key.header", name, "");
    let bits = "{ client_ip: { v4: ^33 } }";
    key(bits, ".key.client_ip.v4", "out of range", "");
    key("{ ^body: x }", ".key.body", "is not known here", "");
}

#[test]
fn overrides_are_values_of_the_key() {
    let overrides = |key: &str, overrides: &str, help: &str| {
        let keys = format!("{{ key: {key}, rate: 1/s, overrides: {{ {overrides} }}");
        in_rate(&keys, ".overrides", "no request has this key", help);
    };
    overrides("client_ip", "^partner: off", "10.0.0.0/8");
    let both = "[host, client_ip]";
    overrides(both, "^a.example: off", "each of the 2 parts");
    overrides(both, "^'a.example b': off", "address of a client");
    let missing = "{ key: host, rate: 1/s, overrides: { a: ^{ burst: 1 } }";
    in_rate(missing, ".overrides.a", "the key `rate` is missing", "");
}

#[test]
fn one_name_is_one_limit() {
    let limits = "rate_limits: { a: { key: host, rate: 1/s } }\nconcurrency_limits: { ^a: { key: host, max: 1 } }";
    let message = "`rate_limits` has a limit of this name already";
    wrong(
        &with(limits, "a"),
        "concurrency_limits.a",
        message,
        "names alone",
    );
}

#[test]
fn the_other_kinds_have_rules_of_their_own() {
    let concurrency = with("concurrency_limits: { a: { key: host, max: ^0 } }", "a");
    let message = "0 would let nobody in";
    wrong(&concurrency, "concurrency_limits.a.max", message, "");
    let bandwidth = |keys: &str, path: &str, message: &str, help: &str| {
        let text = with(&format!("bandwidth_limits: {{ a: {{ {keys} }} }}"), "a");
        wrong(&text, &format!("bandwidth_limits.a.{path}"), message, help);
    };
    bandwidth("key: host, rate: ^1MiB", "rate", "bytes per second", "`/s`");
    bandwidth(
        "key: host, rate: ^0B/s",
        "rate",
        "0 would let nothing through",
        "",
    );
    let way = "key: host, rate: 1B/s, direction: ^left";
    bandwidth(way, "direction", "is not a direction", "");
    let identity = "key: ^identity, rate: 1B/s";
    bandwidth(identity, "key", "not counted by `identity`", "client_ip");
    let refused = "key: host, rate: 1B/s, missing: ^refuse";
    bandwidth(refused, "missing", "nobody is refused here", "`shared`");
}

#[test]
fn names_are_those_of_limits() {
    let limit = "rate_limits: { per_client: { key: host, rate: 1/s } }";
    let message = "is not the name of a limit";
    let route = with(limit, "^per_clent");
    wrong(&route, "routes[0].limits[0]", message, "`per_client`");
    let listener = GROUND.replace("8080\" }", "8080\", limits: [^perclient] }");
    let path = "listeners.web.limits[0]";
    wrong(
        &format!("{listener}{limit}\n"),
        path,
        message,
        "`per_client`",
    );
}

#[test]
fn what_has_no_effect_is_told() {
    let told = |text: &str, path: &str, message: &str, help: &str| {
        let (text, place) = marked(text);
        warned(&text, place, path, message, help);
    };
    let unused = format!("{GROUND}rate_limits: {{ ^a: {{ key: host, rate: 1/s }} }}\n");
    let message = "no route and no listener names this limit";
    told(&unused, "rate_limits.a", message, "`limits`");
    let limit = "rate_limits: { a: { key: host, rate: 1/s } }";
    let twice = with(limit, "a, a").replace("[a, a]", "^[a, a]");
    told(&twice, "routes[0].limits", "stands twice", "remove");
}

#[test]
fn the_limits_of_a_listener_may_be_a_list_alone() {
    let both = ["{ apply: [a] }", "[a]"].map(|limits| {
        let listener = GROUND.replace("8080\" }", &format!("8080\", limits: {limits} }}"));
        let text = format!("{listener}rate_limits: {{ a: {{ key: host, rate: 1/s }} }}\n");
        let loaded = from_text("p.yaml", &text, &|_| None).unwrap();
        assert_eq!(loaded.warnings, []);
        loaded.config
    });
    assert_eq!(both[0], both[1]);
    assert_eq!(both[0].listeners["web"].limits.apply, ["a"]);
}

#[test]
fn who_counts_by_identity_must_be_able_to_know_it() {
    let limit = |missing: &str| {
        format!("rate_limits: {{ a: {{ key: [identity, host], rate: 1/s, missing: {missing} }} }}")
    };
    for (missing, so) in [
        ("pass", "holds nobody"),
        ("shared", "count as one"),
        ("refuse", "everybody is refused"),
    ] {
        let text = with(&limit(missing), "a").replace("[a]", "^[a]");
        let (text, place) = marked(&text);
        warned(&text, place, "routes[0].limits", so, "add `auth`");
    }
    let listener = GROUND.replace("8080\" }", "8080\", limits: ^[a] }");
    let (text, place) = marked(&format!("{listener}{}\n", limit("pass")));
    let path = "listeners.web.limits.apply";
    warned(&text, place, path, "holds nobody", "`tls.client`");
    let at_once = "concurrency_limits: { a: { key: identity, max: 1 } }";
    let text = with(at_once, "a").replace("[a]", "^[a]");
    let (text, place) = marked(&text);
    warned(
        &text,
        place,
        "routes[0].limits",
        "holds nobody",
        "add `auth`",
    );
    let nameless = with(at_once, "a").replace(
        "limits: [a]",
        "limits: ^[a], auth: { forward: { upstream: api } }",
    );
    let (text, place) = marked(&nameless);
    warned(
        &text,
        place,
        "routes[0].limits",
        "holds nobody",
        "also its `identity`",
    );
    // By a password, by the word of a service, by a certificate.
    let tls = "8080\", tls: { certificates: [ { cert: c, key: k } ], client: { ca: c } }";
    for text in [
        with(at_once, "a").replace(
            "limits: [a]",
            "limits: [a], auth: { basic: { users_file: u } }",
        ),
        with(at_once, "a").replace(
            "limits: [a]",
            "limits: [a], auth: { forward: { upstream: api, identity: X-Name } }",
        ),
        with(at_once, "a").replace("8080\"", tls),
        with(at_once, "a")
            .replace("8080\"", &format!("{tls}, limits: [a]"))
            .replace(", limits: [a] }\nup", " }\nup"),
    ] {
        let loaded = from_text("p.yaml", &text, &|_| None);
        let loaded = loaded.unwrap_or_else(|no| panic!("{no}"));
        assert_eq!(loaded.warnings, [], "{text}");
    }
}
