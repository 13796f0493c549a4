//! Tests: mistakes in active checks.

use super::*;

/// The ground with these keys of active checks, which begin at line 8, column 25.
fn active(keys: &str) -> String {
    format!("{GROUND}    health: {{ active: {{ {keys} }} }}\n")
}

#[track_caller]
fn wrong(keys: &str, column: u32, key: &str, message: &str, help: &str) {
    let path = format!("upstreams.api.health.active.{key}");
    one(&active(keys), (8, column), &path, message, help);
}

#[track_caller]
fn doubtful(keys: &str, column: u32, key: &str, message: &str, help: &str) {
    let path = format!("upstreams.api.health.active.{key}");
    warned(&active(keys), (8, column), &path, message, help);
}

#[test]
fn keys_of_checks_have_kinds_and_ranges() {
    wrong("type: https", 31, "type", "a kind of check", "`http`");
    wrong("path: healthz", 31, "path", "a path", "begins with `/`");
    wrong("method: get", 33, "method", "a method", "capitals");
    wrong("port: 0", 31, "port", "out of range; from 1 to 65535", "");
    wrong(
        "status: 199",
        33,
        "status",
        "a status such as",
        "between 200 and 599",
    );
    wrong(
        "status: [200, 399-200]",
        39,
        "status[1]",
        "a status",
        "above the last",
    );
    wrong(
        "status: 2xx",
        33,
        "status",
        "a status",
        "between 200 and 599",
    );
    wrong("status: []", 33, "status", "the list is empty", "");
    wrong("body: \"\"", 31, "body", "a text", "empty");
    wrong(
        "interval: 9ms",
        35,
        "interval",
        "out of range; from 10ms to 1d",
        "",
    );
    wrong("fast_interval: 2d", 40, "fast_interval", "out of range", "");
    wrong(
        "slow_interval: 1ms",
        40,
        "slow_interval",
        "out of range",
        "",
    );
    wrong(
        "jitter: 91%",
        33,
        "jitter",
        "out of range; from 0% to 90%",
        "",
    );
    wrong(
        "timeout: 0s",
        34,
        "timeout",
        "out of range; from 1ms to 1h",
        "",
    );
    wrong("rise: 0", 31, "rise", "out of range; from 1 to 100", "");
    wrong("fall: 101", 31, "fall", "out of range; from 1 to 100", "");
    wrong(
        "initial: up",
        34,
        "initial",
        "how an endpoint begins",
        "`healthy`",
    );
    wrong(
        "history: 0",
        34,
        "history",
        "out of range; from 1 to 256",
        "",
    );
    wrong(
        "at_once: 0",
        34,
        "at_once",
        "out of range; from 1 to 1024",
        "",
    );
    wrong("intervall: 1s", 25, "intervall", "not known", "interval");
}

#[test]
fn a_check_writes_its_own_framing() {
    wrong(
        "headers: { Host: a }",
        36,
        "headers.Host",
        "writes this field",
        "write `host: …`",
    );
    wrong(
        "headers: { X-A: b, content-length: 5 }",
        44,
        "headers.content-length",
        "writes this field",
        "remove it",
    );
    wrong(
        "method: CONNECT",
        33,
        "method",
        "opens a tunnel",
        "type: tcp",
    );
}

#[test]
fn times_of_checks_fit_each_other() {
    doubtful(
        "timeout: 6s",
        34,
        "timeout",
        "longer than `interval`",
        "raise `interval`",
    );
    doubtful(
        "interval: 1500ms",
        35,
        "interval",
        "longer than `interval`",
        "lower `timeout`",
    );
    doubtful(
        "fast_interval: 10s",
        40,
        "fast_interval",
        "is then used instead",
        "lower it",
    );
    let quick = active("interval: 500ms, timeout: 500ms");
    let loaded = from_text("p.yaml", &quick, &|_| None).unwrap();
    assert_eq!(loaded.warnings, []);
}

#[test]
fn keys_of_other_types_have_no_effect() {
    doubtful(
        "service: app",
        34,
        "service",
        "checks of type `http`",
        "another `type`",
    );
    doubtful(
        "type: tcp, path: /",
        42,
        "path",
        "checks of type `tcp`",
        "remove it",
    );
    doubtful(
        "type: tcp, host: a",
        42,
        "host",
        "checks of type `tcp`",
        "remove it",
    );
    doubtful(
        "type: grpc, status: 200",
        45,
        "status",
        "checks of type `grpc`",
        "",
    );
    doubtful(
        "method: HEAD, body: ok",
        45,
        "body",
        "no check would ever pass",
        "GET",
    );
    let unix = active("port: 9100").replace("127.0.0.1:9001", "unix:/run/a.sock");
    let path = "upstreams.api.health.active.port";
    warned(&unix, (8, 31), path, "has no port", "remove it");
}

#[test]
fn checks_are_on_where_health_is_written_and_can_be_off() {
    let read = |lines: &str| {
        let text = format!("{GROUND}{lines}");
        let loaded = from_text("p.yaml", &text, &|_| None).unwrap();
        loaded.config.upstreams["api"].health.clone()
    };
    let on = Some(crate::config::schema::ActiveHealth::default());
    assert_eq!(read(""), None);
    assert_eq!(read("    health: off\n"), None);
    assert_eq!(read("    health: { active: off }\n").unwrap().active, None);
    assert_eq!(read("    health: {}\n").unwrap().active, on);
    assert_eq!(read("    health: { active: {} }\n").unwrap().active, on);
}
