//! Frames by size, type, and the state of their stream.

use super::*;

#[tokio::test]
async fn frames_and_their_sizes() {
    let large = vec![0; 16_385];
    play(
        vec![
            ("3.5/1 a preface", request(1), Answer(200)),
            ("4.1/1 an unknown type", frame(0xbe, 0, 0, b"what"), Ignored),
            (
                "4.1/2 unknown flags",
                frame(PING, 0xfe, 0, b"whatever"),
                Ignored,
            ),
            (
                "4.1/3 the reserved bit",
                frame(PING, 0, 1 << 31, b"whatever"),
                Ignored,
            ),
            (
                "4.2/1 the largest DATA",
                [open(1), frame(DATA, END_STREAM, 1, &large[..16_384])].concat(),
                Answer(200),
            ),
            (
                "4.2/2 a larger DATA",
                [open(1), frame(DATA, END_STREAM, 1, &large)].concat(),
                Stream(&[FRAME_SIZE_ERROR]),
            ),
            (
                "4.2/3 a larger HEADERS",
                frame(HEADERS, END_STREAM | END_HEADERS, 1, &large),
                SIZE,
            ),
            (
                "4.3/1 a malformed block",
                frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    1,
                    &[0x40, 1, b'a', 10, b'b'],
                ),
                COMPRESSION,
            ),
            (
                "4.3/2 PRIORITY within a block",
                [
                    frame(HEADERS, END_STREAM, 1, &get()),
                    frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]),
                ]
                .concat(),
                PROTOCOL,
            ),
            (
                "4.3/3 HEADERS within a block",
                [frame(HEADERS, END_STREAM, 1, &get()), request(3)].concat(),
                PROTOCOL,
            ),
            (
                "5.5/1 an extension",
                [frame(0xbe, 0xff, 0, &[]), request(1)].concat(),
                Answer(200),
            ),
            (
                "5.5/2 an extension within a block",
                [
                    frame(HEADERS, END_STREAM, 1, &get()),
                    frame(0xbe, 0, 0, &[]),
                ]
                .concat(),
                PROTOCOL,
            ),
        ],
        false,
    )
    .await;
}

#[tokio::test]
async fn streams_and_their_states() {
    play(
        vec![
            (
                "5.1/1 DATA on an idle stream",
                frame(DATA, END_STREAM, 1, b"a"),
                PROTOCOL,
            ),
            ("5.1/2 RST_STREAM on an idle stream", reset(1, 8), PROTOCOL),
            (
                "5.1/3 WINDOW_UPDATE on an idle stream",
                window(1, 100),
                PROTOCOL,
            ),
            (
                "5.1/4 CONTINUATION on an idle stream",
                frame(CONTINUATION, END_HEADERS, 1, &get()),
                PROTOCOL,
            ),
            (
                "5.1/5 DATA on a half-closed stream",
                [request(1), frame(DATA, END_STREAM, 1, b"a")].concat(),
                CLOSED,
            ),
            (
                "5.1/6 HEADERS on a half-closed stream",
                [request(1), request(1)].concat(),
                CLOSED,
            ),
            (
                "5.1/7 CONTINUATION on a half-closed stream",
                [request(1), frame(CONTINUATION, END_HEADERS, 1, &get())].concat(),
                Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
            ),
            (
                "5.1/8 DATA after a reset",
                [open(1), reset(1, 8), frame(DATA, END_STREAM, 1, b"a")].concat(),
                CLOSED,
            ),
            (
                "5.1/9 HEADERS after a reset",
                [open(1), reset(1, 8), request(1)].concat(),
                CLOSED,
            ),
            (
                "5.1/10 CONTINUATION after a reset",
                [
                    open(1),
                    reset(1, 8),
                    frame(CONTINUATION, END_HEADERS, 1, &get()),
                ]
                .concat(),
                Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
            ),
            ("5.1.1/1 an even stream", request(2), PROTOCOL),
            (
                "5.1.1/2 a smaller stream",
                [request(5), request(3)].concat(),
                Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
            ),
            ("stream 0", request(0), PROTOCOL),
            (
                "5.3.1/1 HEADERS that depends on itself",
                frame(
                    HEADERS,
                    END_STREAM | END_HEADERS | PRIORITISED,
                    1,
                    &[&[0, 0, 0, 1, 9][..], &get()].concat(),
                ),
                STREAM_PROTOCOL,
            ),
            (
                "5.3.1/2 PRIORITY that depends on itself",
                frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 9]),
                STREAM_PROTOCOL,
            ),
            (
                "PRIORITY on an idle stream",
                [frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 9]), request(1)].concat(),
                Answer(200),
            ),
            (
                "6.8/1 GOAWAY on a stream",
                frame(GOAWAY, 0, 1, &[0; 8]),
                PROTOCOL,
            ),
            (
                "7/1 an unknown code in GOAWAY",
                frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]),
                Ignored,
            ),
            (
                "7/2 an unknown code in RST_STREAM",
                [open(1), reset(1, 0xff)].concat(),
                Ignored,
            ),
            (
                "8.2/1 PUSH_PROMISE from a client",
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2][..], &get()].concat(),
                ),
                PROTOCOL,
            ),
        ],
        false,
    )
    .await;
}

#[tokio::test]
async fn streams_that_are_closed_stay_closed() {
    play(
        vec![
            ("5.1/11 DATA", frame(DATA, END_STREAM, 1, b"a"), CLOSED),
            ("5.1/12 HEADERS", request(1), CLOSED),
            (
                "5.1/13 CONTINUATION",
                frame(CONTINUATION, END_HEADERS, 1, &get()),
                Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
            ),
            (
                "5.1 PRIORITY is allowed",
                frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]),
                Ignored,
            ),
            ("5.1 WINDOW_UPDATE may be late", window(1, 1), Ignored),
            ("5.1 RST_STREAM may be late", reset(1, 8), Ignored),
        ],
        true,
    )
    .await;
}

#[tokio::test]
async fn frames_by_type() {
    let padded = |pad: u8| [&[pad][..], &get(), &[0; 4]].concat();
    let last = END_STREAM | END_HEADERS;
    let large_window = window(1, 0x7fff_ffff);
    play(
        vec![
            (
                "6.1/1 DATA on stream 0",
                frame(DATA, END_STREAM, 0, b"a"),
                PROTOCOL,
            ),
            (
                "6.1/3 padding longer than DATA",
                [open(1), frame(DATA, END_STREAM | PADDED, 1, &[9, b'a'])].concat(),
                PROTOCOL,
            ),
            (
                "padded DATA",
                [
                    open(1),
                    frame(DATA, END_STREAM | PADDED, 1, &[2, b'a', 0, 0]),
                ]
                .concat(),
                Answer(200),
            ),
            (
                "6.2/1 HEADERS in two, PRIORITY between",
                [
                    frame(HEADERS, 0, 1, &get()),
                    frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]),
                ]
                .concat(),
                PROTOCOL,
            ),
            (
                "6.2/3 HEADERS on stream 0",
                frame(HEADERS, last, 0, &get()),
                PROTOCOL,
            ),
            (
                "6.2/4 padding longer than HEADERS",
                frame(HEADERS, last | PADDED, 1, &padded(200)),
                PROTOCOL,
            ),
            (
                "padded HEADERS",
                frame(HEADERS, last | PADDED, 1, &padded(4)),
                Answer(200),
            ),
            (
                "6.3/1 PRIORITY on stream 0",
                frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 9]),
                PROTOCOL,
            ),
            (
                "6.3/2 a short PRIORITY",
                frame(PRIORITY, 0, 1, &[0, 0, 0, 1]),
                SIZE,
            ),
            ("6.4/1 RST_STREAM on stream 0", reset(0, 8), PROTOCOL),
            (
                "6.4/3 a short RST_STREAM",
                [open(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
                SIZE,
            ),
            (
                "6.5/1 ACK with a payload",
                frame(SETTINGS, ACK, 0, &[0; 6]),
                SIZE,
            ),
            (
                "6.5/2 SETTINGS on a stream",
                frame(SETTINGS, 0, 1, &[]),
                PROTOCOL,
            ),
            (
                "6.5/3 SETTINGS of odd length",
                frame(SETTINGS, 0, 0, &[0; 3]),
                SIZE,
            ),
            ("6.5.2/1 ENABLE_PUSH 2", setting(2, 2), PROTOCOL),
            (
                "6.5.2/2 INITIAL_WINDOW_SIZE 2^31",
                setting(4, 1 << 31),
                OVERFLOW,
            ),
            (
                "6.5.2/3 MAX_FRAME_SIZE too small",
                setting(5, 16_383),
                PROTOCOL,
            ),
            (
                "6.5.2/4 MAX_FRAME_SIZE too large",
                setting(5, 1 << 24),
                PROTOCOL,
            ),
            ("6.5.2/5 an unknown setting", setting(0xff, 1), Ignored),
            ("8441 ENABLE_CONNECT_PROTOCOL 2", setting(8, 2), PROTOCOL),
            ("6.7/1 PING", frame(PING, 0, 0, b"whatever"), Ignored),
            (
                "6.7/3 PING on a stream",
                frame(PING, 0, 1, b"whatever"),
                PROTOCOL,
            ),
            ("6.7/4 a short PING", frame(PING, 0, 0, b"what"), SIZE),
            ("6.9/1 an increment of 0", window(0, 0), PROTOCOL),
            (
                "6.9/2 an increment of 0 on a stream",
                [open(1), window(1, 0)].concat(),
                STREAM_PROTOCOL,
            ),
            (
                "6.9/3 a short WINDOW_UPDATE",
                frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
                SIZE,
            ),
            (
                "6.9.1/2 a window of the connection beyond 2^31-1",
                window(0, 0x7fff_ffff).repeat(2),
                OVERFLOW,
            ),
            (
                "6.9.1/3 a window of a stream beyond 2^31-1",
                [open(1), large_window.repeat(2)].concat(),
                Stream(&[FLOW_CONTROL_ERROR]),
            ),
            (
                "6.9.2 SETTINGS that overflow a window",
                [open(1), window(1, 0x7fff_0000), setting(4, 0x7fff_ffff)].concat(),
                OVERFLOW,
            ),
            (
                "6.10/1 a block in three",
                [
                    frame(HEADERS, END_STREAM, 1, &get()[..1]),
                    frame(CONTINUATION, 0, 1, &get()[1..3]),
                    frame(CONTINUATION, END_HEADERS, 1, &get()[3..]),
                ]
                .concat(),
                Answer(200),
            ),
            (
                "6.10/2 DATA instead of CONTINUATION",
                [
                    frame(HEADERS, 0, 1, &get()),
                    frame(DATA, END_STREAM, 1, b"a"),
                ]
                .concat(),
                PROTOCOL,
            ),
            (
                "6.10/3 CONTINUATION on stream 0",
                [
                    frame(HEADERS, END_STREAM, 1, &get()),
                    frame(CONTINUATION, END_HEADERS, 0, &[]),
                ]
                .concat(),
                PROTOCOL,
            ),
            (
                "6.10/4 CONTINUATION of a whole block",
                [open(1), frame(CONTINUATION, END_HEADERS, 1, &get())].concat(),
                PROTOCOL,
            ),
            (
                "6.10/5 CONTINUATION behind the last",
                [
                    frame(HEADERS, 0, 1, &post()),
                    frame(CONTINUATION, END_HEADERS, 1, &[]),
                    frame(CONTINUATION, END_HEADERS, 1, &[]),
                ]
                .concat(),
                PROTOCOL,
            ),
            (
                "6.10/6 CONTINUATION behind DATA",
                [
                    open(1),
                    frame(DATA, 0, 1, b"a"),
                    frame(CONTINUATION, END_HEADERS, 1, &get()),
                ]
                .concat(),
                PROTOCOL,
            ),
            (
                "CONTINUATION on another stream",
                [
                    frame(HEADERS, 0, 1, &get()),
                    frame(CONTINUATION, END_HEADERS, 3, &[]),
                ]
                .concat(),
                PROTOCOL,
            ),
        ],
        false,
    )
    .await;
}
