//! The beginning of a request body, kept for as long as the request may have to be sent again.
//!
//! [`Body::keep`] starts it, [`Body::rewind`] lets the body be read once more from its first byte: what was kept, then
//! the rest of its source. More than there is room for ends the keeping at once, [`Body::forget`] whenever nobody needs
//! it any more; from then on the body is its source again, and costs what it would have cost without.
//!
//! Not here: whether a request may be sent again, and how much is worth keeping for that ([`crate::attempt`]).

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::body::{Body, BodyError, Chunk, Frame};
use super::fields::Fields;
use super::head::Length;

/// A body with its beginning.
pub struct Kept {
    source: Body,
    /// What the source gave so far, in one piece: borders between pieces mean nothing.
    bytes: Vec<u8>,
    /// The source gave its end as well, with these trailers.
    end: Option<Option<Box<Fields>>>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Read for the first time: all is kept, up to so many bytes.
    Keeping { room: usize },
    /// Read again: so many bytes were given out, the rest is to come, and then the source. With room, all is kept for yet
    /// another time.
    Replaying { from: usize, room: usize },
    /// Nothing is kept; the source goes on alone.
    Over,
}

impl Body {
    /// Keeps what is read from here on, up to `room` bytes. Only of a body that nothing was read of yet, or that is to be
    /// read again and of which nothing was yet.
    pub fn keep(&mut self, room: usize) {
        if let Self::Kept(kept) = self
            && let Stage::Replaying {
                from: 0,
                room: kept,
            } = &mut kept.stage
        {
            *kept = room;
        }
        if room == 0 || matches!(self, Self::Empty | Self::Kept(_)) {
            return;
        }
        *self = Self::Kept(Box::new(Kept {
            source: std::mem::replace(self, Self::Empty),
            bytes: Vec::new(),
            end: None,
            stage: Stage::Keeping { room },
        }));
    }

    /// These bytes, which were read of it already, and then the rest of the source.
    pub fn resumed(read: Vec<u8>, source: Self) -> Self {
        Self::Kept(Box::new(Kept {
            source,
            bytes: read,
            end: None,
            stage: Stage::Replaying { from: 0, room: 0 },
        }))
    }

    /// A whole body with trailers.
    pub fn whole(bytes: Vec<u8>, trailers: Fields) -> Self {
        Self::Kept(Box::new(Kept {
            source: Self::Empty,
            bytes,
            end: Some(Some(Box::new(trailers))),
            stage: Stage::Replaying { from: 0, room: 0 },
        }))
    }

    /// Frees what is kept. What is being sent again already is still given out.
    pub fn forget(&mut self) {
        let Self::Kept(kept) = self else { return };
        match &mut kept.stage {
            Stage::Keeping { .. } => *self = kept.take_source(),
            Stage::Replaying { room, .. } => *room = 0,
            Stage::Over => {}
        }
    }

    /// Whether all that was read of it can be read again.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(kept) => match kept.stage {
                Stage::Keeping { .. } => true,
                Stage::Replaying { from, room } => from == 0 || room > 0,
                Stage::Over => false,
            },
            Self::Fixed(_) | Self::H1(_) | Self::H2(_) => false,
        }
    }

    /// All of it, where all was read and is kept, without trailers.
    pub fn copy(&self) -> Option<Bytes> {
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Kept(kept) if self.is_whole() => {
                let has_ended = matches!(kept.end, Some(None));
                has_ended.then(|| Bytes::copy_from_slice(&kept.bytes))
            }
            _ => None,
        }
    }

    /// Starts from the first byte again. Only while it is whole, or as long as nothing was read of it.
    pub fn rewind(&mut self) {
        if let Self::Kept(kept) = self {
            kept.stage = Stage::Replaying { from: 0, room: 0 };
        }
    }
}

impl Kept {
    /// The next piece, of what is kept or of the source.
    pub(super) fn poll_frame<'s>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &'s mut [u8],
    ) -> Poll<Result<Frame<'s>, BodyError>> {
        if let Stage::Replaying { from, room } = self.stage {
            if from < self.bytes.len() || self.end.is_some() {
                return Poll::Ready(Ok(self.replay(from, room, scratch)));
            }
            self.stage = if room > 0 {
                Stage::Keeping { room }
            } else {
                Stage::Over
            };
        }
        let frame = ready!(self.source.poll_frame(cx, scratch))?;
        match &frame {
            Frame::Data(chunk) => {
                self.push(chunk.as_slice());
                // It was taken off the peer's hands, even if the endpoint does not take it off ours.
                self.source.passed_on(chunk.as_slice().len());
            }
            Frame::End(trailers) => self.end = Some(trailers.clone()),
        }
        Poll::Ready(Ok(frame))
    }

    /// The next piece of what is kept.
    fn replay<'s>(&mut self, from: usize, room: usize, scratch: &'s mut [u8]) -> Frame<'s> {
        let left = &self.bytes[from..];
        if left.is_empty() {
            return Frame::End(if room > 0 {
                self.end.clone().flatten()
            } else {
                self.end.take().flatten()
            });
        }
        let count = left.len().min(scratch.len());
        scratch[..count].copy_from_slice(&left[..count]);
        let from = from + count;
        self.stage = Stage::Replaying { from, room };
        Frame::Data(Chunk::Borrowed(&scratch[..count]))
    }

    fn push(&mut self, data: &[u8]) {
        let Stage::Keeping { room } = self.stage else {
            return;
        };
        let length = self.bytes.len() + data.len();
        if length > room {
            self.stage = Stage::Over;
            return;
        }
        if length > self.bytes.capacity() {
            // Doubled as any vector is, but never beyond the room.
            let capacity = (2 * self.bytes.capacity()).clamp(length, room);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
    }

    /// The source, once nothing is kept any more.
    pub(super) fn released(&mut self) -> Option<Body> {
        (self.stage == Stage::Over).then(|| self.take_source())
    }

    fn take_source(&mut self) -> Body {
        std::mem::replace(&mut self.source, Body::Empty)
    }

    /// How the end of the source is told.
    pub(super) fn length(&self) -> Length {
        self.source.length()
    }

    /// Whether the source was read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.source.is_done()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// What a frame says: bytes, or the end with the names of its trailers.
    #[derive(Debug, PartialEq)]
    enum Read {
        Data(Vec<u8>),
        End(Vec<String>),
    }

    fn read(body: &mut Body, scratch: &mut [u8]) -> Read {
        let mut cx = Context::from_waker(Waker::noop());
        match body.poll_frame(&mut cx, scratch) {
            Poll::Ready(Ok(Frame::Data(chunk))) => {
                let bytes = chunk.as_slice().to_vec();
                body.passed_on(bytes.len());
                Read::Data(bytes)
            }
            Poll::Ready(Ok(Frame::End(trailers))) => {
                let names = trailers.iter().flat_map(|trailers| trailers.iter());
                let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                Read::End(names.map(|(_, name, _)| text(name)).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next piece comes from the peer.
    fn feed(body: &mut Body, piece: &[u8]) {
        let piece = Body::Fixed(Bytes::copy_from_slice(piece));
        match body {
            Body::Kept(kept) => kept.source = piece,
            other => *other = piece,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_whole_can_be_read_again_byte_for_byte(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 1..8),
            died_after in 0_usize..9,
            room in 0_usize..200,
            scratch in 1_usize..40,
        ) {
            let died_after = died_after.min(pieces.len());
            let mut scratch = vec![0; scratch];
            let mut body = Body::Fixed(Bytes::copy_from_slice(&pieces[0]));
            body.keep(room);
            let mut seen = 0;
            for piece in &pieces[..died_after] {
                feed(&mut body, piece);
                prop_assert_eq!(read(&mut body, &mut scratch), Read::Data(piece.clone()));
                seen += piece.len();
                if let Body::Kept(kept) = &body {
                    prop_assert!(kept.bytes.capacity() <= room, "{}", kept.bytes.capacity());
                }
            }
            let is_kept = matches!(body, Body::Kept(_));
            prop_assert_eq!(is_kept, room > 0 && seen <= room, "what is not whole is let go");
            if is_kept {
                prop_assert!(body.is_whole());
                body.rewind();
                let mut again = Vec::new();
                while again.len() < seen {
                    match read(&mut body, &mut scratch) {
                        Read::Data(piece) => again.extend(piece),
                        end @ Read::End(_) => panic!("{end:?}"),
                    }
                }
                prop_assert_eq!(again, pieces[..died_after].concat());
                for piece in &pieces[died_after..] {
                    feed(&mut body, piece);
                    prop_assert_eq!(read(&mut body, &mut scratch), Read::Data(piece.clone()));
                    prop_assert!(!matches!(body, Body::Kept(_)), "it is replayed once");
                }
            }
        }
    }

    #[test]
    fn the_end_and_its_trailers_are_kept_too() {
        let mut trailers = Fields::default();
        trailers.push(b"checksum", b"1");
        for bytes in [&b""[..], b"some"] {
            // What the peer says: these bytes, and these trailers at once.
            let source = Kept {
                source: Body::Empty,
                bytes: bytes.to_vec(),
                end: Some(Some(Box::new(trailers.clone()))),
                stage: Stage::Replaying { from: 0, room: 0 },
            };
            let mut body = Body::Kept(Box::new(Kept {
                source: Body::Kept(Box::new(source)),
                bytes: Vec::new(),
                end: None,
                stage: Stage::Keeping { room: 10 },
            }));
            let mut scratch = [0; 10];
            for _ in 0..2 {
                if !bytes.is_empty() {
                    assert_eq!(read(&mut body, &mut scratch), Read::Data(bytes.to_vec()));
                }
                let end = Read::End(vec!["checksum".to_owned()]);
                assert_eq!(read(&mut body, &mut scratch), end);
                body.rewind();
            }
        }
    }

    #[test]
    fn a_body_that_is_forgotten_is_its_source_again() {
        let fixed = |bytes: &'static [u8]| Body::Fixed(Bytes::from_static(bytes));
        let mut body = fixed(b"first");
        body.keep(100);
        assert_eq!(body.length(), Length::Exact(5));
        let mut scratch = [0; 2];
        assert_eq!(read(&mut body, &mut scratch), Read::Data(b"first".to_vec()));
        body.forget();
        assert!(matches!(body, Body::Empty));

        let mut body = fixed(b"first");
        body.keep(100);
        read(&mut body, &mut scratch);
        body.rewind();
        assert_eq!(read(&mut body, &mut scratch), Read::Data(b"fi".to_vec()));
        // The answer came early: what is on its way again is still sent.
        body.forget();
        assert_eq!(read(&mut body, &mut scratch), Read::Data(b"rs".to_vec()));
        assert_eq!(read(&mut body, &mut scratch), Read::Data(b"t".to_vec()));
        assert_eq!(read(&mut body, &mut scratch), Read::End(Vec::new()));
        assert!(matches!(body, Body::Empty));
    }

    #[test]
    fn nothing_is_kept_where_there_is_nothing_or_no_room() {
        let mut body = Body::Empty;
        body.keep(100);
        assert!(matches!(body, Body::Empty) && body.is_whole());
        let mut body = Body::Fixed("first".into());
        body.keep(0);
        assert!(matches!(body, Body::Fixed(_)) && !body.is_whole());
    }
}
