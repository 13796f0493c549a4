//! How a backend misbehaves, with a text form; and who saw its requests carried out.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::StatusCode;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::units::{format_duration, parse_duration};

/// One way to misbehave. Where HTTP/2 has no such way, a stream of it is reset instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens, and what was connected is cut.
    Refuse,
    /// Requests are read and never answered.
    Hang,
    /// Requests are read, and the connection is closed without an answer (HTTP/2: REFUSED_STREAM, which says that nothing
    /// was done).
    Gone,
    /// The same by a TCP reset.
    Reset,
    /// The head of the answer, then a TCP reset.
    ResetAfterHead,
    /// Half of the body, then a TCP reset.
    ResetMidBody,
    /// Half of the body, then the end of the connection.
    Truncate,
    /// The body in [`PIECES`] pieces, this long apart.
    Trickle(Duration),
    /// This status instead of the answer.
    Status(StatusCode),
    /// The answer after this time.
    Slow(Duration),
    /// Bytes that are no HTTP.
    Garbage,
    /// The answer under a head of a mebibyte.
    HugeHead,
    /// Every request but the first of a connection finds it closed (HTTP/2: REFUSED_STREAM).
    CloseOnReuse,
    /// The answer before the request's body is read.
    EarlyAnswer,
}

/// The pieces of a body that trickles.
pub const PIECES: usize = 16;

impl Fault {
    /// One of each.
    pub const ALL: [Self; 14] = [
        Self::Refuse,
        Self::Hang,
        Self::Gone,
        Self::Reset,
        Self::ResetAfterHead,
        Self::ResetMidBody,
        Self::Truncate,
        Self::Trickle(Duration::from_millis(20)),
        Self::Status(StatusCode::SERVICE_UNAVAILABLE),
        Self::Slow(Duration::from_secs(1)),
        Self::Garbage,
        Self::HugeHead,
        Self::CloseOnReuse,
        Self::EarlyAnswer,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Hang => "hang",
            Self::Gone => "gone",
            Self::Reset => "reset",
            Self::ResetAfterHead => "reset-after-head",
            Self::ResetMidBody => "reset-mid-body",
            Self::Truncate => "truncate",
            Self::Trickle(_) => "trickle",
            Self::Status(_) => "status",
            Self::Slow(_) => "slow",
            Self::Garbage => "garbage",
            Self::HugeHead => "huge-head",
            Self::CloseOnReuse => "close-on-reuse",
            Self::EarlyAnswer => "early-answer",
        }
    }
}

/// A text that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no fault; one of {}", known())]
pub struct UnknownFault {
    text: String,
}

fn known() -> String {
    let words: Vec<String> = Fault::ALL.iter().map(ToString::to_string).collect();
    words.join(", ")
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let (word, argument) = match text.split_once(':') {
            Some((word, argument)) => (word, Some(argument)),
            None => (text, None),
        };
        let unknown = || UnknownFault {
            text: text.to_owned(),
        };
        let known = Self::ALL.into_iter().find(|fault| fault.word() == word);
        let fault = known.ok_or_else(unknown)?;
        let Some(argument) = argument else {
            return Ok(fault);
        };
        let span = || parse_duration(argument).map_err(|_| unknown());
        Ok(match fault {
            Self::Trickle(_) => Self::Trickle(span()?),
            Self::Slow(_) => Self::Slow(span()?),
            Self::Status(_) => {
                let status: StatusCode = argument.parse().map_err(|_| unknown())?;
                // An interim one is no answer.
                let status = Some(status).filter(|status| *status >= StatusCode::OK);
                Self::Status(status.ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::Trickle(span) | Self::Slow(span) => {
                write!(out, "{word}:{}", format_duration(*span))
            }
            Self::Status(status) => write!(out, "{word}:{}", status.as_u16()),
            _ => out.write_str(word),
        }
    }
}

/// How often the request of each id (`X-Request-Id`) was carried out, over all backends that share this.
///
/// A request counts once its head was read, also where its backend then misbehaves: from outside nobody can tell that it
/// did nothing. Only a refused HTTP/2 stream says so, and does not count.
#[derive(Debug, Default)]
pub struct Executions {
    counts: Mutex<HashMap<String, u32>>,
}

impl Executions {
    pub(super) fn record(&self, id: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(id.to_owned()).or_default() += 1;
    }

    /// How often this one was.
    pub fn of(&self, id: &str) -> u32 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(id).copied().unwrap_or_default()
    }
}

/// `length` bytes that only this id has: a body that went astray, in whole or in part, shows.
pub fn identified(id: &str, length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length + 8);
    for block in 0.. {
        if bytes.len() >= length {
            break;
        }
        bytes.extend_from_slice(&xxh3_64_with_seed(id.as_bytes(), block).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_back() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        let slow = Fault::Slow(Duration::from_secs(5));
        assert_eq!("slow:5s".parse(), Ok(slow));
        assert_eq!(
            "status".parse(),
            Ok(Fault::Status(StatusCode::SERVICE_UNAVAILABLE))
        );
        for text in [
            "",
            "slo",
            "slow:",
            "slow:5",
            "hang:5s",
            "status:100",
            "status:x",
        ] {
            let refused = text.parse::<Fault>().unwrap_err().to_string();
            assert!(refused.contains("trickle:20ms"), "{refused}");
        }
    }

    #[test]
    fn each_id_has_bytes_of_its_own() {
        let (one, other) = (identified("1", 1001), identified("2", 1001));
        assert_eq!((one.len(), identified("1", 0).len()), (1001, 0));
        assert_ne!(one, other);
        assert_eq!(identified("1", 100), one.slice(..100));
    }
}
