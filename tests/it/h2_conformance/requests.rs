//! Fields and their compression: which requests are malformed, and which only contradict themselves.

use super::*;
use crate::harness::Scripted;

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
