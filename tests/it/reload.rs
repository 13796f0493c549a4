//! Putting another configuration in force while the process runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use plimsoll::lifecycle::ReloadError;
use plimsoll::observe::Metric;
use rustix::process::Signal;

use crate::harness::{
    Authority, Backend, Client, DEADLINE, Directory, Loading, Process, Program, Proxy, Raw,
    WebSocket, config, eventually, plain, within,
};

#[tokio::test]
async fn hup_swaps_endpoints_under_load_without_losing_a_request() {
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    let unwatched = |backend: &Backend| plain(&[backend.endpoint()]) + "watch: off\n";
    let program = Program::start(&unwatched(&old));
    let load = Loading::start(program.address, 500.0);
    eventually(DEADLINE, || old.counters().requests() > 50).await;

    program.reload(&unwatched(&new));
    let said = program.process.wait_for_line("reloaded");
    assert!(said.contains("generation 2 is in force"), "{said}");
    let parts = [("added", &new), ("removed", &old)];
    let line = program.process.wait_for_line("endpoints:");
    for (word, backend) in parts {
        let part = format!("{word} pool/{}", backend.endpoint());
        assert!(line.contains(&part), "no {part:?} in {line}");
    }
    eventually(DEADLINE, || new.counters().requests() > 50).await;
    // The old one gets nothing any more, and its idle connections are closed.
    eventually(DEADLINE, || old.counters().open() == 0).await;
    let seen = old.counters().requests();

    let report = tokio::task::spawn_blocking(|| load.finish()).await.unwrap();
    assert_eq!(old.counters().requests(), seen);
    assert_eq!(
        (report.failed(), report.unsent),
        (0, 0),
        "{:?}",
        report.failures
    );
    assert_eq!(report.answered(), report.due);
    let backends: BTreeMap<String, u64> = [("old", seen), ("new", new.counters().requests())]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
    assert_eq!(report.backends, backends);
}

#[tokio::test]
async fn hup_with_a_broken_file_changes_nothing_and_says_what_check_says() {
    let backend = Backend::start("a");
    // The watch would be there before the signal now and then.
    let yaml = plain(&[backend.endpoint()]) + "watch: off\n";
    let program = Program::start(&yaml);
    let broken = yaml.replace("upstream: pool", "upstream: pol") + "wokers: 3\n";
    program.reload(&broken);
    let line = program.process.wait_for_line("reload refused");
    assert_eq!(
        line,
        "plimsoll: reload refused; generation 1 stays in force"
    );
    let mut check = Process::start(&["check", program.file.to_str().unwrap()]);
    assert_eq!(check.wait(), Some(2));
    let stderr = program.process.stderr();
    assert!(
        stderr.contains(&check.stderr()),
        "{stderr}\nbut check:\n{}",
        check.stderr()
    );
    assert!(stderr.contains("did you mean `workers`?"), "{stderr}");
    assert!(stderr.contains("plimsoll.yaml:2:"), "{stderr}");
    let answer = Client::h1(program.address).await.get("/").await;
    assert_eq!(answer.backend(), Some("a"));

    // A file that is gone is refused as well, and a good one then accepted.
    std::fs::remove_file(&program.file).unwrap();
    program.process.signal(Signal::HUP);
    program.process.wait_for_line("cannot be read");
    program.reload(&yaml);
    program
        .process
        .wait_for_line("generation 2 is in force; nothing changed");
}

#[tokio::test]
async fn what_is_bound_to_threads_is_refused_by_name() {
    let proxy = Proxy::start(&plain(&["127.0.0.1:1".to_owned()])).await;
    let before = plain(&["127.0.0.1:1".to_owned()]);
    let cases = [
        (before.clone() + "workers: 1\n", vec!["workers"]),
        (
            before.replace("admin: { address: \"127.0.0.1:0\" }", "access_log: {}"),
            vec!["admin", "access_log"],
        ),
    ];
    for (yaml, keys) in cases {
        match proxy.reload(&yaml).await {
            Err(ReloadError::Fixed(fixed)) => assert_eq!(fixed, keys),
            other => panic!("{keys:?}: {other:?}"),
        }
    }
    assert_eq!(proxy.live().snapshot.load().generation, 1);
    let reloads = proxy.live().reloads();
    assert_eq!((reloads.applied, reloads.refused), (0, 2));
    let timeouts = before.replace(
        "\"127.0.0.1:0\" } }\n",
        "\"127.0.0.1:0\", timeouts: { head: 2s } } }\n",
    );
    let changes = proxy.reload(&timeouts).await.unwrap();
    assert_eq!(changes.listeners.changed, ["web"]);
}

#[tokio::test]
async fn numbers_are_kept_for_what_is_kept_and_forgotten_for_what_is_gone() {
    let (kept, gone) = (Backend::start("kept"), Backend::start("gone"));
    let proxy = Proxy::before(&[kept.endpoint(), gone.endpoint()]).await;
    let mut client = Client::h1(proxy.address()).await;
    while kept.counters().requests() < 5 || gone.counters().requests() < 5 {
        client.get("/").await;
    }
    let counts = || -> BTreeMap<String, u64> {
        let endpoints = proxy.report().endpoints.into_iter();
        endpoints
            .map(|reading| {
                (
                    reading.identity[1].clone(),
                    reading.sum(Metric::AttemptResponses),
                )
            })
            .collect()
    };
    let requests = kept.counters().requests() + gone.counters().requests();
    eventually(DEADLINE, || counts().values().sum::<u64>() == requests).await;
    let before = kept.counters().requests();

    let changes = proxy.reload(&plain(&[kept.endpoint()])).await.unwrap();
    assert_eq!(
        changes.endpoints.kept,
        [format!("pool/{}", kept.endpoint())]
    );
    assert_eq!(
        changes.endpoints.removed,
        [format!("pool/{}", gone.endpoint())]
    );
    assert_eq!(
        (changes.upstreams.changed, changes.routes.kept),
        (vec!["pool".to_owned()], vec!["/*".to_owned()])
    );
    for _ in 0..3 {
        assert_eq!(client.get("/").await.backend(), Some("kept"));
    }
    let expected = BTreeMap::from([(kept.endpoint(), before + 3)]);
    eventually(DEADLINE, || counts() == expected).await;
    // The connections to it were kept, too.
    assert_eq!(kept.counters().accepted(), 1);
}

#[tokio::test]
async fn a_renewed_certificate_is_served_after_a_reload() {
    let directory = Directory::new();
    let (old, new) = (Authority::new(), Authority::new());
    let (cert, key) = old.identity(&["localhost"]).write(&directory, "site");
    let tls = format!(
        "address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}"
    );
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]).replacen("address: \"127.0.0.1:0\"", &tls, 1);
    let proxy = Proxy::start(&yaml).await;
    let (trusts_old, trusts_new) = (old.client(&["h2"]), new.client(&["h2"]));
    let mut before = Client::tls(proxy.address(), &trusts_old).await;
    assert_eq!(before.get("/").await.backend(), Some("a"));

    new.identity(&["localhost"]).write(&directory, "site");
    proxy.reload(&yaml).await.unwrap();
    let renewed = async || {
        Client::tls_named(proxy.address(), &trusts_new, "localhost")
            .await
            .is_ok()
    };
    // A worker reads its mail when it comes to it.
    within(Box::pin(async { while !renewed().await {} })).await;
    assert_eq!(
        before.get("/").await.backend(),
        Some("a"),
        "the connection goes on"
    );

    std::fs::write(&cert, "no certificate").unwrap();
    let refused = proxy.reload(&yaml).await.unwrap_err();
    assert!(refused.to_string().contains("site.pem"), "{refused}");
    assert!(renewed().await);
}

#[tokio::test]
async fn a_changed_order_of_routes_is_told() {
    let yaml = |routes: &str| {
        format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nroutes:\n{routes}\
             upstreams: {{ pool: {{ endpoints: [\"127.0.0.1:1\"] }} }}\n"
        )
    };
    let first = "  - { name: a, match: { host: a.test }, upstream: pool }\n";
    let second = "  - { name: b, match: { path: /b }, upstream: pool }\n";
    let third = "  - { name: c, respond: { status: 204 } }\n";
    let proxy = Proxy::start(&yaml(&[first, second].concat())).await;
    let changes = proxy
        .reload(&yaml(&[first, second, third].concat()))
        .await
        .unwrap();
    assert_eq!(
        (changes.routes.added, changes.reordered),
        (vec!["c".to_owned()], false)
    );
    let changes = proxy
        .reload(&yaml(&[second, first].concat()))
        .await
        .unwrap();
    assert_eq!(
        (changes.routes.removed, changes.reordered),
        (vec!["c".to_owned()], true)
    );
}

/// The lines of a file, none when it does not exist.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn reopens_its_log(format: &str, holds: impl Fn(&str, &str) -> bool) {
    let backend = Backend::start("a");
    let directory = Directory::new();
    let (log, moved) = (
        directory.path().join("access.log"),
        directory.path().join("access.log.1"),
    );
    let yaml = plain(&[backend.endpoint()])
        + &format!("access_log: {{ path: {log:?}, format: {format} }}\n");
    let program = Program::start(&yaml);
    let mut client = Client::h1(program.address).await;
    client.get("/before").await;
    eventually(DEADLINE, || lines(&log).len() == 1).await;
    std::fs::rename(&log, &moved).unwrap();
    program.process.signal(Signal::HUP);
    eventually(DEADLINE, || log.exists()).await;
    program.process.wait_for_line("reloaded");
    client.get("/after").await;
    eventually(DEADLINE, || lines(&log).len() == 1).await;
    let (first, second) = (lines(&moved), lines(&log));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(holds(&first[0], "/before"), "{}", first[0]);
    assert!(holds(&second[0], "/after"), "{}", second[0]);
}

#[tokio::test]
async fn the_last_lines_of_the_log_are_written_before_the_end() {
    let backend = Backend::start("a");
    let mut program = Program::start(&(plain(&[backend.endpoint()]) + "access_log: {}\n"));
    let mut client = Client::h1(program.address).await;
    for _ in 0..20 {
        client.get("/").await;
    }
    program.process.signal(Signal::TERM);
    assert_eq!(program.process.wait(), Some(0));
    assert_eq!(program.process.stdout().lines().count(), 20);
}

#[tokio::test]
async fn hup_opens_a_log_of_json_anew() {
    reopens_its_log("json", |line, target| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["target"] == target && line["status"] == 200
    })
    .await;
}

#[tokio::test]
async fn hup_opens_a_combined_log_anew() {
    reopens_its_log("combined", |line, target| {
        line.contains(&format!("\"GET {target} HTTP/1.1\" 200 "))
    })
    .await;
}

#[tokio::test]
async fn what_streams_for_long_does_not_keep_what_is_out_of_force() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}");
        let yaml = config(&[backend.endpoint()], "", "", &upstream);
        let proxy = Proxy::start(&yaml).await;
        let address = proxy.address();
        let opening = move || WebSocket::open(address, "/ws").unwrap();
        let mut socket = within(tokio::task::spawn_blocking(opening)).await.unwrap();
        let mut client = Client::h2(address).await;
        let tunnel = client.tunnel("websocket", "/ws").await.unwrap();
        let mut events = Raw::connect(address).await;
        events
            .send("GET /sse/1000/1000 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(events.head().await.status(), 200);

        let old = Arc::downgrade(&proxy.live().snapshot.load_full());
        proxy.reload(&(yaml + "drain_timeout: 9s\n")).await.unwrap();
        eventually(DEADLINE, || old.strong_count() == 0).await;
        assert_eq!(backend.counters().in_flight(), 3, "{protocol}");
        let echoed = tokio::task::spawn_blocking(move || socket.expect_echo("still here"));
        within(echoed).await.unwrap();
        drop(tunnel);
    }
}

#[tokio::test]
async fn a_refused_reload_leaves_the_endpoints_in_force_as_they_are() {
    let directory = Directory::new();
    let broken = directory.write("broken.pem", "no certificate");
    let (backend, other) = (Backend::start("a"), Backend::start("b"));
    let yaml = |address: &str, ca: &str| {
        format!(
            "workers: 1\n\
             listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
             upstreams:\n  pool: {{ endpoints: [ {{ id: x, address: {address:?} }} ] }}\n  \
             secure: {{ endpoints: [\"127.0.0.1:1\"], tls: {{ {ca} }} }}\n"
        )
    };
    let good = yaml(&backend.endpoint(), "verify: false");
    let proxy = Proxy::start(&good).await;
    let endpoint = || Arc::clone(&proxy.live().snapshot.load().upstreams[0].endpoints[0]);
    let before = endpoint();
    let mut client = Client::h1(proxy.address()).await;
    client.get("/").await;

    let refused = yaml(&other.endpoint(), &format!("ca: {broken:?}"));
    assert!(matches!(
        proxy.reload(&refused).await,
        Err(ReloadError::Compile(_))
    ));
    proxy.reload(&good).await.unwrap();
    assert!(Arc::ptr_eq(&before, &endpoint()));
    client.get("/").await;
    assert_eq!(backend.counters().accepted(), 1);

    // What is put in force under the same name is another endpoint.
    let changed = yaml(&other.endpoint(), "verify: false");
    proxy.reload(&changed).await.unwrap();
    assert!(!Arc::ptr_eq(&before, &endpoint()));
    within(async { while client.get("/").await.backend() != Some("b") {} }).await;
}

#[tokio::test]
async fn a_host_name_stands_for_its_addresses_and_keeps_their_numbers() {
    let backend = Backend::start("a");
    let name = format!("localhost:{}", backend.address().port());
    let weighted = |weight: u32| {
        let yaml = plain(&["ENDPOINT".to_owned()]);
        yaml.replacen(
            "\"ENDPOINT\"",
            &format!("{{ address: {name:?}, weight: {weight} }}"),
            1,
        )
    };
    let proxy = Proxy::start(&weighted(1)).await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/").await.backend(), Some("a"));
    let snapshot = proxy.live().snapshot.load_full();
    let ids: Vec<_> = snapshot.endpoints().map(|one| one.id.clone()).collect();
    assert!(ids.contains(&format!("{name}/127.0.0.1")), "{ids:?}");
    assert!(
        ids.iter().all(|id| id.starts_with(&format!("{name}/"))),
        "{ids:?}"
    );

    let changes = proxy.reload(&weighted(3)).await.unwrap();
    let changed: Vec<_> = ids.iter().map(|id| format!("pool/{id}")).collect();
    assert_eq!(changes.endpoints.changed, changed);
    let now = proxy.live().snapshot.load_full();
    for (before, after) in snapshot.endpoints().zip(now.endpoints()) {
        assert!(Arc::ptr_eq(before, after));
    }
}

#[tokio::test]
async fn what_still_runs_on_older_configurations_is_counted() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let address = proxy.address();
    let opening = move || WebSocket::open(address, "/ws").unwrap();
    let socket = within(tokio::task::spawn_blocking(opening)).await.unwrap();
    let yaml =
        |seconds: u32| plain(&[backend.endpoint()]) + &format!("drain_timeout: {seconds}s\n");
    let older = |changes: &plimsoll::lifecycle::Changes| -> Vec<(u64, usize)> {
        let each = changes.older.iter();
        each.map(|one| (one.generation, one.streams)).collect()
    };
    let changes = proxy.reload(&yaml(1)).await.unwrap();
    assert_eq!(older(&changes), [(1, 1)]);
    assert!(
        changes
            .to_string()
            .contains("generation 1, replaced 0 s ago, still has 1 stream"),
        "{changes}"
    );
    let mut events = Raw::connect(address).await;
    events
        .send("GET /sse/1000/1000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(events.head().await.status(), 200);
    let changes = proxy.reload(&yaml(2)).await.unwrap();
    assert_eq!(older(&changes), [(1, 1), (2, 1)]);
    let metrics = async || {
        let answer = Client::h1(proxy.admin()).await.get("/metrics").await;
        let of = |name: &str| {
            let mut lines = answer.text().lines();
            let line = lines.find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        [
            of("plimsoll_config_generations_alive "),
            of("plimsoll_config_older_streams "),
            of("plimsoll_config_oldest_replaced_seconds "),
        ]
    };
    let [alive, streams, _] = metrics().await;
    assert_eq!([alive, streams], ["3", "2"]);
    within(async { while metrics().await[2] == "0" {} }).await;
    drop((socket, events));
    within(async { while metrics().await != ["1", "0", "0"] {} }).await;
    assert_eq!(older(&proxy.reload(&yaml(3)).await.unwrap()), []);
}

#[tokio::test]
async fn reload_and_diff_say_what_changes_and_why_nothing_does() {
    let backend = Backend::start("a");
    let yaml = plain(&[backend.endpoint()]) + "watch: off\n";
    let program = Program::start(&yaml);
    let file = program.file.display().to_string();
    let (code, told, _) = program.ask(&["diff", "--exit-code"]);
    let same = format!("{file} is as it is in force, generation 1\n");
    assert_eq!((code, told), (Some(0), same.clone()));

    let changed =
        yaml.replace("upstream: pool", "upstream: pool, name: all") + "drain_timeout: 9s\n";
    program.directory.write("plimsoll.yaml", &changed);
    let (code, told, _) = program.ask(&["diff", "--exit-code"]);
    let expected = format!(
        "{file} beside generation 1, which is in force:\n  routes: added all; removed /*; 0 kept\n  \
         settings: changed drain_timeout\n\n+ routes[0].name: all\n+ drain_timeout: 9s\n"
    );
    assert_eq!((code, told), (Some(1), expected));
    let (code, told, said) = program.ask(&["reload"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let expected = "generation 2 is in force\n  routes: added all; removed /*; 0 kept\n  \
                    settings: changed drain_timeout\n";
    assert_eq!(told, expected);
    let same = same.replace("generation 1", "generation 2");
    assert_eq!(program.ask(&["diff"]), (Some(0), same, String::new()));

    program
        .directory
        .write("plimsoll.yaml", changed.replace("9s", "nine"));
    let mut check = Process::start(&["check", &file]);
    assert_eq!(check.wait(), Some(2));
    for command in ["reload", "diff"] {
        let (code, told, said) = program.ask(&[command]);
        assert_eq!((code, told.as_str()), (Some(2), ""), "{command}");
        assert!(
            said.contains(check.stderr().trim_end()),
            "{command}: {said}"
        );
    }
    let (_, status, _) = program.ask(&["status"]);
    assert!(
        status.contains("Last reload: REFUSED, what was in force stays;")
            && status.contains("by api\n")
            && status.contains("drain_timeout"),
        "{status}"
    );
    let ready = Client::h1(program.admin()).await.get("/ready").await;
    assert_eq!(ready.json()["last_reload"], "refused");
    let events = Client::h1(program.admin())
        .await
        .get("/api/v1/events")
        .await;
    let kinds: Vec<String> = events.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "reload")
        .map(|event| event["text"].as_str().unwrap().chars().take(18).collect())
        .collect();
    assert_eq!(kinds, ["applied (by api): ", "refused (by api): "]);

    let other = changed.replace("admin: {", "workers: 3\nadmin: {");
    program.directory.write("plimsoll.yaml", other);
    let (code, told, _) = program.ask(&["diff"]);
    assert_eq!(code, Some(0));
    assert!(
        told.contains("these keys cannot change while the process runs: workers"),
        "{told}"
    );
    let (code, _, said) = program.ask(&["reload"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("workers"), "{said}");
}
