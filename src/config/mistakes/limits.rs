//! Tests: mistakes in limits on clients.

use super::*;

/// The file with these limits behind it, to which its route is held.
fn with(limits: &str, names: &str) -> String {
    let route = format!("{{ upstream: api, limits: [{names}] }}");
    let ground = GROUND.replace("upstream: api\n", &format!("{route}\n"));
    format!("{ground}{limits}\n")
}

/// The one rate limit `a` with these keys on line 8, in which they begin at column 24.
#[track_caller]
fn in_rate(keys: &str, column: u32, path: &str, message: &str, help: &str) {
    let text = with(&format!("rate_limits: {{ a: {{ {keys} }} }}"), "a");
    one(&text, (8, column), &format!("rate_limits.a{path}"), message, help);
}

#[test]
fn rates_are_whole_numbers_in_a_time() {
    in_rate("key: host, rate: 10", 36, ".rate", "expected a rate such as `100/s`", "`30/m`");
    in_rate("key: host, rate: 1.5/s", 36, ".rate", "expected a rate", "whole number");
    in_rate("key: host, rate: 0/s", 36, ".rate", "out of range; from 1/h to 1000000/s", "");
    in_rate("key: host, rate: 2000000/s", 36, ".rate", "out of range", "");
    in_rate("key: host", 17, "", "the key `rate` is missing", "");
    in_rate("rate: 1/s", 17, "", "the key `key` is missing", "");
    in_rate("key: host, rate: 1/s, burst: 0", 48, ".burst", "out of range", "");
    in_rate("key: host, rate: 1/s, keys: 0", 47, ".keys", "out of range", "");
}

#[test]
fn keys_are_parts_of_a_request() {
    in_rate("key: clientip, rate: 1/s", 24, ".key", "is not a part of the request", "`client_ip`");
    in_rate("key: header, rate: 1/s", 24, ".key", "needs a name", "{ header: NAME }");
    in_rate("key: [], rate: 1/s", 24, ".key", "tells nobody apart", "`constant`");
    in_rate("key: [host, path, host, path, host], rate: 1/s", 24, ".key", "at most 4 parts", "");
    in_rate("key: { header: 'a b' }, rate: 1/s", 34, ".key.header", "expected the name of a header field", "");
    in_rate("key: { client_ip: { v4: 33 } }, rate: 1/s", 43, ".key.client_ip.v4", "out of range", "");
    in_rate("key: { body: x }, rate: 1/s", 26, ".key.body", "is not known here", "");
}

#[test]
fn overrides_are_values_of_the_key() {
    let key = "no request has this key";
    in_rate("key: client_ip, rate: 1/s, overrides: { partner: off }", 59, ".overrides", key, "10.0.0.0/8");
    in_rate("key: [host, client_ip], rate: 1/s, overrides: { a.example: off }", 67, ".overrides", key, "each of the 2 parts");
    in_rate("key: [host, client_ip], rate: 1/s, overrides: { 'a.example b': off }", 67, ".overrides", key, "address of a client");
    in_rate("key: host, rate: 1/s, overrides: { a: { burst: 1 } }", 57, ".overrides.a", "the key `rate` is missing", "");
}

#[test]
fn one_name_is_one_limit() {
    let limits = "rate_limits: { a: { key: host, rate: 1/s } }\nconcurrency_limits: { a: { key: host, max: 1 } }";
    one(&with(limits, "a"), (9, 23), "concurrency_limits.a", "`rate_limits` has a limit of this name already", "names alone");
}

#[test]
fn the_other_kinds_have_rules_of_their_own() {
    let concurrency = with("concurrency_limits: { a: { key: host, max: 0 } }", "a");
    one(&concurrency, (8, 44), "concurrency_limits.a.max", "0 would let nobody in", "");
    let bandwidth = |keys: &str| with(&format!("bandwidth_limits: {{ a: {{ {keys} }} }}"), "a");
    let rate = bandwidth("key: host, rate: 1MiB");
    one(&rate, (8, 42), "bandwidth_limits.a.rate", "bytes per second", "`/s`");
    let none = bandwidth("key: host, rate: 0B/s");
    one(&none, (8, 42), "bandwidth_limits.a.rate", "0 would let nothing through", "");
    let way = bandwidth("key: host, rate: 1B/s, direction: left");
    one(&way, (8, 59), "bandwidth_limits.a.direction", "is not a direction", "");
    let identity = bandwidth("key: identity, rate: 1B/s");
    one(&identity, (8, 30), "bandwidth_limits.a.key", "not counted by `identity`", "client_ip");
}

#[test]
fn names_are_those_of_limits() {
    let limit = "rate_limits: { per_client: { key: host, rate: 1/s } }";
    one(&with(limit, "per_clent"), (4, 31), "routes[0].limits[0]", "is not the name of a limit", "`per_client`");
    let text = format!("{}{limit}\n", GROUND.replace("8080\" }", "8080\", limits: [perclient] }"));
    one(&text, (2, 48), "listeners.web.limits[0]", "is not the name of a limit", "`per_client`");
}

#[test]
fn what_has_no_effect_is_told() {
    let limit = "rate_limits: { a: { key: host, rate: 1/s } }";
    let unused = format!("{GROUND}{limit}\n");
    warned(&unused, (8, 16), "rate_limits.a", "no route and no listener names this limit", "`limits`");
    warned(&with(limit, "a, a"), (4, 30), "routes[0].limits", "stands twice", "remove");
    let listener = format!("{}{limit}\n", GROUND.replace("8080\" }", "8080\", limits: { apply: [a] } }"));
    assert_eq!(from_text("p.yaml", &listener, &|_| None).unwrap().warnings, []);
    let short = format!("{}{limit}\n", GROUND.replace("8080\" }", "8080\", limits: [a] }"));
    let [long, short] = [listener, short].map(|text| from_text("p.yaml", &text, &|_| None).unwrap().config);
    assert_eq!(long, short);
}
