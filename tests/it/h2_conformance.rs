//! What clients may do wrong in HTTP/2, and what is owed to those that do it right: RFC 9113 and RFC 7541 case by case.
//!
//! The names of the cases begin with the section and number that h2spec gives them.

use super::hostile_requests::{Front, expect_no_panic};
use crate::harness::{Backend, Raw, Scripted};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITISED: u8 = 0x20;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame of this type, flags and stream.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field without indexing, its name and value literal.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        field.push(text.len() as u8);
        field.extend(text.as_bytes());
    }
    field
}

fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    list.iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// GET / with an authority.
fn get() -> Vec<u8> {
    [&[0x82, 0x86, 0x84][..], &field(":authority", "a")].concat()
}

fn post() -> Vec<u8> {
    [&[0x83, 0x86, 0x84][..], &field(":authority", "a")].concat()
}

/// A whole request.
fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get())
}

/// The head of a request whose body follows.
fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &post())
}

/// A whole request with these fields alone.
fn request_of(list: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(list))
}

/// A whole GET with these fields behind the usual ones.
fn get_with(list: &[(&str, &str)]) -> Vec<u8> {
    let block = [get(), fields(list)].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

/// A request of this length in `content-length`.
fn announced(length: &str, rest: &[Vec<u8>]) -> Vec<u8> {
    let block = [post(), field("content-length", length)].concat();
    [frame(HEADERS, END_HEADERS, 1, &block), rest.concat()].concat()
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// What ends the wait for an outcome.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Goaway(u32),
    Reset(u32),
    /// The first byte of the block of a response's head: its indexed status.
    Head(u8),
    Pong,
    Closed,
    Nothing,
}

/// What a case must come to.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// A connection error with one of these codes.
    Connection(&'static [u32]),
    /// A stream error with one of these codes; a connection error will do.
    Stream(&'static [u32]),
    /// An answer with this status to stream 1.
    Answer(u16),
    /// The frames change nothing: a PING is answered and no stream was reset.
    Ignored,
}

use Expected::{Answer, Connection, Ignored, Stream};

/// A client that speaks in frames.
struct Frames(Raw);

impl Frames {
    async fn connect(front: &Front) -> Self {
        let mut raw = Raw::connect(front.address).await;
        raw.send(PREFACE).await;
        raw.send(frame(SETTINGS, 0, 0, &[])).await;
        Self(raw)
    }

    /// The next frame that is not about settings or windows; `None` at the end.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            let head = self.0.try_exactly(9).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let payload = self.0.try_exactly(length).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == SETTINGS && head[4] & ACK == 0 {
                let _ = self.0.try_send(frame(SETTINGS, ACK, 0, &[])).await;
            }
            if !matches!(head[3], SETTINGS | WINDOW_UPDATE) {
                return Some((head[3], head[4], stream, payload));
            }
        }
    }

    /// Reads on to what tells how the case went.
    async fn outcome(&mut self, expected: Expected) -> Outcome {
        let wants_head = matches!(expected, Answer(_));
        loop {
            let code = |payload: &[u8]| u32::from_be_bytes(payload[..4].try_into().unwrap());
            match self.next().await {
                None => return Outcome::Closed,
                Some((GOAWAY, _, _, payload)) => return Outcome::Goaway(code(&payload[4..])),
                // A server that has answered may ask for no more of the body.
                Some((RST_STREAM, _, _, payload)) if code(&payload) == 0 => {}
                Some((RST_STREAM, _, _, payload)) => return Outcome::Reset(code(&payload)),
                Some((HEADERS, _, 1, payload)) if wants_head => return Outcome::Head(payload[0]),
                // Of the dynamic table, so not the first of the block.
                Some((PING, ACK, ..)) if matches!(expected, Ignored) => return Outcome::Pong,
                Some(_) => {}
            }
        }
    }

    /// The same where a case may turn out to change nothing that could be seen.
    async fn outcome_soon(&mut self, expected: Expected) -> Outcome {
        let soon = std::time::Duration::from_secs(5);
        let outcome = tokio::time::timeout(soon, self.outcome(expected)).await;
        outcome.unwrap_or(Outcome::Nothing)
    }

    /// Waits for the end of the answer on this stream.
    async fn answered(&mut self, stream: u32) {
        loop {
            let (kind, flags, id, _) = self.next().await.expect("an answer");
            if id == stream && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return;
            }
        }
    }
}

/// Status by its index in the static table (RFC 7541, appendix A).
fn indexed(status: u16) -> u8 {
    match status {
        200 => 0x88,
        400 => 0x8c,
        status => panic!("{status} has no index"),
    }
}

fn fits(outcome: &Outcome, expected: Expected) -> bool {
    match (expected, outcome) {
        (Connection(codes) | Stream(codes), Outcome::Goaway(code)) => codes.contains(code),
        (Stream(codes), Outcome::Reset(code)) => codes.contains(code),
        (Answer(status), Outcome::Head(byte)) => *byte == indexed(status),
        (Ignored, Outcome::Pong) => true,
        _ => false,
    }
}

/// A name, what is sent, and what must come of it.
type Case = (&'static str, Vec<u8>, Expected);

/// Plays each case on a connection of its own, after a whole exchange on stream 1 where `closed`.
async fn play(cases: Vec<Case>, closed: bool) {
    let backend = Backend::start("a");
    let front = Front::before(&backend.endpoint(), "").await;
    let mut faults = Vec::new();
    for (name, bytes, expected) in cases {
        let mut client = Frames::connect(&front).await;
        if closed {
            client.0.send(request(1)).await;
            client.answered(1).await;
        }
        let _ = client.0.try_send(bytes).await;
        if matches!(expected, Ignored) {
            let _ = client.0.try_send(frame(PING, 0, 0, b"harmless")).await;
        }
        let outcome = client.outcome_soon(expected).await;
        if !fits(&outcome, expected) {
            faults.push(format!("{name}: {outcome:?} instead of {expected:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    expect_no_panic();
}

const PROTOCOL: Expected = Connection(&[PROTOCOL_ERROR]);
const STREAM_PROTOCOL: Expected = Stream(&[PROTOCOL_ERROR]);
// The library beneath ends the connection as it must, but says PROTOCOL_ERROR where the RFC has a code of its own.
const SIZE: Expected = Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
const COMPRESSION: Expected = Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
const OVERFLOW: Expected = Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]);
const CLOSED: Expected = Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]);

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

#[tokio::test]
async fn requests_that_are_malformed() {
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let without = |at: usize| {
        let list: Vec<_> = usual
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != at)
            .map(|(_, it)| *it)
            .collect();
        request_of(&list)
    };
    let twice = |at: usize| request_of(&[usual[0], usual[1], usual[2], usual[3], usual[at]]);
    let with = |at: usize, value| {
        let mut list = usual;
        list[at].1 = value;
        request_of(&list)
    };
    let trailers = |list: &[(&str, &str)]| {
        [
            open(1),
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(list)),
        ]
        .concat()
    };
    let data = |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes);
    play(
        vec![
            ("all is well", request_of(&usual), Answer(200)),
            (
                "8.1/1 HEADERS again without END_STREAM",
                [open(1), open(1)].concat(),
                STREAM_PROTOCOL,
            ),
            (
                "8.1.2/1 an upper-case name",
                get_with(&[("X-A", "b")]),
                STREAM_PROTOCOL,
            ),
            (
                "8.1.2.1/1 an unknown pseudo-field",
                get_with(&[(":test", "b")]),
                STREAM_PROTOCOL,
            ),
            (
                "8.1.2.1/2 a pseudo-field of responses",
                get_with(&[(":status", "200")]),
                STREAM_PROTOCOL,
            ),
            // Ought to be an error of the stream. The library drops the pseudo-field, so that it goes nowhere.
            (
                "8.1.2.1/3 a pseudo-field in trailers",
                trailers(&[(":method", "GET")]),
                Answer(200),
            ),
            (
                "8.1.2.1/4 a pseudo-field behind a field",
                request_of(&[usual[0], usual[1], usual[3], ("x", "y"), usual[2]]),
                STREAM_PROTOCOL,
            ),
            (
                "8.1.2.2/1 connection",
                get_with(&[("connection", "keep-alive")]),
                STREAM_PROTOCOL,
            ),
            (
                "8.1.2.2/2 te",
                get_with(&[("te", "trailers, deflate")]),
                STREAM_PROTOCOL,
            ),
            ("te: trailers", get_with(&[("te", "trailers")]), Answer(200)),
            (
                "transfer-encoding",
                get_with(&[("transfer-encoding", "chunked")]),
                STREAM_PROTOCOL,
            ),
            (
                "keep-alive",
                get_with(&[("keep-alive", "1")]),
                STREAM_PROTOCOL,
            ),
            (
                "proxy-connection",
                get_with(&[("proxy-connection", "close")]),
                STREAM_PROTOCOL,
            ),
            ("upgrade", get_with(&[("upgrade", "h2c")]), STREAM_PROTOCOL),
            ("8.1.2.3/1 an empty path", with(2, ""), STREAM_PROTOCOL),
            ("8.1.2.3/2 no method", without(0), STREAM_PROTOCOL),
            ("8.1.2.3/3 no scheme", without(1), STREAM_PROTOCOL),
            ("8.1.2.3/4 no path", without(2), STREAM_PROTOCOL),
            ("8.1.2.3/5 two methods", twice(0), STREAM_PROTOCOL),
            ("8.1.2.3/6 two schemes", twice(1), STREAM_PROTOCOL),
            ("8.1.2.3/7 two paths", twice(2), STREAM_PROTOCOL),
            ("two authorities", twice(3), STREAM_PROTOCOL),
            (
                "8.1.2.6/1 content-length above DATA",
                announced("2", &[data(b"a")]),
                STREAM_PROTOCOL,
            ),
            (
                "8.1.2.6/2 content-length below the sum of DATA",
                announced("1", &[frame(DATA, 0, 1, b"a"), data(b"b")]),
                STREAM_PROTOCOL,
            ),
            (
                "content-length without DATA",
                announced("1", &[data(b"")]),
                STREAM_PROTOCOL,
            ),
            // 5.1 and 8.1.1 allow an answer in place of RST_STREAM.
            (
                "content-length with a sign",
                announced("+1", &[data(b"a")]),
                STREAM_PROTOCOL,
            ),
            (
                "CR LF in a value",
                get_with(&[("x", "y\r\nz: 1")]),
                STREAM_PROTOCOL,
            ),
            (
                "LF in a value",
                get_with(&[("x", "y\nz: 1")]),
                STREAM_PROTOCOL,
            ),
            ("NUL in a value", get_with(&[("x", "y\0")]), STREAM_PROTOCOL),
            (
                "a space in a name",
                get_with(&[("x y", "z")]),
                STREAM_PROTOCOL,
            ),
            (
                "CR LF in a name",
                get_with(&[("x\r\ny", "z")]),
                STREAM_PROTOCOL,
            ),
            (
                "a colon in a name",
                get_with(&[("x:y", "z")]),
                STREAM_PROTOCOL,
            ),
            ("an empty name", get_with(&[("", "z")]), STREAM_PROTOCOL),
            (
                "CR LF in a path",
                with(2, "/ HTTP/1.1\r\nx: y\r\n\r\n"),
                STREAM_PROTOCOL,
            ),
            ("a space in a path", with(2, "/ b"), STREAM_PROTOCOL),
            (
                "a method with a space",
                with(0, "GET /a HTTP/1.1\r\nx:"),
                STREAM_PROTOCOL,
            ),
            (
                "an authority with CR LF",
                with(3, "a\r\nx: y"),
                STREAM_PROTOCOL,
            ),
        ],
        false,
    )
    .await;
}

/// What the library beneath lets through and the rules of the proxy do not.
#[tokio::test]
async fn requests_that_contradict_themselves_are_answered_with_400() {
    let usual = [(":method", "POST"), (":scheme", "http"), (":path", "/")];
    let with = |more: &[(&str, &str)]| request_of(&[&usual[..], more].concat());
    play(
        vec![
            ("no host at all", with(&[]), Answer(400)),
            (
                "host and the same authority",
                with(&[(":authority", "a"), ("host", "a")]),
                Answer(200),
            ),
            ("host alone", with(&[("host", "a")]), Answer(200)),
            (
                "two hosts",
                with(&[("host", "a"), ("host", "a")]),
                Answer(400),
            ),
            ("a malformed host", with(&[("host", "a/b")]), Answer(400)),
        ],
        false,
    )
    .await;
}

/// RFC 9113, 8.3.1: `:authority` takes the place of `Host`, and nothing of the other is left.
#[tokio::test]
async fn the_authority_wins_over_another_host() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let endpoint = Scripted::start(vec![ok]).await;
    let front = Front::before(&endpoint.address().to_string(), "").await;
    let mut client = Frames::connect(&front).await;
    client.0.send(get_with(&[("host", "b")])).await;
    client.answered(1).await;
    let heads = endpoint.heads();
    assert_eq!(heads[0].field("host"), Some("a"));
}

#[tokio::test]
async fn header_compression() {
    let block = |bytes: &[u8]| {
        frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &[&get(), bytes].concat(),
        )
    };
    // ":authority" by index, its value in Huffman code.
    let huffman = |code: &[u8]| {
        let value = [&[0x82, 0x86, 0x84, 0x01, 0x80 | code.len() as u8][..], code].concat();
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &value)
    };
    play(
        vec![
            (
                "2.3.3/1 an index beyond the tables",
                block(&[0xff, 0x7f]),
                COMPRESSION,
            ),
            (
                "4.2/1 a table size at the end of a block",
                block(&[0x20]),
                COMPRESSION,
            ),
            ("a Huffman code", huffman(&[0x1f]), Answer(200)),
            (
                "5.2/1 padding longer than 7 bits",
                huffman(&[0x1f, 0xff, 0xff]),
                COMPRESSION,
            ),
            ("5.2/2 padding of zeros", huffman(&[0x18]), COMPRESSION),
            (
                "5.2/3 EOS",
                huffman(&[0x1f, 0xff, 0xff, 0xff, 0xff]),
                COMPRESSION,
            ),
            ("6.1/1 index 0", block(&[0x80]), COMPRESSION),
            (
                "6.3/1 a table size beyond the setting",
                frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    1,
                    &[&[0x3f, 0xe2, 0x7f][..], &get()].concat(),
                ),
                COMPRESSION,
            ),
            (
                "a table size of 0",
                frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    1,
                    &[&[0x20][..], &get()].concat(),
                ),
                Answer(200),
            ),
            (
                "an integer without end",
                block(&[
                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ]),
                COMPRESSION,
            ),
            (
                "a literal longer than its block",
                block(&[0x00, 0x7f, 0xff, 0xff, 0x03]),
                COMPRESSION,
            ),
        ],
        false,
    )
    .await;
}

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
        ", limits: { head_bytes: 2KiB, fields: 10 }",
    )
    .await;
    for (name, block) in [
        (
            "many fields",
            [get(), fields(&[("x", "y")]).repeat(20)].concat(),
        ),
        (
            "many bytes",
            [get(), fields(&[("x", &"y".repeat(100))]).repeat(100)].concat(),
        ),
    ] {
        let mut client = Frames::connect(&front).await;
        client
            .0
            .send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
            .await;
        let outcome = client.outcome(Answer(400)).await;
        // 431 has no index: it comes as a literal for the name of index 8.
        assert!(
            matches!(
                outcome,
                Outcome::Head(0x48 | 0x08) | Outcome::Reset(_) | Outcome::Goaway(_)
            ),
            "{name}: {outcome:?}"
        );
    }
    assert_eq!(backend.counters().requests(), 0);
    expect_no_panic();
}
