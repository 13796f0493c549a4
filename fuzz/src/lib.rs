//! What the fuzz targets assert. Each target is one call of `run`, so that the seeds can be run without a fuzzer too:
//! `cargo test --lib --manifest-path fuzz/Cargo.toml`; with one: `.ci/long/fuzz.sh h1_request`.

pub mod certificate;
pub mod config;
pub mod differential;
pub mod h1_body;
pub mod h1_request;
pub mod h1_response;
pub mod h2_session;
pub mod keys;
pub mod proxy_header;
#[cfg(test)]
mod random;
pub mod reload;
pub mod rewrite;
pub mod round_trip;
pub mod route_match;
#[cfg(test)]
mod seeds;
pub mod target;

use plimsoll::http::fields::Fields;
use plimsoll::http::h1::body::{DecodeError, Decoder, State};
use plimsoll::http::h1::parse::Limits;
use plimsoll::http::head::Length;

/// Small enough for a fuzzer to reach.
pub const LIMITS: Limits = Limits {
    head_bytes: 8 * 1024,
    fields: 40,
};

/// A body as far as its bytes went.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub data: Vec<u8>,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes used up.
    pub consumed: usize,
    pub done: bool,
}

/// Decodes a body that arrives in pieces of at most `piece` bytes.
pub fn decode(length: Length, input: &[u8], piece: usize) -> Result<Decoded, DecodeError> {
    let mut decoder = Decoder::new(length);
    let mut data = Vec::new();
    let mut consumed = 0;
    'pieces: for piece in input.chunks(piece.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            let step = decoder.decode(rest)?;
            assert!(step.consumed > 0 || step.state == State::End, "no progress");
            assert!(step.data.start <= step.data.end && step.data.end <= step.consumed);
            assert!(step.state != State::NeedInput || step.consumed == rest.len());
            assert_eq!(step.state == State::End, decoder.is_done());
            data.extend_from_slice(&rest[step.data]);
            consumed += step.consumed;
            if step.state == State::End {
                break 'pieces;
            }
            rest = &rest[step.consumed..];
        }
    }
    let done = decoder.is_done();
    let trailers = decoder
        .take_trailers()
        .map(|fields| pairs(&fields))
        .unwrap_or_default();
    Ok(Decoded {
        data,
        trailers,
        consumed,
        done,
    })
}

/// Names in lower case, and values.
pub fn pairs(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields
        .iter()
        .map(|(_, name, value)| (name.to_ascii_lowercase(), value.to_vec()))
        .collect()
}

/// No field can end a line, or be none.
pub fn check_fields(fields: &Fields) {
    for (_, name, value) in fields.iter() {
        assert!(!name.is_empty());
        assert!(
            name.iter()
                .all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte))
        );
        assert!(
            value
                .iter()
                .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 127))
        );
        assert!(!value.first().is_some_and(u8::is_ascii_whitespace));
        assert!(!value.last().is_some_and(u8::is_ascii_whitespace));
    }
}

/// What was said of the start of an input must hold for all of it.
pub fn check_prefixes<E: std::fmt::Debug>(
    input: &[u8],
    mut parse: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
) {
    let whole = parse(input);
    let stride = 1 + input.len() / 64;
    for end in (0..input.len()).step_by(stride) {
        match parse(&input[..end]) {
            Ok(None) => {}
            Ok(Some(consumed)) => assert!(
                matches!(whole, Ok(Some(other)) if other == consumed),
                "{end} bytes gave {consumed}, all of them {whole:?}"
            ),
            Err(error) => assert!(
                whole.is_err(),
                "{end} bytes gave {error:?}, all of them {whole:?}"
            ),
        }
    }
}
