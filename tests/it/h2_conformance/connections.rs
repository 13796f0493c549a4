//! What a connection may cost: its preface, windows, streams, floods and heads.

use std::time::Duration;

use plimsoll::clock::Clock;
use plimsoll::observe::Metric;

use super::*;
use crate::harness::{Client, DEADLINE, FAST, Outgoing, Proxy, config, eventually, pass, within};

#[tokio::test]
async fn a_bad_preface_is_answered_as_http_1_or_with_an_error() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), "").await;
    // 3.5/2: no preface at all is an HTTP/1 request, and not a good one.
    let mut client = Raw::connect(front.address).await;
    client.send("INVALID CONNECTION PREFACE\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 400);
    client.expect_closed().await;
    expect_no_panic();
}

/// 6.5.3/1 and 6.9.1/1: the last of several values counts, and what does not fit the window waits.
#[tokio::test]
async fn the_window_of_a_stream_is_kept() {
    let backend = Backend::labelled("a").size(100).start();
    let front = Front::before(&backend.endpoint(), "").await;
    let mut client = Frames::connect(&front).await;
    let settings = [[0, 4, 0, 0, 0, 100], [0, 4, 0, 0, 0, 1]].concat();
    client
        .0
        .send([frame(SETTINGS, 0, 0, &settings), request(1)].concat())
        .await;
    for (expected, more) in [(1, 2), (2, 50), (50, 1000)] {
        let payload = loop {
            let (kind, _, _, payload) = client.next().await.unwrap();
            if kind == DATA {
                break payload;
            }
        };
        assert_eq!(payload.len(), expected);
        client.0.send(window(1, more)).await;
    }
    client.answered(1).await;
    // 6.9.2: a window may be negative, and counts from there.
    client.0.send([setting(4, 3), request(3)].concat()).await;
    while client.next().await.unwrap().0 != DATA {}
    client.0.send([setting(4, 0), window(3, 4)].concat()).await;
    let (kind, _, _, payload) = client.next().await.unwrap();
    assert_eq!((kind, payload.len()), (DATA, 1));
}

/// 5.1.2/1: more streams than agreed on.
#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let backend = Backend::labelled("a").latency("20s").start();
    let front = Front::before(&backend.endpoint(), ", limits: { streams: 3 }").await;
    let mut client = Frames::connect(&front).await;
    for stream in [1, 3, 5, 7] {
        client.0.send(request(stream)).await;
    }
    let outcome = client.outcome(Stream(&[])).await;
    assert!(
        matches!(
            outcome,
            Outcome::Reset(REFUSED_STREAM | PROTOCOL_ERROR) | Outcome::Goaway(PROTOCOL_ERROR)
        ),
        "{outcome:?}"
    );
}

/// GHSA-gghf-vfxp-799r, RUSTSEC-2024-0332 and RUSTSEC-2024-0003, CVE-2023-44487, CVE-2019-9511 to 9518.
#[tokio::test]
async fn floods_end_the_connection_and_are_counted() {
    let backend = Backend::labelled("a").latency("20s").start();
    let front = Front::before(&backend.endpoint(), "").await;
    let empty = frame(CONTINUATION, 0, 1, &[]);
    let full = frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]).repeat(500));
    let cancelled: Vec<u8> = (0..4000)
        .flat_map(|i| [request(2 * i + 1), reset(2 * i + 1, 8)].concat())
        .collect();
    for (name, bytes, reason) in [
        ("PING", frame(PING, 0, 0, b"whatever").repeat(4000), "ping"),
        (
            "SETTINGS",
            frame(SETTINGS, 0, 0, &[]).repeat(4000),
            "settings",
        ),
        (
            "PRIORITY",
            frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]).repeat(4000),
            "priority",
        ),
        (
            "empty DATA",
            [open(1), frame(DATA, 0, 1, &[]).repeat(4000)].concat(),
            "empty_data",
        ),
        (
            "unknown frames",
            frame(0xbe, 0, 0, &[]).repeat(4000),
            "unknown_frame",
        ),
        ("WINDOW_UPDATE", window(0, 1).repeat(4000), "window_update"),
        (
            "empty CONTINUATION",
            [frame(HEADERS, 0, 1, &get()), empty.repeat(4000)].concat(),
            "continuation",
        ),
        (
            "full CONTINUATION",
            [frame(HEADERS, 0, 1, &get()), full.repeat(200)].concat(),
            "",
        ),
        ("rapid reset", cancelled, "reset"),
    ] {
        let mut client = Frames::connect(&front).await;
        let _ = client.0.try_send(bytes).await;
        let outcome = client.outcome(Connection(&[])).await;
        let is_cut = matches!(
            outcome,
            Outcome::Goaway(ENHANCE_YOUR_CALM | PROTOCOL_ERROR | COMPRESSION_ERROR)
                | Outcome::Closed
        );
        assert!(is_cut, "{name}: {outcome:?}");
        drop(client);
        // Of a block beyond all bounds so much is under way that the connection ends in a reset, whatever was said.
        if !reason.is_empty() {
            front.expect_refused(&format!("{reason}_flood"), 1).await;
        }
    }
    // Others are served meanwhile.
    assert!(backend.counters().requests() < 3000);
    backend.change(Backend::labelled("a"));
    let mut other = Frames::connect(&front).await;
    other.0.send(request(1)).await;
    assert_eq!(
        other.outcome(Answer(200)).await,
        Outcome::Head(indexed(200))
    );
    expect_no_panic();
}

/// A list of fields beyond the limit, and one with too many of them.
#[tokio::test]
async fn heads_beyond_their_limits_are_refused() {
    let backend = Backend::start("a");
    let front = Front::before(
        &backend.endpoint(),
        ", limits: { head_bytes: 1KiB, fields: 10 }",
    )
    .await;
    let long = "y".repeat(120);
    for (name, block, reason) in [
        (
            "many fields",
            [get(), fields(&[("x", "y")]).repeat(11)].concat(),
            "too_many_fields",
        ),
        (
            "many bytes",
            [get(), fields(&[("x", &long)]).repeat(9)].concat(),
            "too_many_bytes",
        ),
    ] {
        let mut client = Frames::connect(&front).await;
        client
            .0
            .send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
            .await;
        let outcome = client.outcome(Answer(400)).await;
        // 431 has no index: it comes as a literal for the name of index 8.
        assert_eq!(outcome, Outcome::Head(0x48), "{name}");
        front.expect_refused(reason, 1).await;
    }
    let mut client = Client::h2(front.address).await;
    let asked = hyper::Request::get("/").header("x", "y".repeat(2000));
    let answer = client.send(asked.body(Outgoing::empty()).unwrap()).await;
    assert_eq!(answer.status.as_u16(), 431);
    let told = answer.header("proxy-status").unwrap();
    assert!(told.contains("details=\"too_many_bytes\""), "{told}");
    // Far beyond them the library beneath does not read on.
    let mut client = Frames::connect(&front).await;
    let block = [get(), fields(&[("x", &long)]).repeat(1000)].concat();
    let pieces = block.chunks(16_000).enumerate().map(|(i, piece)| {
        let kind = if i == 0 { HEADERS } else { CONTINUATION };
        frame(kind, END_STREAM * u8::from(i == 0), 1, piece)
    });
    let _ = client.0.try_send(pieces.collect::<Vec<_>>().concat()).await;
    assert!(matches!(
        client.outcome(Answer(400)).await,
        Outcome::Goaway(_) | Outcome::Closed
    ));
    assert_eq!(backend.counters().requests(), 0);
    expect_no_panic();
}

/// CVE-2023-44487 and CVE-2025-8671: what is cancelled in the same breath, by the client or by what it makes us do, costs
/// no endpoint anything.
#[tokio::test]
async fn a_request_that_is_reset_at_once_reaches_no_endpoint() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), "").await;
    let overflow = |stream| window(stream, 0x7fff_ffff);
    for (name, pair) in [
        (
            "cancelled",
            &(|stream| [request(stream), reset(stream, 8)].concat()) as &dyn Fn(u32) -> Vec<u8>,
        ),
        ("provoked", &|stream| {
            [open(stream), overflow(stream)].concat()
        }),
    ] {
        let before = front.refused("h2_cancelled_request");
        let mut client = Frames::connect(&front).await;
        let pairs: Vec<u8> = (0..40).flat_map(|number| pair(2 * number + 1)).collect();
        client.0.send([pairs, request(99)].concat()).await;
        client.answered(99).await;
        front
            .expect_refused("h2_cancelled_request", before + 40)
            .await;
        drop(client);
        assert_eq!(
            backend.counters().requests(),
            if name == "cancelled" { 1 } else { 2 },
            "{name}"
        );
    }
    // Neither goes on for ever.
    let mut client = Frames::connect(&front).await;
    let mut provoked = 0;
    let ended = loop {
        let streams = (0..50).map(|number| 2 * (provoked + number) + 1);
        let pairs = streams.flat_map(|stream| [open(stream), overflow(stream)].concat());
        let pairs = pairs.collect::<Vec<u8>>();
        let ping = frame(PING, 0, 0, b"harmless");
        let _ = client.0.try_send([pairs, ping].concat()).await;
        provoked += 50;
        // One answer for each, and that to the PING.
        let ended = loop {
            match client.outcome(Ignored).await {
                Outcome::Reset(_) => {}
                outcome => break outcome,
            }
        };
        if ended != Outcome::Pong {
            break ended;
        }
        assert!(provoked < 1000, "it goes on for ever");
    };
    assert!(
        matches!(ended, Outcome::Goaway(ENHANCE_YOUR_CALM) | Outcome::Closed),
        "{ended:?}"
    );
    front.expect_refused("provoked_reset_flood", 1).await;
    assert!(backend.counters().requests() < 10);
    expect_no_panic();
}

/// A head that stands for far more than it has, or simply has too much: the library answers it by itself, and it is
/// counted.
#[tokio::test]
async fn a_head_far_beyond_what_is_taken_is_counted_and_not_decoded_for_ever() {
    let backend = Backend::start("a");
    let front = Front::before(
        &backend.endpoint(),
        ", limits: { head_bytes: 1KiB, fields: 10 }",
    )
    .await;
    // One field of 1000 bytes is put into the table and named again and again.
    let large = [&[0x40, 1, b'x', 0x7f, 0xe9, 0x06][..], &[b'y'; 1000]].concat();
    let bomb = |times: usize| [get(), large.clone(), vec![0xbe; times]].concat();
    let whole = |stream, block: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, stream, block);
    let mut client = Frames::connect(&front).await;
    client.0.send(whole(1, &bomb(9))).await;
    assert_eq!(
        client.outcome(Answer(400)).await,
        Outcome::Head(0x48),
        "431"
    );
    front.expect_refused("too_many_bytes", 1).await;
    // The connection goes on.
    client.0.send(request(3)).await;
    client.answered(3).await;
    // Again and again it is a flood, and so is one that goes farther.
    let again = (2..100).map(|number| whole(2 * number + 1, &bomb(9)));
    let _ = client.0.try_send(again.collect::<Vec<_>>().concat()).await;
    while !matches!(client.next().await, None | Some((GOAWAY, ..))) {}
    front.expect_refused("oversized_head_flood", 1).await;
    let mut client = Frames::connect(&front).await;
    client.0.send(whole(1, &bomb(2000))).await;
    assert_eq!(
        client.outcome(Answer(400)).await,
        Outcome::Goaway(ENHANCE_YOUR_CALM)
    );
    // Here it was the library that ended it: that is counted although the client keeps its side open.
    front.expect_refused("oversized_head_flood", 2).await;
    drop(client);
    assert_eq!(backend.counters().requests(), 1);
    expect_no_panic();
}

/// The library beneath has bounds of its own: what it gives a connection up for is counted by its cause the moment that it
/// says so, whatever its client does then.
#[tokio::test]
async fn what_the_library_gives_up_is_counted_at_once() {
    let backend = Backend::start("a");
    let clock = Clock::scaled(1);
    let front = Front::on(clock, &backend.endpoint(), ", limits: { streams: 2 }").await;
    // All in one piece, so that they are cancelled before they are handed out.
    let cancelled: Vec<u8> = (0..20)
        .flat_map(|i| [request(2 * i + 1), reset(2 * i + 1, 8)].concat())
        .collect();
    let broken = frame(DATA, 0, 0, b"x");
    for (bytes, reason, code) in [
        (cancelled, "reset_flood", ENHANCE_YOUR_CALM),
        (broken, "h2_protocol_error", PROTOCOL_ERROR),
    ] {
        let mut client = Frames::connect(&front).await;
        client.0.send(bytes).await;
        let outcome = client.outcome(Connection(&[])).await;
        assert_eq!(outcome, Outcome::Goaway(code), "{reason}");
        let told = clock.now();
        front.expect_refused(reason, 1).await;
        let late = clock.now().since(told);
        assert!(late < Duration::from_millis(1500), "{reason}: {late:?}");
        // Still open on this side; once it is closed, nothing is counted again.
        drop(client);
        eventually(DEADLINE, || front.open_connections() == 0).await;
        assert_eq!(front.refused(reason), 1);
    }
    expect_no_panic();
}

/// The library answers these by a reset alone, RFC 9113, 8.1.1: they are seen all the same.
#[tokio::test]
async fn malformed_requests_are_counted() {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), "").await;
    let cases = [
        get_with(&[("connection", "close")]),
        get_with(&[("te", "gzip")]),
        request_of(&[(":method", "GET"), (":method", "GET")]),
    ];
    for (i, request) in cases.into_iter().enumerate() {
        let mut client = Frames::connect(&front).await;
        client.0.send(request).await;
        let outcome = client.outcome(STREAM_PROTOCOL).await;
        assert_eq!(outcome, Outcome::Reset(PROTOCOL_ERROR));
        front
            .expect_refused("h2_malformed_request", i as u64 + 1)
            .await;
    }
    assert_eq!(backend.counters().requests(), 0);
}

/// Whatever else runs on the connection: an exchange keeps it from being idle, not from owing the end of a head.
#[tokio::test]
async fn a_slow_head_ends_an_h2_connection_and_is_counted() {
    let backend = Backend::start("a");
    let limits = ", timeouts: { head: 50s, keep_alive: 24h, body: 24h }";
    let front = Front::on(Clock::scaled(FAST), &backend.endpoint(), limits).await;
    let hang = [
        &[0x82, 0x86, 0x04, 5][..],
        b"/hang",
        &field(":authority", "a"),
    ]
    .concat();
    let hanging = frame(HEADERS, END_STREAM | END_HEADERS, 1, &hang);
    let half = request(3);
    for (name, rest) in [
        ("half a frame", half[..half.len() - 1].to_vec()),
        ("only its header", half[..9].to_vec()),
        ("no CONTINUATION", frame(HEADERS, END_STREAM, 3, &[0x82])),
        (
            "half a CONTINUATION",
            [
                frame(HEADERS, END_STREAM, 3, &[0x82]),
                frame(CONTINUATION, END_HEADERS, 3, &[0x86])[..9].to_vec(),
            ]
            .concat(),
        ),
    ] {
        let before = front.refused("slow_head");
        let mut client = Frames::connect(&front).await;
        client.0.send(hanging.clone()).await;
        // SETTINGS are behind us: their acknowledgement must not end what stays half sent.
        client.0.send(frame(PING, 0, 0, b"harmless")).await;
        assert_eq!(client.outcome(Ignored).await, Outcome::Pong);
        eventually(DEADLINE, || backend.counters().in_flight() == 1).await;
        client.0.send(rest).await;
        let mut outcome = client.outcome(Ignored).await;
        if matches!(outcome, Outcome::Reset(_)) {
            // Of the exchange that is cut too.
            outcome = client.outcome(Ignored).await;
        }
        assert_eq!(outcome, Outcome::Goaway(ENHANCE_YOUR_CALM), "{name}");
        client.0.expect_closed().await;
        front.expect_refused("slow_head", before + 1).await;
        eventually(DEADLINE, || backend.counters().in_flight() == 0).await;
    }
    // One that comes to its end in time leaves the others alone.
    let mut client = Frames::connect(&front).await;
    client.0.send(&half[..half.len() - 1]).await;
    client.0.send(&half[half.len() - 1..]).await;
    client.answered(3).await;
    pass(Duration::from_secs(100)).await;
    client.0.send(frame(PING, 0, 0, b"harmless")).await;
    assert_eq!(client.outcome(Ignored).await, Outcome::Pong);
}

/// What keeps the timeout between two bytes from ending it is what the rate is for. It is judged when that timeout would end it.
#[tokio::test]
async fn a_window_that_is_opened_drop_by_drop_is_cut() {
    let backend = Backend::labelled("a").size(1_000_000).start();
    let yaml = config(&[backend.endpoint()], "", "", "");
    let clock = Clock::scaled(FAST);
    let proxy = Proxy::start_on(clock, &yaml).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let begun = clock.now();
    let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &request(1)].concat();
    raw.send([opening, window(0, 1 << 20)].concat()).await;
    let slow = || proxy.routes(Metric::RequestErrors, "slow_read");
    let mut next = begun;
    within(async {
        while slow() == 0 {
            next = next + Duration::from_secs(20);
            eventually(DEADLINE, || slow() == 1 || clock.now() > next).await;
            let _ = raw.try_send(window(1, 10)).await;
        }
    })
    .await;
    // It has taken 64 KiB at once, which are worth 270 s at the 240 bytes a second that are asked for by default.
    let took = clock.now().since(begun);
    let expected = Duration::from_secs(270)..Duration::from_secs(900);
    assert!(expected.contains(&took), "{took:?}");
}
