//! Tests: slashes that are a way around a route.

use super::*;

fn with(listener: &str, routes: &str) -> String {
    GROUND
        .replace("8080\" }", &format!("8080\", {listener} }}"))
        .replace("  - upstream: api\n", routes)
}

#[test]
fn what_leads_around_a_guarded_route_is_told() {
    let guarded = "  - { match: { path: /admin }, upstream: api, addresses: { allow: [10.0.0.0/8] } }\n  - upstream: api\n";
    for (listener, column, path, example) in [
        ("slashes: pass", 46, "slashes", "`//`"),
        ("escaped_slashes: pass", 54, "escaped_slashes", "`/%2F`"),
    ] {
        let text = with(listener, guarded);
        let path = format!("listeners.web.{path}");
        warned(&text, (2, column), &path, example, "`guard`");
        warned(
            &text,
            (2, column),
            &path,
            "routes[0] guards at `/admin`: routes[1]",
            "",
        );
    }
    let quiet = [
        with("slashes: guard", guarded),
        with("slashes: merge, escaped_slashes: decode", guarded),
        with("slashes: refuse, escaped_slashes: refuse", guarded),
        with(
            "slashes: pass, escaped_slashes: pass",
            "  - upstream: api\n",
        ),
        with(
            "slashes: pass",
            "  - { upstream: api, addresses: { allow: [10.0.0.0/8] } }\n",
        ),
    ];
    for text in quiet {
        let loaded = from_text("p.yaml", &text, &|_| None).unwrap_or_else(|no| panic!("{no}"));
        assert_eq!(loaded.warnings, [], "{text}");
    }
}

#[test]
fn treatments_are_named() {
    in_listener(
        "{ address: \"127.0.0.1:80\", slashes: decode }",
        44,
        ".slashes",
        "treatment of slashes",
        "`merge`",
    );
    in_listener(
        "{ address: \"127.0.0.1:80\", escaped_slashes: merge }",
        52,
        ".escaped_slashes",
        "treatment of escaped slashes",
        "`decode`",
    );
}
