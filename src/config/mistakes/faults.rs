//! Tests: what is said about faults that are injected on purpose.

use super::*;

/// In a flow map on line 4, so that a key of the fault is at a known column.
fn faulty(keys: &str) -> String {
    GROUND.replace(
        "upstream: api",
        &format!("{{ upstream: api, fault: {{ {keys} }} }}"),
    )
}

/// Every warning: its path and its message.
fn warnings(text: &str) -> Vec<(String, String)> {
    let loaded = from_text("p.yaml", text, &|_| None).unwrap_or_else(|refusal| panic!("{refusal}"));
    let each = loaded.warnings.into_iter();
    each.map(|warning| (warning.path, warning.message))
        .collect()
}

#[test]
fn every_fault_is_warned_of_in_words() {
    warned(
        &faulty(
            "delay: { distribution: { lognormal: { median: 20ms, p99: 200ms } }, share: 50% }, abort: { share: 10% }, bandwidth: 64KiB/s, only_with_header: { X-Fault: 1 }",
        ),
        (4, 22),
        "routes[0].fault",
        "injected on purpose: delay of 20ms in the median, p99 200ms to 50%, abort with 503 to 10%, 64KiB/s, by X-Fault",
        "meant for staging",
    );
    warned(
        &faulty("only_with_header: { X-Fault: 1 }"),
        (4, 22),
        "routes[0].fault",
        "no fault is named",
        "`delay`",
    );
}

#[test]
fn what_cannot_happen_is_warned_of_too() {
    let text = faulty("bandwidth: 1KiB/s").replace("upstream: api,", "respond: {},");
    let told = warnings(&text);
    assert!(
        told.iter().any(|(path, message)| {
            path == "routes[0].fault.bandwidth" && message.contains("without effect")
        }),
        "{told:?}"
    );
    let told = warnings(&faulty("delay: { distribution: 40s, max: 60s }"));
    assert!(
        told.iter().any(|(path, message)| {
            path == "routes[0].fault.delay" && message.contains("`total` of its upstream (30s)")
        }),
        "{told:?}"
    );
    // It is cut before.
    assert_eq!(warnings(&faulty("delay: { distribution: 40s }")).len(), 1);
}

#[test]
fn mistakes_in_a_fault_are_named() {
    let mistake = |keys: &str, column: u32, path: &str, message: &str, help: &str| {
        one(
            &faulty(keys),
            (4, column),
            &format!("routes[0].fault{path}"),
            message,
            help,
        );
    };
    mistake(
        "abort: { status: 200 }",
        48,
        ".abort.status",
        "from 400 to 599",
        "",
    );
    mistake(
        "abort: { share: 0% }",
        47,
        ".abort.share",
        "out of range",
        "",
    );
    mistake(
        "delay: { share: 5% }",
        38,
        ".delay",
        "`distribution` is missing",
        "",
    );
    mistake(
        "delay: { distribution: 2h }",
        54,
        ".delay.distribution",
        "from 1us to 1h",
        "",
    );
    mistake(
        "delay: { distribution: { normal: 5ms } }",
        56,
        ".delay.distribution.normal",
        "`normal` is not known",
        "",
    );
    mistake(
        "delay: { distribution: { pareto: { minimum: 5ms, p99: 1ms } } }",
        64,
        ".delay.distribution.pareto",
        "the p99 is below the minimum",
        "one in a hundred",
    );
    mistake(
        "bandwidth: 64KiB",
        42,
        ".bandwidth",
        "bytes per second such as `64KiB/s`",
        "/s",
    );
    mistake("bandwidth: 0B/s", 42, ".bandwidth", "out of range", "");
}
