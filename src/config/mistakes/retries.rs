//! Tests: what is said about retries that cannot do what was written.

use super::*;

#[track_caller]
fn warned_of(lines: &str, column: u32, path: &str, message: &str, help: &str) {
    let text = format!("{GROUND}{lines}\n");
    let path = format!("upstreams.api.retry.{path}");
    warned(&text, (8, column), &path, message, help);
}

#[test]
fn values_out_of_range_are_refused() {
    for (block, path, message) in [
        ("max_attempts: 0", "max_attempts", "out of range"),
        ("max_attempts: 11", "max_attempts", "out of range"),
        ("on: [200]", "on[0]", "this status is no failure"),
        ("on: [503, 600]", "on[1]", "this status is no failure"),
        ("on: 503", "on", "expected a list"),
        ("grpc_on: [ok]", "grpc_on[0]", "status of gRPC"),
        ("budget: 101%", "budget", "share"),
        ("attempt_header: 'a b'", "attempt_header", "header field"),
        ("attempt_header: Host", "attempt_header", "frames a request"),
        ("backoff: { base: 0s }", "backoff.base", "out of range"),
    ] {
        let refusal = refusal(&format!("{GROUND}    retry: {{ {block} }}\n"));
        let first = &refusal.diagnostics[0];
        assert_eq!(
            first.path,
            format!("upstreams.api.retry.{path}"),
            "{refusal}"
        );
        let said = format!("{} {}", first.message, first.help.as_deref().unwrap_or(""));
        assert!(said.contains(message), "{refusal}");
    }
}

#[test]
fn endpoints_are_told_of_time_by_a_field_that_means_nothing_else() {
    in_upstream(
        "    timeouts: { deadline_header: Via }",
        (8, 34),
        "timeouts.deadline_header",
        "where proxies tell",
        "a name of your own",
    );
}

#[test]
fn contradictions_are_warned_of() {
    warned_of(
        "    retry: { backoff: { base: 1s, max: 100ms } }",
        40,
        "backoff.max",
        "shorter than `base`",
        "raise `max`",
    );
    warned_of(
        "    retry: { retry_after_max: 1m }",
        31,
        "retry_after_max",
        "no shorter than `total`",
        "lower it",
    );
    warned_of(
        "    retry: { budget: off }",
        22,
        "budget",
        "keep an overload alive",
        "10%",
    );
    warned_of(
        "    retry: { max_attempts: 3 }\n    timeouts: { first_byte: 5s, total: 5s }",
        28,
        "max_attempts",
        "no time for another attempt",
        "lower `timeouts.first_byte`",
    );
}

#[test]
fn a_hedge_of_what_stands_for_several_endpoints_is_not_warned_of() {
    let address = "endpoints: [\"127.0.0.1:9000\"]";
    for several in [
        format!("{address}, endpoints_file: /list.yaml"),
        "endpoints: [\"app.internal:80\"]".to_owned(),
        "endpoints: [\"srv:_http._tcp.api\"]".to_owned(),
    ] {
        let text = format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes: [ {{ upstream: api }} ]\n\
             upstreams: {{ api: {{ {several}, hedge: {{}} }} }}\n"
        );
        let loaded = from_text("a.yaml", &text, &|_| None).unwrap();
        let warned = loaded
            .warnings
            .iter()
            .find(|one| one.path.ends_with("hedge"));
        assert!(warned.is_none(), "{several}: {warned:?}");
    }
}

#[test]
fn a_hedge_without_another_endpoint_is_warned_of() {
    warned(
        &format!("{GROUND}    hedge: {{}}\n"),
        (8, 12),
        "upstreams.api.hedge",
        "there is no other",
        "add an endpoint",
    );
    for (block, path) in [
        ("after: p75", "after"),
        ("min_samples: 5", "min_samples"),
        ("max: 51%", "max"),
    ] {
        let refusal = refusal(&format!("{GROUND}    hedge: {{ {block} }}\n"));
        let path = format!("upstreams.api.hedge.{path}");
        let mut errors = refusal.diagnostics.iter();
        let error = errors.find(|one| one.level == Level::Error).unwrap();
        assert_eq!(error.path, path, "{refusal}");
    }
}
