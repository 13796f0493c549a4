//! What we write, our strict parser reads back as one message that says the same.

use arbitrary::{Arbitrary, Unstructured};
use http::Method;
use plimsoll::http::fields::{Fields, Name, Names};
use plimsoll::http::h1::{parse, write};
use plimsoll::http::head::{Length, RequestHead, ResponseHead, Version};
use plimsoll::http::headers;
use plimsoll::http::outgoing::{Outgoing, RequestLine};

use crate::{check_fields, decode, h1_request, pairs};

const LIMITS: parse::Limits = parse::Limits {
    head_bytes: 1 << 20,
    fields: 1000,
};
/// Follows every message, and must be left over.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\n";

#[derive(Debug, Arbitrary)]
struct Message<'a> {
    status: u16,
    is_head: bool,
    length: u8,
    old_client: bool,
    keep_alive: bool,
    chunks: Vec<&'a [u8]>,
    trailers: Vec<(&'a [u8], &'a [u8])>,
    /// A request as it might be received.
    head: &'a [u8],
}

pub fn run(data: &[u8]) {
    let Ok(message) = Message::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut received = RequestHead::default();
    let Ok(Some(_)) = parse::request(message.head, &LIMITS, &mut received) else {
        return;
    };
    let mut omit = Vec::new();
    headers::nominated(&received.fields, &mut omit);
    let body: Vec<u8> = message.chunks.concat();
    let length = match message.length % 4 {
        0 if body.is_empty() => Length::Empty,
        1 => Length::Exact(body.len() as u64),
        2 => Length::Close,
        _ => Length::Marked,
    };
    request(
        &message,
        &received,
        &omit,
        &body,
        if length == Length::Close {
            Length::Marked
        } else {
            length
        },
    );
    response(&message, &received, &omit, &body, length);
}

fn request(
    message: &Message<'_>,
    received: &RequestHead,
    omit: &[Vec<u8>],
    body: &[u8],
    length: Length,
) {
    let is_connect = received.method == Method::CONNECT;
    let length = if is_connect { Length::Empty } else { length };
    let mut extra = Fields::default();
    if !received.fields.contains(Name::Host) {
        extra.push(b"host", b"a");
    }
    let forward = headers::Forward {
        peer: Some(std::net::IpAddr::from([192, 0, 2, message.length])),
        trusted: message.keep_alive,
        underscores: message.old_client,
        tls: message.old_client,
        version: received.version,
        x_forwarded: true,
        forwarded: true,
        via: Some("plimsoll"),
    };
    forward.write(&received.fields, &mut extra);
    let head = Outgoing {
        fields: &received.fields,
        skip: forward.skip(),
        omit,
        extra: &extra,
        length,
    };
    let line = RequestLine {
        method: &received.method,
        target: &received.target,
        upgrade: received.upgrade.as_deref(),
    };
    let mut out = Vec::new();
    write::request_head(&mut out, &line, &head);
    let end = out.len();
    let trailers = write_body(message, body, length, &mut out);
    out.extend_from_slice(NEXT);

    let mut read = RequestHead::default();
    assert_eq!(
        parse::request(&out, &LIMITS, &mut read),
        Ok(Some(end)),
        "{}",
        out.escape_ascii()
    );
    h1_request::check(&read);
    assert_eq!(
        (&read.method, &read.target),
        (&received.method, &received.target)
    );
    assert_eq!((read.length, read.keep_alive), (length, true));
    assert_eq!(read.upgrade, received.upgrade);
    assert_eq!(read.fields.all(Name::XForwardedFor).count(), 1);
    let kept = |fields: &Fields| -> Vec<_> {
        let other = fields.iter().filter(|(known, name, _)| {
            *known == Name::Other && !omit.iter().any(|gone| gone.eq_ignore_ascii_case(name))
        });
        other
            .map(|(_, name, value)| (name.to_vec(), value.to_vec()))
            .collect()
    };
    assert_eq!(kept(&read.fields), kept(&received.fields));
    check_body(&out[end..], length, body, &trailers);
}

fn response(
    message: &Message<'_>,
    received: &RequestHead,
    omit: &[Vec<u8>],
    body: &[u8],
    length: Length,
) {
    let status = 200 + message.status % 800;
    let version = if message.old_client {
        Version::Http10
    } else {
        Version::Http11
    };
    let length = if message.old_client && length == Length::Marked {
        Length::Close
    } else {
        length
    };
    let bodiless = message.is_head || matches!(status, 204 | 304);
    let keep_alive = message.keep_alive && (length != Length::Close || bodiless);
    let extra = Fields::default();
    let head = Outgoing {
        fields: &received.fields,
        skip: Names::NONE,
        omit,
        extra: &extra,
        length,
    };
    let mut out = Vec::new();
    write::response_head(
        &mut out, status, b"", &head, length, bodiless, version, keep_alive,
    );
    let end = out.len();
    let method = if message.is_head {
        Method::HEAD
    } else {
        Method::GET
    };
    let mut read = ResponseHead::default();
    assert_eq!(
        parse::response(&out, &LIMITS, &method, &mut read),
        Ok(Some(end)),
        "{}",
        out.escape_ascii()
    );
    check_fields(&read.fields);
    assert_eq!((read.status, read.keep_alive), (status, keep_alive));
    if bodiless {
        assert_eq!(read.length, Length::Empty);
        return;
    }
    let expected = if length == Length::Empty {
        Length::Exact(0)
    } else {
        length
    };
    assert_eq!(read.length, expected);
    let trailers = write_body(message, body, length, &mut out);
    if length != Length::Close {
        out.extend_from_slice(NEXT);
    }
    check_body(&out[end..], read.length, body, &trailers);
}

/// Writes the body as the connection's writer does; gives the trailers that may be read.
fn write_body(message: &Message<'_>, body: &[u8], length: Length, out: &mut Vec<u8>) -> Fields {
    let mut trailers = Fields::default();
    if length != Length::Marked {
        if length != Length::Empty {
            out.extend_from_slice(body);
        }
        return trailers;
    }
    for chunk in message.chunks.iter().filter(|chunk| !chunk.is_empty()) {
        write::chunk_prefix(chunk.len(), out);
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in message.trailers.iter().take(20) {
        let is_name = http::HeaderName::from_bytes(name).is_ok() && name.len() < 200;
        let is_value = http::HeaderValue::from_bytes(value).is_ok() && value.len() < 200;
        if is_name && is_value {
            trailers.push(name, value.trim_ascii());
        }
    }
    write::last_chunk(Some(&trailers), out);
    trailers.remove_if(|name, _, _| {
        headers::DROPPED_TRAILERS.contains(name) || headers::REFUSED_TRAILERS.contains(name)
    });
    trailers
}

fn check_body(bytes: &[u8], length: Length, body: &[u8], trailers: &Fields) {
    let read = decode(length, bytes, bytes.len()).expect("what we write is well formed");
    assert_eq!(read.data, if length == Length::Empty { b"" } else { body });
    assert_eq!(read.trailers, pairs(trailers));
    if length != Length::Close {
        assert!(read.done);
        assert_eq!(&bytes[read.consumed..], NEXT);
    }
}
