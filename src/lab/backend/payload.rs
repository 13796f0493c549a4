//! The body of an answer: one fixed piece, a long pattern, scripted steps, or the request's own body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::InFlight;

/// The length after which the pattern begins again: a prime, so that a piece lost or doubled at a round size shows.
const PERIOD: usize = 251;

/// Bytes that are ever held in one piece of a body.
pub(super) const LONGEST_PIECE: u64 = 16 * 1024 * 1024;

/// Several periods, so that a body is sent in few pieces.
static PATTERN: [u8; PERIOD * 256] = pattern_table();

const fn pattern_table() -> [u8; PERIOD * 256] {
    let mut table = [0; PERIOD * 256];
    let mut at = 0;
    while at < table.len() {
        table[at] = (at % PERIOD) as u8;
        at += 1;
    }
    table
}

/// The bytes of the known pattern from `offset` on, at most `length` of them and always at least one of these.
///
/// The byte at offset `i` is `i % 251`.
pub fn pattern(offset: u64, length: u64) -> Bytes {
    let start = (offset % PERIOD as u64) as usize;
    let count = usize::try_from(length).unwrap_or(usize::MAX);
    Bytes::from_static(&PATTERN[start..start + count.min(PATTERN.len() - start)])
}

/// `length` bytes of the pattern in one piece, at most [`LONGEST_PIECE`].
pub(super) fn pattern_piece(offset: u64, length: u64) -> Bytes {
    let length = length.min(LONGEST_PIECE) as usize;
    let mut bytes = BytesMut::with_capacity(length);
    while bytes.len() < length {
        bytes.extend_from_slice(&pattern(
            offset.wrapping_add(bytes.len() as u64),
            (length - bytes.len()) as u64,
        ));
    }
    bytes.freeze()
}

/// One thing that a scripted body does.
pub(super) enum Step {
    Data(Bytes),
    Pause(Duration),
    Trailers(::http::HeaderMap),
    /// The body breaks off.
    Fail(h2::Reason),
}

pub(super) enum Content {
    Fixed(Bytes),
    Pattern {
        offset: u64,
        left: u64,
    },
    Steps {
        steps: Box<dyn Iterator<Item = Step> + Send>,
        pause: Option<Pin<Box<Sleep>>>,
    },
    Echo(Incoming),
}

impl Content {
    pub(super) fn steps(steps: impl IntoIterator<Item = Step, IntoIter: Send + 'static>) -> Self {
        Self::Steps {
            steps: Box::new(steps.into_iter()),
            pause: None,
        }
    }
}

/// A body, and the mark that its exchange is still running.
pub(super) struct Payload {
    pub(super) content: Content,
    pub(super) _in_flight: InFlight,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Fixed(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Pattern { left: 0, .. } => Poll::Ready(None),
            Content::Pattern { offset, left } => {
                let piece = pattern(*offset, *left);
                *offset += piece.len() as u64;
                *left -= piece.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Content::Steps { steps, pause } => poll_steps(steps, pause, cx),
            Content::Echo(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Fixed(bytes) => bytes.is_empty(),
            Content::Pattern { left, .. } => *left == 0,
            Content::Steps { .. } => false,
            Content::Echo(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Fixed(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Pattern { left, .. } => SizeHint::with_exact(*left),
            Content::Steps { .. } => SizeHint::default(),
            Content::Echo(body) => body.size_hint(),
        }
    }
}

fn poll_steps(
    steps: &mut Box<dyn Iterator<Item = Step> + Send>,
    pause: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<Option<io::Result<Frame<Bytes>>>> {
    loop {
        if let Some(sleep) = pause {
            ready!(sleep.as_mut().poll(cx));
            *pause = None;
        }
        return Poll::Ready(match steps.next() {
            None => None,
            Some(Step::Pause(Duration::ZERO)) => continue,
            Some(Step::Pause(span)) => {
                *pause = Some(Box::pin(tokio::time::sleep(span)));
                continue;
            }
            Some(Step::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Fail(reason)) => Some(Err(io::Error::other(h2::Error::from(reason)))),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pattern_is_the_offset_modulo_251(offset: u64, length in 1u64..200_000) {
            let piece = pattern(offset, length);
            prop_assert!(!piece.is_empty() && piece.len() as u64 <= length);
            for (at, byte) in piece.iter().enumerate() {
                prop_assert_eq!(u64::from(*byte), (offset % 251 + at as u64) % 251);
            }
        }
    }
}
