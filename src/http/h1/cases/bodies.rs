//! Rules for bodies.

use proptest::prelude::*;

use crate::http::fields::Fields;
use crate::http::h1::body::{DecodeError, Decoder, State};
use crate::http::h1::parse::ParseError;
use crate::http::h1::write;
use crate::http::head::Length;

/// What the decoder makes of a body that comes in these pieces, and what it leaves over.
fn decode(
    length: Length,
    pieces: &[&[u8]],
) -> Result<(Vec<u8>, Option<Fields>, bool), DecodeError> {
    let mut decoder = Decoder::new(length);
    let mut data = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() && !decoder.is_done() {
            let step = decoder.decode(rest)?;
            assert!(step.consumed > 0, "no progress");
            assert!(step.data.end <= step.consumed);
            data.extend_from_slice(&rest[step.data]);
            rest = &rest[step.consumed..];
            assert_eq!(step.state == State::End, decoder.is_done());
            assert!(step.state != State::NeedInput || rest.is_empty());
        }
    }
    let done = decoder.is_done();
    Ok((
        data,
        decoder.take_trailers().map(|trailers| *trailers),
        done,
    ))
}

fn chunked(input: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let (data, _, done) = decode(Length::Marked, &[input])?;
    assert!(done, "incomplete: {}", input.escape_ascii());
    Ok(data)
}

#[test]
fn reads_chunks_extensions_and_trailers() {
    assert_eq!(chunked(b"0\r\n\r\n").unwrap(), b"");
    assert_eq!(
        chunked(b"5\r\nhello\r\n00A;a=b;c=\"d;\\\"\"\r\n, chunked.\r\n0 \t;x\r\n\r\n").unwrap(),
        b"hello, chunked."
    );
    let (data, trailers, done) = decode(
        Length::Marked,
        &[b"1\r\na\r\n0\r\nX-Sum: 1\r\nVia: x\r\n\r\nnext"],
    )
    .unwrap();
    assert!(done);
    assert_eq!(data, b"a");
    let trailers = trailers.unwrap();
    assert_eq!(trailers.all_by_bytes(b"x-sum").collect::<Vec<_>>(), [b"1"]);
    assert_eq!(trailers.len(), 1, "Via is not taken from trailers");
}

#[test]
fn refuses_malformed_chunks() {
    let cases: &[(&[u8], DecodeError)] = &[
        (b"\r\n", DecodeError::BadChunkSize),
        (b"+5\r\n", DecodeError::BadChunkSize),
        (b"-5\r\n", DecodeError::BadChunkSize),
        (b"0x5\r\n", DecodeError::BadChunkSize),
        (b" 5\r\n", DecodeError::BadChunkSize),
        (b"5 \r\n", DecodeError::BadChunkSize),
        (b"5 5\r\n", DecodeError::BadChunkSize),
        (b"5_0\r\n", DecodeError::BadChunkSize),
        (b";a\r\n", DecodeError::BadChunkSize),
        (b"5\n", DecodeError::BareLineEnd),
        (b"5\rX", DecodeError::BareLineEnd),
        (b"5;a\nX", DecodeError::BareLineEnd),
        (b"5;a\rX", DecodeError::BareLineEnd),
        (b"5;\"a\r\n\"\r\n", DecodeError::BadExtension),
        (b"5;a\0\r\n", DecodeError::BadExtension),
        (b"10000000000000000\r\n", DecodeError::ChunkSizeTooLong),
        (b"00000000000000005\r\n", DecodeError::ChunkSizeTooLong),
        (b"1\r\nab", DecodeError::BadChunkEnd),
        (b"1\r\na\n", DecodeError::BadChunkEnd),
        (b"1\r\na\r\r", DecodeError::BadChunkEnd),
        (b"0\r\n\n", DecodeError::BareLineEnd),
        (b"0\r\n\rX", DecodeError::BareLineEnd),
        (b"0\r\nA: b\n\n", DecodeError::BareLineEnd),
        (
            b"0\r\nA : b\r\n\r\n",
            DecodeError::BadTrailer(ParseError::SpaceBeforeColon),
        ),
        (
            b"0\r\nA: b\r\n c\r\n\r\n",
            DecodeError::BadTrailer(ParseError::ObsFold),
        ),
        (
            b"0\r\nA: b\0\r\n\r\n",
            DecodeError::BadTrailer(ParseError::Nul),
        ),
        (
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
            DecodeError::BadTrailer(ParseError::BadFieldName),
        ),
        (
            b"0\r\nContent-Length: 5\r\n\r\n",
            DecodeError::ForbiddenTrailer,
        ),
        (
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
            DecodeError::ForbiddenTrailer,
        ),
        (b"0\r\nHost: b\r\n\r\n", DecodeError::ForbiddenTrailer),
    ];
    for (input, cause) in cases {
        assert_eq!(
            decode(Length::Marked, &[input]).map(|_| ()),
            Err(*cause),
            "{}",
            input.escape_ascii()
        );
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(
            decode(Length::Marked, &bytes).map(|_| ()),
            Err(*cause),
            "{} by bytes",
            input.escape_ascii()
        );
    }
}

#[test]
fn bounds_extensions_and_trailers_of_a_message() {
    let mut many = b"1;a=b\r\nx\r\n".repeat(2000);
    assert_eq!(
        decode(Length::Marked, &[&many]).map(|_| ()),
        Err(DecodeError::ExtensionsTooLong)
    );
    many = b"0\r\n".to_vec();
    many.extend(b"A: bcdefghijklmnop\r\n".repeat(2000));
    assert_eq!(
        decode(Length::Marked, &[&many]).map(|_| ()),
        Err(DecodeError::TrailersTooLong)
    );
    let lines: Vec<&[u8]> = many.chunks(100).collect();
    assert_eq!(
        decode(Length::Marked, &lines).map(|_| ()),
        Err(DecodeError::TrailersTooLong)
    );
    many = b"0\r\n".to_vec();
    many.extend(b"A: b\r\n".repeat(65));
    many.extend(b"\r\n");
    let cause = DecodeError::BadTrailer(ParseError::TooManyFields);
    assert_eq!(decode(Length::Marked, &[&many]).map(|_| ()), Err(cause));
}

proptest! {
    #[test]
    fn every_split_of_a_body_gives_the_same_data(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        trailer in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut message = Vec::new();
        for chunk in &chunks {
            write::chunk_prefix(chunk.len(), &mut message);
            message.extend_from_slice(chunk);
            message.extend_from_slice(b"\r\n");
        }
        let mut trailers = Fields::default();
        trailers.push(b"x-sum", b"1");
        write::last_chunk(trailer.then_some(&trailers), &mut message);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([message.len()]) {
            pieces.push(&message[start..cut]);
            start = cut;
        }
        let (data, read, done) = decode(Length::Marked, &pieces).unwrap();
        prop_assert!(done);
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(read.is_some(), trailer);
    }
}
