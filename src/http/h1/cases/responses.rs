//! Rules for responses.

use ::http::Method;

use super::{LIMITS, answer, response};
use crate::http::h1::parse::{self, ParseError};
use crate::http::head::{Length, ResponseHead, Version};

#[test]
fn reads_a_plain_response() {
    let head = response(b"HTTP/1.1 404 Not Here\r\nA: b\r\n\r\n", &Method::GET).unwrap();
    assert_eq!((head.status, &head.reason[..]), (404, &b"Not Here"[..]));
    assert_eq!(head.length, Length::Close);
    assert!(!head.keep_alive);
    for line in [
        "HTTP/1.0 200\r\n",
        "HTTP/1.0 200 \r\n",
        "HTTP/1.0 200 \u{e4}\r\n",
    ] {
        let head = response(format!("{line}\r\n").as_bytes(), &Method::GET).unwrap();
        assert_eq!(
            (head.version, &head.reason[..]),
            (Version::Http10, &b""[..]),
            "{line:?}"
        );
    }
}

#[test]
fn refuses_bad_status_lines() {
    let cases: [(&[u8], ParseError); 14] = [
        (b"HTTP/1.1 099 A\r\n\r\n", ParseError::BadStatus),
        (b"HTTP/1.1 20 A\r\n\r\n", ParseError::BadStatus),
        (b"HTTP/1.1 2000 A\r\n\r\n", ParseError::BadStatus),
        (b"HTTP/1.1 +20 A\r\n\r\n", ParseError::BadStatus),
        (b"HTTP/1.1  200 A\r\n\r\n", ParseError::BadStatus),
        (b"HTTP/1.1 200\tA\r\n\r\n", ParseError::BadStatus),
        (b"HTTP/1.1 200 A\x01\r\n\r\n", ParseError::BadStatus),
        (b"HTTP/1.1 200 A\0\r\n\r\n", ParseError::Nul),
        (b"HTTP/1.1 200 A\rB\r\n\r\n", ParseError::BareCarriageReturn),
        (b"HTTP/1.1 200 OK\n\r\n", ParseError::BareLineFeed),
        (b"HTTP/2.0 200 OK\r\n\r\n", ParseError::BadVersion),
        (b"HTTP/1.1200 OK\r\n\r\n", ParseError::MalformedVersion),
        (b"ICY 200 OK\r\n\r\n", ParseError::MalformedVersion),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", ParseError::MalformedVersion),
    ];
    for (input, cause) in cases {
        assert_eq!(
            response(input, &Method::GET).map(|_| ()),
            Err(cause),
            "{}",
            input.escape_ascii()
        );
    }
    assert_eq!(
        response(b"HTTP/1.1 999 X\r\n\r\n", &Method::GET)
            .unwrap()
            .status,
        999
    );
}

#[test]
fn lengths_of_responses_depend_on_what_was_asked() {
    let cases = [
        (
            Method::GET,
            200,
            "Content-Length: 5\r\n",
            Length::Exact(5),
            true,
        ),
        (
            Method::GET,
            200,
            "Transfer-Encoding: chunked\r\n",
            Length::Marked,
            true,
        ),
        (Method::GET, 200, "", Length::Close, false),
        (
            Method::HEAD,
            200,
            "Content-Length: 5\r\n",
            Length::Empty,
            true,
        ),
        (
            Method::HEAD,
            200,
            "Transfer-Encoding: chunked\r\n",
            Length::Empty,
            true,
        ),
        (Method::HEAD, 200, "", Length::Empty, true),
        (
            Method::GET,
            304,
            "Content-Length: 5\r\n",
            Length::Empty,
            true,
        ),
        (Method::GET, 204, "", Length::Empty, true),
        (
            Method::GET,
            204,
            "Content-Length: 0\r\n",
            Length::Empty,
            true,
        ),
        (
            Method::GET,
            204,
            "Content-Length: 5\r\n",
            Length::Empty,
            false,
        ),
        (
            Method::GET,
            204,
            "Transfer-Encoding: chunked\r\n",
            Length::Empty,
            false,
        ),
        (Method::GET, 100, "", Length::Empty, true),
        (Method::GET, 103, "Link: a\r\n", Length::Empty, true),
        (
            Method::GET,
            101,
            "Upgrade: a\r\nConnection: upgrade\r\n",
            Length::Close,
            false,
        ),
        (
            Method::CONNECT,
            200,
            "Content-Length: 5\r\n",
            Length::Close,
            false,
        ),
        (
            Method::CONNECT,
            403,
            "Content-Length: 5\r\n",
            Length::Exact(5),
            true,
        ),
        (
            Method::GET,
            200,
            "Content-Length: 5\r\nConnection: close\r\n",
            Length::Exact(5),
            false,
        ),
    ];
    for (method, status, lines, length, keep_alive) in cases {
        let input = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
        let head = response(input.as_bytes(), &method).unwrap();
        assert_eq!(
            (head.length, head.keep_alive),
            (length, keep_alive),
            "{method} {status} {lines:?}"
        );
    }
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (method, status) in [
        (Method::HEAD, 200),
        (Method::GET, 304),
        (Method::GET, 204),
        (Method::GET, 103),
    ] {
        let input = format!("HTTP/1.1 {status} X\r\n{both}");
        assert_eq!(
            response(input.as_bytes(), &method).map(|_| ()),
            Err(ParseError::BothLengths)
        );
    }
}

/// 204 was taken for an empty answer, after which the connection could have carried another request into the tunnel.
#[test]
fn every_success_answers_connect_with_a_tunnel() {
    for status in [200, 204, 205, 299] {
        for lines in ["", "Content-Length: 0\r\n", "Content-Length: 5\r\n"] {
            let input = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
            let head = response(input.as_bytes(), &Method::CONNECT).unwrap();
            assert_eq!((head.length, head.keep_alive), (Length::Close, false));
        }
    }
    let head = response(b"HTTP/1.1 304 X\r\n\r\n", &Method::CONNECT).unwrap();
    assert_eq!((head.length, head.keep_alive), (Length::Empty, true));
}

#[test]
fn http10_responses_have_no_chunks_and_rarely_persist() {
    let input = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        response(input, &Method::GET).map(|_| ()),
        Err(ParseError::TransferCodingInHttp10)
    );
    let kept = |lines: &str| {
        let input = format!("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n{lines}\r\n");
        response(input.as_bytes(), &Method::GET).unwrap().keep_alive
    };
    assert!(!kept(""));
    assert!(kept("Connection: keep-alive\r\n"));
}

#[test]
fn every_prefix_of_a_good_head_is_incomplete() {
    let input = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\n";
    let mut head = ResponseHead::default();
    for end in 0..input.len() {
        let read = parse::response(&input[..end], &LIMITS, &Method::GET, &mut head);
        assert_eq!(read, Ok(None), "{}", input[..end].escape_ascii());
    }
    assert!(answer("Content-Length: 5\r\n").is_ok());
}
