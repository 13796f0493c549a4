//! Tests: mistakes in TLS with clients.

use super::*;

/// The mistake stands in the `tls` of the listener, which begins at column 45.
fn listener(tls: &str) -> String {
    format!(
        "{{ address: \"127.0.0.1:8443\", tls: {{ certificates: [ {{ cert: a, key: b }} ], {tls} }} }}"
    )
}

/// Column of `part` in the line of the listener.
fn column(line: &str, part: &str) -> u32 {
    let at = line.find(part).expect("it is written there");
    8 + u32::try_from(at).unwrap()
}

#[track_caller]
fn wrong(tls: &str, part: &str, path: &str, message: &str, help: &str) {
    let line = listener(tls);
    let column = column(&line, part);
    in_listener(&line, column, &format!(".tls{path}"), message, help);
}

#[test]
fn what_clients_are_asked_for_is_checked() {
    wrong(
        "client: { ca: c, mode: maybe }",
        "maybe",
        ".client.mode",
        "`maybe` is not a way to ask clients for certificates",
        "",
    );
    wrong(
        "client: { ca: c, header: { X-Who: name } }",
        "name }",
        ".client.header.X-Who",
        "a part of a certificate",
        "",
    );
    wrong(
        "client: { ca: c, header: { Host: subject } }",
        "Host",
        ".client.header.Host",
        "frames a request",
        "a name of your own",
    );
    wrong(
        "client: { ca: c, header: { X_Forwarded_For: subject } }",
        "X_Forwarded_For",
        ".client.header.X_Forwarded_For",
        "where proxies tell",
        "a name of your own",
    );
    wrong(
        "client: { ca: c, header: { Accept: subject } }",
        "Accept",
        ".client.header.Accept",
        "means something else",
        "a name of your own",
    );
    wrong(
        "client: { ca: c, header: { X-Who: subject, x_who: names } }",
        "x_who",
        ".client.header.x_who",
        "for the same",
        "another name",
    );
    wrong("client: { mode: require }", "{ mode", ".client", "`ca`", "");
}

#[test]
fn numbers_have_ranges() {
    wrong("handshakes: 0", "0 }", ".handshakes", "out of range", "");
    wrong(
        "expiry_warning: 1s",
        "1s",
        ".expiry_warning",
        "out of range",
        "",
    );
    wrong(
        "sni_matches_host: maybe",
        "maybe",
        ".sni_matches_host",
        "`true` or `false`",
        "",
    );
}

#[test]
fn certificates_of_which_nothing_comes_are_warned_of() {
    let line = listener("client: { ca: c, mode: optional }");
    let text = GROUND.replace("{ address: \"127.0.0.1:8080\" }", &line);
    warned(
        &text,
        (2, column(&line, "client:")),
        "listeners.web.tls.client",
        "nothing comes of them",
        "mode: require",
    );
}
