//! Tests: mistakes in what caps attempts and lets requests wait.

use super::*;

/// The warning stands in the block `bulkhead` on line 8, which begins at column 15.
#[track_caller]
fn told(keys: &str, rest: &str, column: u32, key: &str, message: &str, help: &str) {
    let text = format!("{GROUND}    bulkhead: {{ {keys} }}\n{rest}");
    let path = format!("upstreams.api.bulkhead.{key}");
    warned(&text, (8, column), &path, message, help);
}

#[test]
fn keys_have_ranges() {
    let wrong = |keys: &str, column, key: &str, message: &str| {
        let line = format!("    bulkhead: {{ {keys} }}");
        in_upstream(&line, (8, column), &format!("bulkhead.{key}"), message, "");
    };
    let range = "out of range; from 1 to 1000000";
    wrong("max_in_flight: 0", 32, "max_in_flight", range);
    wrong("per_endpoint: 1000001", 31, "per_endpoint", range);
    wrong(
        "queue: 1000001",
        24,
        "queue",
        "out of range; from 0 to 1000000",
    );
    wrong(
        "queue_timeout: 0ms",
        32,
        "queue_timeout",
        "out of range; from 1ms",
    );
    wrong("order: filo", 24, "order", "is not an order");
    wrong(
        "adaptive: { tolerance: 0.9 }",
        40,
        "adaptive.tolerance",
        "out of range",
    );
    wrong(
        "adaptive: { algorithm: aimd }",
        40,
        "adaptive.algorithm",
        "is not an algorithm",
    );
    wrong("shed: { high: 1s }", 25, "shed.high", "is not known here");
}

#[test]
fn priorities_have_names() {
    in_route(
        "{ upstream: api, priority: urgent }",
        32,
        ".priority",
        "is not a priority",
        "",
    );
}

#[test]
fn what_contradicts_is_told_with_its_consequence() {
    let total = "    timeouts: { total: 2s, first_byte: 1s }\n";
    told(
        "queue_timeout: 3s",
        total,
        32,
        "queue_timeout",
        "`timeouts.total`",
        "lower it",
    );
    told(
        "order: lifo, standing: { after: 1s }",
        "",
        40,
        "standing",
        "the order is `lifo`",
        "remove",
    );
    let standing = "standing: { timeout: 2s }";
    told(
        standing,
        "",
        38,
        "standing.timeout",
        "`queue_timeout`",
        "lower it",
    );
    let shed = "shed: { low: 1s, normal: 500ms }";
    told(shed, "", 42, "shed.normal", "refused first", "raise it");
    let shed = "shed: { low: off, normal: 1s }";
    told(shed, "", 30, "shed.low", "`normal` is refused", "remove it");
    let caps = "max_in_flight: 11, per_endpoint: 10";
    told(caps, "", 32, "max_in_flight", "which is 10", "lower it");
    let connections = "    connections: { max: 8, idle: 8 }\n";
    told(
        "per_endpoint: 9, max_in_flight: 9",
        connections,
        31,
        "per_endpoint",
        "does not wait",
        "lower it",
    );
}

#[test]
fn an_adaptive_limit_has_bounds_that_agree() {
    told(
        "max_in_flight: 64, adaptive: {}",
        "",
        32,
        "max_in_flight",
        "`adaptive.max`",
        "remove it",
    );
    told(
        "adaptive: { min: 30, max: 20 }",
        "",
        34,
        "adaptive.min",
        "always",
        "lower it",
    );
    told(
        "adaptive: { initial: 10 }",
        "",
        38,
        "adaptive.initial",
        "20 to 1024",
        "between",
    );
}
