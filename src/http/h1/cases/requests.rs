//! Rules for requests.

use proptest::prelude::*;

use super::{LIMITS, request, with};
use crate::http::fields::Name;
use crate::http::h1::parse::{self, Limits, ParseError};
use crate::http::head::{Length, RequestHead, Version};

#[test]
fn reads_a_plain_request() {
    let head =
        request(b"GET /a?b=c HTTP/1.1\r\nHost: example.com:80\r\nX-A:  b c \t\r\nEmpty:\r\n\r\n")
            .unwrap();
    assert_eq!(head.method, ::http::Method::GET);
    assert_eq!(head.target, b"/a?b=c");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.length, Length::Empty);
    assert!(head.keep_alive && !head.expects_continue && head.upgrade.is_none());
    assert_eq!(head.fields.get(Name::Host), Some(&b"example.com:80"[..]));
    assert_eq!(
        head.fields.all_by_bytes(b"x-a").collect::<Vec<_>>(),
        [b"b c"]
    );
    assert_eq!(
        head.fields.all_by_bytes(b"empty").collect::<Vec<_>>(),
        [b""]
    );
}

/// The target, and the host, of a request with this method and target and `Host: a`.
fn target(method: &str, target: &str) -> Result<(String, String), ParseError> {
    let head = request(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let host = head.fields.get(Name::Host).unwrap_or_default();
    assert_eq!(head.fields.all(Name::Host).count(), 1);
    Ok((text(&head.target), text(host)))
}

#[test]
fn targets_are_kept_byte_for_byte() {
    let cases = [
        ("GET", "/a/../b//%2e?c=d&%zz", "/a/../b//%2e?c=d&%zz", "a"),
        ("GET", "/\u{e4}", "/\u{e4}", "a"),
        ("GET", "//evil/x", "//evil/x", "a"),
        ("GET", "/http://b/", "/http://b/", "a"),
        ("OPTIONS", "*", "*", "a"),
        ("GET", "http://b/c?d", "/c?d", "b"),
        ("GET", "HTTP://b:81?d", "/?d", "b:81"),
        ("GET", "https://b", "/", "b"),
        ("OPTIONS", "http://b", "*", "b"),
        ("OPTIONS", "http://b/", "/", "b"),
        ("OPTIONS", "http://b?c", "/?c", "b"),
        ("CONNECT", "b:443", "b:443", "b:443"),
        ("CONNECT", "[::1]:443", "[::1]:443", "[::1]:443"),
    ];
    for (method, given, path, host) in cases {
        assert_eq!(
            target(method, given),
            Ok((path.into(), host.into())),
            "{method} {given}"
        );
    }
}

#[test]
fn refuses_bad_targets() {
    let cases = [
        ("GET", "a"),
        ("GET", "*"),
        ("GET", "a:443"),
        ("GET", "?a"),
        ("GET", "ftp://a/"),
        ("GET", "http:///a"),
        ("GET", "http://user@a/"),
        ("GET", "http://a:x/"),
        ("GET", "http://a\\b/"),
        ("GET", "http:/a"),
        ("GET", "/a#b"),
        ("GET", "/a b"),
        ("GET", "/a\tb"),
        ("GET", "/a\x01"),
        ("GET", "/a\x7f"),
        ("GET", " /a"),
        ("CONNECT", "/"),
        ("CONNECT", "*"),
        ("CONNECT", "a"),
        ("CONNECT", "a:"),
        ("CONNECT", "http://a:443/"),
        ("OPTIONS", "**"),
    ];
    for (method, given) in cases {
        let cause = target(method, given).map(|_| ());
        // Whatever follows a space is read as the version.
        let expected = if given == "/a b" {
            ParseError::MalformedVersion
        } else {
            ParseError::BadTarget
        };
        assert_eq!(cause, Err(expected), "{method} {given:?}");
    }
    let latin1 = b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(request(latin1).map(|_| ()), Err(ParseError::BadTarget));
}

#[test]
fn exactly_one_valid_host() {
    let cases: [(&str, Result<(), ParseError>); 16] = [
        ("GET / HTTP/1.1\r\n", Err(ParseError::MissingHost)),
        ("GET http://a/ HTTP/1.1\r\n", Err(ParseError::MissingHost)),
        ("GET / HTTP/1.0\r\n", Ok(())),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
            Err(ParseError::RepeatedHost),
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n",
            Err(ParseError::RepeatedHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost:\r\n",
            Err(ParseError::MalformedHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a, b\r\n",
            Err(ParseError::MalformedHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a b\r\n",
            Err(ParseError::MalformedHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost: u@a\r\n",
            Err(ParseError::MalformedHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a/b\r\n",
            Err(ParseError::MalformedHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a:99999\r\n",
            Err(ParseError::MalformedHost),
        ),
        (
            "GET / HTTP/1.1\r\nHost: http://a\r\n",
            Err(ParseError::MalformedHost),
        ),
        (
            "GET http://a/ HTTP/1.1\r\nHost: u@b\r\n",
            Err(ParseError::MalformedHost),
        ),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n", Ok(())),
        ("GET / HTTP/1.1\r\nHost: a.b_c:80\r\n", Ok(())),
        (
            "GET / HTTP/1.1\r\nHost : a\r\n",
            Err(ParseError::SpaceBeforeColon),
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(
            request(format!("{lines}\r\n").as_bytes()).map(|_| ()),
            expected,
            "{lines:?}"
        );
    }
    let head = request(b"GET http://a/ HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(head.fields.get(Name::Host), Some(&b"a"[..]));
}

#[test]
fn refuses_bad_request_lines() {
    let cases: [(&[u8], ParseError); 16] = [
        (b"GET / HTTP/2.0\r\n\r\n", ParseError::BadVersion),
        (b"GET / HTTP/1.2\r\n\r\n", ParseError::BadVersion),
        (b"GET / HTTP/0.9\r\n\r\n", ParseError::BadVersion),
        (b"GET / HTTP/1.10\r\n\r\n", ParseError::MalformedVersion),
        (b"GET / HTTP/11\r\n\r\n", ParseError::MalformedVersion),
        (b"GET / http/1.1\r\n\r\n", ParseError::MalformedVersion),
        (b"GET / HTTP/1.1 \r\n\r\n", ParseError::MalformedVersion),
        (b"GET  / HTTP/1.1\r\n\r\n", ParseError::BadTarget),
        (b"GET /  HTTP/1.1\r\n\r\n", ParseError::MalformedVersion),
        (b"GET /\r\n\r\n", ParseError::BadTarget),
        (b" GET / HTTP/1.1\r\n\r\n", ParseError::BadMethod),
        (b"G(T / HTTP/1.1\r\n\r\n", ParseError::BadMethod),
        (b"GET\t/ HTTP/1.1\r\n\r\n", ParseError::BadMethod),
        (b"\x16\x03\x01\x02\x00\x01", ParseError::Nul),
        (
            b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ParseError::BadMethod,
        ),
        (
            b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ParseError::BareLineFeed,
        ),
    ];
    for (input, cause) in cases {
        assert_eq!(
            request(input).map(|_| ()),
            Err(cause),
            "{}",
            input.escape_ascii()
        );
    }
    assert_eq!(ParseError::BadVersion.status(), 505);
}

#[test]
fn any_token_is_a_method() {
    for method in [
        "GET",
        "get",
        "PROPFIND",
        "M-SEARCH",
        "!#$%&'*+-.^_`|~",
        "X-A-LONGER-METHOD-THAN-MOST",
    ] {
        let head = request(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(head.method.as_str(), method);
    }
}

#[test]
fn lengths_of_requests() {
    let cases = [
        ("", Length::Empty),
        ("Content-Length: 0\r\n", Length::Exact(0)),
        ("Content-Length: 007\r\n", Length::Exact(7)),
        (
            "CONTENT-LENGTH:\t18446744073709551615 \r\n",
            Length::Exact(u64::MAX),
        ),
        ("Transfer-Encoding: Chunked\r\n", Length::Marked),
    ];
    for (lines, length) in cases {
        assert_eq!(with(lines).map(|head| head.length), Ok(length), "{lines:?}");
    }
    for line in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let input = format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{line}\r\n\r\n");
        assert_eq!(
            request(input.as_bytes()).map(|_| ()),
            Err(ParseError::LengthInConnect)
        );
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        request(old).map(|_| ()),
        Err(ParseError::TransferCodingInHttp10)
    );
}

#[test]
fn persistence_follows_version_and_connection() {
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive, Close\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: x, ,CLOSE\r\n",
            false,
        ),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ];
    for (version, lines, expected) in cases {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(
            request(input.as_bytes()).map(|head| head.keep_alive),
            Ok(expected),
            "{version} {lines:?}"
        );
    }
    let many = format!("Connection: {}\r\n", "a,".repeat(33));
    assert_eq!(with(&many).map(|_| ()), Err(ParseError::TooManyOptions));
}

#[test]
fn expects_100_only_before_a_body() {
    let expects = |lines: &str| with(lines).map(|head| head.expects_continue);
    assert_eq!(
        expects("Expect: 100-Continue\r\nContent-Length: 5\r\n"),
        Ok(true)
    );
    assert_eq!(
        expects("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"),
        Ok(true)
    );
    assert_eq!(
        expects("Expect: 100-continue\r\nContent-Length: 0\r\n"),
        Ok(false)
    );
    assert_eq!(
        expects("Expect: 100-continue, x\r\nContent-Length: 5\r\n"),
        Ok(false)
    );
    assert_eq!(
        expects("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n"),
        Ok(false)
    );
    let old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    assert!(!request(old).unwrap().expects_continue);
}

#[test]
fn upgrades_need_both_fields_and_never_lead_to_http() {
    let upgrade = |lines: &str| {
        with(lines)
            .unwrap()
            .upgrade
            .map(|name| String::from_utf8(name).unwrap())
    };
    let both = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(upgrade(both).as_deref(), Some("websocket"));
    assert_eq!(upgrade("Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("Connection: upgrade\r\n"), None);
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: h2c\r\n"), None);
    assert_eq!(
        upgrade("Connection: upgrade\r\nUpgrade: H2C, a/1\r\nUpgrade: HTTP/2.0,b\r\n").as_deref(),
        Some("a/1, b")
    );
    let old = format!("GET / HTTP/1.0\r\n{both}\r\n");
    assert_eq!(request(old.as_bytes()).unwrap().upgrade, None);
}

#[test]
fn limits_give_the_same_answer_however_the_head_arrives() {
    let limits = Limits {
        head_bytes: 64,
        fields: 2,
    };
    let parse = |input: &[u8]| parse::request(input, &limits, &mut RequestHead::default());
    let fits = b"GET / HTTP/1.1\r\nHost: a\r\nA: bcdefghijklmnopqrstuvwxyz0123456\r\n\r\n";
    assert_eq!(fits.len(), 64);
    assert_eq!(parse(fits), Ok(Some(64)));
    let long = b"GET / HTTP/1.1\r\nHost: a\r\nA: bcdefghijklmnopqrstuvwxyz01234567\r\n\r\n";
    assert_eq!(parse(long), Err(ParseError::TooManyBytes));
    assert_eq!(parse(&long[..64]), Err(ParseError::TooManyBytes));
    assert_eq!(parse(&long[..63]), Ok(None));
    let many = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n";
    assert_eq!(parse(many), Err(ParseError::TooManyFields));
    assert_eq!(
        parse(&many[..many.len() - 2]),
        Err(ParseError::TooManyFields)
    );
    assert_eq!(
        parse(format!("GET /{}", "a".repeat(80)).as_bytes()),
        Err(ParseError::TargetTooLong)
    );
    assert_eq!(ParseError::TargetTooLong.status(), 414);
    assert_eq!(ParseError::TooManyFields.status(), 431);
}

#[test]
fn more_fields_than_fit_on_the_stack() {
    let limits = Limits {
        head_bytes: 1 << 20,
        fields: 1000,
    };
    let input = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(900)
    );
    let mut head = RequestHead::default();
    assert_eq!(
        parse::request(input.as_bytes(), &limits, &mut head),
        Ok(Some(input.len()))
    );
    assert_eq!(head.fields.len(), 901);
    assert_eq!(
        parse::request(&input.as_bytes()[..5000], &limits, &mut head),
        Ok(None)
    );
}

#[test]
fn leaves_what_follows_the_head() {
    let input = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\nbad";
    let mut head = RequestHead::default();
    let consumed = parse::request(input, &LIMITS, &mut head).unwrap().unwrap();
    assert_eq!(&input[consumed..], b"GET /b HTTP/1.1\nbad");
}

proptest! {
    /// However many bytes have arrived, the answer is `None` until it is the final one, and a model that is reused
    /// holds nothing of the message before.
    #[test]
    fn every_prefix_of_a_good_head_is_incomplete(
        method in "[A-Z]{1,8}",
        path in "/[a-z/%.?=]{0,20}",
        fields in prop::collection::vec(("[A-Za-z-]{1,12}", "([a-z0-9][a-z0-9 ,\t]{0,20}[a-z0-9])?"), 0..5),
    ) {
        prop_assume!(method != "CONNECT");
        let mut input = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n");
        for (name, value) in &fields {
            prop_assume!(Name::of(name.as_bytes()) == Name::Other);
            input.push_str(&format!("{name}:{value}\r\n"));
        }
        input.push_str("\r\n");
        let mut head = request(b"PUT /old HTTP/1.0\r\nOld: 1\r\nContent-Length: 9\r\n\r\n").unwrap();
        for end in 0..input.len() {
            prop_assert_eq!(parse::request(&input.as_bytes()[..end], &LIMITS, &mut head), Ok(None));
        }
        prop_assert_eq!(parse::request(input.as_bytes(), &LIMITS, &mut head), Ok(Some(input.len())));
        prop_assert_eq!(head.version, Version::Http11);
        prop_assert_eq!(head.length, Length::Empty);
        prop_assert_eq!(head.fields.len(), fields.len() + 1);
        let read: Vec<_> = head.fields.iter().skip(1).collect();
        for ((_, name, value), (expected_name, expected_value)) in read.into_iter().zip(&fields) {
            prop_assert_eq!(name, expected_name.as_bytes());
            prop_assert_eq!(value, expected_value.as_bytes());
        }
    }
}
