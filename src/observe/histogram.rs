//! How often each duration was seen: log-linear cells that one thread writes and any thread reads.
//!
//! The layout is that of HdrHistogram with two digits: 128 linear cells in each octave, so a cell is at most 1/128 of its
//! value wide (0.8 %). A cell holds the durations in `(low, high]`, closed at the *upper* end as Prometheus closes its
//! `le` buckets, so that every bound of the form `1 ms * 2^k` is an edge and bucket counts are exact, not interpolated.
//!
//! Not here: percentiles, which are read from a merged [`Distribution`](super::distribution::Distribution).

use std::sync::OnceLock;

use super::counter::Counter;

/// Cells in one octave.
const PER_OCTAVE: usize = 128;
/// The first two octaves have cells of 1 µs, the last ends at `LIMIT_MICROS`.
const OCTAVES: usize = 26;
/// Cells of a whole histogram.
pub const CELLS: usize = OCTAVES * PER_OCTAVE;
/// 2^32 µs, 71.6 minutes: longer durations are counted as this long.
pub const LIMIT_MICROS: u64 = 1 << 32;

/// The cell that holds a duration; up to 1 µs it is the first.
#[inline]
pub fn cell_of(nanos: u64) -> usize {
    let below = (nanos.saturating_sub(1) / 1000).min(LIMIT_MICROS - 1);
    let octave = (u64::BITS - below.leading_zeros()).saturating_sub(7) as usize;
    let width_log2 = octave.saturating_sub(1);
    octave * PER_OCTAVE + (below >> width_log2) as usize % PER_OCTAVE
}

/// The bounds `(low, high]` of a cell, in microseconds.
pub fn bounds(cell: usize) -> (u64, u64) {
    let (octave, place) = (cell / PER_OCTAVE, (cell % PER_OCTAVE) as u64);
    if octave == 0 {
        return (place, place + 1);
    }
    let width = 1u64 << (octave - 1);
    let low = (PER_OCTAVE as u64 + place) * width;
    (low, low + width)
}

type Octave = [Counter; PER_OCTAVE];

/// Counts durations on its owner's thread; memory is taken for the octaves that are used, 1 KiB each.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Durations recorded; lets a reader see at a glance whether anything changed.
    recorded: Counter,
    sum_nanos: Counter,
    max_nanos: Counter,
    /// Two steps, so that a histogram nobody used costs 48 bytes: there may be ten thousand routes.
    octaves: OnceLock<Box<[OnceLock<Box<Octave>>; OCTAVES]>>,
}

impl Histogram {
    /// Counts one duration; only for the thread that owns this histogram.
    #[inline]
    pub fn record(&self, nanos: u64) {
        let cell = cell_of(nanos);
        let octaves = self
            .octaves
            .get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        octaves[cell / PER_OCTAVE].get_or_init(empty_octave)[cell % PER_OCTAVE].add(1);
        self.sum_nanos.add(nanos);
        self.max_nanos.raise(nanos);
        self.recorded.add(1);
    }

    /// How many durations were recorded. While the owner records, the cells may be one ahead.
    pub fn recorded(&self) -> u64 {
        self.recorded.value()
    }

    /// The sum of all durations, in nanoseconds.
    pub fn sum_nanos(&self) -> u64 {
        self.sum_nanos.value()
    }

    /// The longest duration, in nanoseconds.
    pub fn max_nanos(&self) -> u64 {
        self.max_nanos.value()
    }

    /// Calls `each` with every cell that is not empty, in ascending order.
    pub fn for_each_cell(&self, mut each: impl FnMut(usize, u64)) {
        let Some(octaves) = self.octaves.get() else {
            return;
        };
        for (octave, cells) in octaves.iter().enumerate() {
            let Some(cells) = cells.get() else { continue };
            for (place, cell) in cells.iter().enumerate() {
                let count = cell.value();
                if count > 0 {
                    each(octave * PER_OCTAVE + place, count);
                }
            }
        }
    }
}

#[cold]
fn empty_octave() -> Box<Octave> {
    Box::new(std::array::from_fn(|_| Counter::default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_follow_each_other_without_gap_or_overlap() {
        let mut end = 0;
        for cell in 0..CELLS {
            let (low, high) = bounds(cell);
            assert_eq!(low, end, "cell {cell}");
            assert_eq!(cell_of(low * 1000 + 1), cell);
            assert_eq!(cell_of(high * 1000), cell);
            end = high;
        }
        assert_eq!(end, LIMIT_MICROS);
    }

    #[test]
    fn the_ends_of_the_range_are_the_first_and_the_last_cell() {
        assert_eq!(cell_of(0), 0);
        assert_eq!(cell_of(1), 0);
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    proptest! {
        #[test]
        fn a_cell_is_at_most_one_percent_of_its_value_wide(micros in 100u64..LIMIT_MICROS) {
            let (low, high) = bounds(cell_of(micros * 1000));
            prop_assert!(low < micros && micros <= high);
            prop_assert!((high - low) * 100 <= micros);
        }
    }

    #[test]
    fn an_unused_histogram_is_small_and_holds_no_cells() {
        let histogram = Histogram::default();
        assert!(size_of::<Histogram>() <= 48);
        histogram.for_each_cell(|_, _| panic!("a cell in an empty histogram"));
    }

    #[test]
    fn what_was_recorded_is_read_back() {
        let histogram = Histogram::default();
        for nanos in [0, 5_000, 5_000, 3_000_000] {
            histogram.record(nanos);
        }
        let mut cells = Vec::new();
        histogram.for_each_cell(|cell, count| cells.push((bounds(cell).1, count)));
        assert_eq!(cells, [(1, 1), (5, 2), (3008, 1)]);
        assert_eq!(
            (histogram.recorded(), histogram.sum_nanos()),
            (4, 3_010_000)
        );
        assert_eq!(histogram.max_nanos(), 3_000_000);
    }
}
