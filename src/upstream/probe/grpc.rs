//! The check over gRPC: `grpc.health.v1.Health/Check`, its two messages written and read by hand.
//!
//! The messages (grpc/health/v1/health.proto) are `HealthCheckRequest { string service = 1; }` and
//! `HealthCheckResponse { ServingStatus status = 1; }`; each goes in a frame of five bytes before it (PROTOCOL-HTTP2.md).

use std::time::Duration;

use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;

use super::exchange::{self, Question, REST_BYTES};
use super::failure::{CheckFailure, Unsendable};
use super::http::request_fields;
use crate::config;
use crate::stream::Stream;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The key of field 1: a string of a given length, and a number (Protocol Buffers, Encoding).
const STRING_1: u8 = 1 << 3 | 2;
const NUMBER_1: u64 = 1 << 3;
const SERVING: u64 = 1;
/// Letters of a message that are kept.
const MESSAGE: usize = 100;

/// A check over gRPC.
#[derive(Debug)]
pub(super) struct GrpcCheck {
    question: Question,
}

impl GrpcCheck {
    pub(super) fn compile(
        written: &config::ActiveHealth,
        is_tls: bool,
    ) -> Result<Self, Unsendable> {
        let mut fields = request_fields(&written.headers)?;
        let own = [
            (header::CONTENT_TYPE, "application/grpc"),
            (header::TE, "trailers"),
        ];
        for (name, value) in own {
            fields.insert(name, HeaderValue::from_static(value));
        }
        let timeout = HeaderValue::try_from(timeout(written.timeout));
        let timeout = timeout.map_err(|_| Unsendable {
            what: "the timeout",
        })?;
        fields.insert("grpc-timeout", timeout);
        Ok(Self {
            question: Question {
                method: Method::POST,
                path: PathAndQuery::from_static(PATH),
                is_tls,
                fields,
                body: request(written.service.as_deref().unwrap_or_default()),
            },
        })
    }

    pub(super) async fn check(&self, authority: &str, stream: Stream) -> Result<(), CheckFailure> {
        let (head, mut reply) = exchange::ask(&self.question, authority, stream, true).await?;
        if head.status != StatusCode::OK {
            return Err(CheckFailure::Status(head.status.as_u16()));
        }
        let kind = head.headers.get(header::CONTENT_TYPE);
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            return Err(CheckFailure::NoGrpc("its content type is another"));
        }
        // A status without a message stands in the head.
        status(&head.headers)?;
        let mut body = Vec::new();
        while let Some(data) = reply.data().await? {
            if body.len() + data.len() > REST_BYTES {
                return Err(CheckFailure::NoGrpc("it is too long"));
            }
            body.extend_from_slice(&data);
        }
        let trailers = reply.trailers().await?.unwrap_or_default();
        status(&trailers)?;
        if !trailers.contains_key("grpc-status") {
            return Err(CheckFailure::NoGrpc("it has no status"));
        }
        match serving_status(&body).map_err(CheckFailure::NoGrpc)? {
            SERVING => Ok(()),
            other => Err(CheckFailure::NotServing(name(other))),
        }
    }
}

/// `2000m`: at most eight digits of the finest unit that they are enough for.
fn timeout(span: Duration) -> String {
    let units = [
        (span.as_micros(), 'u'),
        (span.as_millis(), 'm'),
        (u128::from(span.as_secs()), 'S'),
    ];
    let fits = units.into_iter().find(|(count, _)| *count < 100_000_000);
    let (count, unit) = fits.unwrap_or((99_999_999, 'S'));
    format!("{count}{unit}")
}

/// Fails for any status but 0; without effect where there is none.
fn status(fields: &HeaderMap) -> Result<(), CheckFailure> {
    let Some(status) = fields.get("grpc-status") else {
        return Ok(());
    };
    let code = status.to_str().ok().and_then(|text| text.parse().ok());
    let Some(code) = code else {
        return Err(CheckFailure::NoGrpc("its status is no number"));
    };
    if code == 0 {
        return Ok(());
    }
    let message = fields.get("grpc-message").map(|message| {
        let text = String::from_utf8_lossy(message.as_bytes());
        text.chars().take(MESSAGE).collect()
    });
    Err(CheckFailure::GrpcStatus { code, message })
}

/// The request in its frame. A service without a name is a message without a field.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(STRING_1);
        write_number(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    // A name in a configuration is far from four gigabytes.
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

/// The status in an answer of one frame; 0, as what is not there means, where the field is missing.
fn serving_status(framed: &[u8]) -> Result<u64, &'static str> {
    let Some((prefix, message)) = framed.split_at_checked(PREFIX) else {
        return Err("it has no message");
    };
    let [compressed, length @ ..] = prefix else {
        return Err("it has no message");
    };
    if *compressed != 0 {
        return Err("it is compressed, which was not asked for");
    }
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length != message.len() {
        return Err("it is not one whole message");
    }
    let mut left = message;
    let mut status = 0;
    while !left.is_empty() {
        let key = read_number(&mut left)?;
        if key == NUMBER_1 {
            // Of several the last counts.
            status = read_number(&mut left)?;
        } else {
            skip(key, &mut left)?;
        }
    }
    Ok(status)
}

/// Passes over a field that is not known here.
fn skip(key: u64, left: &mut &[u8]) -> Result<(), &'static str> {
    let length = match key & 7 {
        0 => return read_number(left).map(drop),
        1 => 8,
        2 => read_number(left)?,
        5 => 4,
        _ => return Err("it has a field of no known kind"),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    *left = left.get(length..).ok_or(CUT)?;
    Ok(())
}

const CUT: &str = "its message is cut short";

/// Seven bits in each byte, the lowest first; a set high bit says that more follow.
fn read_number(left: &mut &[u8]) -> Result<u64, &'static str> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, rest) = left.split_first().ok_or(CUT)?;
        *left = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("it has a number that does not end")
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn name(status: u64) -> &'static str {
    match status {
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "of a status that is not known",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = (message.len() as u32).to_be_bytes();
        [&[0], &length[..], message].concat()
    }

    #[test]
    fn the_messages_are_those_of_the_definition() {
        assert_eq!(request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(request("app.Users")[..], *b"\0\0\0\0\x0b\x0a\x09app.Users");
        assert_eq!(request(&"x".repeat(300))[5..8], [0x0a, 0xac, 0x02]);
        for (message, status) in [
            (&b""[..], 0),
            (b"\x08\x01", 1),
            (b"\x08\x02", 2),
            (b"\x08\x81\x00", 1),
            // Fields to come: a number, a text, eight and four bytes; and the field again.
            (b"\x10\x07\x1a\x02hi\x08\x01\x21........\x2d....", 1),
            (b"\x08\x01\x08\x02", 2),
        ] {
            assert_eq!(serving_status(&framed(message)), Ok(status), "{message:?}");
        }
    }

    #[test]
    fn what_is_no_answer_of_the_service_is_refused() {
        let mut compressed = framed(b"\x08\x01");
        compressed[0] = 1;
        let two = [framed(b"\x08\x01"), framed(b"")].concat();
        for (bytes, reason) in [
            (Vec::new(), "no message"),
            (vec![0, 0, 0, 0], "no message"),
            (compressed, "compressed"),
            (two, "one whole message"),
            (framed(b"\x08\x01")[..6].to_vec(), "one whole message"),
            (framed(b"\x08"), "cut short"),
            (framed(b"\x12\x05hi"), "cut short"),
            (
                framed(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                "cut short",
            ),
            (framed(b"\x0b"), "no known kind"),
            (framed(&[0xff; 11]), "does not end"),
        ] {
            let refused = serving_status(&bytes).unwrap_err();
            assert!(refused.contains(reason), "{refused} for {bytes:?}");
        }
    }

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        let spans = [
            Duration::from_millis(2000),
            Duration::from_secs(100),
            Duration::from_secs(200_000),
        ];
        let written = spans.map(timeout);
        assert_eq!(written, ["2000000u", "100000m", "200000S"]);
    }

    proptest! {
        #[test]
        fn numbers_read_back(number in any::<u64>(), rest in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut written = Vec::new();
            write_number(number, &mut written);
            written.extend(&rest);
            let mut left = &written[..];
            prop_assert_eq!(read_number(&mut left), Ok(number));
            prop_assert_eq!(left, &rest[..]);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = serving_status(&bytes);
            let _ = serving_status(&framed(&bytes));
        }
    }
}
