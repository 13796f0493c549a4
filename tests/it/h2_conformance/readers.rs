//! Clients that take little of what they asked for, or nothing: what is held for them has a bound, those beside them go
//! on, and in the end they are cut.

use http_body_util::BodyExt;
use plimsoll::clock::Clock;
use plimsoll::observe::Metric;
use tokio::io::AsyncReadExt;

use super::*;
use crate::harness::{
    Client, DEADLINE, FAST, Outgoing, Proxy, Scripted, Step, config, eventually, pattern, within,
};

/// A minute passes in three seconds: what moves every 50 ms moves every second, on a busy machine too.
const BRISK: u32 = 20;

/// Windows of all streams and of the connection.
fn windows(stream: u32) -> Vec<u8> {
    [setting(4, stream), window(0, 0x7000_0000)].concat()
}

/// A whole GET of this path.
fn get_of(stream: u32, path: &str) -> Vec<u8> {
    let path = [&[0x82, 0x86, 0x04, path.len() as u8][..], path.as_bytes()].concat();
    let block = [path, field(":authority", "a")].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

#[tokio::test]
async fn a_stream_whose_window_stays_closed_is_reset_and_others_go_on() {
    let backend = Backend::start("a");
    // Nothing but the timeout, which is not to be fooled by what moves beside the stream.
    let clock = Clock::scaled(BRISK);
    let front = Front::on(clock, &backend.endpoint(), ", limits: { min_rate: off }").await;
    let mut client = Frames::connect(&front).await;
    let asked = [get_of(1, "/bytes/1000000"), get_of(3, "/sse/1000/50")].concat();
    client
        .0
        .send([windows(0), asked, window(3, 1 << 20)].concat())
        .await;
    let mut moved = 0;
    loop {
        match client.next().await.expect("the connection goes on") {
            (DATA, _, 3, _) => moved += 1,
            (RST_STREAM, _, stream, _) => break assert_eq!(stream, 1),
            (DATA, ..) => panic!("there is no window"),
            _ => {}
        }
    }
    assert!(moved > 10, "{moved}");
    front.expect_refused("slow_read", 1).await;
    while client.next().await.expect("it goes on").0 != DATA {}
    expect_no_panic();
}

#[tokio::test]
async fn an_answer_that_stalls_breaks_off_and_others_go_on() {
    let backend = Backend::start("a");
    let front = Front::on(Clock::scaled(BRISK), &backend.endpoint(), "").await;
    let mut client = Frames::connect(&front).await;
    // The second event of the first is an hour away.
    let asked = [get_of(1, "/sse/2/3600000"), get_of(3, "/sse/1000/50")].concat();
    client.0.send([windows(1 << 20), asked].concat()).await;
    let stream = loop {
        match client.next().await.expect("the connection goes on") {
            (RST_STREAM, _, stream, _) => break stream,
            _ => {}
        }
    };
    assert_eq!(stream, 1);
    front.expect_refused("idle_timeout", 1).await;
    while client.next().await.expect("it goes on").0 != DATA {}
}

#[tokio::test]
async fn a_connection_that_is_not_read_is_cut() {
    let backend = Backend::start("a");
    let front = Front::on(Clock::scaled(FAST), &backend.endpoint(), "").await;
    let mut client = Frames::connect(&front).await;
    let asked = [1, 3, 5].map(|stream| get_of(stream, "/bytes/100000000"));
    client
        .0
        .send([windows(0x7fff_ffff), asked.concat()].concat())
        .await;
    eventually(DEADLINE, || backend.counters().requests() == 3).await;
    front.expect_refused("slow_read", 3).await;
    eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    eventually(DEADLINE, || front.open_connections() == 0).await;
    expect_no_panic();
}

/// Streams with a window of a byte make the connection hold all that it may.
#[tokio::test]
async fn what_nobody_takes_keeps_no_other_stream_waiting() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), "").await;
    let mut client = Frames::connect(&front).await;
    let streams = (0..30).map(|number| 2 * number + 1);
    let asked: Vec<u8> = streams
        .flat_map(|stream| get_of(stream, "/bytes/300000"))
        .collect();
    client.0.send([windows(1), asked].concat()).await;
    // Each has its byte.
    let mut seen = 0;
    while seen < 30 {
        seen += usize::from(client.next().await.expect("frames").0 == DATA);
    }
    let other = [get_of(99, "/bytes/1000000"), window(99, 2_000_000)].concat();
    client.0.send(other).await;
    client.answered(99).await;
    // And those that had to wait go on once they are let.
    for stream in [1, 59] {
        client.0.send(window(stream, 1_000_000)).await;
        client.answered(stream).await;
    }
    expect_no_panic();
}

#[tokio::test]
async fn the_end_of_a_body_needs_no_window() {
    let empty = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let scripted = Scripted::play(vec![vec![Step::ReadHead, Step::Write(empty.to_vec())]]).await;
    let front = Front::before(&scripted.address().to_string(), "").await;
    let mut client = Frames::connect(&front).await;
    client.0.send([windows(0), request(1)].concat()).await;
    client.answered(1).await;

    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), "").await;
    let mut client = Frames::connect(&front).await;
    let asked = get_of(1, "/bytes/40000");
    client.0.send([windows(40_000), asked].concat()).await;
    client.answered(1).await;
}

/// More than the connection may hold, again and again.
#[tokio::test]
async fn large_answers_side_by_side_arrive_whole() {
    const LENGTH: usize = 2_000_000;
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), "").await;
    let client = Client::h2(front.address).await;
    let path = format!("/bytes/{LENGTH}");
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let (mut client, path) = (client.another(), path.clone());
            tokio::spawn(async move { client.get(&path).await.body })
        })
        .collect();
    let expected = pattern(LENGTH);
    for reader in readers {
        assert!(within(reader).await.unwrap() == expected);
    }
    let ten = 10_000_000;
    let answer = client.another().get(&format!("/bytes/{ten}")).await;
    assert!(answer.body == pattern(ten));
}

/// The clock of a stream that rests is its own.
#[tokio::test]
async fn a_tunnel_that_rests_ends_although_others_of_its_connection_move() {
    let backend = Backend::start("a");
    let yaml = config(
        &[backend.endpoint()],
        "",
        "",
        "timeouts: { tunnel_idle: 60s }",
    );
    let proxy = Proxy::start_on(Clock::scaled(BRISK), &yaml).await;
    let client = Client::h2(proxy.address()).await;
    let (mut one, mut other) = (client.another(), client.another());
    let mut tunnel = one.tunnel("echo", "/upgrade").await.expect("a tunnel");
    let asked = hyper::Request::get("/sse/1000/50");
    let asked = asked.body(Outgoing::empty()).unwrap();
    let moving = other.open(asked).await.unwrap();
    let reading = tokio::spawn(moving.into_body().collect());
    let mut bytes = [0; 16];
    let read = tunnel.read(&mut bytes);
    assert!(!matches!(within(read).await, Ok(1..)), "it says nothing");
    assert!(!reading.is_finished(), "the others go on");
    reading.abort();
    let told = || proxy.routes(Metric::RequestErrors, "tunnel_idle_timeout");
    eventually(DEADLINE, || told() == 1).await;
}
