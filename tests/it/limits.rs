//! How much and how slowly a client may ask.

use std::time::Duration;

use plimsoll::clock::{Clock, Instant};

use crate::harness::{
    Backend, DEADLINE, FAST, Front, Raw, Scripted, Step, eventually, expect_no_panic, within,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_connection_beyond_the_cap_waits_and_is_then_served() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), ", limits: { connections: 2 }").await;
    let mut inside = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect(front.address).await;
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 200);
        inside.push(client);
    }
    let mut waiting = Raw::connect(front.address).await;
    waiting.send(GET).await;
    // Those inside are served on, while the third is not.
    for client in &mut inside {
        client.send(GET).await;
        assert_eq!(client.response().await.status(), 200);
    }
    assert_eq!(backend.counters().requests(), 4);
    inside.pop();
    assert_eq!(waiting.response().await.status(), 200);
    assert_eq!(backend.counters().requests(), 5);
}

#[tokio::test]
async fn heads_beyond_their_limits_are_refused() {
    let backend = Backend::start("a");
    let limits = ", limits: { head_bytes: 2KiB, fields: 10 }";
    let front = Front::before(&backend.endpoint(), limits).await;
    let head = |lines: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for (name, request, status, reason) in [
        (
            "many fields",
            head(&"A: b\r\n".repeat(10)),
            431,
            "too_many_fields",
        ),
        (
            "many fields without end",
            "GET / HTTP/1.1\r\n".to_owned() + &"A: b\r\n".repeat(12),
            431,
            "too_many_fields",
        ),
        (
            "a long field",
            head(&format!("A: {}\r\n", "b".repeat(3000))),
            431,
            "too_many_bytes",
        ),
        (
            "a field without end",
            format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(3000)),
            431,
            "too_many_bytes",
        ),
        (
            "a long name",
            head(&format!("{}: b\r\n", "A".repeat(3000))),
            431,
            "too_many_bytes",
        ),
        (
            "a long target",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(3000)),
            414,
            "target_too_long",
        ),
        (
            "a target without end",
            format!("GET /{}", "a".repeat(3000)),
            414,
            "target_too_long",
        ),
        (
            "many options",
            head(&format!("Connection: {}\r\n", "a,".repeat(40))),
            431,
            "too_many_options",
        ),
    ] {
        let before = front.refused(reason);
        let mut client = Raw::connect(front.address).await;
        client.send(request).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), status, "{name}");
        assert!(
            answer.field("proxy-status").unwrap().contains(reason),
            "{name}: {answer:?}"
        );
        client.expect_closed().await;
        front.expect_refused(reason, before + 1).await;
    }
    assert_eq!(backend.counters().requests(), 0);
    // Just within all of them.
    let mut client = Raw::connect(front.address).await;
    client
        .send(head(&format!(
            "A: {}\r\n{}",
            "b".repeat(1800),
            "C: d\r\n".repeat(8)
        )))
        .await;
    assert_eq!(client.response().await.status(), 200);
    expect_no_panic();
}

#[tokio::test]
async fn a_body_announced_as_too_large_is_refused_before_anything_is_forwarded() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), ", limits: { body_bytes: 1KiB }").await;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let before = front.refused("body_too_large");
        let mut client = Raw::connect(front.address).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 1025\r\n\r\n"
            ))
            .await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.interim.len()), (413, 0));
        assert!(
            answer
                .field("proxy-status")
                .unwrap()
                .contains("body_too_large")
        );
        client.expect_closed().await;
        front.expect_refused("body_too_large", before + 1).await;
    }
    assert_eq!(backend.counters().accepted(), 0);
    let mut client = Raw::connect(front.address).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n{}",
            "a".repeat(1024)
        ))
        .await;
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn a_chunked_body_that_grows_too_large_is_refused_and_never_ends_at_the_endpoint() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let front = Front::before(&address, ", limits: { body_bytes: 1KiB }").await;
    let mut client = Raw::connect(front.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    let (mut endpoint, _) = within(listener.accept()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello\r\n") {
        within(tokio::io::AsyncReadExt::read_buf(&mut endpoint, &mut seen))
            .await
            .unwrap();
    }
    client
        .send(format!("400\r\n{}\r\n0\r\n\r\n", "a".repeat(1024)))
        .await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 413);
    client.expect_closed().await;
    front.expect_refused("body_too_large", 1).await;
    // Closed or reset, but never with the chunk that would end the message.
    let _ = within(tokio::io::AsyncReadExt::read_to_end(
        &mut endpoint,
        &mut seen,
    ))
    .await;
    assert!(!seen.ends_with(b"0\r\n\r\n"), "{}", seen.escape_ascii());
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_meets_its_deadline() {
    let backend = Backend::start("a");
    let clock = Clock::scaled(FAST);
    let front = Front::on(clock, &backend.endpoint(), ", timeouts: { head: 20s }").await;
    let mut client = Raw::connect(front.address).await;
    let real = Clock::system();
    trickle_until(&front, &mut client, 1).await;
    assert!(real.now().since(Instant(0)) < Duration::from_secs(10));
    assert_eq!(client.response().await.status(), 408);
    assert_eq!(backend.counters().requests(), 0);
}

/// The time of the first head counts from the accept: the bytes that tell the protocol, and when they come, do not start
/// it anew. That once gave a client twice the time.
#[tokio::test]
async fn a_first_head_that_begins_late_meets_the_same_deadline() {
    let (rate, head) = (100, Duration::from_secs(200));
    let backend = Backend::start("a");
    let timeouts = ", timeouts: { head: 200s, keep_alive: 24h }";
    let front = Front::on(Clock::scaled(rate), &backend.endpoint(), timeouts).await;
    let clock = Clock::scaled(rate);
    let mut late = Raw::connect(front.address).await;
    let start = clock.now();
    let elapsed = || clock.now().since(start);
    eventually(DEADLINE, || elapsed() > head.mul_f64(0.8)).await;
    trickle_until(&front, &mut late, 1).await;
    assert_eq!(late.response().await.status(), 408);
    // Late by a tick of the wheel and by what the machine takes, not by another head.
    assert!(
        (head.mul_f64(0.9)..head.mul_f64(1.5)).contains(&elapsed()),
        "{:?}",
        elapsed()
    );
    assert_eq!(backend.counters().requests(), 0);
}

/// The time of a later head counts from its first byte, however long the connection was idle before.
#[tokio::test]
async fn a_later_head_has_a_deadline_of_its_own() {
    let (rate, head) = (100, Duration::from_secs(100));
    let backend = Backend::start("a");
    let timeouts = ", timeouts: { head: 100s, keep_alive: 24h }";
    let front = Front::on(Clock::scaled(rate), &backend.endpoint(), timeouts).await;
    let clock = Clock::scaled(rate);
    let mut client = Raw::connect(front.address).await;
    client.send(GET).await;
    assert_eq!(client.response().await.status(), 200);
    let idle = clock.now();
    eventually(DEADLINE, || clock.now().since(idle) > head.mul_f64(1.2)).await;
    assert_eq!(front.refused("slow_head"), 0);
    let start = clock.now();
    trickle_until(&front, &mut client, 1).await;
    assert_eq!(client.response().await.status(), 408);
    assert!(clock.now().since(start) >= head);
    assert_eq!(backend.counters().requests(), 1);
}

/// Sends a head byte by byte until so many were refused as too slow. Each byte comes well within any pause that a head
/// could be granted.
async fn trickle_until(front: &Front, client: &mut Raw, refused: u64) {
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nA: b"
        .iter()
        .chain(std::iter::repeat(&b'x'));
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for byte in bytes.take(2000) {
        tick.tick().await;
        if front.refused("slow_head") == refused || client.try_send([*byte]).await.is_err() {
            break;
        }
    }
    front.expect_refused("slow_head", refused).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let backend = Backend::start("a");
    let clock = Clock::scaled(FAST);
    let front = Front::on(
        clock,
        &backend.endpoint(),
        ", timeouts: { head: 100s, keep_alive: 20s }",
    )
    .await;
    let mut silent = Raw::connect(front.address).await;
    silent.expect_closed().await;
    let mut after_one = Raw::connect(front.address).await;
    after_one.send(GET).await;
    assert_eq!(after_one.response().await.status(), 200);
    after_one.expect_closed().await;
    // Half of the words that begin HTTP/2.
    let mut half = Raw::connect(front.address).await;
    half.send("PRI * HTTP/2.0\r\n").await;
    half.expect_closed().await;
    expect_no_panic();
}

#[tokio::test]
async fn a_client_that_ends_its_side_within_a_message_is_let_go() {
    let endpoint = Scripted::play(vec![vec![Step::ReadHead, Step::Stall]]).await;
    let front = Front::before(&endpoint.address().to_string(), "").await;
    for request in [
        "",
        "GET",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = Raw::connect(front.address).await;
        client.send(request).await;
        client.finish_sending().await;
        client.expect_closed().await;
    }
    eventually(DEADLINE, || front.open_connections() == 0).await;
    expect_no_panic();
}
