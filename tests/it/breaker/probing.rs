//! How an open breaker finds out that it may close, and what follows.

use super::*;

#[tokio::test]
async fn half_open_lets_so_many_probes_through_on_all_workers_together() {
    let backend = Backend::labelled("a").status("503:1").start();
    let keys = "breaker: { open_for: 10ms, probes: 3, ramp: off }";
    let proxy = Proxy::start(&yaml(2, &[backend.endpoint()], keys)).await;
    ask(&mut Client::h1(proxy.address()).await, "/", 5).await;
    backend.change(Backend::labelled("a"));
    comes_to(&proxy, 0, Phase::HalfOpen).await;
    let before = backend.counters().requests();
    let mut hanging = JoinSet::new();
    for _ in 0..40 {
        let address = proxy.address();
        hanging.spawn(async move { Client::h1(address).await.get("/hang").await });
    }
    // All but the probes are told at once.
    for _ in 0..37 {
        let answer = within(hanging.join_next()).await.unwrap().unwrap();
        answer.assert_told(503, "destination_unavailable", "all_open");
    }
    eventually(DEADLINE, || backend.counters().in_flight() == 3).await;
    assert_eq!(backend.counters().requests() - before, 3);
    assert!(breaker(&proxy, 0).is_taken());
    // The clients of the probes leave: nothing is decided, and others find out.
    hanging.abort_all();
    eventually(DEADLINE, || !breaker(&proxy, 0).is_taken()).await;
    assert_eq!(breaker(&proxy, 0).phase(), Phase::HalfOpen);
    let answers = ask(&mut Client::h1(proxy.address()).await, "/", 10).await;
    assert_eq!(count(&answers, 200), 10);
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed);
    let told = events(&proxy);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains("is half-open: 3 probes at a time"));
    assert!(told[2].contains("closed: its probes succeeded"));
}

#[tokio::test]
async fn a_probe_that_fails_opens_it_again_for_longer() {
    let backend = Backend::labelled("a").status("503:1").start();
    let keys = "breaker: { open_for: 10ms, open_for_max: 1h, jitter: 0%, ramp: off }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/", 5).await;
    for probe in 1..4 {
        comes_to(&proxy, 0, Phase::HalfOpen).await;
        assert_eq!(client.get("/").await.backend(), Some("a"));
        assert_eq!(backend.counters().requests(), 5 + probe);
    }
    let told = events(&proxy);
    let opened: Vec<&String> = told.iter().filter(|t| t.contains("opened")).collect();
    for (told, span) in opened.iter().zip(["10 ms", "20 ms", "40 ms", "80 ms"]) {
        assert!(told.ends_with(&format!("next probe in {span}")), "{told}");
    }
    assert!(opened[1].contains("a probe failed, status_503"));
}

/// A connection that died while it was idle says nothing. The replay goes in its place, as the same probe.
#[tokio::test]
async fn a_probe_on_a_dead_connection_is_replayed_as_a_probe() {
    let backend = Backend::start("a");
    let proxy = start(&[backend.endpoint()], SOON).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 5).await;
    comes_to(&proxy, 0, Phase::HalfOpen).await;
    backend.cut_connections();
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    comes_to(&proxy, 0, Phase::Closed).await;
    assert!(!breaker(&proxy, 0).is_taken());
}

/// The only endpoint that is left has its probe under way: better the one again that has answered.
#[tokio::test]
async fn a_retry_goes_back_where_the_others_are_probed() {
    let well = Backend::start("a");
    let broken = Backend::labelled("b").status("503:1").start();
    let keys = "balance: round_robin, failure_penalty: off, breaker: { open_for: 10ms, ramp: off }";
    let yaml = yaml(1, &[well.endpoint(), broken.endpoint()], keys);
    let twice = yaml.replace("max_attempts: 1", "max_attempts: 2, budget: off");
    let proxy = Proxy::start(&twice).await;
    let mut client = Client::h1(proxy.address()).await;
    while breaker(&proxy, 1).changes()[Phase::Open as usize] == 0 {
        assert_eq!(client.get("/").await.backend(), Some("a"));
    }
    broken.change(Backend::labelled("b").latency("1h"));
    comes_to(&proxy, 1, Phase::HalfOpen).await;
    let mut asking = JoinSet::new();
    while !breaker(&proxy, 1).is_taken() {
        let (address, before) = (proxy.address(), well.counters().requests());
        asking.spawn(async move { Client::h1(address).await.get("/").await });
        eventually(DEADLINE, || {
            breaker(&proxy, 1).is_taken() || well.counters().requests() > before
        })
        .await;
    }
    well.change(Backend::labelled("a").status("503:1"));
    let before = well.counters().requests();
    let answer = client.get("/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.backend(), Some("a"), "it is no answer of the proxy");
    assert_eq!(well.counters().requests() - before, 2);
}

/// Of 200 requests in turn the one that has recovered gets `0.1 / 1.1` at the beginning of its ramp, 18; the bound is
/// more than six standard deviations away. Without a ramp it gets half.
#[tokio::test]
async fn its_share_grows_after_it_has_closed() {
    for (ramp, most) in [("1h", 44), ("off", 100)] {
        let broken = Backend::labelled("a").status("503:1").start();
        let well = Backend::start("b");
        let upstream = format!(
            "balance: round_robin, failure_penalty: off, breaker: {{ open_for: 10ms, ramp: {ramp} }}"
        );
        let proxy = start(&[broken.endpoint(), well.endpoint()], &upstream).await;
        let mut client = Client::h1(proxy.address()).await;
        ask(&mut client, "/", 10).await;
        broken.change(Backend::labelled("a"));
        while breaker(&proxy, 0).changes()[Phase::Closed as usize] == 0 {
            client.get("/").await;
        }
        // The share is told by the tick.
        if ramp == "1h" {
            let endpoint = Arc::clone(&upstream_endpoint(&proxy, 0));
            eventually(DEADLINE, || endpoint.signals.charge().factor < 0.2).await;
        }
        let answers = ask(&mut client, "/", 200).await;
        let recovered = answers
            .iter()
            .filter(|answer| answer.backend() == Some("a"));
        let recovered = recovered.count();
        assert!((1..=most).contains(&recovered), "{ramp}: {recovered}");
        assert!(ramp == "1h" || recovered == 100, "{recovered}");
    }
}
