//! Tests: mistakes in breakers and outlier detection.

use super::*;

/// The warning stands in the block of the upstream, on line 8.
#[track_caller]
fn warned_in(block: &str, column: u32, key: &str, message: &str, help: &str) {
    warned(
        &format!("{GROUND}    {block}\n"),
        (8, column),
        &format!("upstreams.api.{key}"),
        message,
        help,
    );
}

#[test]
fn keys_of_breakers_have_ranges() {
    let wrong = |keys: &str, column, key: &str, message: &str, help: &str| {
        let lines = format!("    breaker: {{ {keys} }}");
        in_upstream(
            &lines,
            (8, column),
            &format!("breaker.{key}"),
            message,
            help,
        );
    };
    let range = "out of range; from";
    wrong(
        "consecutive_failures: 0",
        38,
        "consecutive_failures",
        range,
        "",
    );
    wrong("failure_rate: 0.5%", 30, "failure_rate", range, "");
    wrong(
        "failure_rate: 0.5",
        30,
        "failure_rate",
        "expected a share",
        "",
    );
    wrong("slow_rate: 0%", 27, "slow_rate", range, "");
    wrong("min_samples: 0", 29, "min_samples", range, "");
    wrong("window: 500ms", 24, "window", range, "");
    wrong("open_for: 1ms", 26, "open_for", range, "");
    wrong("open_for_max: 2h", 30, "open_for_max", range, "");
    wrong("jitter: 200%", 24, "jitter", "expected a share", "");
    wrong("probes: 0", 24, "probes", range, "");
    wrong("ramp: 0s", 22, "ramp", range, "");
    wrong(
        "scope: route",
        23,
        "scope",
        "`route` is not a scope",
        "endpoint",
    );
    wrong("failures: 5", 16, "failures", "not known", "");
    in_upstream("    breaker: 5", (8, 14), "breaker", "expected a map", "");
}

#[test]
fn keys_of_outlier_detection_have_ranges() {
    let wrong = |keys: &str, column, key: &str, message: &str| {
        let lines = format!("    outlier: {{ {keys} }}");
        in_upstream(&lines, (8, column), &format!("outlier.{key}"), message, "");
    };
    let range = "out of range; from";
    wrong("latency: 1", 25, "latency", range);
    wrong("min_endpoints: 1", 31, "min_endpoints", range);
    wrong("keep: 0", 22, "keep", range);
    wrong("keep: 10%", 22, "keep", "expected a whole number");
    wrong("interval: 10ms", 26, "interval", range);
    wrong("eject_for: 0s", 27, "eject_for", range);
}

#[test]
fn a_breaker_that_works_against_itself_is_told() {
    let warned = |keys: &str, column, key: &str, message: &str, help: &str| {
        let block = format!("breaker: {{ {keys} }}");
        warned_in(&block, column, &format!("breaker.{key}"), message, help);
    };
    warned(
        "consecutive_failures: off",
        38,
        "consecutive_failures",
        "it never opens",
        "write `off`",
    );
    warned(
        "slow_rate: 50%",
        27,
        "slow_rate",
        "no attempt counts as slow",
        "slow_call",
    );
    warned(
        "open_for: 1m",
        26,
        "open_for",
        "longer than `open_for_max`",
        "raise `open_for_max`",
    );
    warned(
        "slow_call: 10s",
        27,
        "slow_call",
        "ended by `timeouts.first_byte`",
        "counts as a failure",
    );
    warned_in(
        "breaker: { probes: 9 }\n    connections: { max: 8, idle: 8 }",
        24,
        "breaker.probes",
        "more probes than connections",
        "lower it",
    );
    warned_in(
        "breaker: { probes: 9 }\n    bulkhead: { per_endpoint: 8 }",
        24,
        "breaker.probes",
        "by `bulkhead.per_endpoint`",
        "lower it",
    );
}

#[test]
fn outlier_detection_without_effect_is_told() {
    let two = GROUND.replace(
        "[\"127.0.0.1:9001\"]",
        "[\"127.0.0.1:9001\", \"127.0.0.1:9002\"]",
    );
    let told = |keys: &str, column, key: &str, message: &str, help: &str| {
        warned(
            &format!("{two}    outlier: {{ {keys} }}\n"),
            (8, column),
            &format!("upstreams.api.outlier.{key}"),
            message,
            help,
        );
    };
    told(
        "keep: 2",
        22,
        "keep",
        "none of the 2 can ever be taken out",
        "lower it",
    );
    told(
        "min_endpoints: 3",
        31,
        "min_endpoints",
        "never compared",
        "lower it",
    );
    told(
        "failure_rate: off",
        30,
        "failure_rate",
        "nothing makes",
        "write `off`",
    );
    told(
        "eject_for: 10m",
        27,
        "eject_for",
        "longer than `eject_for_max`",
        "raise",
    );
    told(
        "consecutive_gateway_failures: 5",
        46,
        "consecutive_gateway_failures",
        "the breaker of the endpoint opens",
        "consecutive_failures: off",
    );
    // A name may stand for many endpoints, and fewer than the breaker's are looked at first.
    let many = two.replace("127.0.0.1:9002", "many.internal:1");
    for fine in [
        format!("{many}    outlier: {{ keep: 2, min_endpoints: 3 }}\n"),
        format!("{two}    outlier: {{ consecutive_gateway_failures: 3 }}\n"),
        format!("{two}    breaker: off\n    outlier: {{ consecutive_gateway_failures: 5 }}\n"),
    ] {
        assert_eq!(from_text("p.yaml", &fine, &|_| None).unwrap().warnings, []);
    }
}

#[test]
fn a_breaker_of_a_route_needs_an_upstream() {
    let route = |route: &str| GROUND.replace("upstream: api", route);
    warned(
        &route(
            "{ match: { path: /x }, respond: { status: 204 }, breaker: { probes: 2 } }\n  - upstream: api",
        ),
        (4, 54),
        "routes[0].breaker",
        "forwards nothing",
        "remove it",
    );
    warned(
        &route("{ upstream: api, breaker: { consecutive_failures: off } }"),
        (4, 55),
        "routes[0].breaker.consecutive_failures",
        "it never opens",
        "give one of the three",
    );
    in_route(
        "{ upstream: api, breaker: { scope: endpoint } }",
        33,
        ".breaker.scope",
        "not known",
        "",
    );
}
