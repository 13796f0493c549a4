//! What is written, byte by byte, and that the strict parser reads it back as one message.

use ::http::Method;
use proptest::prelude::*;

use super::{request, response};
use crate::http::fields::{Fields, Name, Names};
use crate::http::h1::write;
use crate::http::head::{Length, Version};
use crate::http::headers;
use crate::http::outgoing::{Outgoing, RequestLine};

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_is_written_with_framing_of_our_own() {
    let received = fields(&[
        ("Host", "a"),
        ("Connection", "x-gone, upgrade"),
        ("X-Gone", "1"),
        ("Content-Length", "999"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("X-Kept", "1"),
    ]);
    let mut omit = Vec::new();
    headers::nominated(&received, &mut omit);
    let extra = fields(&[("x-forwarded-for", "192.0.2.1")]);
    let write = |length, upgrade| {
        let head = Outgoing {
            fields: &received,
            skip: Names::NONE,
            omit: &omit,
            extra: &extra,
            length,
        };
        let line = RequestLine {
            method: &Method::POST,
            target: b"/p?q",
            upgrade,
        };
        text(|out| write::request_head(out, &line, &head))
    };
    let start = "POST /p?q HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nx-forwarded-for: 192.0.2.1\r\n";
    // Asked for anew, for our own connection.
    let te = "connection: te\r\nte: trailers\r\n";
    assert_eq!(write(Length::Empty, None), format!("{start}{te}\r\n"));
    assert_eq!(
        write(Length::Exact(0), None),
        format!("{start}content-length: 0\r\n{te}\r\n")
    );
    assert_eq!(
        write(Length::Exact(u64::MAX), None),
        format!("{start}content-length: {}\r\n{te}\r\n", u64::MAX)
    );
    assert_eq!(
        write(Length::Marked, None),
        format!("{start}transfer-encoding: chunked\r\n{te}\r\n")
    );
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(
        write(Length::Empty, Some(b"websocket")),
        format!("{start}{upgrade}\r\n")
    );
}

#[test]
fn a_response_is_framed_for_its_reader() {
    let received = fields(&[("Content-Length", "5"), ("Connection", "close"), ("A", "b")]);
    let none = Fields::default();
    let write = |status, length, bodiless, version, keep_alive| {
        let head = Outgoing {
            fields: &received,
            skip: Names::NONE,
            omit: &[],
            extra: &none,
            length,
        };
        text(|out| {
            write::response_head(
                out, status, b"", &head, length, bodiless, version, keep_alive,
            )
        })
    };
    let ok = "HTTP/1.1 200 OK\r\nA: b\r\n";
    let cases = [
        (
            Length::Exact(7),
            false,
            Version::Http11,
            true,
            "content-length: 7\r\n",
        ),
        (
            Length::Empty,
            false,
            Version::Http11,
            true,
            "content-length: 0\r\n",
        ),
        (
            Length::Marked,
            false,
            Version::Http11,
            true,
            "transfer-encoding: chunked\r\n",
        ),
        (
            Length::Marked,
            false,
            Version::Http11,
            false,
            "transfer-encoding: chunked\r\nconnection: close\r\n",
        ),
        (
            Length::Marked,
            false,
            Version::Http10,
            false,
            "connection: close\r\n",
        ),
        (
            Length::Close,
            false,
            Version::Http11,
            false,
            "connection: close\r\n",
        ),
        (
            Length::Exact(7),
            false,
            Version::Http10,
            true,
            "content-length: 7\r\nconnection: keep-alive\r\n",
        ),
        // An answer to HEAD: the length that was received, or the one we know.
        (
            Length::Empty,
            true,
            Version::Http11,
            true,
            "content-length: 5\r\n",
        ),
        (
            Length::Marked,
            true,
            Version::Http11,
            true,
            "content-length: 5\r\n",
        ),
        (
            Length::Exact(7),
            true,
            Version::Http11,
            true,
            "content-length: 7\r\n",
        ),
    ];
    for (length, bodiless, version, keep_alive, framing) in cases {
        let written = write(200, length, bodiless, version, keep_alive);
        assert_eq!(
            written,
            format!("{ok}{framing}\r\n"),
            "{length:?} {bodiless} {version:?}"
        );
    }
    let empty = write(204, Length::Empty, true, Version::Http11, true);
    assert_eq!(empty, "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n");
    let unmodified = write(304, Length::Empty, true, Version::Http11, true);
    assert_eq!(
        unmodified,
        "HTTP/1.1 304 Not Modified\r\nA: b\r\ncontent-length: 5\r\n\r\n"
    );
    assert!(
        write(299, Length::Empty, false, Version::Http11, true).starts_with("HTTP/1.1 299 \r\n")
    );
}

#[test]
fn interim_responses_have_no_framing() {
    let received = fields(&[
        ("Content-Length", "5"),
        ("Link", "</a>"),
        ("Upgrade", "websocket"),
    ]);
    let none = Fields::default();
    let head = Outgoing {
        fields: &received,
        skip: Names::NONE,
        omit: &[],
        extra: &none,
        length: Length::Empty,
    };
    let written = text(|out| write::interim_head(out, 103, &head));
    assert_eq!(written, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    let written = text(|out| write::switch_head(out, &head));
    let switch = "HTTP/1.1 101 Switching Protocols\r\nLink: </a>\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(written, switch);
}

#[test]
fn chunk_sizes_are_hexadecimal_without_zeros_in_front() {
    for (size, expected) in [
        (1, "1"),
        (15, "f"),
        (16, "10"),
        (65_536, "10000"),
        (usize::MAX, "ffffffffffffffff"),
    ] {
        assert_eq!(
            text(|out| write::chunk_prefix(size, out)),
            format!("{expected}\r\n")
        );
    }
    let trailers = fields(&[("X-Sum", "1"), ("Content-Length", "5"), ("Via", "a")]);
    assert_eq!(
        text(|out| write::last_chunk(Some(&trailers), out)),
        "0\r\nX-Sum: 1\r\n\r\n"
    );
}

fn any_length() -> impl Strategy<Value = Length> {
    prop_oneof![
        Just(Length::Empty),
        any::<u64>().prop_map(Length::Exact),
        Just(Length::Marked),
        Just(Length::Close),
    ]
}

/// Names that the proxy acts on, and others.
fn any_fields() -> impl Strategy<Value = Fields> {
    let name = prop_oneof![
        "[A-Za-z][A-Za-z-]{0,9}",
        Just("Content-Length".to_owned()),
        Just("Transfer-Encoding".to_owned()),
        Just("Connection".to_owned()),
        Just("Upgrade".to_owned()),
    ];
    let value = "([!-~\u{80}-\u{ff}]([ -~\t]{0,12}[!-~])?)?";
    prop::collection::vec((name, value), 0..6).prop_map(|pairs| {
        let mut fields = Fields::default();
        for (name, value) in &pairs {
            if !name.eq_ignore_ascii_case("host") {
                fields.push(name.as_bytes(), value.as_bytes());
            }
        }
        fields
    })
}

proptest! {
    #[test]
    fn a_written_request_is_read_back_as_it_was_meant(received in any_fields(), length in any_length()) {
        let extra = fields(&[("Host", "a")]);
        let head = Outgoing { fields: &received, skip: Names::NONE, omit: &[], extra: &extra, length };
        let line = RequestLine { method: &Method::PUT, target: b"/p", upgrade: None };
        let mut out = Vec::new();
        write::request_head(&mut out, &line, &head);
        let read = request(&out).unwrap();
        let expected = if length == Length::Close { Length::Empty } else { length };
        prop_assert_eq!(read.length, expected);
        prop_assert!(read.keep_alive && read.upgrade.is_none());
        let kept = |fields: &Fields| -> Vec<(Vec<u8>, Vec<u8>)> {
            let kept = fields.iter().filter(|field| field.0 == Name::Other);
            kept.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect()
        };
        prop_assert_eq!(kept(&read.fields), kept(&received));
    }

    #[test]
    fn a_written_response_is_read_back_as_it_was_meant(
        received in any_fields(),
        length in any_length(),
        status in prop_oneof![Just(200u16), Just(204), Just(304), Just(500), 200u16..1000],
        is_head in any::<bool>(),
    ) {
        let extra = Fields::default();
        let head = Outgoing { fields: &received, skip: Names::NONE, omit: &[], extra: &extra, length };
        let bodiless = is_head || matches!(status, 204 | 304);
        let mut out = Vec::new();
        write::response_head(&mut out, status, b"", &head, length, bodiless, Version::Http11, length != Length::Close);
        let method = if is_head { Method::HEAD } else { Method::GET };
        let read = response(&out, &method).unwrap();
        prop_assert_eq!(read.status, status);
        let expected = match length {
            _ if bodiless => Length::Empty,
            Length::Empty => Length::Exact(0),
            length => length,
        };
        prop_assert_eq!(read.length, expected);
        prop_assert_eq!(read.keep_alive, length != Length::Close);
    }
}
