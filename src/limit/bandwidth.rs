//! So many bytes a second for all exchanges of a key together.
//!
//! An exchange reserves a piece and passes it on when its time has come: who came first goes first, and all that share a
//! key go by turns, since a piece is small. What was reserved and not used is given back.

use std::sync::Arc;

use super::limiter::Limiter;
use super::table::Place;
use crate::clock::Instant;

/// A rate of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    per_second: u64,
    /// Nanoseconds by which bytes may come early.
    tolerance: u64,
    /// Bytes that are reserved at once.
    piece: u64,
}

/// How much of a second one piece is: small enough for many to take turns, large enough to cost little.
const PIECES: u64 = 50;
/// The largest piece, as large as what one exchange may move before others have their turn.
const LARGEST: u64 = 256 * 1024;

impl Bandwidth {
    /// `per_second` bytes, `burst` of them at once. Both are at least one.
    pub fn new(per_second: u64, burst: u64) -> Self {
        let (per_second, burst) = (per_second.max(1), burst.max(1));
        Self {
            per_second,
            tolerance: cost(burst, per_second),
            piece: (per_second / PIECES).clamp(1, LARGEST).min(burst),
        }
    }

    /// Reserves bytes: the new time of the key, and when the bytes may go.
    pub(super) fn reserve(&self, full: u64, now: Instant, bytes: u64) -> (u64, Instant) {
        let full = full.max(now.0).saturating_add(self.cost(bytes));
        (full, Instant(full.saturating_sub(self.tolerance)))
    }

    /// Nanoseconds that so many bytes take.
    pub(super) fn cost(&self, bytes: u64) -> u64 {
        cost(bytes, self.per_second)
    }
}

fn cost(bytes: u64, per_second: u64) -> u64 {
    let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(per_second));
    u64::try_from(nanos).unwrap_or(u64::MAX / 4)
}

/// One direction of an exchange that is held to the bandwidth of its key, or of several.
#[derive(Debug)]
pub struct Flow {
    parts: Vec<Part>,
    /// Bytes that may have been moved by now.
    granted: u64,
    /// Bytes that may be moved from a time on.
    due: Option<(u64, Instant)>,
    /// Bytes that were moved, as far as was told.
    moved: u64,
    lane: usize,
}

#[derive(Debug)]
struct Part {
    limiter: Arc<Limiter>,
    key: u128,
    bandwidth: Bandwidth,
    /// Where the last piece was reserved.
    place: Option<Place>,
}

impl Flow {
    /// Without any limit yet. `lane` is the worker's.
    pub fn new(lane: usize) -> Self {
        Self {
            parts: Vec::new(),
            granted: 0,
            due: None,
            moved: 0,
            lane,
        }
    }

    pub(super) fn add(&mut self, limiter: &Arc<Limiter>, key: u128, bandwidth: Bandwidth) {
        self.parts.push(Part {
            limiter: Arc::clone(limiter),
            key,
            bandwidth,
            place: None,
        });
    }

    /// Whether nothing limits it.
    pub fn is_free(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many bytes may have been moved by now, of which `moved` have been; or when it may go on.
    pub fn allow(&mut self, now: Instant, moved: u64) -> Result<u64, Instant> {
        self.moved = moved;
        if moved < self.granted {
            return Ok(self.granted);
        }
        let (bytes, at) = match self.due.take() {
            Some(due) => due,
            None => self.reserve(now, moved),
        };
        if at > now {
            self.due = Some((bytes, at));
            return Err(at);
        }
        self.granted = self.granted.saturating_add(bytes);
        Ok(self.granted)
    }

    /// Reserves the next piece with everyone who has a say, and whatever went beyond the last one.
    fn reserve(&mut self, now: Instant, moved: u64) -> (u64, Instant) {
        let piece = self.parts.iter().map(|part| part.bandwidth.piece).min();
        let bytes = (moved - self.granted).saturating_add(piece.unwrap_or(LARGEST));
        let mut latest = now;
        for part in &mut self.parts {
            let bandwidth = part.bandwidth;
            let limiter = &part.limiter;
            let (at, place) = limiter.reserve(part.key, bandwidth, bytes, now, self.lane);
            part.place = Some(place);
            latest = latest.max(at);
        }
        if let Some(first) = self.parts.first()
            && latest > now
        {
            first.limiter.delayed(self.lane, latest.since(now));
        }
        (bytes, latest)
    }

    /// So many bytes have been moved.
    pub fn has_moved(&mut self, moved: u64) {
        self.moved = moved;
    }
}

/// What was reserved and not used is for others.
impl Drop for Flow {
    fn drop(&mut self) {
        let reserved = self.granted + self.due.map_or(0, |(bytes, _)| bytes);
        let unused = reserved.saturating_sub(self.moved);
        for part in &self.parts {
            if let Some(place) = part.place {
                part.limiter.unreserve(place, part.bandwidth, unused);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn pieces_follow_each_other_at_the_rate() {
        let bandwidth = Bandwidth::new(1000, 100);
        let (mut full, mut last) = (0, Instant(0));
        for _ in 0..55 {
            (full, last) = bandwidth.reserve(full, Instant(SECOND), bandwidth.piece);
        }
        // 20 bytes each: the first five at once, the others 20 ms apart.
        assert_eq!(last, Instant(2 * SECOND));
        let (_, after_a_rest) = bandwidth.reserve(full, Instant(60 * SECOND), 100);
        assert_eq!(after_a_rest, Instant(60 * SECOND));
    }

    #[test]
    fn any_rate_has_pieces_that_fit_its_burst() {
        for (per_second, burst, piece) in [
            (1, 1, 1),
            (49, 1 << 30, 1),
            (1 << 20, 1000, 1000),
            (1 << 20, 1 << 20, (1 << 20) / 50),
            (1 << 40, 1 << 40, LARGEST),
        ] {
            assert_eq!(Bandwidth::new(per_second, burst).piece, piece);
        }
        assert_eq!(Bandwidth::new(2, 1).cost(3), 3 * SECOND / 2);
    }
}
