//! A body that is gathered in memory up to a bound: a [`Sink`](super::body::Sink) for what is to be kept whole.

use bytes::Bytes;

use super::body::{BodyError, Chunk};
use super::fields::Fields;

/// What came of a body so far.
#[derive(Debug, Default)]
pub struct Gathered {
    pub bytes: Vec<u8>,
    pub trailers: Option<Box<Fields>>,
    /// More bytes than that are too many. One piece beyond is still taken, so that nothing of the body is lost to whoever
    /// goes on with it.
    room: usize,
    is_whole: bool,
}

impl Gathered {
    /// Nothing yet, and room for so many bytes.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Whether the body is larger than there is room for.
    pub fn is_over(&self) -> bool {
        self.bytes.len() > self.room
    }

    /// Whether all of it came.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The bytes, in no more memory than they need.
    pub fn take_bytes(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.shrink_to_fit();
        bytes.into()
    }

    pub(super) fn ready(&self) -> Result<(), BodyError> {
        if self.is_over() {
            Err(BodyError::TooLarge)
        } else {
            Ok(())
        }
    }

    pub(super) fn push(&mut self, chunk: &Chunk<'_>) {
        self.bytes.extend_from_slice(chunk.as_slice());
    }

    pub(super) fn finish(&mut self, trailers: Option<Box<Fields>>) {
        self.trailers = trailers;
        self.is_whole = true;
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::http::body::{Body, Frame, Pump, PumpError, Sink};
    use crate::http::buffers::Buffers;

    /// Moves a body of so many bytes into room for 10, and tells how that ended and what there is.
    fn gather(length: usize) -> (bool, Gathered) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut body = Body::Fixed(vec![b'x'; length].into());
        let mut sink = Sink::Gathered(Box::new(Gathered::new(10)));
        let moved = Pump::default().poll(&mut cx, &mut body, &mut sink, &Buffers::default());
        let Sink::Gathered(gathered) = sink else {
            panic!("it stays what it is");
        };
        match moved {
            Poll::Ready(Ok(())) => (true, *gathered),
            Poll::Ready(Err(PumpError::Sink(BodyError::TooLarge))) => (false, *gathered),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_there_is_room_for_is_gathered_whole() {
        for length in [0, 1, 10] {
            let (is_moved, mut gathered) = gather(length);
            assert!(is_moved && gathered.is_whole() && !gathered.is_over());
            assert_eq!(gathered.take_bytes().len(), length);
        }
    }

    #[test]
    fn of_what_is_larger_nothing_is_lost() {
        let (is_moved, gathered) = gather(11);
        assert!(!is_moved && !gathered.is_whole() && gathered.is_over());
        let mut body = Body::resumed(gathered.bytes, Body::Fixed("rest".into()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        let mut scratch = [0; 4];
        loop {
            match body.poll_frame(&mut cx, &mut scratch) {
                Poll::Ready(Ok(Frame::Data(chunk))) => seen.extend_from_slice(chunk.as_slice()),
                Poll::Ready(Ok(Frame::End(None))) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, b"xxxxxxxxxxxrest");
    }

    #[test]
    fn a_whole_body_ends_with_its_trailers() {
        let mut trailers = Fields::default();
        trailers.push(b"checksum", b"1");
        let mut body = Body::whole(b"abc".to_vec(), trailers);
        let mut cx = Context::from_waker(Waker::noop());
        let mut scratch = [0; 4];
        let first = body.poll_frame(&mut cx, &mut scratch);
        assert!(matches!(first, Poll::Ready(Ok(Frame::Data(chunk))) if chunk.as_slice() == b"abc"));
        let end = body.poll_frame(&mut cx, &mut scratch);
        assert!(matches!(end, Poll::Ready(Ok(Frame::End(Some(trailers)))) if trailers.len() == 1));
    }
}
