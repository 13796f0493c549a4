//! Finds the frames in a stream of bytes, however the bytes are split.

/// Bytes of a frame header (RFC 9113, 4.1).
const HEAD: usize = 9;
/// Bytes of a frame header and of a payload that is one number.
const HEAD_AND_VALUE: usize = HEAD + 4;

/// What is known of a frame before its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: u32,
    pub(super) stream: u32,
    /// The payload of a frame of the type that is looked into; of others it has no meaning.
    pub(super) value: u32,
}

/// Where in the stream of one direction.
#[derive(Debug)]
pub(super) struct Walk {
    /// The frame header that is being read, and its first `filled` bytes.
    head: [u8; HEAD_AND_VALUE],
    filled: usize,
    /// Bytes to pass over before the next header: the rest of a payload, or a preface.
    skip: u32,
    /// The type of frames whose payload is one number that is to be told.
    looked_into: u8,
}

impl Walk {
    /// Begins `skip` bytes before the first frame.
    pub(super) fn new(skip: u32, looked_into: u8) -> Self {
        Self {
            head: [0; HEAD_AND_VALUE],
            filled: 0,
            skip,
            looked_into,
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
            // A header that turns out to be of the type that is looked into is read on.
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
        let has_value =
            self.filled >= HEAD && self.head[3] == self.looked_into && self.head[..3] == [0, 0, 4];
        if has_value { HEAD_AND_VALUE } else { HEAD }
    }

    fn frame(&mut self) -> Frame {
        let [high, middle, low, kind, flags, a, b, c, d, value @ ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length - (self.filled - HEAD) as u32;
        self.filled = 0;
        Frame {
            kind,
            flags,
            length,
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
            value: u32::from_be_bytes(value),
        }
    }
}

impl PartialEq for Walk {
    /// What is left in the header behind its fill makes no difference.
    fn eq(&self, other: &Self) -> bool {
        self.head[..self.filled] == other.head[..other.filled]
            && (self.skip, self.looked_into) == (other.skip, other.looked_into)
    }
}

impl Eq for Walk {}
