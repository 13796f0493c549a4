//! Tests: mistakes of a whole file, and how they are worded.

use super::*;

#[test]
fn what_is_given_twice_is_shown_the_second_time() {
    in_upstream(
        "    protocol: h1\n    protocol: h2",
        (9, 5),
        "protocol",
        "given twice; it stands on line 8",
        "keep one",
    );
    let routes = "name: a\n    upstream: api\n  - name: a\n    upstream: api";
    one(
        &GROUND.replace("upstream: api", routes),
        (6, 11),
        "routes[1].name",
        "routes[0] has the same name",
        "",
    );
    let endpoints = "[\"h:1\", { address: \"h:2\", id: \"h\" }, { address: \"h:3\", id: \"h\" }]";
    let text = GROUND.replace("[\"127.0.0.1:9001\"]", endpoints);
    one(
        &text,
        (7, 75),
        "upstreams.api.endpoints[2]",
        "endpoints[1] has the same id",
        "unique",
    );
    let text = GROUND.replace("[\"127.0.0.1:9001\"]", "[\"h:1\", \"h:1\"]");
    one(
        &text,
        (7, 24),
        "upstreams.api.endpoints[1]",
        "endpoints[0] has the same address",
        "`weight`",
    );
}

#[test]
fn two_listeners_cannot_share_an_address() {
    let text = GROUND.replace("routes:", "  x: { address: \"127.0.0.1:8080\" }\nroutes:");
    one(
        &text,
        (3, 17),
        "listeners.x.address",
        "`listeners.web` has the same address",
        "",
    );
    let text = format!("{GROUND}admin: {{ address: \"127.0.0.1:8080\" }}\n");
    one(
        &text,
        (8, 19),
        "admin.address",
        "`listeners.web` has the same address",
        "",
    );
}

#[test]
fn operators_from_elsewhere_need_a_token() {
    let text = format!("{GROUND}admin: {{ address: \"0.0.0.0:9900\" }}\n");
    one(
        &text,
        (8, 19),
        "admin.address",
        "not on loopback: whoever reaches the address could change what runs",
        "name a file of tokens in `admin.token_file`, or listen on 127.0.0.1 or a Unix socket",
    );
    for admin in [
        "address: \"0.0.0.0:9900\", token_file: tokens",
        "address: \"[::1]:9900\"",
        "address: \"unix:/run/plimsoll.sock\"",
    ] {
        let text = format!("{GROUND}admin: {{ {admin} }}\n");
        let loaded = from_text("p.yaml", &text, &|_| None).unwrap();
        assert!(loaded.warnings.is_empty(), "{admin}");
    }
}

#[test]
fn nothing_to_serve_is_an_error() {
    one("", (1, 1), "", "the file is empty", "`listeners`");
    one("# nothing\n", (1, 1), "", "the file is empty", "");
    one(
        "routes: []\n",
        (1, 1),
        "listeners",
        "no listener is given",
        "0.0.0.0:8080",
    );
    one(
        "listeners: {}\n",
        (1, 1),
        "listeners",
        "no listener is given",
        "",
    );
    one(
        &GROUND.replace("[\"127.0.0.1:9001\"]", "[]"),
        (7, 16),
        "upstreams.api.endpoints",
        "no endpoints",
        "",
    );
    one(
        "- a\n",
        (1, 1),
        "",
        "expected a map, found a list",
        "`listeners`",
    );
}

#[test]
fn what_is_no_yaml_is_shown_where_reading_stopped() {
    let refusal = refusal("listeners:\n  web: { address: 'x' \nroutes: []\n");
    let [error] = refusal.diagnostics.as_slice() else {
        panic!("{refusal}")
    };
    assert!(error.message.starts_with("this is not YAML: "), "{refusal}");
    assert_eq!(error.line, 3, "{refusal}");
    one(
        "a: 1\n---\nb: 2\n",
        (2, 1),
        "",
        "a second document",
        "`---`",
    );
    one("listeners: !x {}\n", (1, 15), "listeners", "tags", "");
    one("? [a]\n: b\n", (1, 3), "", "a key must be text", "");
    one(
        "a: &a [*a]\n",
        (1, 8),
        "a[0]",
        "names the value that it stands in",
        "",
    );
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let parts = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
    }
    let refusal = refusal(&text);
    assert!(
        refusal
            .to_string()
            .contains("expands to more than 1000000 values"),
        "{refusal}"
    );
    let deep = format!("a: {}{}\n", "[".repeat(30), "]".repeat(30));
    assert!(refusal_of_depth(&deep).contains("a: the key `a` is not known"));
    let deeper = format!("a: {}{}\n", "[".repeat(40_000), "]".repeat(40_000));
    assert!(refusal_of_depth(&deeper).contains("this is not YAML"));
}

fn refusal_of_depth(text: &str) -> String {
    refusal(text).to_string()
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let text = "#".repeat(super::super::read::MAX_BYTES as usize + 1);
    assert!(refusal(&text).to_string().contains("larger than 4 MiB"));
}

#[test]
fn variables_are_named_and_their_values_never_shown() {
    in_upstream(
        "    protocol: ${NOPE}",
        (8, 15),
        "protocol",
        "`NOPE` is not set",
        "${NOPE:-default}",
    );
    in_upstream(
        "    protocol: ${NOPE",
        (8, 15),
        "protocol",
        "without a closing `}`",
        "$${",
    );
    let values = "    protocol: ${SECRET}
    balance: ${SECRET}
    timeouts: { connect: \"${SECRET}\" }
    connections: { max: \"${SECRET}\" }
    tls: { name: \"${SECRET}/\", verify: \"${SECRET}\" }
";
    let routes = "match: { path: { regex: \"(${SECRET}\" }, method: \"${SECRET}\", host: \"${SECRET}:\" }\n    upstream: ${SECRET}";
    let text = format!(
        "{}{values}admin: {{ address: \"${{SECRET}}\" }}\n",
        GROUND.replace("upstream: api", routes)
    );
    let refusal = refusal(&text);
    assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    assert_eq!(refusal.errors(), 11, "{refusal}");
}

#[test]
fn every_error_is_listed_in_the_order_of_the_file() {
    let text = "\
listeners:
  web: { adress: \"127.0.0.1:80\" }
routes:
  - upstream: api
    rewite: { prefix: / }
upstreams:
  apis:
    endpoints: [a]
    balance: fastest
";
    let refusal = refusal(text);
    let places: Vec<_> = refusal
        .diagnostics
        .iter()
        .map(|diagnostic| (diagnostic.line, diagnostic.column))
        .collect();
    assert_eq!(
        places,
        [(2, 8), (2, 10), (4, 15), (5, 5), (8, 17), (9, 14)],
        "{refusal}"
    );
}

#[test]
fn an_error_is_rendered_with_its_line_and_a_caret() {
    let text = format!("{GROUND}    balance: p2d # the best\n");
    let expected = "\
p.yaml:8:14: error: upstreams.api.balance: `p2d` is not a balance policy
 8 |     balance: p2d # the best
   |              ^^^
  = did you mean `p2c`? known: `round_robin`, `random`, `least_connections`, `p2c`, `peak_ewma`, `prequal`, `consistent_hash`, `weighted_round_robin`

1 error";
    assert_eq!(refusal(&text).to_string(), expected);
    let json = serde_json::to_value(refusal(&text)).unwrap();
    let one = &json["diagnostics"][0];
    assert_eq!(
        (&one["line"], &one["column"], &one["level"]),
        (&8.into(), &14.into(), &"error".into())
    );
}

#[test]
fn warnings_do_not_refuse() {
    let text = "\
listeners:
  web: { address: \"127.0.0.1:0\" }
  idle: { address: \"127.0.0.1:0\" }
routes:
  - { match: { listener: web }, upstream: api }
  - { match: { listener: web, path: /x }, respond: {}, host: endpoint }
upstreams:
  api:
    endpoints: [{ address: \"h:1\", weight: 0 }]
    tls: { verify: false }
    timeouts: { connect: 40s }
    connections: { max: 1, idle: 2 }
  spare: { endpoints: [\"h:2\"] }
";
    let warnings = from_text("p.yaml", text, &|_| None).unwrap().warnings;
    let found: Vec<_> = warnings
        .iter()
        .map(|warning| (warning.line, warning.path.as_str()))
        .collect();
    let expected = [
        (3, "listeners.idle"),
        (6, "routes[1].host"),
        (9, "upstreams.api.endpoints"),
        (10, "upstreams.api.tls.verify"),
        (11, "upstreams.api.timeouts.connect"),
        (12, "upstreams.api.connections.idle"),
        (13, "upstreams.spare"),
    ];
    assert_eq!(found, expected);
    assert!(
        warnings
            .iter()
            .all(|warning| warning.level == Level::Warning && warning.help.is_some())
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_from_a_faulty_one() {
    let missing = std::path::Path::new("no-such-folder/plimsoll.yaml");
    let refusal = super::super::read::load(missing, &|_| None).unwrap_err();
    assert!(refusal.unreadable);
    assert!(
        refusal
            .to_string()
            .starts_with("no-such-folder/plimsoll.yaml: error: cannot be read: "),
        "{refusal}"
    );
}

#[test]
fn a_mistake_that_aliases_multiply_is_not_listed_without_end() {
    let uses = vec!["*a"; 5000].join(", ");
    let text = format!("{GROUND}  b: &b {{ endpoints: [&a \"h\", {uses}] }}\n");
    let refusal = refusal(&text);
    assert_eq!(refusal.diagnostics.len(), 1001);
    assert!(
        refusal
            .to_string()
            .contains("4002 more findings are not listed")
    );
}

#[test]
fn where_operators_connect_is_found_in_a_file_with_other_mistakes() {
    let name = format!("plimsoll-admin-{}.yaml", std::process::id());
    let path = std::env::temp_dir().join(name);
    let find = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let admin =
            super::super::read::admin(&path, &|name| (name == "PORT").then(|| "9901".to_owned()));
        admin.map(|admin| admin.address.to_string())
    };
    let broken =
        "routes: [ { upstream: nowhere } ]\nadmin: { address: \"127.0.0.1:${PORT}\" }\nwrong: 1\n";
    assert_eq!(find(broken).as_deref(), Some("127.0.0.1:9901"));
    assert_eq!(find("admin: { address: nowhere }\n"), None);
    assert_eq!(find("admin: off\n"), None);
    assert_eq!(find("admin: [\n"), None);
    std::fs::remove_file(&path).unwrap();
}
