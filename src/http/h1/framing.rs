//! Which fields decide where a message ends and what becomes of its connection (RFC 9112, 6 and 9).
//!
//! Everything on which two readers might disagree is refused, not repaired.

use super::error::ParseError;
use crate::http::fields::Name;
use crate::http::head::Version;
use crate::http::headers;

/// Options in `Connection` beyond which a head is refused: each nominates a field that has to be looked for.
const OPTIONS: usize = 32;

/// What the framing fields of one head say. Fed field by field.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// `Content-Length`.
    pub(super) exact: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub(super) chunked: bool,
    close: bool,
    keep_alive: bool,
    /// `Connection` lists `upgrade`.
    pub(super) upgrade: bool,
    options: usize,
}

impl Framing {
    /// Looks at one field.
    #[inline]
    pub(super) fn take(&mut self, name: Name, value: &[u8]) -> Result<(), ParseError> {
        match name {
            Name::ContentLength => {
                if self.exact.is_some() {
                    return Err(ParseError::RepeatedLength);
                }
                self.exact = Some(content_length(value).ok_or_else(|| malformed_length(value))?);
            }
            Name::TransferEncoding => {
                if self.chunked {
                    return Err(ParseError::RepeatedTransferCoding);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(bad_coding(value));
                }
                self.chunked = true;
            }
            Name::Connection => {
                for option in headers::items(value) {
                    self.options += 1;
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                }
                if self.options > OPTIONS {
                    return Err(ParseError::TooManyOptions);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Called after the last field.
    pub(super) fn check(&self, version: Version) -> Result<(), ParseError> {
        if !self.chunked {
            return Ok(());
        }
        if self.exact.is_some() {
            return Err(ParseError::BothLengths);
        }
        // RFC 9112, 6.1: a 1.0 sender that knows chunks is a gateway that got something wrong.
        if version == Version::Http10 {
            return Err(ParseError::TransferCodingInHttp10);
        }
        Ok(())
    }

    /// Whether the sender is willing to use the connection again (RFC 9112, 9.3).
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version >= Version::Http11 || self.keep_alive)
    }
}

/// The value of a `Content-Length` field: digits alone, below 2^64. Rust's own `parse` would accept a sign.
pub fn content_length(value: &[u8]) -> Option<u64> {
    // 2^64 has 20 digits; more of them are only leading zeros.
    if value.is_empty() || value.len() > 20 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            None
        } else {
            sum.checked_mul(10)?.checked_add(u64::from(digit))
        }
    })
}

/// `5, 5` is what some recipients make of two fields.
fn malformed_length(value: &[u8]) -> ParseError {
    let is_list = value.contains(&b',')
        && value
            .split(|byte| *byte == b',')
            .all(|item| content_length(item.trim_ascii()).is_some());
    if is_list {
        ParseError::RepeatedLength
    } else {
        ParseError::MalformedLength
    }
}

/// Names what is wrong with a `Transfer-Encoding` other than `chunked`.
fn bad_coding(value: &[u8]) -> ParseError {
    let mut codings = 0;
    let mut chunked = 0;
    for coding in value.split(|byte| *byte == b',') {
        codings += 1;
        chunked += usize::from(coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    }
    match (chunked, codings) {
        (2.., _) => ParseError::RepeatedTransferCoding,
        (1, 2..) => ParseError::MisplacedTransferCoding,
        _ => ParseError::UnknownTransferCoding,
    }
}
