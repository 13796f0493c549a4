//! Tests: mistakes in the policy and its options.

use super::*;

#[test]
fn an_unknown_policy_names_the_nearest() {
    in_upstream(
        "    balance: p2d",
        (8, 14),
        "balance",
        "`p2d` is not a balance policy",
        "did you mean `p2c`?",
    );
    in_upstream(
        "    balance: { p2c: { choice: 3 } }",
        (8, 23),
        "balance.p2c.choice",
        "not known",
        "`choices`",
    );
    in_upstream(
        "    balance: { leastconnections: {} }",
        (8, 16),
        "balance.leastconnections",
        "not a balance",
        "`least_connections`",
    );
    in_upstream(
        "    balance: { random: { choices: 2 } }",
        (8, 24),
        "balance.random",
        "has no options",
        "",
    );
    in_upstream(
        "    balance: { random: {}, p2c: {} }",
        (8, 14),
        "balance",
        "exactly one policy",
        "p2c: { choices: 3 }",
    );
    in_upstream(
        "    balance: { p2c: { choices: 1 } }",
        (8, 32),
        "balance.p2c.choices",
        "from 2 to 16",
        "",
    );
}

#[test]
fn an_algorithm_is_no_policy() {
    let help = "write `{ consistent_hash: { algorithm: maglev } }`";
    in_upstream(
        "    balance: maglev",
        (8, 14),
        "balance",
        "`maglev` is not a balance policy",
        help,
    );
    in_upstream(
        "    balance: { maglev: {} }",
        (8, 16),
        "balance.maglev",
        "not a balance policy",
        help,
    );
}

/// The mistake stands in the options of a policy, which begin at line 8, column 16.
#[track_caller]
fn in_policy(options: &str, column: u32, path: &str, message: &str, help: &str) {
    in_upstream(
        &format!("    balance: {{ {options} }}"),
        (8, column),
        &format!("balance.{path}"),
        message,
        help,
    );
}

#[test]
fn options_of_latency_aware_policies_have_ranges() {
    in_policy(
        "peak_ewma: { decay: 50ms }",
        36,
        "peak_ewma.decay",
        "from 100ms to 1h",
        "",
    );
    in_policy(
        "prequal: { q_rif: 101% }",
        34,
        "prequal.q_rif",
        "expected a share such as `10%`, found `101%`",
        "percentage",
    );
    in_policy(
        "prequal: { q_rif: 0.84 }",
        34,
        "prequal.q_rif",
        "expected a share",
        "`10%`",
    );
    in_policy(
        "prequal: { q_riff: 84% }",
        27,
        "prequal.q_riff",
        "not known",
        "did you mean `q_rif`?",
    );
    in_policy(
        "prequal: { pool: 1 }",
        33,
        "prequal.pool",
        "from 2 to 64",
        "",
    );
    in_policy(
        "prequal: { probes: 0 }",
        35,
        "prequal.probes",
        "from 1 to 16",
        "",
    );
    in_policy(
        "prequal: { report: \"X In Flight\" }",
        35,
        "prequal.report",
        "the name of a header field",
        "letters, digits",
    );
}

#[test]
fn a_hash_key_is_one_part_of_the_request() {
    let in_key = |key: &str, column, path: &str, message: &str, help: &str| {
        in_policy(
            &format!("consistent_hash: {{ key: {key} }}"),
            column,
            &format!("consistent_hash.key{path}"),
            message,
            help,
        );
    };
    in_key(
        "clientip",
        40,
        "",
        "`clientip` is not a part of the request",
        "did you mean `client_ip`?",
    );
    in_key(
        "header",
        40,
        "",
        "`header` needs a name",
        "{ header: NAME }",
    );
    in_key(
        "{ header: X-A, query: a }",
        40,
        "",
        "exactly one of `header`, `query`, `cookie`",
        "",
    );
    in_key("{}", 40, "", "exactly one of", "");
    in_key(
        "{ headers: X-A }",
        42,
        ".headers",
        "not known here",
        "did you mean `header`?",
    );
    in_key(
        "{ header: \"X A\" }",
        50,
        ".header",
        "the name of a header field",
        "",
    );
    in_key("{ query: \"\" }", 49, ".query", "expected a text", "empty");
    in_key(
        "{ cookie: \"a;b\" }",
        50,
        ".cookie",
        "the name of a cookie",
        "",
    );
    in_key(
        "{ cookie: { create: true } }",
        50,
        ".cookie",
        "the key `name` is missing",
        "",
    );
    in_key(
        "{ cookie: { name: a, ttl: 1h } }",
        61,
        ".cookie.ttl",
        "the cookie is not created",
        "`create: true`",
    );
    in_key(
        "{ cookie: { name: a, create: true, path: \"/;\" } }",
        81,
        ".cookie.path",
        "expected a path",
        "`;`",
    );
}

#[test]
fn options_of_consistent_hashing_are_checked() {
    let in_hash = |options: &str, column, path: &str, message: &str, help: &str| {
        in_policy(
            &format!("consistent_hash: {{ {options} }}"),
            column,
            &format!("consistent_hash.{path}"),
            message,
            help,
        );
    };
    in_hash(
        "algorithm: magelv",
        46,
        "algorithm",
        "`magelv` is not a hash algorithm",
        "did you mean `maglev`?",
    );
    in_hash(
        "virtual_nodes: 0",
        50,
        "virtual_nodes",
        "from 1 to 10000",
        "",
    );
    in_hash(
        "table_size: 65536",
        47,
        "table_size",
        "not a prime number",
        "65521 and 65537",
    );
    in_hash("table_size: 4", 47, "table_size", "not a prime", "3 and 5");
    in_hash(
        "table_size: 5000012",
        47,
        "table_size",
        "from 3 to 5000011",
        "",
    );
    in_hash(
        "table_size: \"${SIZE}\"",
        47,
        "table_size",
        "not a prime number",
        "65537 and 655373 are prime",
    );
    for bound in ["1", "0.5", "1.000"] {
        in_hash(
            &format!("bounded_load: {bound}"),
            49,
            "bounded_load",
            "out of range; above 1, up to 10",
            "write `on` for 1.25",
        );
    }
    in_hash(
        "bounded_load: 125",
        49,
        "bounded_load",
        "out of range",
        "write 1.25 for 125 %",
    );
    in_hash(
        "bounded_load: true",
        49,
        "bounded_load",
        "expected a number such as `1.25`, found `true`",
        "",
    );
    in_hash(
        "bounded_load: \"1.5\"",
        49,
        "bounded_load",
        "expected a number",
        "remove the quotes",
    );
}

#[test]
fn options_without_effect_are_told() {
    let in_hash = |options: &str, column, key: &str, message: &str, help: &str| {
        warned(
            &format!("{GROUND}    balance: {{ consistent_hash: {{ {options} }} }}\n"),
            (8, column),
            &format!("upstreams.api.balance.consistent_hash.{key}"),
            message,
            help,
        );
    };
    in_hash(
        "table_size: 655373",
        35,
        "table_size",
        "without effect: `ring` has none",
        "write `algorithm: maglev`",
    );
    in_hash(
        "algorithm: rendezvous, virtual_nodes: 100",
        58,
        "virtual_nodes",
        "without effect: `rendezvous` has none",
        "write `algorithm: ring`",
    );
    in_hash(
        "algorithm: maglev, table_size: 97",
        66,
        "table_size",
        "fewer than 100 entries for each of 1 endpoints",
        "655373",
    );
    warned(
        &format!("{GROUND}    balance: {{ prequal: {{ pool: 2 }} }}\n"),
        (8, 33),
        "upstreams.api.balance.prequal.pool",
        "more probes than `pool` holds",
        "raise `pool`",
    );
}

#[test]
fn what_repeats_a_default_is_no_mistake() {
    let options = "algorithm: maglev, virtual_nodes: 160, table_size: 65537";
    let text = format!("{GROUND}    balance: {{ consistent_hash: {{ {options} }} }}\n");
    assert_eq!(from_text("p.yaml", &text, &|_| None).unwrap().warnings, []);
}

#[test]
fn proxies_that_draw_their_own_endpoints_do_not_agree_on_keys() {
    let text = GROUND.replace("127.0.0.1:9001", "many.internal:1");
    warned(
        &format!("{text}    balance: consistent_hash\n    random_subset: 20\n"),
        (9, 5),
        "upstreams.api.random_subset",
        "each process draws its own endpoints",
        "use another policy",
    );
}
