//! Finds the frames in a stream of bytes, however the bytes are split.

/// Bytes of a frame header (RFC 9113, 4.1).
const HEAD: usize = 9;
/// The most that is told of a payload.
const MOST: usize = 20;

/// A type of frames whose payload is looked into, and how many bytes of it are told.
pub(super) type Look = (u8, usize);

/// What is known of a frame before its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: u32,
    pub(super) stream: u32,
    told: usize,
    payload: [u8; MOST],
}

impl Frame {
    /// What is told of its payload: where that is shorter, all of it.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload[..self.told]
    }

    /// The number in four bytes of its payload; 0 where they are not told.
    pub(super) fn number(&self, from: usize) -> u32 {
        let rest = self.payload().get(from..).unwrap_or_default();
        rest.first_chunk().copied().map_or(0, u32::from_be_bytes)
    }
}

/// Where in the stream of one direction.
#[derive(Debug)]
pub(super) struct Walk {
    /// The frame header that is being read, with what is told of the payload, and its first `filled` bytes.
    head: [u8; HEAD + MOST],
    filled: usize,
    /// Bytes to pass over before the next header: the rest of a payload, or a preface.
    skip: u32,
    looks: &'static [Look],
}

impl Walk {
    /// Begins `skip` bytes before the first frame, and looks into these.
    pub(super) fn new(skip: u32, looks: &'static [Look]) -> Self {
        debug_assert!(looks.iter().all(|(_, bytes)| *bytes <= MOST));
        Self {
            head: [0; HEAD + MOST],
            filled: 0,
            skip,
            looks,
        }
    }

    /// The next frame whose header ends within `bytes`, of which what was looked at is cut off.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            *bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return None;
            }
            let wanted = self.wanted();
            let taken = bytes.len().min(wanted - self.filled);
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            *bytes = &bytes[taken..];
            // A header that turns out to be of a type that is looked into is read on.
            if self.filled == wanted && self.filled == self.wanted() {
                return Some(self.frame());
            }
        }
    }

    /// Whether the payload of the last frame is still coming.
    pub(super) fn is_within(&self) -> bool {
        self.skip > 0
    }

    /// Bytes to gather before the frame can be told.
    fn wanted(&self) -> usize {
        if self.filled < HEAD {
            return HEAD;
        }
        let look = self.looks.iter().find(|(kind, _)| *kind == self.head[3]);
        let told = look.map_or(0, |(_, bytes)| *bytes);
        HEAD + told.min(self.length() as usize)
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]])
    }

    fn frame(&mut self) -> Frame {
        let [_, _, _, kind, flags, a, b, c, d, payload @ ..] = self.head;
        let length = self.length();
        let told = self.filled - HEAD;
        self.skip = length - told as u32;
        self.filled = 0;
        Frame {
            kind,
            flags,
            length,
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
            told,
            payload,
        }
    }
}

impl PartialEq for Walk {
    /// What is left in the header behind its fill makes no difference.
    fn eq(&self, other: &Self) -> bool {
        self.head[..self.filled] == other.head[..other.filled]
            && (self.skip, self.looks) == (other.skip, other.looks)
    }
}

impl Eq for Walk {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, length, and what is told of the payload.
    fn walked(bytes: &[u8], piece: usize) -> Vec<(u8, u32, Vec<u8>)> {
        let mut walk = Walk::new(3, &[(3, 4), (7, 20)]);
        let mut found = Vec::new();
        for mut piece in bytes.chunks(piece) {
            while let Some(frame) = walk.next(&mut piece) {
                found.push((frame.kind, frame.length, frame.payload().to_vec()));
            }
        }
        found
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let head = [0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 1];
        [&head[..], payload].concat()
    }

    #[test]
    fn frames_are_found_and_looked_into_however_the_bytes_are_split() {
        let long: Vec<u8> = (0..40).collect();
        let bytes = [
            b"pre".to_vec(),
            frame(0, &long),
            frame(3, &[0, 0, 0, 8]),
            frame(3, &[1, 2]),
            frame(7, &long[..8]),
            frame(7, &[]),
            frame(7, &long),
            frame(1, b"x"),
        ]
        .concat();
        let expected = [
            (0, 40, vec![]),
            (3, 4, vec![0, 0, 0, 8]),
            (3, 2, vec![1, 2]),
            (7, 8, long[..8].to_vec()),
            (7, 0, vec![]),
            (7, 40, long[..20].to_vec()),
            (1, 1, vec![]),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(walked(&bytes, piece), expected, "{piece}");
        }
    }

    #[test]
    fn a_number_that_was_not_told_is_none() {
        let mut walk = Walk::new(0, &[(7, 8)]);
        let mut bytes = &frame(7, &[0, 0, 0, 1, 0, 0, 0, 11])[..];
        let told = walk.next(&mut bytes).expect("a frame");
        assert_eq!((told.number(0), told.number(4)), (1, 11));
        assert_eq!((told.number(5), told.number(90)), (0, 0));
    }
}
