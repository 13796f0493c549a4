//! Message heads and the framing of bodies, from the model to bytes.
//!
//! What decides where the message ends is written from its [`Length`] alone; the framing fields that were received
//! are never copied.

use super::framing;
use crate::http::fields::{Fields, Name, Names};
use crate::http::head::{Length, Version};
use crate::http::headers;
use crate::http::outgoing::{Outgoing, RequestLine};

/// Never copied: they are written anew, or not at all.
const OWN: Names = headers::HOP_BY_HOP.and(Names::of(&[Name::ContentLength]));

/// Writes the head of a request. A request has no body that ends with the connection: `Close` is for tunnels.
pub fn request_head(out: &mut Vec<u8>, line: &RequestLine<'_>, head: &Outgoing<'_>) {
    out.extend_from_slice(line.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(line.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    fields(out, head);
    match head.length {
        Length::Empty | Length::Close => {}
        Length::Exact(length) => content_length(out, length),
        Length::Marked => out.extend_from_slice(CHUNKED),
    }
    if let Some(protocol) = line.upgrade {
        upgrade(out, protocol);
    } else if head.fields.contains(Name::Te) && headers::accepts_trailers(head.fields) {
        // Some endpoints send trailers only to those who ask, and we pass them on (RFC 9110, 10.1.4).
        out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a final response.
///
/// `length` is how the body that follows will be told; `bodiless` says that none follows whatever it is (HEAD, 204,
/// 304). Then the length that a body would have is still told where it is known: by `length`, else by a valid
/// `Content-Length` among the fields (RFC 9110, 8.6). `version` is the client's.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one fact of a head and none belong together"
)]
pub fn response_head(
    out: &mut Vec<u8>,
    status: u16,
    reason: &[u8],
    head: &Outgoing<'_>,
    length: Length,
    bodiless: bool,
    version: Version,
    keep_alive: bool,
) {
    status_line(out, status, reason);
    fields(out, head);
    match length {
        _ if status == 204 => {}
        Length::Exact(length) => content_length(out, length),
        _ if bodiless => {
            let received = head.fields.get(Name::ContentLength);
            if let Some(length) = received.and_then(framing::content_length) {
                content_length(out, length);
            }
        }
        Length::Empty => content_length(out, 0),
        Length::Marked if version >= Version::Http11 => out.extend_from_slice(CHUNKED),
        Length::Marked | Length::Close => {}
    }
    if !keep_alive {
        out.extend_from_slice(b"connection: close\r\n");
    } else if version == Version::Http10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim response.
pub fn interim_head(out: &mut Vec<u8>, status: u16, head: &Outgoing<'_>) {
    status_line(out, status, b"");
    fields(out, head);
    out.extend_from_slice(b"\r\n");
}

/// Writes 101: the protocol that the endpoint agreed to stands in `Upgrade` among its fields.
pub fn switch_head(out: &mut Vec<u8>, head: &Outgoing<'_>) {
    status_line(out, 101, b"");
    fields(out, head);
    upgrade(out, head.fields.get(Name::Upgrade).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Writes the line before the data of a chunk. Chunks of size 0 would end the message and are not written.
pub fn chunk_prefix(size: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    debug_assert!(size > 0, "an empty chunk ends the message");
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(DIGITS[size >> (4 * digit) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailers. Trailers that may not be any are left out.
pub fn last_chunk(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write_lines(
            out,
            headers::REFUSED_TRAILERS.and(headers::DROPPED_TRAILERS),
            &[],
        );
    }
    out.extend_from_slice(b"\r\n");
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

fn fields(out: &mut Vec<u8>, head: &Outgoing<'_>) {
    head.fields.write_lines(out, head.skip.and(OWN), head.omit);
    head.extra.write_lines(out, OWN, &[]);
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    debug_assert!(
        !protocol.iter().any(u8::is_ascii_control),
        "a protocol is checked where it is read"
    );
    out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
    out.extend_from_slice(protocol);
    out.extend_from_slice(b"\r\n");
}

/// The version is our own (RFC 9110, 2.5), also towards a client of HTTP/1.0.
fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    if reason.is_empty() {
        let canonical = ::http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason());
        out.extend_from_slice(canonical.unwrap_or_default().as_bytes());
    } else {
        out.extend_from_slice(reason);
    }
    out.extend_from_slice(b"\r\n");
}
