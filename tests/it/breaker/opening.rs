//! What opens a breaker, and what an open one costs.

use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn opens_after_five_failures_and_asks_nothing_of_the_endpoint_then() {
    for (path, status, cause) in [
        ("/status/503", 503, "status_503"),
        ("/status/502", 502, "status_502"),
        ("/gone", 502, "connection_closed"),
    ] {
        let backend = Backend::start("a");
        let proxy = start(&[backend.endpoint()], NEVER).await;
        let mut client = Client::h1(proxy.address()).await;
        let answers = ask(&mut client, path, 5).await;
        assert_eq!(count(&answers, status), 5);
        let accepted = backend.counters().accepted();
        for answer in ask(&mut client, "/", 20).await {
            answer.assert_told(503, "destination_unavailable", "all_open");
            assert!(answer.text().contains("1 breaker_open"), "{answer:?}");
        }
        assert_eq!(backend.counters().accepted(), accepted);
        assert_eq!(backend.counters().requests(), 5);
        let [event] = &events(&proxy)[..] else {
            panic!("one event: {:?}", events(&proxy))
        };
        let told = format!(
            "breaker: upstream pool, endpoint {} opened: 5 failures in a row, the last {cause}; next probe in ",
            backend.endpoint()
        );
        assert!(event.starts_with(&told), "{event}");
    }
}

#[tokio::test]
async fn a_refused_connection_and_a_timeout_are_failures() {
    let closed = Closed::new();
    let proxy = start(&[closed.endpoint()], NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 7).await;
    assert_eq!((count(&answers, 502), count(&answers, 503)), (5, 2));

    let backend = Backend::start("a");
    let upstream = format!("timeouts: {{ first_byte: 30ms }}, {NEVER}");
    let proxy = start(&[backend.endpoint()], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/hang", 7).await;
    assert_eq!((count(&answers, 504), count(&answers, 503)), (5, 2));
    let scripted = Scripted::play(vec![vec![Step::Stall]]).await;
    let upstream = format!("protocol: h2, timeouts: {{ connect: 30ms }}, {NEVER}");
    let proxy = start(&[scripted.address().to_string()], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 7).await;
    assert_eq!((count(&answers, 504), count(&answers, 503)), (5, 2));
    // All that a request had went here.
    let upstream = format!("timeouts: {{ total: 30ms }}, {NEVER}");
    let proxy = start(&[backend.endpoint()], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/hang", 7).await;
    assert_eq!((count(&answers, 504), count(&answers, 503)), (5, 2));
}

/// It takes each request on the connection that all share, and gives it up.
async fn resetting() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut response))) = connection.accept().await {
                    response.send_reset(h2::Reason::INTERNAL_ERROR);
                }
            });
        }
    });
    address.to_string()
}

/// Not one is taken for a connection that was idle for too long, and none is sent again for nothing.
#[tokio::test]
async fn resets_of_streams_are_failures() {
    let upstream = format!("protocol: h2, {NEVER}");
    let proxy = start(&[resetting().await], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 7).await;
    assert_eq!((count(&answers, 502), count(&answers, 503)), (5, 2));
    assert_eq!(proxy.endpoints(Metric::EndpointConnections, ""), 1);
    assert_eq!(proxy.routes(Metric::Replays, ""), 0);
}

/// Each head says that all is well. What follows does not come.
#[tokio::test]
async fn answers_that_are_cut_off_are_failures() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let scripted = Scripted::start(vec![answer]).await;
    let proxy = start(&[scripted.address().to_string()], NEVER).await;
    for _ in 0..5 {
        let mut client = Client::h1(proxy.address()).await;
        assert!(client.try_get("/").await.is_err());
    }
    comes_to(&proxy, 0, Phase::Open).await;
    assert_eq!(scripted.heads().len(), 5);
}

#[tokio::test]
async fn posts_count_like_any_request() {
    let backend = Backend::labelled("a").status("503:1").start();
    let proxy = start(&[backend.endpoint()], NEVER).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..5 {
        client.post("/", "body").await;
    }
    let answer = client.post("/", "body").await;
    answer.assert_told(503, "destination_unavailable", "all_open");
    assert_eq!(backend.counters().requests(), 5);
}

#[tokio::test]
async fn an_error_of_the_application_counts_by_option() {
    let backend = Backend::start("a");
    let keys =
        "breaker: { count_500: true, consecutive_failures: 2, open_for: 1m, open_for_max: 1m }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/status/500", 4).await;
    assert_eq!((count(&answers, 500), count(&answers, 503)), (2, 2));
}

#[tokio::test]
async fn the_others_serve_on() {
    let broken = Backend::labelled("a").status("503:1").start();
    let well = Backend::start("b");
    let upstream = format!("balance: round_robin, failure_penalty: off, {NEVER}");
    let proxy = start(&[broken.endpoint(), well.endpoint()], &upstream).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/", 100).await;
    assert_eq!((count(&answers, 503), count(&answers, 200)), (5, 95));
}

#[tokio::test]
async fn a_rate_opens_it_within_a_tick() {
    let backend = Backend::start("a");
    let keys = "breaker: { consecutive_failures: off, failure_rate: 50%, min_samples: 10, open_for: 1h, open_for_max: 1h }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..4 {
        ask(&mut client, "/", 1).await;
        ask(&mut client, "/status/503", 1).await;
    }
    assert_eq!(breaker(&proxy, 0).phase(), Phase::Closed, "8 samples of 10");
    ask(&mut client, "/", 1).await;
    ask(&mut client, "/status/503", 1).await;
    comes_to(&proxy, 0, Phase::Open).await;
    let told = first_event(&proxy).await;
    let expected = "opened: 5 of 10 attempts failed (50%)";
    assert!(told.contains(expected), "{told}");
}

#[tokio::test]
async fn slow_answers_open_it_where_they_count() {
    let backend = Backend::start("a");
    let keys = "breaker: { slow_call: 5ms, min_samples: 5, open_for: 1h, open_for_max: 1h }";
    let proxy = start(&[backend.endpoint()], keys).await;
    let mut client = Client::h1(proxy.address()).await;
    let answers = ask(&mut client, "/delay/20", 5).await;
    assert_eq!(count(&answers, 200), 5);
    comes_to(&proxy, 0, Phase::Open).await;
    let told = first_event(&proxy).await;
    assert!(told.contains("5 of 5 attempts were slow (100%)"), "{told}");
}

/// Attempts that hang hold every place, and the breaker is open: nobody queues for what will not be had.
#[tokio::test]
async fn nobody_waits_for_room_at_an_open_one() {
    let backend = Backend::start("a");
    let keys = |most| {
        let keys = format!(
            "bulkhead: {{ max_in_flight: {most}, queue_timeout: 1h }}, timeouts: {{ total: 1h }}, {NEVER}"
        );
        yaml(1, &[backend.endpoint()], &keys)
    };
    let proxy = Proxy::start(&keys(2)).await;
    let mut holder = Raw::connect(proxy.address()).await;
    holder.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
    let mut client = Client::h1(proxy.address()).await;
    ask(&mut client, "/status/503", 5).await;
    within(proxy.reload(&keys(1))).await.unwrap();
    let answer = within(client.get("/")).await;
    answer.assert_told(503, "destination_unavailable", "all_open");
}

/// How an endpoint over HTTP/2 resets each of its streams.
#[derive(Debug, Clone, Copy)]
enum Storm {
    Before(h2::Reason),
    AfterHead,
}

/// An endpoint that resets every stream and keeps its connections; gives its address.
async fn storm(storm: Storm) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                while let Some(Ok((_, mut response))) = connection.accept().await {
                    match storm {
                        Storm::Before(reason) => response.send_reset(reason),
                        Storm::AfterHead => {
                            let head = hyper::Response::new(());
                            let mut body = response.send_response(head, false).unwrap();
                            body.send_data(bytes::Bytes::from_static(b"half"), false)
                                .unwrap();
                            tokio::spawn(async move {
                                // The head and what there is of the body are on their way before.
                                body.reserve_capacity(1);
                                let _ = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
                                tokio::task::yield_now().await;
                                body.send_reset(h2::Reason::INTERNAL_ERROR);
                            });
                        }
                    }
                }
            });
        }
    });
    address.to_string()
}

#[tokio::test]
async fn an_endpoint_that_resets_every_stream_fails() {
    for kind in [
        Storm::Before(h2::Reason::INTERNAL_ERROR),
        Storm::Before(h2::Reason::REFUSED_STREAM),
        Storm::Before(h2::Reason::ENHANCE_YOUR_CALM),
        Storm::AfterHead,
    ] {
        let endpoint = storm(kind).await;
        let proxy = start(&[endpoint], &format!("protocol: h2, {NEVER}")).await;
        for _ in 0..5 {
            let mut client = Client::h1(proxy.address()).await;
            let answer = client.try_get("/").await;
            assert!(
                answer.is_err() || answer.is_ok_and(|answer| answer.status.is_server_error()),
                "{kind:?}"
            );
        }
        comes_to(&proxy, 0, Phase::Open).await;
    }
}
