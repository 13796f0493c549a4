//! What is shown of balancing: shares beside those expected, imbalance, why an endpoint is out, the hottest keys.

use hyper::Method;
use plimsoll::admin::scrape::scrape;
use plimsoll::admin::status::{self, EndpointStatus, HotKeyStatus, UpstreamStatus};
use plimsoll::balance::Exclusion;
use plimsoll::clock::Clock;

use crate::harness::{
    Backend, Client, DEADLINE, Outgoing, Process, Proxy, config, eventually, plain, request,
};

/// The only upstream.
fn upstream(proxy: &Proxy) -> UpstreamStatus {
    let mut all = status::read(proxy.live()).upstreams;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn endpoint<'a>(upstream: &'a UpstreamStatus, backend: &Backend) -> &'a EndpointStatus {
    let mut all = upstream.endpoints.iter();
    all.find(|one| one.id == backend.endpoint()).unwrap()
}

fn keys(proxy: &Proxy) -> Vec<HotKeyStatus> {
    upstream(proxy).balancing.hot_keys.unwrap().keys
}

/// Samples of a family, each with what stands between its braces.
fn samples(proxy: &Proxy, family: &str) -> Vec<(String, f64)> {
    let text = scrape(proxy.live());
    let lines = text.lines().filter_map(|line| line.strip_prefix(family));
    let samples = lines.filter_map(|rest| rest.strip_prefix('{')?.rsplit_once("} "));
    samples
        .map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
        .collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

/// Holds something against the endpoint at a backend, or no longer, and waits until the upstream has been looked at.
async fn hold(proxy: &Proxy, backend: &Backend, is_held: bool) {
    let live = proxy.live();
    let snapshot = live.snapshot.load_full();
    let mut all = snapshot.endpoints();
    let endpoint = all.find(|one| one.id == backend.endpoint()).unwrap();
    endpoint.hold(Exclusion::Unhealthy, is_held, live.clock.now());
    snapshot.upstreams[0].look(live.clock.now());
}

fn backends(count: usize) -> Vec<Backend> {
    let labels = ["a", "b", "c", "d", "e"];
    labels[..count]
        .iter()
        .map(|one| Backend::start(one))
        .collect()
}

fn addresses(backends: &[Backend]) -> Vec<String> {
    backends.iter().map(Backend::endpoint).collect()
}

#[tokio::test]
async fn round_robin_is_even_and_its_shares_are_the_whole() {
    let backends = backends(4);
    let yaml = config(&addresses(&backends), "", "", "balance: round_robin");
    let proxy = Proxy::start(&yaml).await;
    let before = upstream(&proxy);
    assert_eq!(before.balancing.imbalance.picks, None);
    assert!(
        before
            .endpoints
            .iter()
            .all(|one| one.balancing.share.is_none())
    );
    assert!(samples(&proxy, "plimsoll_endpoint_share").is_empty());
    assert!(samples(&proxy, "plimsoll_upstream_imbalance").is_empty());

    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..200 {
        client.get("/").await;
    }
    let seen = upstream(&proxy);
    let sum = |of: fn(&EndpointStatus) -> f64| seen.endpoints.iter().map(of).sum::<f64>();
    assert!(near(sum(|one| one.balancing.share.unwrap()), 1.0));
    assert!(near(sum(|one| one.balancing.share_expected), 1.0));
    // Exact: a cycle of one worker gives each endpoint one pick.
    let imbalance = seen.balancing.imbalance.picks.unwrap();
    assert!(near(imbalance.jain, 1.0) && near(imbalance.max_over_mean, 1.0));
    assert_eq!(seen.balancing.picks.values().sum::<u64>(), 200);
    let shares = samples(&proxy, "plimsoll_endpoint_share");
    assert_eq!(shares.len(), 4);
    assert!(shares.iter().all(|(_, share)| near(*share, 0.25)));
    let jain = "upstream=\"pool\",of=\"picks\",index=\"jain\"";
    let indices = samples(&proxy, "plimsoll_upstream_imbalance");
    let (_, shown) = indices.iter().find(|(labels, _)| labels == jain).unwrap();
    assert!(near(*shown, 1.0));
}

#[tokio::test]
async fn a_weight_of_three_is_three_quarters_of_two_and_no_imbalance() {
    let backends = backends(2);
    let endpoints = backends[0].endpoint();
    let yaml = config(&[backends[1].endpoint()], "", "", "balance: round_robin").replace(
        "endpoints: [",
        &format!("endpoints: [{{ address: {endpoints:?}, weight: 3 }}, "),
    );
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..100 {
        client.get("/").await;
    }
    let seen = upstream(&proxy);
    let heavy = endpoint(&seen, &backends[0]);
    let figures = &heavy.balancing;
    assert_eq!((figures.weight, figures.factor), (3, 1.0));
    assert!(near(figures.share.unwrap(), 0.75), "{figures:?}");
    assert!(near(figures.share_expected, 0.75));
    assert!(figures.latency_seconds.is_some_and(|latency| latency > 0.0));
    assert!(near(seen.balancing.imbalance.picks.unwrap().jain, 1.0));
    // Attempts are counted when they have ended, which may be after the client has its answer.
    eventually(DEADLINE, || {
        let minute = endpoint(&upstream(&proxy), &backends[0])
            .attempts
            .minute
            .clone();
        minute.count == 75 && minute.mean_seconds.is_some_and(|mean| mean > 0.0)
    })
    .await;
}

#[tokio::test]
async fn who_is_out_says_why_and_a_panic_shows() {
    let backends = backends(3);
    let panic = "panic: { threshold: 60%, rule: fail_open }";
    let yaml = config(&addresses(&backends), "", "", panic);
    let proxy = Proxy::start(&yaml).await;
    let panicking = || samples(&proxy, "plimsoll_upstream_panicking")[0].1;
    assert_eq!(panicking(), 0.0);

    hold(&proxy, &backends[0], true).await;
    let seen = upstream(&proxy);
    let out = endpoint(&seen, &backends[0]);
    assert_eq!(
        (out.out.as_deref(), out.eligible),
        (Some("unhealthy"), false)
    );
    assert_eq!(out.balancing.share_expected, 0.0);
    assert!(near(
        endpoint(&seen, &backends[1]).balancing.share_expected,
        0.5
    ));
    assert!(!seen.balancing.panicking);

    hold(&proxy, &backends[1], true).await;
    let seen = upstream(&proxy);
    // All serve now, whatever is held against them.
    let out = endpoint(&seen, &backends[0]);
    assert_eq!(
        (out.out.as_deref(), out.eligible),
        (Some("unhealthy"), true)
    );
    assert!(seen.balancing.panicking && panicking() == 1.0);

    hold(&proxy, &backends[0], false).await;
    hold(&proxy, &backends[1], false).await;
    let seen = upstream(&proxy);
    assert!(
        seen.endpoints
            .iter()
            .all(|one| one.out.is_none() && one.eligible)
    );
    assert_eq!(panicking(), 0.0);
}

#[tokio::test]
async fn groups_show_who_serves_and_who_waits() {
    let backends = backends(3);
    let [first, second, third] = [0, 1, 2].map(|i| backends[i].endpoint());
    let yaml = plain(&[first]).replace(
        "] } }",
        &format!(
            ", {{ address: {second:?}, weight: 0 }}, {{ address: {third:?}, backup: true }}] }} }}"
        ),
    );
    let proxy = Proxy::start(&yaml).await;
    let seen = upstream(&proxy);
    let groups = &seen.balancing.groups;
    let told: Vec<_> = groups
        .iter()
        .map(|g| (g.share, g.endpoints, g.candidates))
        .collect();
    assert_eq!(told, [(1.0, 2, 1), (0.0, 1, 1)], "{groups:?}");
    assert_eq!(groups[1].name, "priority 0, backup");
    let idle = endpoint(&seen, &backends[1]);
    assert_eq!(
        (idle.out.as_deref(), idle.eligible),
        (Some("weight_zero"), false)
    );
    // It waits for its turn, which is no reason to call it out.
    let backup = endpoint(&seen, &backends[2]);
    assert_eq!((backup.out.as_deref(), backup.eligible), (None, true));
    assert_eq!(backup.balancing.share_expected, 0.0);
}

#[tokio::test]
async fn what_is_in_flight_shows_as_a_mean_and_as_imbalance() {
    let backends = backends(2);
    let proxy = Proxy::start(&plain(&addresses(&backends))).await;
    eventually(DEADLINE, || {
        let seen = upstream(&proxy);
        let mut all = seen.endpoints.iter();
        all.all(|one| one.balancing.in_flight_mean == Some(0.0))
    })
    .await;
    assert_eq!(upstream(&proxy).balancing.imbalance.in_flight, None);
    let mut client = Client::h1(proxy.address()).await;
    let hanging = tokio::spawn(async move { client.try_get("/hang").await.is_err() });
    // All at one of two.
    eventually(DEADLINE, || {
        let imbalance = upstream(&proxy).balancing.imbalance.in_flight;
        imbalance.is_some_and(|of| near(of.max_over_mean, 2.0) && near(of.jain, 0.5))
    })
    .await;
    let means = samples(&proxy, "plimsoll_endpoint_in_flight_mean");
    assert!(means.len() == 2 && means.iter().any(|(_, mean)| *mean > 0.0));
    drop(proxy);
    assert!(hanging.await.unwrap());
}

/// Hashing by `key`, with these further options.
fn hashing(backends: &[Backend], key: &str, options: &str) -> String {
    let balance = format!("balance: {{ consistent_hash: {{ key: {key}{options} }} }}");
    config(&addresses(backends), "", "", &balance)
}

fn labelled<'a>(backends: &'a [Backend], label: &str) -> &'a Backend {
    let place = ["a", "b", "c", "d", "e"]
        .iter()
        .position(|one| *one == label);
    &backends[place.unwrap()]
}

#[tokio::test]
async fn the_hottest_key_stands_beside_the_endpoint_that_its_requests_reach() {
    let backends = backends(3);
    let yaml = hashing(&backends, "path", "");
    let proxy = Proxy::start(&yaml).await;
    assert!(keys(&proxy).is_empty());
    assert!(samples(&proxy, "plimsoll_upstream_hottest_key_share").is_empty());
    let mut client = Client::h1(proxy.address()).await;
    for round in 0..20 {
        client.get(&format!("/cold/{round}")).await;
        for _ in 0..3 {
            client.get("/hot?whatever").await;
        }
    }
    let owner = client.get("/hot").await.backend().unwrap().to_owned();
    let owner = labelled(&backends, &owner);
    let hot = &keys(&proxy)[0];
    assert_eq!(hot.text.as_deref(), Some("/hot"));
    assert_eq!((hot.count, hot.error, hot.spilled), (61, 0, 0));
    assert!(near(hot.share, 61.0 / 81.0));
    assert_eq!(hot.owner, Some(owner.endpoint()));
    assert_eq!(hot.stand_in, None);
    assert_eq!(keys(&proxy).len(), 10);
    let share = samples(&proxy, "plimsoll_upstream_hottest_key_share");
    assert!(near(share[0].1, 61.0 / 81.0));

    hold(&proxy, owner, true).await;
    let stand_in = client.get("/hot").await.backend().unwrap().to_owned();
    let hot = &keys(&proxy)[0];
    assert_eq!((hot.count, hot.spilled), (62, 1));
    assert_eq!(hot.owner, Some(owner.endpoint()));
    let stand_in = labelled(&backends, &stand_in).endpoint();
    assert_eq!(hot.stand_in, Some(stand_in));
    // A reload goes on with what was counted. Other keys are others' counts.
    proxy.reload(&yaml).await.unwrap();
    assert_eq!(keys(&proxy)[0].count, 62);
    let other = hashing(&backends, "host", "");
    proxy.reload(&other).await.unwrap();
    assert!(keys(&proxy).is_empty());
}

#[tokio::test]
async fn the_value_of_a_header_is_not_shown() {
    let backends = backends(2);
    let yaml = hashing(&backends, "{ header: X-User }", "");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut with = request(Method::GET, "/", Outgoing::empty());
    with.headers_mut()
        .insert("x-user", "secret".parse().unwrap());
    client.send(with).await;
    // Without a key there is nothing to count.
    client.get("/").await;
    let all = keys(&proxy);
    assert_eq!((all.len(), all[0].count, all[0].text.clone()), (1, 1, None));
    assert_eq!(all[0].hash.len(), 16);
}

/// By hand: the third of three at once may not stay, since `⌈1.25 × 3 / 2⌉ = 2`.
#[tokio::test]
async fn bounded_load_spills_and_the_spill_is_counted() {
    let backends = backends(2);
    let yaml = hashing(&backends, "path", ", bounded_load: 1.25");
    let proxy = Proxy::start(&yaml).await;
    let mut hanging = Vec::new();
    let in_flight = || {
        backends
            .iter()
            .map(|one| one.counters().in_flight())
            .sum::<u64>()
    };
    for number in 1..=3 {
        let mut client = Client::h1(proxy.address()).await;
        hanging.push(tokio::spawn(async move {
            client.try_get("/hang").await.is_err()
        }));
        eventually(DEADLINE, || in_flight() == number).await;
    }
    let seen = upstream(&proxy);
    assert_eq!(seen.balancing.picks.get("spilled"), Some(&1));
    let hot = &keys(&proxy)[0];
    assert_eq!((hot.count, hot.spilled), (3, 1));
    let mut at: Vec<u64> = seen.endpoints.iter().map(|one| one.in_flight).collect();
    let of_owner = seen
        .endpoints
        .iter()
        .find(|one| Some(&one.id) == hot.owner.as_ref());
    assert_eq!(of_owner.unwrap().in_flight, 2);
    at.sort_unstable();
    assert_eq!(at, [1, 2]);
    let spilled = samples(&proxy, "plimsoll_upstream_picks_total");
    let spilled: Vec<_> = spilled
        .iter()
        .filter(|(of, _)| of.contains("spilled"))
        .collect();
    assert!(spilled.len() == 1 && spilled[0].1 == 1.0, "{spilled:?}");
    drop(proxy);
    for one in hanging {
        assert!(one.await.unwrap());
    }
}

#[tokio::test]
async fn the_command_shows_it_in_tables_that_fit() {
    let backends = backends(3);
    let yaml = hashing(&backends, "path", "") + "admin: { address: \"127.0.0.1:0\" }\n";
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    let path = "/a/rather/long/path/that/is/clipped/to/fit/the/width";
    for _ in 0..30 {
        client.get(path).await;
    }
    let owner = keys(&proxy)[0].owner.clone();
    let mut others = backends.iter();
    let other = others.find(|one| Some(one.endpoint()) != owner).unwrap();
    hold(&proxy, other, true).await;
    let admin = proxy.admin().to_string();
    let run = |arguments: &[&str]| {
        let mut process = Process::start(arguments);
        assert_eq!(process.wait(), Some(0), "{}", process.stderr());
        process.stdout()
    };
    let text = run(&["status", "--balancing", "--admin", &admin]);
    for part in [
        "pool (consistent_hash)",
        "30 policy",
        "max/mean",
        "EXPECTED",
        "unhealthy",
        "100.0 %",
        "SPILLED",
        "/a/rather/long/path",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(120), "{widest:?} in\n{text}");
    let text = run(&["status", "--admin", &admin]);
    assert!(text.contains(" (unhealthy)"), "{text}");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(120), "{widest:?} in\n{text}");
}

#[tokio::test]
async fn the_past_of_keys_fades() {
    let backends = backends(2);
    // A minute passes in 200 ms, and no timeout before 12 s.
    let clock = Clock::scaled(300);
    let patient = "timeouts: { head: 1h, keep_alive: 24h, body: 24h }";
    let far = "timeouts: { connect: 1h, first_byte: 24h, total: 24h, idle: 24h }";
    let balance = format!("balance: {{ consistent_hash: {{ key: path }} }}, {far}");
    let yaml = config(&addresses(&backends), patient, "", &balance);
    let proxy = Proxy::start_on(clock, &yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    client.get("/").await;
    eventually(DEADLINE, || keys(&proxy).is_empty()).await;
}
