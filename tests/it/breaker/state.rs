//! Reloads, other scopes, and what can be seen.

use super::*;

#[tokio::test]
async fn its_state_survives_a_reload_and_other_rules_apply_to_it() {
    let backend = Backend::start("a");
    let endpoints = [backend.endpoint()];
    let proxy = start(&endpoints, NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 4).await;
    // The fifth in a row, though four came under another configuration.
    let other = format!("timeouts: {{ first_byte: 9s }}, {NEVER}");
    within(proxy.reload(&yaml(1, &endpoints, &other)))
        .await
        .unwrap();
    ask(&mut client, "/status/503", 1).await;
    within(proxy.reload(&yaml(1, &endpoints, NEVER)))
        .await
        .unwrap();
    let answer = client.get("/").await;
    answer.assert_told(503, "destination_unavailable", "all_open");
    assert_eq!(events(&proxy).len(), 1);
    // Off, it keeps nobody out, and says so.
    within(proxy.reload(&yaml(1, &endpoints, "breaker: off")))
        .await
        .unwrap();
    eventually(DEADLINE, || breaker(&proxy, 0).phase() == Phase::Closed).await;
    eventually(DEADLINE, || {
        let now = upstream(&proxy);
        now.endpoints[0].out().is_none()
    })
    .await;
    let answers = ask(&mut client, "/status/503", 20).await;
    assert_eq!(
        answers.iter().filter(|a| a.backend() == Some("a")).count(),
        20
    );
}

#[tokio::test]
async fn an_endpoint_that_moves_begins_with_a_closed_one() {
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    let at = |backend: &Backend| {
        yaml(1, &[], NEVER).replace(
            "endpoints: []",
            &format!(
                "endpoints: [{{ id: a, address: {:?} }}]",
                backend.endpoint()
            ),
        )
    };
    let proxy = Proxy::start(&at(&old)).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 5).await;
    assert_eq!(count(&ask(&mut client, "/", 1).await, 503), 1);
    within(proxy.reload(&at(&new))).await.unwrap();
    eventually(DEADLINE, || breaker(&proxy, 0).phase() == Phase::Closed).await;
    // A worker may still be about to learn of it.
    within(async { while client.get("/").await.status != StatusCode::OK {} }).await;
    assert_eq!(client.get("/").await.backend(), Some("new"));
}

#[tokio::test]
async fn one_for_the_whole_upstream_refuses_before_anything_is_picked() {
    let backends = [
        Backend::labelled("a").status("503:1").start(),
        Backend::labelled("b").status("503:1").start(),
    ];
    let endpoints = backends.each_ref().map(Backend::endpoint);
    let keys = "balance: round_robin, breaker: { scope: upstream, open_for: 2s, ramp: off }";
    let proxy = start(&endpoints, keys).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 5).await;
    assert!(answers.iter().all(|answer| answer.backend().is_some()));
    let answer = client.get("/").await;
    answer.assert_told(503, "destination_unavailable", "breaker_open");
    let both = || {
        backends
            .iter()
            .map(|b| b.counters().requests())
            .sum::<u64>()
    };
    assert_eq!(both(), 5, "neither has five of its own");
    assert!(events(&proxy)[0].starts_with("breaker: upstream pool opened: 5 failures in a row"));
    for backend in &backends {
        backend.change(Backend::labelled("well"));
    }
    let shared = upstream(&proxy);
    let shared = shared.breaker.as_ref().unwrap().shared.clone().unwrap();
    eventually(DEADLINE, || shared.phase() == Phase::HalfOpen).await;
    let answers = ask(&mut client, "/", 10).await;
    assert_eq!(count(&answers, 200), 10);
    assert_eq!(shared.phase(), Phase::Closed);
}

#[tokio::test]
async fn one_of_a_route_leaves_other_routes_alone_and_survives_a_reload() {
    let backend = Backend::start("a");
    let yaml = |more: &str| {
        format!(
            "workers: 1\n\
             listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes:\n\
             \x20 - {{ name: fragile, match: {{ path: /status }}, upstream: pool, breaker: {{ consecutive_failures: 3, open_for: 1h, open_for_max: 1h }} }}\n\
             \x20 - {{ name: rest, upstream: pool }}\n\
             upstreams: {{ pool: {{ endpoints: [{:?}], retry: {{ max_attempts: 1 }}, {more} }} }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n",
            backend.endpoint()
        )
    };
    let proxy = Proxy::start(&yaml("")).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 3).await;
    let refused = |answer: Answer| {
        answer.assert_told(503, "destination_unavailable", "breaker_open");
    };
    refused(client.get("/status/200").await);
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    assert_eq!(backend.counters().requests(), 4);
    let told = events(&proxy);
    assert!(
        told[0].starts_with("breaker: route fragile opened: 3 failures in a row"),
        "{told:?}"
    );
    within(proxy.reload(&yaml("timeouts: { first_byte: 9s }")))
        .await
        .unwrap();
    refused(client.get("/status/200").await);
    let status = status(&proxy).await;
    let states: Vec<Option<&str>> = status
        .routes
        .iter()
        .map(|route| route.breaker.as_ref().map(|b| b.state.as_str()))
        .collect();
    assert_eq!(states, [Some("open"), None]);
    let metrics = Client::h1(proxy.admin()).await.get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("plimsoll_route_breaker_state{route=\"fragile\"} 2")
    );
}

#[tokio::test]
async fn how_it_stands_and_why_can_be_seen() {
    let backend = Backend::start("a");
    let proxy = start(&[backend.endpoint()], "").await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/", 2).await;
    ask(&mut client, "/status/503", 3).await;
    eventually(DEADLINE, || {
        breaker(&proxy, 0)
            .facts(proxy.live().clock.now())
            .window
            .ended
            == 5
    })
    .await;
    let seen = status(&proxy).await.upstreams[0].endpoints[0]
        .breaker
        .clone()
        .unwrap();
    assert_eq!((seen.state.as_str(), seen.failures_in_row), ("closed", 3));
    assert_eq!((seen.window.attempts, seen.window.failed), (5, 3));
    assert_eq!((seen.reason, seen.next_probe_seconds), (None, None));
    within(proxy.reload(&yaml(1, &[backend.endpoint()], NEVER)))
        .await
        .unwrap();
    ask(&mut client, "/status/503", 2).await;
    let seen = status(&proxy).await.upstreams[0].endpoints[0].clone();
    assert_eq!(seen.out.as_deref(), Some("breaker_open"));
    let seen = seen.breaker.unwrap();
    assert_eq!((seen.state.as_str(), seen.opened_total), ("open", 1));
    assert_eq!(
        seen.reason.as_deref(),
        Some("5 failures in a row, the last status_503")
    );
    assert!(seen.next_probe_seconds.unwrap() > Duration::from_secs(60).as_secs_f64());
    let metrics = Client::h1(proxy.admin()).await.get("/metrics").await;
    let of = format!("upstream=\"pool\",endpoint=\"{}\"", backend.endpoint());
    for line in [
        format!("plimsoll_breaker_state{{{of}}} 2"),
        format!("plimsoll_breaker_changes_total{{{of},to=\"open\"}} 1"),
    ] {
        assert!(metrics.text().contains(&line), "{line}");
    }
}
