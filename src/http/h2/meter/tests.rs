//! Floods, and what is none.

use std::time::Duration;

use proptest::prelude::*;

use super::{BURST, Flood, Meter};
use crate::clock::Instant;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![
        0,
        (payload.len() >> 8) as u8,
        payload.len() as u8,
        kind,
        flags,
        0,
        0,
        0,
        1,
    ];
    frame.extend_from_slice(payload);
    frame
}

/// The frame on another stream than the first.
fn on(stream: u32, mut frame: Vec<u8>) -> Vec<u8> {
    frame[5..9].copy_from_slice(&stream.to_be_bytes());
    frame
}

fn repeat(frames: &[Vec<u8>], times: usize) -> Vec<u8> {
    frames.concat().repeat(times)
}

fn verdict_on(bytes: &[u8]) -> Option<Flood> {
    let mut meter = Meter::of_server(Instant(0));
    meter.read(bytes);
    meter.verdict(Instant(0))
}

#[test]
fn useless_frames_are_a_flood_of_their_kind() {
    let increment = frame(8, 0, &[0, 0, 0, 1]);
    for (useless, flood) in [
        (frame(6, 0, &[0; 8]), Flood::Ping),
        (frame(4, 0, &[]), Flood::Settings),
        (frame(2, 0, &[0; 5]), Flood::Priority),
        (frame(3, 0, &[0; 4]), Flood::Reset),
        (frame(0, 0, &[]), Flood::EmptyData),
        (increment, Flood::WindowUpdate),
        (frame(9, 0, &[]), Flood::Continuation),
        (frame(0xbe, 0, &[]), Flood::Unknown),
    ] {
        assert_eq!(
            verdict_on(&repeat(std::slice::from_ref(&useless), 100)),
            None
        );
        assert_eq!(
            verdict_on(&repeat(&[useless], BURST as usize + 1)),
            Some(flood)
        );
    }
}

#[test]
fn cancelling_every_request_is_a_flood_and_cancelling_every_third_is_not() {
    let request = frame(1, 0x5, &[0x82]);
    let reset = frame(3, 0, &[0; 4]);
    let pair = [request.clone(), reset.clone()];
    assert_eq!(verdict_on(&repeat(&pair, 10_000)), Some(Flood::Reset));
    let third = [request.clone(), request.clone(), request, reset];
    assert_eq!(verdict_on(&repeat(&third, 10_000)), None);
}

/// The frames of a client, and what is said of them at once.
fn verdict_on_client(bytes: &[u8]) -> Option<Flood> {
    let mut meter = Meter::of_client(Instant(0), 100);
    meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    meter.read(bytes);
    meter.verdict(Instant(0))
}

#[test]
fn each_type_of_a_client_has_a_bound_of_its_own() {
    for (useless, flood, most) in [
        (frame(6, 0, &[0; 8]), Flood::Ping, 128),
        (frame(4, 0, &[]), Flood::Settings, 32),
        (frame(2, 0, &[0; 5]), Flood::Priority, 512),
        (frame(3, 0, &[0; 4]), Flood::Reset, 200),
        (frame(0, 0, &[]), Flood::EmptyData, 128),
        (frame(8, 0, &[0, 0, 0, 1]), Flood::WindowUpdate, 1000),
        (frame(9, 0, &[]), Flood::Continuation, 512),
        (frame(0xbe, 0, &[]), Flood::Unknown, 512),
    ] {
        let useless = std::slice::from_ref(&useless);
        assert_eq!(verdict_on_client(&repeat(useless, most)), None, "{flood:?}");
        let more = verdict_on_client(&repeat(useless, most + 1));
        assert_eq!(more, Some(flood));
    }
}

#[test]
fn requests_do_not_pay_for_resets_and_answers_do() {
    let pair = |number: u32| {
        let frames = [frame(1, 0x5, &[0x82]), frame(3, 0, &[0; 4])];
        frames.map(|frame| on(2 * number + 1, frame)).concat()
    };
    let many: Vec<u8> = (0..201).flat_map(pair).collect();
    assert_eq!(verdict_on_client(&many), Some(Flood::Reset));
    let mut meter = Meter::of_client(Instant(0), 100);
    meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    for number in 0..10_000 {
        meter.read(&pair(number));
        meter.answered();
    }
    assert_eq!(meter.verdict(Instant(0)), None);
}

#[test]
fn heads_on_streams_that_had_one_are_bounded_by_number_and_size_and_trailers_are_not() {
    let head = |stream| on(stream, frame(1, 0x4, &[0x82]));
    let late = [head(5), head(3).repeat(200)].concat();
    assert_eq!(verdict_on_client(&late), None);
    let more = verdict_on_client(&[late, head(5)].concat());
    assert_eq!(more, Some(Flood::LateHead));
    let large = on(5, frame(1, 0x4, &[0x82; 16_000]));
    let few = verdict_on_client(&large.repeat(14));
    assert_eq!(few, Some(Flood::LateHead));
    assert_eq!(verdict_on_client(&large.repeat(13)), None);

    let mut meter = Meter::of_client(Instant(0), 100);
    meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        let trailers = on(stream, frame(1, 0x5, &[0x82]));
        meter.read(&[head(stream), trailers].concat());
        meter.answered();
    }
    assert_eq!(meter.verdict(Instant(0)), None);
}

#[test]
fn what_makes_us_reset_streams_is_bounded_and_time_gives_some_back() {
    let mut meter = Meter::of_client(Instant(0), 100);
    let mut provoke = |times: usize, now: Instant| {
        (0..times).for_each(|_| meter.provoked());
        meter.verdict(now)
    };
    assert_eq!(provoke(200, Instant(0)), None);
    assert_eq!(provoke(1, Instant(0)), Some(Flood::ProvokedReset));
    assert_eq!(provoke(9, Instant(0) + Duration::from_secs(1)), None);
    assert_eq!(
        provoke(1, Instant(0) + Duration::from_secs(1)),
        Some(Flood::ProvokedReset)
    );
    let mut meter = Meter::of_client(Instant(0), 100);
    (0..33).for_each(|_| meter.oversized());
    assert_eq!(meter.verdict(Instant(0)), Some(Flood::OversizedHead));
}

#[test]
fn a_header_block_lasts_from_its_first_byte_to_its_last() {
    let mut meter = Meter::of_server(Instant(0));
    let whole = frame(1, 4, &[0; 20]);
    meter.read(&whole[..9]);
    assert!(meter.in_block());
    meter.read(&whole[9..28]);
    assert!(meter.in_block());
    meter.read(&whole[28..]);
    assert!(!meter.in_block());
    // The next one begins in the same bytes in which the last one ends.
    meter.read(&whole[..20]);
    let blocks = meter.blocks();
    meter.read(&[&whole[20..], &frame(1, 0, &[0; 20])].concat());
    assert!(meter.in_block() && meter.blocks() != blocks);
    meter.read(&frame(9, 0, &[0; 5]));
    assert!(meter.in_block());
    meter.read(&frame(9, 4, &[]));
    assert!(!meter.in_block());
    meter.read(&frame(0, 0, &[0; 5])[..10]);
    assert!(!meter.in_block());
}

#[test]
fn data_and_large_increments_cost_nothing() {
    let frames = [
        frame(0, 0, &[0; 100]),
        frame(0, 1, &[]),
        frame(8, 0, &[0, 0, 0x40, 0]),
    ];
    let mut meter = Meter::of_server(Instant(0));
    meter.read(&repeat(&frames, 10_000));
    assert_eq!(meter.all.tokens, BURST);
}

#[test]
fn a_ping_every_ten_seconds_is_fine_for_ever() {
    let mut meter = Meter::of_server(Instant(0));
    let ping = frame(6, 0, &[0; 8]);
    for i in 0..100_000 {
        meter.read(&ping);
        assert_eq!(
            meter.verdict(Instant(0) + Duration::from_secs(10 * i)),
            None
        );
    }
}

#[test]
fn what_is_sent_pays_for_increments_but_not_for_pings() {
    let mut meter = Meter::of_server(Instant(0));
    let increments = frame(8, 0, &[0, 0, 0, 100]).repeat(2);
    for _ in 0..10_000 {
        meter.read(&increments);
        meter.wrote(2 * 256);
    }
    assert_eq!(meter.verdict(Instant(0)), None);
    for _ in 0..10_000 {
        meter.read(&frame(6, 0, &[0; 8]));
        meter.wrote(17);
    }
    assert_eq!(meter.verdict(Instant(0)), Some(Flood::Ping));
}

proptest! {
    #[test]
    fn the_account_does_not_depend_on_how_bytes_are_split(
        frames in prop::collection::vec((0u8..12, any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..40),
        cuts in prop::collection::vec(1usize..30, 1..200),
    ) {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, payload) in &frames {
            bytes.extend_from_slice(&frame(*kind, *flags, payload));
        }
        let mut whole = Meter::of_client(Instant(0), 100);
        whole.read(&bytes);
        let mut split = Meter::of_client(Instant(0), 100);
        let mut rest = &bytes[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let cut = rest.len().min(*cuts.next().expect("a cycle has no end"));
            split.read(&rest[..cut]);
            rest = &rest[cut..];
        }
        prop_assert_eq!(whole, split);
    }
}

#[test]
fn what_the_library_says_names_the_flood() {
    for (debug, flood) in [
        ("too_many_resets", Some(Flood::Reset)),
        ("too_many_int", Some(Flood::ProvokedReset)),
        ("too_many_con", Some(Flood::Continuation)),
        ("too_many_data_frames", Some(Flood::EmptyData)),
        ("header_list_", Some(Flood::OversizedHead)),
        ("too_many_things", None),
        ("", None),
    ] {
        assert_eq!(Flood::told(debug.as_bytes()), flood, "{debug}");
    }
}
