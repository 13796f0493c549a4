//! Tests: mistakes in what says where endpoints come from.

use super::*;

#[test]
fn an_upstream_needs_endpoints_or_a_file_of_them() {
    one(
        &GROUND.replace("endpoints: [\"127.0.0.1:9001\"]", "protocol: h1"),
        (7, 5),
        "upstreams.api",
        "the key `endpoints` is missing",
        "`endpoints_file`",
    );
    let file = GROUND.replace("endpoints: [\"127.0.0.1:9001\"]", "endpoints_file: a.yaml");
    assert_eq!(from_text("p.yaml", &file, &|_| None).unwrap().warnings, []);
}

#[test]
fn the_name_of_srv_records_has_no_port() {
    one(
        &GROUND.replace("127.0.0.1:9001", "srv:_http._tcp.api:80"),
        (7, 17),
        "upstreams.api.endpoints[0]",
        "expected the address of an endpoint",
        "without a port",
    );
}

#[test]
fn name_servers_are_addresses() {
    in_upstream(
        "    discovery: { servers: [dns.internal] }",
        (8, 28),
        "discovery.servers[0]",
        "expected the IP address of a name server",
        "known by its address",
    );
}

#[test]
fn the_floor_of_refreshes_is_not_above_their_ceiling() {
    let text = GROUND.replace("127.0.0.1:9001", "app.internal:80");
    one(
        &format!("{text}    discovery: {{ refresh_min: 10s, refresh_max: 5s }}\n"),
        (8, 49),
        "upstreams.api.discovery",
        "longer than `refresh_max`",
        "lower `refresh_min`",
    );
}

#[test]
fn what_follows_nothing_is_without_effect() {
    warned(
        &format!("{GROUND}    discovery: {{ allow_empty: true }}\n"),
        (8, 18),
        "upstreams.api.discovery.allow_empty",
        "no endpoint is written as a name",
        "remove it",
    );
    let name = GROUND.replace("127.0.0.1:9001", "app.internal:80");
    warned(
        &format!("{name}    discovery: {{ poll: 1s }}\n"),
        (8, 18),
        "upstreams.api.discovery.poll",
        "there is no `endpoints_file`",
        "remove it",
    );
}

#[test]
fn a_file_of_endpoints_is_read_as_the_key_would_be() {
    let list = "- 127.0.0.1:1\n- { address: \"srv:_a._tcp.b\", weight: 2, id: b }\n";
    let read = |text: &str| super::super::read::endpoints("list.yaml", text, &|_| None);
    let endpoints = read(list).unwrap();
    assert_eq!(endpoints.len(), 2);
    assert_eq!((endpoints[1].identity(), endpoints[1].weight), ("b", 2));
    assert_eq!(read("").unwrap(), []);
    assert_eq!(read("[]").unwrap(), []);
    let twice = read("[ \"127.0.0.1:1\", \"127.0.0.1:1\" ]").unwrap_err();
    assert!(
        twice.to_string().contains("has the same address"),
        "{twice}"
    );
    let unknown = read("[ { adress: a:1 } ]").unwrap_err();
    assert!(unknown.to_string().contains("list.yaml:1:5"), "{unknown}");
}
