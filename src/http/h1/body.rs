//! Where the body of an HTTP/1 message ends (RFC 9112, 6 and 7).
//!
//! The decoder finds the data within the bytes that were read and never copies it; only framing is looked at byte by
//! byte. It gives the same data whatever pieces the input comes in.

use std::ops::Range;

use super::error::{ParseError, labels};
use super::parse;
use crate::http::fields::Fields;
use crate::http::head::Length;
use crate::http::headers;

/// Hexadecimal digits of a chunk size; 16 of them fill a `u64`, leading zeros count.
const SIZE_DIGITS: u8 = 16;
/// Bytes of chunk extensions in one message, white space before them included. They have no known use, and cost their
/// sender one byte per byte where data would be measured.
const EXTENSION_BYTES: u16 = 4 * 1024;
/// Bytes of a trailer section.
const TRAILER_BYTES: usize = 16 * 1024;
/// Fields of a trailer section.
const TRAILER_FIELDS: usize = 64;

/// Why a body is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.label())]
pub enum DecodeError {
    /// A chunk size that is empty, not hexadecimal, or followed by something else than an extension or CRLF.
    BadChunkSize,
    /// More than 16 digits.
    ChunkSizeTooLong,
    /// A chunk extension that is not one, or a control character in it.
    BadExtension,
    /// More bytes of chunk extensions in one message than anybody has a use for.
    ExtensionsTooLong,
    /// A line within the framing that ends in LF without CR, or CR without LF.
    BareLineEnd,
    /// Data that goes on after the announced size of its chunk.
    BadChunkEnd,
    TrailersTooLong,
    /// The trailer section broke a rule that holds for fields.
    BadTrailer(ParseError),
    /// A trailer that would change framing or routing (RFC 9110, 6.5.1).
    ForbiddenTrailer,
    /// More or fewer bytes than the head announced.
    WrongLength,
}

labels!(DecodeError {
    Self::BadChunkSize => "bad_chunk_size",
    Self::ChunkSizeTooLong => "chunk_size_too_long",
    Self::BadExtension => "bad_chunk_extension",
    Self::ExtensionsTooLong => "chunk_extensions_too_long",
    Self::BareLineEnd => "bare_line_end_in_chunks",
    Self::BadChunkEnd => "bad_chunk_end",
    Self::TrailersTooLong => "trailers_too_long",
    Self::BadTrailer(_) => "bad_trailer",
    Self::ForbiddenTrailer => "forbidden_trailer",
    Self::WrongLength => "wrong_body_length",
});

/// What one call of [`Decoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with, data included.
    pub consumed: usize,
    /// Where in the input data lies; may be empty.
    pub data: Range<usize>,
    pub state: State,
}

/// What to do after a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Decode the rest of the input.
    More,
    /// The input is used up and the message goes on.
    NeedInput,
    /// The message ended with the last consumed byte. What follows in the input is not part of it.
    End,
}

/// Finds the data and the end of one body.
#[derive(Debug)]
pub struct Decoder {
    phase: Phase,
    /// Bytes of chunk extensions so far.
    extension_bytes: u16,
    trailers: Option<Box<Trailers>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// So many bytes of data, then the end.
    Exact(u64),
    /// Data until the connection closes.
    Close,
    /// In a chunk size, after so many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// White space after a chunk size; only an extension may follow.
    BeforeExtension {
        size: u64,
    },
    Extension {
        size: u64,
        quote: Quote,
    },
    /// After the CR of the line with the chunk size.
    SizeLf {
        size: u64,
    },
    /// In the data of a chunk.
    Data {
        left: u64,
    },
    /// After the data of a chunk.
    DataCr,
    DataLf,
    /// At the start of what follows the last chunk.
    Trailers,
    /// After CR in place of a trailer.
    FinalLf,
    /// In the trailer section.
    InTrailers,
    Done,
}

/// Where in a chunk extension: quoted strings may hold what would otherwise mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    Outside,
    Inside,
    /// After a backslash within quotes.
    Escaped,
}

#[derive(Debug, Default)]
struct Trailers {
    /// The section as far as it was read.
    bytes: Vec<u8>,
    fields: Fields,
}

impl Decoder {
    /// For the body that follows a head of this length.
    pub fn new(length: Length) -> Self {
        let phase = match length {
            Length::Empty | Length::Exact(0) => Phase::Done,
            Length::Exact(left) => Phase::Exact(left),
            Length::Marked => Phase::Size { size: 0, digits: 0 },
            Length::Close => Phase::Close,
        };
        Self {
            phase,
            extension_bytes: 0,
            trailers: None,
        }
    }

    /// Whether the end was reached. Never true of a body that ends with its connection.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Bytes that are announced as data: they need not be looked at. 0 where nobody said how much follows.
    pub fn run(&self) -> u64 {
        match self.phase {
            Phase::Exact(left) | Phase::Data { left } => left,
            _ => 0,
        }
    }

    /// So many bytes of data went by unseen; at most a [`Self::run`] of them.
    pub fn skip(&mut self, count: u64) {
        if let Phase::Exact(left) | Phase::Data { left } = &mut self.phase {
            *left = left.saturating_sub(count);
        }
        self.after_data();
    }

    /// What comes after the last byte of a run of data.
    fn after_data(&mut self) {
        self.phase = match self.phase {
            Phase::Exact(0) => Phase::Done,
            Phase::Data { left: 0 } => Phase::DataCr,
            phase => phase,
        };
    }

    /// The trailers, once the end was reached; `None` when there were none.
    pub fn take_trailers(&mut self) -> Option<Box<Fields>> {
        let trailers = self.trailers.take_if(|_| self.phase == Phase::Done)?;
        (!trailers.fields.is_empty()).then(|| Box::new(trailers.fields))
    }

    /// Decodes `input` up to the end of its first run of data and the framing behind it. Consumes at least one byte of
    /// an input that is not empty, unless the end was reached before.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, DecodeError> {
        let mut at = 0;
        let mut data = 0..0;
        loop {
            if self.phase == Phase::Done {
                return Ok(Step {
                    consumed: at,
                    data,
                    state: State::End,
                });
            }
            if at == input.len() {
                return Ok(Step {
                    consumed: at,
                    data,
                    state: State::NeedInput,
                });
            }
            match &mut self.phase {
                Phase::Exact(left) | Phase::Data { left } => {
                    if !data.is_empty() {
                        return Ok(Step {
                            consumed: at,
                            data,
                            state: State::More,
                        });
                    }
                    let rest = input.len() - at;
                    let taken = usize::try_from(*left).map_or(rest, |left| left.min(rest));
                    *left -= taken as u64;
                    data = at..at + taken;
                    at += taken;
                    self.after_data();
                }
                Phase::Close => {
                    data = at..input.len();
                    at = input.len();
                }
                Phase::InTrailers => at += self.trailer_bytes(&input[at..])?,
                _ => {
                    self.phase = self.framing_byte(input[at])?;
                    at += 1;
                }
            }
        }
    }

    /// One byte between data: what comes after it.
    fn framing_byte(&mut self, byte: u8) -> Result<Phase, DecodeError> {
        match self.phase {
            Phase::Size { size, digits } => self.size_byte(size, digits, byte),
            Phase::BeforeExtension { size } => {
                self.count_extension()?;
                match byte {
                    b' ' | b'\t' => Ok(self.phase),
                    b';' => Ok(Phase::Extension {
                        size,
                        quote: Quote::Outside,
                    }),
                    _ => Err(DecodeError::BadChunkSize),
                }
            }
            Phase::Extension { size, quote } => self.extension_byte(size, quote, byte),
            Phase::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => Ok(Phase::Trailers),
                (b'\n', left) => Ok(Phase::Data { left }),
                _ => Err(DecodeError::BareLineEnd),
            },
            Phase::DataCr if byte == b'\r' => Ok(Phase::DataLf),
            Phase::DataLf if byte == b'\n' => Ok(Phase::Size { size: 0, digits: 0 }),
            Phase::DataCr | Phase::DataLf => Err(DecodeError::BadChunkEnd),
            Phase::Trailers if byte == b'\r' => Ok(Phase::FinalLf),
            Phase::Trailers if byte == b'\n' => Err(DecodeError::BareLineEnd),
            Phase::Trailers => {
                let mut trailers = Box::<Trailers>::default();
                trailers.bytes.push(byte);
                self.trailers = Some(trailers);
                Ok(Phase::InTrailers)
            }
            Phase::FinalLf if byte == b'\n' => Ok(Phase::Done),
            Phase::FinalLf => Err(DecodeError::BareLineEnd),
            // Data and trailers are taken in runs.
            Phase::Exact(_)
            | Phase::Close
            | Phase::Data { .. }
            | Phase::InTrailers
            | Phase::Done => Ok(self.phase),
        }
    }

    fn size_byte(&mut self, size: u64, digits: u8, byte: u8) -> Result<Phase, DecodeError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if digits == 0 => return Err(DecodeError::BadChunkSize),
            b'\r' => return Ok(Phase::SizeLf { size }),
            b'\n' => return Err(DecodeError::BareLineEnd),
            b';' => {
                self.count_extension()?;
                return Ok(Phase::Extension {
                    size,
                    quote: Quote::Outside,
                });
            }
            b' ' | b'\t' => {
                self.count_extension()?;
                return Ok(Phase::BeforeExtension { size });
            }
            _ => return Err(DecodeError::BadChunkSize),
        };
        if digits == SIZE_DIGITS {
            return Err(DecodeError::ChunkSizeTooLong);
        }
        Ok(Phase::Size {
            size: size << 4 | u64::from(digit),
            digits: digits + 1,
        })
    }

    fn extension_byte(&mut self, size: u64, quote: Quote, byte: u8) -> Result<Phase, DecodeError> {
        self.count_extension()?;
        let quote = match (quote, byte) {
            (Quote::Outside, b'\r') => return Ok(Phase::SizeLf { size }),
            (_, b'\n') => return Err(DecodeError::BareLineEnd),
            (_, 0..=8 | 10..=31 | 127) => return Err(DecodeError::BadExtension),
            (Quote::Outside, b'"') => Quote::Inside,
            (Quote::Inside, b'"') => Quote::Outside,
            (Quote::Inside, b'\\') => Quote::Escaped,
            (Quote::Escaped, _) => Quote::Inside,
            (Quote::Outside | Quote::Inside, _) => quote,
        };
        Ok(Phase::Extension { size, quote })
    }

    fn count_extension(&mut self) -> Result<(), DecodeError> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES {
            Err(DecodeError::ExtensionsTooLong)
        } else {
            Ok(())
        }
    }

    /// Takes bytes of the trailer section up to the empty line that ends it; gives their number.
    fn trailer_bytes(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        let trailers = self.trailers.get_or_insert_default();
        let mut end = None;
        for at in memchr::memchr_iter(b'\n', input) {
            let start = trailers.bytes.len();
            // Up to three bytes of the end may have come with an earlier input.
            let line = &input[..=at];
            let last: [u8; 4] = std::array::from_fn(|i| match (line.len() + i).checked_sub(4) {
                Some(index) => line[index],
                None => trailers
                    .bytes
                    .get((start + line.len() + i).wrapping_sub(4))
                    .copied()
                    .unwrap_or_default(),
            });
            if last[2] != b'\r' {
                return Err(DecodeError::BareLineEnd);
            }
            if last == *b"\r\n\r\n" {
                end = Some(at + 1);
                break;
            }
        }
        let taken = end.unwrap_or(input.len());
        if trailers.bytes.len() + taken > TRAILER_BYTES {
            return Err(DecodeError::TrailersTooLong);
        }
        trailers.bytes.extend_from_slice(&input[..taken]);
        if end.is_some() {
            parse::trailers(&trailers.bytes, TRAILER_FIELDS, &mut trailers.fields)
                .map_err(DecodeError::BadTrailer)?;
            trailers.bytes = Vec::new();
            if trailers.fields.present().meets(headers::REFUSED_TRAILERS) {
                return Err(DecodeError::ForbiddenTrailer);
            }
            if trailers.fields.present().meets(headers::DROPPED_TRAILERS) {
                trailers
                    .fields
                    .remove_if(|name, _, _| headers::DROPPED_TRAILERS.contains(name));
            }
            self.phase = Phase::Done;
        }
        Ok(taken)
    }
}
