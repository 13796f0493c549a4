//! What clients may do wrong in HTTP/2, and what is owed to those that do it right: RFC 9113 and RFC 7541 case by case.
//!
//! The names of the cases begin with the section and number that h2spec gives them.

mod connections;
mod frames;
mod readers;
mod requests;

use crate::harness::{Backend, Front, Raw, expect_no_panic};

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
        let mut bytes = bytes;
        if matches!(expected, Ignored) {
            // In one piece with what is ignored: the server may close as soon as it has read that.
            bytes.extend_from_slice(&frame(PING, 0, 0, b"harmless"));
        }
        let _ = client.0.try_send(bytes).await;
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
