//! Counts what a peer makes this side do without any progress, from the frame headers that it sends.
//!
//! Every frame that costs work and moves nothing takes tokens from a bucket; requests, data in either direction and
//! time give some back. A client's frames of each such type have a bucket of their own besides, which requests do not
//! fill: answers and data fill those of what goes with them, time fills all. A peer that empties a bucket floods. What a frame costs is set so that clients that ping
//! every few seconds, or cancel most of their requests, never come near. The library beneath has bounds of its own on
//! what it buffers (resets before accept, continuation frames, small data frames); this one covers what it answers
//! or ignores for ever: CVE-2019-9511 to 9518, CVE-2023-44487, and their kind.

use super::walk::{Frame, Look, Walk};
use crate::clock::Instant;

/// Bytes that a client sends before its first frame (RFC 9113, 3.4).
const PREFACE: u32 = 24;
const WINDOW_UPDATE: u8 = 8;
/// The payload that matters: an increment.
const LOOKS: &[Look] = &[(WINDOW_UPDATE, 4)];

/// Tokens in a full bucket.
const BURST: i32 = 2000;
/// Tokens given per second.
const PER_SECOND: u64 = 50;
/// Bytes of data received that give one token.
const RECEIVED_PER_TOKEN: u32 = 1024;
/// Bytes sent that give one token. An answer to PING has 17, so that answering a flood does not pay for it.
const SENT_PER_TOKEN: u32 = 256;
/// An increment below this hardly moves anything.
const TINY_INCREMENT: u32 = 256;

/// What a peer sent too much of, with nothing to show for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    Settings,
    Ping,
    Priority,
    Reset,
    /// DATA without data that ends nothing.
    EmptyData,
    /// WINDOW_UPDATE with tiny increments.
    WindowUpdate,
    Continuation,
    /// Frames of types that are not known or not for us.
    Unknown,
    /// Whatever made us reset streams for what is wrong with them (CVE-2025-8671).
    ProvokedReset,
    /// Heads far beyond what is taken, by size or by what little makes of itself (HPACK bombs).
    OversizedHead,
    /// Heads on streams that had one: trailers, or nothing but work when the stream is closed already.
    LateHead,
}

/// How much of one type a client may send.
struct Allowance {
    /// At once.
    burst: i32,
    /// In each second besides.
    per_second: u64,
    /// Whether it may do so for each of its streams at once besides.
    by_streams: bool,
    /// Whether data in either direction gives some back.
    earned: bool,
}

const fn allowance(burst: i32, per_second: u64) -> Allowance {
    Allowance {
        burst,
        per_second,
        by_streams: false,
        earned: false,
    }
}

impl Flood {
    /// Every cause.
    pub const ALL: [Self; 11] = [
        Self::Settings,
        Self::Ping,
        Self::Priority,
        Self::Reset,
        Self::EmptyData,
        Self::WindowUpdate,
        Self::Continuation,
        Self::Unknown,
        Self::ProvokedReset,
        Self::OversizedHead,
        Self::LateHead,
    ];

    /// The bounds on each type: an order of magnitude above what clients do that mean well, since who meets one loses its
    /// connection. nghttp2 has the same rate for resets, and 1000 at once.
    const fn allowance(self) -> Allowance {
        match self {
            // Once per connection, and when a setting changes.
            Self::Settings => allowance(32, 1),
            // gRPC measures by one for each round trip in which data moves.
            Self::Ping => Allowance {
                earned: true,
                ..allowance(128, 10)
            },
            Self::Priority => allowance(512, 100),
            // A browser that leaves a page cancels all that it just asked for.
            Self::Reset => Allowance {
                by_streams: true,
                earned: true,
                ..allowance(100, 33)
            },
            Self::EmptyData => allowance(128, 10),
            Self::WindowUpdate => Allowance {
                earned: true,
                ..allowance(1000, 50)
            },
            Self::Continuation => allowance(512, 50),
            Self::Unknown => allowance(512, 20),
            Self::ProvokedReset => Allowance {
                by_streams: true,
                ..allowance(100, 10)
            },
            Self::OversizedHead => allowance(32, 1),
            // Each request may have trailers, and gets an answer for it.
            Self::LateHead => Allowance {
                by_streams: true,
                ..allowance(100, 10)
            },
        }
    }

    /// What the library has had enough of, by what it says in a GOAWAY for those who debug.
    pub(super) fn told(debug: &[u8]) -> Option<Self> {
        let known: [(&[u8], Self); 5] = [
            (b"too_many_resets", Self::Reset),
            (b"too_many_internal_resets", Self::ProvokedReset),
            (b"too_many_continuations", Self::Continuation),
            (b"too_many_data_frames", Self::EmptyData),
            (b"header_list_way_too_large", Self::OversizedHead),
        ];
        // Of a long text only the beginning is told.
        let is = |text: &[u8]| !debug.is_empty() && text.starts_with(debug);
        let told = known.iter().find(|(text, _)| is(text));
        told.map(|(_, flood)| *flood)
    }

    /// The cause as metrics and the log name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Settings => "settings_flood",
            Self::Ping => "ping_flood",
            Self::Priority => "priority_flood",
            Self::Reset => "reset_flood",
            Self::EmptyData => "empty_data_flood",
            Self::WindowUpdate => "window_update_flood",
            Self::Continuation => "continuation_flood",
            Self::Unknown => "unknown_frame_flood",
            Self::ProvokedReset => "provoked_reset_flood",
            Self::OversizedHead => "oversized_head_flood",
            Self::LateHead => "late_head_flood",
        }
    }
}

/// How far the header block is that came last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Another frame has come since.
    None,
    /// CONTINUATION follows.
    Open,
    /// The frame that ends it has begun.
    Last,
}

/// Tokens, and when time gave some the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    tokens: i32,
    full: i32,
    refilled: Instant,
}

impl Bucket {
    fn full(full: i32, now: Instant) -> Self {
        Self {
            tokens: full,
            full,
            refilled: now,
        }
    }

    fn earn(&mut self, tokens: u32) {
        let tokens = i32::try_from(tokens).unwrap_or(self.full);
        self.tokens = self.tokens.saturating_add(tokens).min(self.full);
    }

    /// Whether it is overdrawn then.
    fn spend(&mut self, tokens: i32) -> bool {
        self.tokens = self.tokens.saturating_sub(tokens);
        self.tokens < 0
    }

    /// Whether it is overdrawn, with what time gave.
    fn is_overdrawn(&mut self, now: Instant, per_second: u64) -> bool {
        if self.tokens >= 0 {
            return false;
        }
        let millis = u64::try_from(now.since(self.refilled).as_millis()).unwrap_or(u64::MAX);
        let earned = millis.saturating_mul(per_second) / 1000;
        if earned > 0 {
            self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
            self.refilled = now;
        }
        self.tokens < 0
    }
}

/// The account of one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meter {
    walk: Walk,
    block: Block,
    blocks: u32,
    /// The latest stream that was opened: later ones have higher numbers (RFC 9113, 5.1.1).
    opened: u32,
    /// For all types together.
    all: Bucket,
    /// For each type, in the order of [`Flood::ALL`]; `None` for a server, which may have its reasons: it resets the
    /// streams whose bodies it does not read.
    each: Option<Box<[Bucket; Flood::ALL.len()]>>,
    is_overdrawn: bool,
    /// What took the last token.
    last: Flood,
    /// Bytes that have not given a token yet.
    received: u32,
    sent: u32,
    settings: bool,
}

impl Meter {
    /// For the bytes that a client sends, from its preface on, who may have so many streams at once.
    pub(super) fn of_client(now: Instant, streams: u32) -> Self {
        let streams = i32::try_from(streams).unwrap_or(i32::MAX / 2);
        let each = Flood::ALL.map(|flood| {
            let allowance = flood.allowance();
            let more = if allowance.by_streams { streams } else { 0 };
            Bucket::full(allowance.burst.saturating_add(more), now)
        });
        Self {
            walk: Walk::new(PREFACE, LOOKS),
            each: Some(Box::new(each)),
            ..Self::of_server(now)
        }
    }

    /// For the bytes that a server sends.
    pub(super) fn of_server(now: Instant) -> Self {
        Self {
            walk: Walk::new(0, LOOKS),
            block: Block::None,
            blocks: 0,
            opened: 0,
            all: Bucket::full(BURST, now),
            each: None,
            is_overdrawn: false,
            last: Flood::Unknown,
            received: 0,
            sent: 0,
            settings: false,
        }
    }

    /// Whether the peer has sent SETTINGS.
    pub(super) fn has_settings(&self) -> bool {
        self.settings
    }

    /// Takes note of bytes received. They may be split anywhere.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.walk.next(&mut bytes) {
            self.judge(frame);
        }
    }

    /// Whether a header block has begun and not ended: no other frame can come before its end.
    pub(super) fn in_block(&self) -> bool {
        match self.block {
            Block::None => false,
            Block::Open => true,
            Block::Last => self.walk.is_within(),
        }
    }

    /// How many header blocks have begun, which tells one from the next.
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    fn judge(&mut self, frame: Frame) {
        const END_STREAM: u8 = 0x1;
        const END_HEADERS: u8 = 0x4;
        let Frame {
            kind,
            flags,
            length,
            stream,
            ..
        } = frame;
        self.block = match kind {
            1 | 9 if flags & END_HEADERS != 0 => Block::Last,
            1 | 9 => Block::Open,
            _ => Block::None,
        };
        self.blocks = self.blocks.wrapping_add(u32::from(kind == 1));
        match kind {
            0 if length > 0 => {
                self.received += length;
                self.progress(self.received / RECEIVED_PER_TOKEN);
                self.received %= RECEIVED_PER_TOKEN;
            }
            0 if flags & END_STREAM == 0 => self.spend(2, Flood::EmptyData),
            // HEADERS.
            1 if stream <= self.opened && self.each.is_some() => {
                // The library decodes all of it, whatever becomes of it.
                let kibibytes = (length / 1024) as i32;
                self.spend_both(2 + kibibytes, 1 + kibibytes, Flood::LateHead);
            }
            1 => {
                self.opened = stream;
                if flags & END_HEADERS != 0 {
                    self.all.earn(1);
                }
            }
            2 => self.spend(1, Flood::Priority),
            // A request that is cancelled costs more than it gave.
            3 => self.spend(2, Flood::Reset),
            4 => {
                self.settings = true;
                self.spend(4, Flood::Settings);
            }
            6 => self.spend(1, Flood::Ping),
            WINDOW_UPDATE if frame.number(0) < TINY_INCREMENT => self.spend(1, Flood::WindowUpdate),
            9 => {
                self.spend(2, Flood::Continuation);
                if flags & END_HEADERS != 0 {
                    self.all.earn(1);
                }
            }
            // DATA that ends a stream, GOAWAY, an increment that moves something.
            0 | 7 | WINDOW_UPDATE => {}
            // PUSH_PROMISE was switched off; the rest are extensions.
            _ => self.spend(1, Flood::Unknown),
        }
    }

    /// Takes note of bytes sent.
    pub(super) fn wrote(&mut self, bytes: usize) {
        let bytes = self
            .sent
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.progress(bytes / SENT_PER_TOKEN);
        self.sent = bytes % SENT_PER_TOKEN;
    }

    /// Takes note of the head of an answer: who gets as many answers as it cancels requests asks for something.
    pub(super) fn answered(&mut self) {
        if let Some(each) = &mut self.each {
            // As much as a reset takes of each, and trailers.
            self.all.earn(2);
            each[Flood::Reset as usize].earn(1);
            each[Flood::LateHead as usize].earn(1);
        }
    }

    /// Takes note of a stream that was reset for what the client did wrong on it.
    pub(super) fn provoked(&mut self) {
        self.spend(2, Flood::ProvokedReset);
    }

    /// Takes note of a head that is far beyond what is taken.
    pub(super) fn oversized(&mut self) {
        self.spend(16, Flood::OversizedHead);
    }

    /// Something moved.
    fn progress(&mut self, tokens: u32) {
        if tokens == 0 {
            return;
        }
        self.all.earn(tokens);
        let Some(each) = &mut self.each else {
            return;
        };
        for (flood, bucket) in Flood::ALL.iter().zip(each.iter_mut()) {
            if flood.allowance().earned {
                bucket.earn(tokens);
            }
        }
    }

    fn spend(&mut self, tokens: i32, on: Flood) {
        self.spend_both(tokens, 1, on);
    }

    /// So many of the bucket for all, and so many of the type's own.
    fn spend_both(&mut self, tokens: i32, own: i32, on: Flood) {
        self.last = on;
        self.is_overdrawn |= self.all.spend(tokens);
        if let Some(each) = &mut self.each {
            self.is_overdrawn |= each[on as usize].spend(own);
        }
    }

    /// Takes note of a stream that was refused because there are as many as may be. A client that does not know that
    /// yet may open a thousand at once.
    pub(super) fn refused(&mut self) {
        self.last = Flood::ProvokedReset;
        self.is_overdrawn |= self.all.spend(2);
    }

    /// What the library most likely has had enough of, which knows bounds of its own: what there was most of, or else a
    /// head that is too large even to be answered.
    pub(super) fn suspect(&self) -> Flood {
        const FEW: i32 = 16;
        let Some(each) = &self.each else {
            return self.last;
        };
        let spent = Flood::ALL.into_iter().zip(each.iter());
        let spent = spent.map(|(flood, bucket)| (bucket.full - bucket.tokens, flood));
        let most = spent.max_by_key(|(spent, _)| *spent);
        most.filter(|(spent, _)| *spent > FEW)
            .map_or(Flood::OversizedHead, |(_, flood)| flood)
    }

    /// Whether [`Self::verdict`] is worth asking.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.is_overdrawn
    }

    /// What the peer floods with, if it does. Only here time is looked at: buckets that are not empty need none.
    pub(super) fn verdict(&mut self, now: Instant) -> Option<Flood> {
        if !self.is_overdrawn {
            return None;
        }
        let mut found = None;
        if let Some(each) = &mut self.each {
            for (flood, bucket) in Flood::ALL.into_iter().zip(each.iter_mut()) {
                if bucket.is_overdrawn(now, flood.allowance().per_second) {
                    found = Some(flood);
                }
            }
        }
        if self.all.is_overdrawn(now, PER_SECOND) {
            found = found.or(Some(self.last));
        }
        self.is_overdrawn = found.is_some();
        found
    }
}

#[cfg(test)]
mod tests;
