//! Rules that hold for requests and for responses.

use super::{answer, with};
use crate::http::h1::parse::ParseError;

#[test]
fn refuses_ambiguous_framing_on_both_sides() {
    let cases = [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            ParseError::BothLengths,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            ParseError::BothLengths,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            ParseError::RepeatedLength,
        ),
        (
            "Content-Length: 5\r\ncontent-length: 6\r\n",
            ParseError::RepeatedLength,
        ),
        ("Content-Length: 5, 5\r\n", ParseError::RepeatedLength),
        ("Content-Length: 5,\r\n", ParseError::MalformedLength),
        ("Content-Length: +5\r\n", ParseError::MalformedLength),
        ("Content-Length: -5\r\n", ParseError::MalformedLength),
        ("Content-Length: 0x5\r\n", ParseError::MalformedLength),
        ("Content-Length: 5f\r\n", ParseError::MalformedLength),
        ("Content-Length: 5 5\r\n", ParseError::MalformedLength),
        ("Content-Length: 5.0\r\n", ParseError::MalformedLength),
        ("Content-Length: \"5\"\r\n", ParseError::MalformedLength),
        ("Content-Length:\r\n", ParseError::MalformedLength),
        ("Content-Length: \t \r\n", ParseError::MalformedLength),
        (
            "Content-Length: 18446744073709551616\r\n",
            ParseError::MalformedLength,
        ),
        (
            "Content-Length: 000000000000000000005\r\n",
            ParseError::MalformedLength,
        ),
        ("Content-Length: ٥\r\n", ParseError::MalformedLength),
        (
            "Transfer-Encoding: gzip\r\n",
            ParseError::UnknownTransferCoding,
        ),
        (
            "Transfer-Encoding: identity\r\n",
            ParseError::UnknownTransferCoding,
        ),
        ("Transfer-Encoding:\r\n", ParseError::UnknownTransferCoding),
        (
            "Transfer-Encoding: chunkedx\r\n",
            ParseError::UnknownTransferCoding,
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            ParseError::UnknownTransferCoding,
        ),
        (
            "Transfer-Encoding: \"chunked\"\r\n",
            ParseError::UnknownTransferCoding,
        ),
        (
            "Transfer-Encoding: chunked;q=1\r\n",
            ParseError::UnknownTransferCoding,
        ),
        (
            "Transfer-Encoding: \u{212a}\r\n",
            ParseError::UnknownTransferCoding,
        ),
        (
            "Transfer-Encoding: chunked,\r\n",
            ParseError::MisplacedTransferCoding,
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            ParseError::MisplacedTransferCoding,
        ),
        (
            "Transfer-Encoding: chunked, gzip\r\n",
            ParseError::MisplacedTransferCoding,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            ParseError::RepeatedTransferCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            ParseError::RepeatedTransferCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            ParseError::RepeatedTransferCoding,
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            ParseError::UnknownTransferCoding,
        ),
        (
            "Transfer-Encoding : chunked\r\n",
            ParseError::SpaceBeforeColon,
        ),
        (
            "Transfer-Encoding\t: chunked\r\n",
            ParseError::SpaceBeforeColon,
        ),
        (
            "Transfer-Encoding:\x0bchunked\r\n",
            ParseError::BadFieldValue,
        ),
        (
            "Transfer-Encoding: chunked\x0c\r\n",
            ParseError::BadFieldValue,
        ),
    ];
    for (lines, cause) in cases {
        assert_eq!(
            with(lines).map(|_| ()),
            Err(cause),
            "request with {lines:?}"
        );
        assert_eq!(
            answer(lines).map(|_| ()),
            Err(cause),
            "response with {lines:?}"
        );
    }
}

#[test]
fn refuses_malformed_lines_on_both_sides() {
    let cases = [
        ("A: b\r\n c\r\n", ParseError::ObsFold),
        ("A: b\r\n\tc\r\n", ParseError::ObsFold),
        ("A:\r\n b\r\n", ParseError::ObsFold),
        (" A: b\r\n", ParseError::ObsFold),
        ("A : b\r\n", ParseError::SpaceBeforeColon),
        ("A: b\n", ParseError::BareLineFeed),
        ("A: b\nB: c\r\n", ParseError::BareLineFeed),
        ("A: b\rB: c\r\n", ParseError::BareCarriageReturn),
        ("A: b\r\r\n", ParseError::BareCarriageReturn),
        ("A\r: b\r\n", ParseError::BareCarriageReturn),
        ("\rA: b\r\n", ParseError::BareCarriageReturn),
        ("A: b\0c\r\n", ParseError::Nul),
        ("A\0: b\r\n", ParseError::Nul),
        ("A: b\x01\r\n", ParseError::BadFieldValue),
        ("A: b\x7f\r\n", ParseError::BadFieldValue),
        (": b\r\n", ParseError::BadFieldName),
        ("A\r\n", ParseError::BadFieldName),
        ("A b: c\r\n", ParseError::BadFieldName),
        ("A(: b\r\n", ParseError::BadFieldName),
        ("\u{e4}: b\r\n", ParseError::BadFieldName),
    ];
    for (lines, cause) in cases {
        assert_eq!(
            with(lines).map(|_| ()),
            Err(cause),
            "request with {lines:?}"
        );
        assert_eq!(
            answer(lines).map(|_| ()),
            Err(cause),
            "response with {lines:?}"
        );
    }
    assert_eq!(with("A: b\u{e4}\tc\r\n").unwrap().fields.len(), 2);
}
