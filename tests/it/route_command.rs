//! `plimsoll route`: where a request would go, which keys would move, what a running process decides.

use std::net::SocketAddr;
use std::path::PathBuf;

use plimsoll::admin::decisions::Latest;
use plimsoll::admin::signals::Readings;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Backend, Client, DEADLINE, Directory, Process, Proxy, Raw, eventually};

/// Two routes that do not match, a split, a redirect, an answer, and an upstream of every kind.
const CONFIG: &str = r#"listeners:
  web: { address: "127.0.0.1:8080", trusted_proxies: ["10.0.0.0/8"] }
  work: { address: "127.0.0.1:8081", underscores: refuse }
routes:
  - { name: beta, match: { host: api.example.com, header: { X-Beta: "1" } }, upstream: api }
  - { name: old, match: { host: "*.example.org" }, redirect: { scheme: https } }
  - { name: split, match: { path: /v1/ }, split: { api: 3, cache: 1 }, rewrite: { prefix: / } }
  - { name: health, match: { path: { exact: /healthz } }, respond: { status: 200, body: ok } }
  - { name: work, match: { listener: work }, upstream: tiers }
  - { name: only, match: { path: /cache/ }, upstream: cache }
upstreams:
  api:
    endpoints:
      - { id: light, address: "127.0.0.1:1" }
      - { id: heavy, address: "127.0.0.1:2", weight: 3 }
      - { id: leaving, address: "127.0.0.1:3", draining: true }
    balance: least_connections
  cache:
    endpoints: [ ENDPOINTS ]
    balance: { consistent_hash: { key: client_ip } }
  tiers:
    endpoints: [ { id: first, address: "127.0.0.1:1", draining: true }, { id: gone, address: "127.0.0.1:2", draining: true } ]
"#;

/// Every clock of the request has the key that sets it, and the status that the client gets.
#[test]
fn the_clocks_of_a_request_are_told() {
    let file = File::new(
        &CONFIG
            .replace(
                "balance: least_connections",
                "timeouts: { first_byte: 2s }\n    bulkhead: { queue_timeout: 250ms }",
            )
            .replace("ENDPOINTS", "\"127.0.0.1:9\""),
    );
    let ask = [
        "GET",
        "http://api.example.com:8080/",
        "-H",
        "X-Beta: 1",
        "--timeouts",
    ];
    let (code, text, stderr) = file.ask(&ask);
    assert_eq!(code, Some(0), "{stderr}");
    let line = |key: &str| text.lines().find(|line| line.trim_start().starts_with(key));
    let first_byte = line("upstreams.api.timeouts.first_byte").unwrap();
    assert!(
        first_byte.contains(" 2s ") && first_byte.contains("504 first_byte_timeout"),
        "{text}"
    );
    let queue = line("upstreams.api.bulkhead.queue_timeout").unwrap();
    assert!(
        queue.contains(" 250ms ") && queue.contains("503 queue_timeout"),
        "{text}"
    );
    assert!(
        line("listeners.web.timeouts.head")
            .unwrap()
            .contains("408 slow_head"),
        "{text}"
    );
    assert!(
        line("upstreams.api.timeouts.max_duration")
            .unwrap()
            .contains(" off "),
        "{text}"
    );
    let (_, json, _) = file.ask(&[&ask[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    let clocks = json["clocks"].as_array().unwrap();
    let total = clocks
        .iter()
        .find(|clock| clock["key"] == "upstreams.api.timeouts.total");
    assert_eq!(
        (&total.unwrap()["span"], &total.unwrap()["status"]),
        (&json!("30s"), &json!(504))
    );
}

struct File {
    directory: Directory,
    path: String,
}

impl File {
    fn new(yaml: &str) -> Self {
        let directory = Directory::new();
        let path = directory.write("plimsoll.yaml", yaml);
        let path = path.to_str().unwrap().to_owned();
        Self { directory, path }
    }

    fn usual() -> Self {
        let endpoint = |i: u32| format!("{{ id: n{i}, address: \"127.0.0.1:{i}\" }}");
        let endpoints: Vec<String> = (1..=6).map(endpoint).collect();
        Self::new(&CONFIG.replace("ENDPOINTS", &endpoints.join(", ")))
    }

    /// Runs `plimsoll route` with this file to its end: exit code, stdout, stderr.
    fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut all = vec!["route", "-c", &self.path];
        all.extend(arguments);
        let mut process = Process::start(&all);
        let code = process.wait();
        (code, process.stdout(), process.stderr())
    }

    /// The same as JSON.
    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let mut all = arguments.to_vec();
        all.push("--json");
        let (code, stdout, stderr) = self.ask(&all);
        let json = serde_json::from_str(&stdout);
        (
            code,
            json.unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")),
        )
    }

    fn keys(&self, keys: &[String]) -> PathBuf {
        self.directory.write("keys", keys.join("\n"))
    }
}

#[test]
fn says_what_the_request_is_held_to() {
    let limits = "rate_limits: { all: { key: client_ip, rate: 100/s }, logins: { key: client_ip, rate: 10/m } }\n";
    let yaml = CONFIG.replace("ENDPOINTS", "\"127.0.0.1:1\"");
    let yaml = yaml.replace("respond: {", "limits: [logins], respond: {");
    let yaml = yaml.replace("127.0.0.1:8080\",", "127.0.0.1:8080\", limits: [all],");
    let file = File::new(&(yaml + limits));
    let (_, stdout, stderr) = file.ask(&["http://a.example:8080/healthz"]);
    assert_eq!(stderr, "");
    assert_parts(
        &stdout,
        &[
            "line 8: matches\n  limit all of listener web: allow, 100/s, 100 at once for client_ip 127.0.0.1\n",
            "  limit logins of route ",
            ": allow, 10/m, 1 at once for client_ip 127.0.0.1\n",
        ],
    );
    let (_, json) = file.json(&["http://a.example:8080/healthz"]);
    assert_eq!(json["route"]["limits"], json!(["all", "logins"]));
    let (_, json) = file.json(&["http://a.example:8081/x"]);
    assert_eq!(json["route"]["limits"], Value::Null);
}

/// As many addresses, one for each key.
fn addresses(count: u32) -> Vec<String> {
    (0..count)
        .map(|i| format!("10.1.{}.{}", i / 250, i % 250))
        .collect()
}

fn assert_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn says_why_earlier_routes_do_not_match_and_who_gets_the_request() {
    let file = File::usual();
    let (code, stdout, stderr) = file.ask(&["http://api.example.com:8080/v1/users"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_parts(
        &stdout,
        &[
            "GET http://api.example.com:8080/v1/users, on listener `web`, from 127.0.0.1\n",
            "routes[0] `beta`, line 5: does not match\n  header x-beta: asks for 1, the request has none\n",
            "routes[1] `old`, line 6: does not match\n  host: asks for *.example.org, the request has api.example.com:8080\n",
            "routes[2] `split`, line 7: matches\n(3 routes below it not reached)\n",
            "sent on as GET /users\n",
            "all endpoints idle and healthy",
            "75 % upstream `api` (least_connections)\n",
            "out: draining",
            "-> heavy (policy: ",
            "25 % upstream `cache` (consistent_hash)\n",
            " of 127.0.0.1\n",
            "owner",
        ],
    );
}

#[test]
fn json_has_every_part_under_a_stable_name() {
    let file = File::usual();
    let arguments = [
        "POST",
        "http://api.example.com:8080/v1/users?a=b",
        "-H",
        "X-Forwarded-For: 1.2.3.4",
    ];
    let (code, told) = file.json(&[&arguments[..], &["--client", "10.0.0.9"]].concat());
    assert_eq!(code, Some(0));
    assert_eq!(
        told["request"],
        json!({
            "method": "POST", "host": "api.example.com:8080", "target": "/v1/users?a=b",
            "listener": "web", "tls": false, "client": "1.2.3.4",
        })
    );
    assert_eq!(told["load"], json!({ "against": null }));
    assert_eq!(
        told["passed"][0],
        json!({
            "index": 0, "name": "beta", "line": 5,
            "failed": [{ "test": "header", "name": "x-beta", "wanted": "1", "given": null }],
        })
    );
    assert_eq!(
        told["route"],
        json!({ "index": 2, "name": "split", "line": 7, "fault": null })
    );
    assert_eq!(told["not_reached"], 3);
    let action = &told["action"];
    assert_eq!(
        (&action["kind"], &action["rewritten"]),
        (&json!("forward"), &json!("/users?a=b"))
    );
    let arms = action["arms"].as_array().unwrap();
    assert_eq!(arms.len(), 2);
    let [api, cache] = &arms[..] else {
        unreachable!()
    };
    assert_eq!(
        (&api["upstream"], &api["share"]),
        (&json!("api"), &json!(0.75))
    );
    let pick = &api["pick"];
    assert_eq!(
        (&pick["picked"], &pick["balance"]),
        (&json!("heavy"), &json!("least_connections"))
    );
    assert_eq!(
        pick["excluded"],
        json!([{ "endpoint": "leaving", "reason": "draining" }])
    );
    assert_eq!(pick["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(
        api["shares"],
        json!([{ "endpoint": "heavy", "share": 1.0 }])
    );
    // Whom a trusted proxy tells of, not whoever connected.
    assert_eq!(cache["pick"]["key"]["text"], "1.2.3.4");
    assert_eq!(cache["pick"]["candidates"][0]["note"], "owner");
}

#[test]
fn answers_of_the_proxy_itself_are_told() {
    let file = File::usual();
    let (code, told) = file.json(&["http://a.example.org/x?y"]);
    assert_eq!(code, Some(0));
    let redirect =
        json!({ "kind": "redirect", "status": 308, "location": "https://a.example.org/x?y" });
    assert_eq!(told["action"], redirect);
    let (code, told) = file.json(&["/healthz"]);
    assert_eq!(
        (code, &told["action"]["kind"]),
        (Some(0), &json!("respond"))
    );
    assert_eq!(told["request"]["host"], Value::Null);
    let (code, stdout, _) = file.ask(&["/healthz"]);
    assert_eq!(code, Some(0));
    assert_parts(
        &stdout,
        &["GET /healthz without a host", "answered with 200, 2 bytes"],
    );
}

#[test]
fn a_request_that_gets_nowhere_exits_1_with_what_its_client_is_told() {
    let file = File::usual();
    let (code, stdout, _) = file.ask(&["http://example.com/nowhere"]);
    assert_eq!(code, Some(1));
    assert_parts(
        &stdout,
        &["no route matches\n", "the proxy answers with 404"],
    );
    // Of the listener that it is sent to, all endpoints are being emptied.
    let (code, told) = file.json(&["http://example.com/", "--listener", "work"]);
    assert_eq!((code, &told["route"]["name"]), (Some(1), &json!("work")));
    let arm = &told["action"]["arms"][0];
    assert_eq!(
        (&arm["refused"]["status"], &arm["pick"]["reason"]),
        (&json!(503), &json!("no_endpoint"))
    );
    let arguments = ["http://example.com:8081/", "-H", "X_User: a"];
    let (code, told) = file.json(&arguments);
    assert_eq!(
        (code, &told["request"]["listener"]),
        (Some(1), &json!("work"))
    );
    assert_eq!(
        (&told["refused"]["status"], &told["route"]),
        (&json!(400), &Value::Null)
    );
}

#[test]
fn bad_words_exit_2_and_what_cannot_be_read_3() {
    let file = File::usual();
    let keys = file.keys(&addresses(3));
    let keys = keys.to_str().unwrap();
    let bad_keys = file.directory.write("bad", "10.0.0.1\n\nalice\n");
    let bad_keys = bad_keys.to_str().unwrap();
    let empty = file.directory.write("empty", "\n");
    let cases: [(&[&str], &str); 14] = [
        (&[], "METHOD URL"),
        (&["GET", "example.com"], "http://example.com"),
        (&["http://exa mple/"], "blank"),
        (&["/", "-H", "no colon"], "Name: value"),
        (&["/", "-H", "A: b\nC: d"], "control character"),
        (&["/", "--listener", "wbe"], "there is web, work"),
        (&["/", "--client", "nobody"], "--client"),
        (&["/", "--upstream", "api"], "--upstream goes with"),
        (
            &["--keys", keys, "--upstream", "nope"],
            "no upstream `nope`; these hash: cache",
        ),
        (
            &["--keys", keys, "--upstream", "api"],
            "`balance: least_connections`",
        ),
        (
            &["--keys", keys, "--without", "n7"],
            "no endpoint `n7`; it has n1, n2",
        ),
        (&["--keys", bad_keys], "line 3: `alice`"),
        (&["--keys", empty.to_str().unwrap()], "no key"),
        (&["--watch", "--for", "soon"], "--for"),
    ];
    for (arguments, part) in cases {
        let (code, stdout, stderr) = file.ask(arguments);
        assert_eq!((code, &*stdout), (Some(2), ""), "{arguments:?}: {stderr}");
        assert_parts(&stderr, &[part]);
    }
    let (code, _, stderr) = file.ask(&["--keys", "/nowhere/keys"]);
    assert_eq!(code, Some(3), "{stderr}");
    let nowhere = Process::start(&["route", "-c", "/nowhere/plimsoll.yaml", "/"]).wait();
    assert_eq!(nowhere, Some(3));
    let refused = File::new("listeners: {}\n");
    assert_eq!(refused.ask(&["/"]).0, Some(2));
}

#[test]
fn an_admin_api_that_cannot_be_reached_exits_1() {
    let file = File::usual();
    for arguments in [
        &["/v1/", "--against", "127.0.0.1:1"][..],
        &["--watch", "--against", "127.0.0.1:1"],
    ] {
        let (code, stdout, stderr) = file.ask(arguments);
        assert_eq!((code, &*stdout), (Some(1), ""));
        assert_parts(&stderr, &["cannot ask the admin API at 127.0.0.1:1"]);
    }
}

#[test]
fn what_the_request_does_not_meet_is_neither_read_nor_resolved() {
    let yaml = "listeners: { web: { address: \"127.0.0.1:443\", tls: { certificates: [ { cert: /nowhere/c.pem, key: /nowhere/k.pem } ] } } }
routes: [ { match: { path: /a }, upstream: here }, { match: { path: /b }, upstream: bound }, { upstream: there } ]
upstreams:
  here: { endpoints: [ { id: a, address: \"127.0.0.1:1\" } ], tls: { ca: /nowhere/ca.pem } }
  bound: { endpoints: [ \"127.0.0.1:1\" ], sticky: { secret_file: /nowhere/secret } }
  there: { endpoints: [ \"there.invalid:80\" ] }\n";
    let file = File::new(yaml);
    let (code, told) = file.json(&["https://x/a"]);
    assert_eq!((code, &told["request"]["tls"]), (Some(0), &json!(true)));
    assert_eq!(told["action"]["arms"][0]["pick"]["picked"], "a");
    // What it does meet is needed.
    let (code, stdout, stderr) = file.ask(&["https://x/b"]);
    assert_eq!((code, &*stdout), (Some(3), ""));
    assert_parts(&stderr, &["upstreams.bound.sticky", "/nowhere/secret"]);
}

#[test]
fn keys_have_owners_and_an_endpoint_that_goes_moves_its_own() {
    let file = File::usual();
    let keys = file.keys(&addresses(600));
    let keys = keys.to_str().unwrap();
    let (code, told) = file.json(&["--keys", keys]);
    assert_eq!(
        (code, &told["keys"], &told["algorithm"]),
        (Some(0), &json!(600), &json!("ring"))
    );
    let owners = told["owners"].as_array().unwrap();
    let of = |id: &str| {
        owners
            .iter()
            .filter(|owner| owner["endpoint"] == id)
            .count()
    };
    let endpoints = told["endpoints"].as_array().unwrap();
    assert_eq!((owners.len(), endpoints.len()), (600, 6));
    for endpoint in endpoints {
        assert_eq!(endpoint["keys"], of(endpoint["endpoint"].as_str().unwrap()));
        assert!((endpoint["expected"].as_f64().unwrap() - 1.0 / 6.0).abs() < 1e-9);
    }
    let whole: f64 = endpoints
        .iter()
        .map(|one| one["of_table"].as_f64().unwrap())
        .sum();
    assert!((whole - 1.0).abs() < 1e-9);
    // What the proxy would do with a request of that client.
    let (_, asked) = file.json(&["http://x/cache/", "--client", "10.1.0.7"]);
    assert_eq!(
        asked["action"]["arms"][0]["pick"]["picked"],
        owners[7]["endpoint"]
    );

    let (code, told) = file.json(&["--keys", keys, "--without", "n3"]);
    assert_eq!(
        (code, &told["without"]["endpoints"]),
        (Some(0), &json!(["n3"]))
    );
    assert_eq!(told.get("owners"), None);
    for way in ["removed", "out_of_service"] {
        let moves = &told["without"][way];
        assert_eq!(moves["of_gone"], of("n3"), "{way}");
        assert_eq!(moves["moved"], of("n3"), "{way}");
        assert_eq!(moves["between_survivors"], 0, "{way}");
        let moved = moves["moves"].as_array().unwrap();
        assert!(
            moved
                .iter()
                .all(|one| one["from"] == "n3" && one["to"] != "n3")
        );
    }
    // On a ring it makes no difference in which way.
    assert_eq!(
        told["without"]["removed"]["moves"],
        told["without"]["out_of_service"]["moves"]
    );
    let (_, stdout, _) = file.ask(&["--keys", keys, "--without", "n3"]);
    let moved = format!("removed: moved {} of 600 keys = ", of("n3"));
    assert_parts(
        &stdout,
        &[
            "KEY",
            "OUT OF SERVICE",
            &moved,
            "by weight 16.7 %), moved between survivors: 0\n",
        ],
    );
}

#[test]
fn the_last_endpoint_can_only_be_out_of_service() {
    let only = "{ id: n1, address: \"127.0.0.1:1\" }";
    let file = File::new(&CONFIG.replace("ENDPOINTS", only));
    let keys = file.keys(&addresses(2));
    let (code, told) = file.json(&["--keys", keys.to_str().unwrap(), "--without", "n1"]);
    assert_eq!((code, &told["without"]["removed"]), (Some(0), &Value::Null));
    let moves = &told["without"]["out_of_service"];
    assert_eq!(
        (&moves["moved"], &moves["moves"][0]["to"]),
        (&json!(2), &Value::Null)
    );
}

/// A proxy in front of an endpoint that is busy and one that is not, each in an upstream of its own.
struct Loaded {
    _backends: [Backend; 2],
    proxy: Proxy,
    yaml: String,
    /// Clients of the busy one, who give up when this is dropped.
    _waiting: tokio::task::JoinSet<()>,
}

/// Requests that stay under way at the busy one.
const IN_FLIGHT: usize = 3;

impl Loaded {
    async fn start() -> Self {
        let slow = Backend::labelled("slow").latency("10m").start();
        let quick = Backend::start("quick");
        let yaml = format!(
            "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes:\n  - {{ name: slow, match: {{ path: /slow }}, upstream: slow }}\n  \
             - {{ name: all, upstream: pool }}\n\
             upstreams:\n  slow: {{ endpoints: [ {{ id: a, address: \"{}\" }} ], \
             timeouts: {{ first_byte: 10m, total: 10m }} }}\n  \
             pool: {{ endpoints: [ {{ id: b, address: \"{}\" }} ] }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n",
            slow.endpoint(),
            quick.endpoint()
        );
        let proxy = Proxy::start(&yaml).await;
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let mut client = Client::h1(proxy.address()).await;
            waiting.spawn(async move {
                let _ = client.try_get("/slow").await;
            });
        }
        let upstreams = &proxy.live().snapshot.load_full().upstreams;
        let busy = upstreams.iter().find(|upstream| upstream.name == "slow");
        let signals = &busy.unwrap().endpoints[0].signals;
        eventually(DEADLINE, || signals.in_flight.load() as usize == IN_FLIGHT).await;
        Self {
            _backends: [slow, quick],
            proxy,
            yaml,
            _waiting: waiting,
        }
    }

    fn admin(&self) -> String {
        self.proxy.admin().to_string()
    }
}

async fn get<T: serde::de::DeserializeOwned>(admin: SocketAddr, path: &str) -> T {
    let answer = Client::h1(admin).await.get(path).await;
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

#[tokio::test]
async fn against_a_running_proxy_its_load_decides_and_who_is_new_there_is_told() {
    let loaded = Loaded::start().await;
    let readings: Readings = get(loaded.proxy.admin(), "/api/v1/signals").await;
    let busy = readings
        .upstreams
        .iter()
        .find(|upstream| upstream.name == "slow")
        .unwrap();
    assert_eq!(busy.balance, "p2c");
    let endpoint = &busy.endpoints[0];
    assert_eq!(
        (&*endpoint.id, endpoint.in_flight as usize, &endpoint.out),
        ("a", IN_FLIGHT, &None)
    );
    assert_eq!(
        (endpoint.connections_open, endpoint.factor),
        (IN_FLIGHT, 1.0)
    );
    // The file gives the busy upstream a second endpoint, and all traffic.
    let changed = loaded
        .yaml
        .replace(
            "{ endpoints: [ { id: a",
            "{ endpoints: [ { id: new, address: \"127.0.0.1:1\" }, { id: a",
        )
        .replace("upstream: pool", "upstream: slow");
    let file = File::new(&changed);
    let (code, idle) = file.json(&["http://x/"]);
    assert_eq!(
        (
            code,
            &idle["action"]["arms"][0]["shares"]
                .as_array()
                .unwrap()
                .len()
        ),
        (Some(0), &2)
    );
    let (code, told) = file.json(&["http://x/", "--against", &loaded.admin()]);
    assert_eq!(code, Some(0));
    assert_eq!(told["load"]["against"], loaded.admin());
    let arm = &told["action"]["arms"][0];
    assert_eq!(arm["newcomers"], json!(["new"]));
    assert_eq!(arm["pick"]["picked"], "new");
    let candidates = arm["pick"]["candidates"].as_array().unwrap();
    let busy = candidates
        .iter()
        .find(|one| one["endpoint"] == "a")
        .unwrap();
    assert_eq!(
        (&busy["in_flight"], &busy["score"]),
        (&json!(IN_FLIGHT), &json!(4.0))
    );
    let (_, stdout, _) = file.ask(&["http://x/", "--against", &loaded.admin()]);
    assert_parts(
        &stdout,
        &[
            "under the load at 127.0.0.1:",
            "newcomers, which do not run there: new\n",
            "-> new (",
        ],
    );
}

#[tokio::test]
async fn decisions_are_written_down_while_somebody_watches_and_handed_out_once() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let admin = proxy.admin();
    let before: Latest = get(admin, "/api/v1/decisions?upstream=pool&watch=1").await;
    assert_eq!(
        (&*before.upstreams[0].name, before.upstreams[0].last),
        ("pool", 0)
    );
    Client::h1(proxy.address()).await.get("/one").await;
    let seen: Latest = get(admin, "/api/v1/decisions?upstream=pool").await;
    let [only] = &seen.upstreams[0].decisions[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(
        (&*only.target, &*only.method, only.sequence),
        ("/one", "GET", 1)
    );
    assert_eq!(only.pick.picked, Some(backend.endpoint()));
    let again: Latest = get(admin, "/api/v1/decisions?after=pool:1").await;
    assert_eq!(
        (again.upstreams[0].last, again.upstreams[0].decisions.len()),
        (1, 0)
    );
    let nobody: Latest = get(admin, "/api/v1/decisions?upstream=nobody").await;
    assert!(nobody.upstreams.is_empty());
    let refused = Client::h1(admin)
        .await
        .get("/api/v1/decisions?afterr=1")
        .await;
    assert_eq!(refused.status, 400);
    assert_parts(refused.text(), &["`afterr` is not known"]);
}

#[tokio::test]
async fn watching_shows_a_line_for_each_decision_and_ends_when_interrupted() {
    let loaded = Loaded::start().await;
    let file = File::new(&loaded.yaml);
    let admin = loaded.admin();
    let arguments = ["route", "--watch", "-c", &file.path, "--against", &admin];
    let mut all = Process::start(&arguments);
    let mut filtered = Process::start(&[&arguments[..], &["http://x/slow", "--json"]].concat());
    let mut of_pool = Process::start(&[&arguments[..], &["--upstream", "pool"]].concat());
    for watching in [&all, &filtered, &of_pool] {
        watching.wait_for_line("watching the decisions at");
    }
    let mut client = Client::h1(loaded.proxy.address()).await;
    client.get("/quick").await;
    let mut slow = Raw::connect(loaded.proxy.address()).await;
    slow.send("GET /slow?last HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    all.wait_for_line("GET /quick pool -> b few_candidates  b 1.000");
    all.wait_for_line("GET /slow?... slow -> a few_candidates  a 4.000");
    of_pool.wait_for_line("/quick");
    let line = filtered.wait_for_line("/slow?...");
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&record["route"], &record["picked"]),
        (&json!("slow"), &json!("a"))
    );
    assert_eq!(record["candidates"][0]["in_flight"], IN_FLIGHT);
    all.signal(Signal::INT);
    of_pool.signal(Signal::TERM);
    filtered.signal(Signal::INT);
    assert_eq!([all.wait(), of_pool.wait(), filtered.wait()], [Some(0); 3]);
    assert_eq!(
        filtered.stdout().lines().count(),
        1,
        "{}",
        filtered.stdout()
    );
    assert!(!of_pool.stdout().contains("/slow"), "{}", of_pool.stdout());
}

#[tokio::test]
async fn watching_ends_by_itself_after_the_time_given_and_asks_for_an_upstream_that_is_there() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let admin = proxy.admin().to_string();
    let arguments = ["route", "--watch", "--against", &admin];
    let mut short = Process::start(&[&arguments[..], &["--for", "100ms"]].concat());
    assert_eq!(short.wait(), Some(0), "{}", short.stderr());
    let mut stranger = Process::start(&[&arguments[..], &["--upstream", "nope"]].concat());
    assert_eq!(stranger.wait(), Some(1));
    assert_parts(&stranger.stderr(), &["has no upstream `nope`"]);
    let file = File::new(
        "listeners: { web: { address: \"127.0.0.1:80\" } }\nroutes: [ { match: { path: /a }, respond: { status: 204 } } ]\n",
    );
    let (code, _, stderr) = file.ask(&["--watch", "--against", &admin, "/b"]);
    assert_eq!(code, Some(1));
    assert_parts(&stderr, &["no route matches"]);
}

const GATED: &str = "listeners: { web: { address: \"127.0.0.1:8080\", addresses: { deny: [10.0.0.0/8] }, limits: { apply: [all] } } }
rate_limits: { all: { key: client_ip, rate: 100/s, overrides: { \"192.0.2.9\": off } } }
concurrency_limits: { tenants: { key: { header: X-Tenant }, max: 5, missing: refuse } }
routes:
- { name: keys, match: { path: /keys }, respond: {}, limits: [tenants], addresses: { allow: [192.0.2.0/24] }, auth: { api_key: { keys_file: KEYS, query: key } } }
- { name: asked, match: { path: /asked }, respond: {}, auth: { forward: { upstream: pool, path: /verify } } }
- { name: users, match: { path: /users }, respond: {}, auth: { basic: { users_file: /nowhere/users } } }
- { respond: {} }
upstreams: { pool: { endpoints: [\"127.0.0.1:1\"] } }
";

#[test]
fn says_who_may_enter_and_why() {
    let directory = Directory::new();
    let keys = directory.write("keys", plimsoll::limit::auth::key_line("partner", b"k-1"));
    let file = File::new(&GATED.replace("KEYS", &format!("{keys:?}")));
    let entry = |args: &[&str]| -> (i32, Vec<String>) {
        let (code, json) = file.json(args);
        let judgements = json["entry"].as_array().unwrap();
        let lines = judgements.iter().map(|one| {
            let text = |key: &str| one[key].as_str().unwrap();
            format!("{}: {}, {}", text("by"), text("verdict"), text("why"))
        });
        (code.unwrap(), lines.collect())
    };
    let at = "http://a:8080";
    let keys = format!("{at}/keys?key=k-1");
    let told = entry(&[&keys, "--client", "192.0.2.7", "-H", "X-Tenant: acme"]);
    let lists = "addresses of listener web: allow, `deny` does not hold 192.0.2.7";
    let all = "limit all of listener web: allow, 100/s, 100 at once for client_ip 192.0.2.7";
    assert_eq!(
        told,
        (
            0,
            vec![
                lists.to_owned(),
                all.to_owned(),
                "addresses of route keys: allow, `192.0.2.0/24` of `allow` holds 192.0.2.7"
                    .to_owned(),
                "limit tenants of route keys: allow, 5 at once for header X-Tenant `acme`"
                    .to_owned(),
                "auth of route keys: allow, it is `partner`".to_owned(),
            ]
        )
    );
    let (code, told) = entry(&[&format!("{at}/keys"), "--client", "10.1.2.3"]);
    assert_eq!(code, 1);
    let denied: Vec<&String> = told
        .iter()
        .filter(|line| line.contains(": deny, "))
        .collect();
    assert_eq!(
        denied,
        [
            "addresses of listener web: deny, `10.0.0.0/8` of `deny` holds 10.1.2.3: the connection is closed",
            "addresses of route keys: deny, `allow` does not hold 10.1.2.3: answered with 403",
            "limit tenants of route keys: deny, there is no header X-Tenant to count by: answered with 403",
            "auth of route keys: deny, it does not say who it is: answered with 401",
        ]
    );
    let (code, told) = entry(&[
        &format!("{at}/keys?key=k-2"),
        "--client",
        "192.0.2.9",
        "-H",
        "X-Tenant: a",
    ]);
    assert_eq!(code, 1);
    assert_eq!(
        told[1],
        "limit all of listener web: allow, `overrides` holds client_ip 192.0.2.9 to nothing"
    );
    assert_eq!(
        told[4],
        "auth of route keys: deny, nobody is known by what it says: answered with 401"
    );
    for (path, said) in [
        (
            "/asked",
            "auth of route asked: unknown, upstream `pool` is asked for /verify; where it does not answer, nobody enters",
        ),
        (
            "/users",
            "auth of route users: unknown, cannot read `/nowhere/users`",
        ),
    ] {
        let (code, told) = entry(&[&format!("{at}{path}")]);
        assert_eq!(code, 0, "{told:?}");
        assert!(told[2].starts_with(said), "{told:?}");
    }
    let (_, text, _) = file.ask(&[&format!("{at}/keys"), "--client", "10.1.2.3"]);
    assert_parts(
        &text,
        &[
            "matches\n  addresses of listener web: DENY, `10.0.0.0/8` of `deny` holds 10.1.2.3: the connection is closed\n",
            "it is not let in; what follows is for one that is:\nanswered with 200",
        ],
    );
}
