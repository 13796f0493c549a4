//! Histograms of many workers, merged into one from which percentiles may be read.
//!
//! Counts are added and subtracted cell by cell, so merging loses nothing: the percentile of a merge is that of all its
//! samples. Percentiles themselves are never averaged, and nothing here could.

use std::time::Duration;

use super::histogram::{CELLS, Histogram, LIMIT_MICROS, bounds, cell_of};

/// Samples that must lie beyond a quantile before it is shown. With ten, the rank of the value shown is uncertain by
/// about a third; with fewer it is the maximum under another name.
pub const SAMPLES_BEYOND: f64 = 10.0;

/// The cells in use of a histogram at one moment, or the difference of two moments: small when few are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    cells: Box<[(u16, u64)]>,
    sum_nanos: u64,
}

impl Counts {
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// Counts of all cells, ready to merge and to be asked.
#[derive(Debug, Clone, Default)]
pub struct Distribution {
    /// Empty until the first sample, then `CELLS` long.
    cells: Vec<u64>,
    count: u64,
    sum_nanos: u64,
    /// The longest of all time, also where earlier samples have been subtracted.
    max_nanos: u64,
}

impl Distribution {
    /// Adds one sample.
    pub fn record(&mut self, nanos: u64) {
        self.grow()[cell_of(nanos)] += 1;
        self.count += 1;
        self.sum_nanos += nanos;
        self.max_nanos = self.max_nanos.max(nanos);
    }

    /// Adds what a worker has recorded until now.
    pub fn add_histogram(&mut self, histogram: &Histogram) {
        if histogram.recorded() == 0 {
            return;
        }
        let (cells, mut added) = (self.grow(), 0);
        histogram.for_each_cell(|cell, count| {
            cells[cell] += count;
            added += count;
        });
        self.count += added;
        self.sum_nanos += histogram.sum_nanos();
        self.max_nanos = self.max_nanos.max(histogram.max_nanos());
    }

    /// Adds all samples of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        for (mine, theirs) in self.grow().iter_mut().zip(&other.cells) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_nanos += other.sum_nanos;
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// Adds the samples of a slot of a window.
    pub(super) fn add(&mut self, counts: &Counts) {
        if counts.is_empty() {
            return;
        }
        let (cells, mut added) = (self.grow(), 0);
        for &(cell, count) in &counts.cells {
            cells[usize::from(cell)] += count;
            added += count;
        }
        self.count += added;
        self.sum_nanos += counts.sum_nanos;
    }

    /// Takes away what was there at an earlier moment; counts only grow, so nothing goes below zero.
    pub(super) fn subtract(&mut self, earlier: &Counts) {
        if earlier.is_empty() {
            return;
        }
        let (cells, mut taken) = (self.grow(), 0);
        for &(cell, count) in &earlier.cells {
            let cell = &mut cells[usize::from(cell)];
            let count = count.min(*cell);
            *cell -= count;
            taken += count;
        }
        self.count -= taken;
        self.sum_nanos = self.sum_nanos.saturating_sub(earlier.sum_nanos);
    }

    /// The cells in use, to be kept.
    pub(super) fn counts(&self) -> Counts {
        let used = self
            .cells
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        // There are fewer than 2^16 cells.
        let cells = used.map(|(cell, count)| (cell as u16, *count)).collect();
        Counts {
            cells,
            sum_nanos: self.sum_nanos,
        }
    }

    /// How many samples it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all samples.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// For each of the ascending bounds, how many samples are at most this long; exact where it is the edge of a cell.
    pub fn cumulative(&self, bounds_micros: &[u64]) -> impl Iterator<Item = u64> {
        let (mut next, mut count) = (0, 0);
        bounds_micros.iter().map(move |bound| {
            let end = (cell_of(bound * 1000) + 1).min(self.cells.len());
            count += self
                .cells
                .get(next..end)
                .unwrap_or_default()
                .iter()
                .sum::<u64>();
            next = next.max(end);
            count
        })
    }

    /// The longest sample: exact over the whole life, to the upper edge of its cell in a window.
    pub fn max(&self) -> Option<Duration> {
        let highest = self.cells.iter().rposition(|count| *count > 0)?;
        // The last cell has no upper end: what lies there may be longer than the range.
        let edge = if highest == CELLS - 1 {
            u64::MAX
        } else {
            bounds(highest).1 * 1000
        };
        Some(Duration::from_nanos(self.max_nanos.min(edge)))
    }

    /// The same counts as an HdrHistogram of microseconds with two digits, whose cells are as wide as ours.
    pub fn hdr(&self) -> hdrhistogram::Histogram<u64> {
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, LIMIT_MICROS, 2)
            .expect("1 is at least 1, the limit is above 2, and 2 digits are at most 5");
        for (cell, count) in self
            .cells
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            let (low, high) = bounds(cell);
            // The middle, which lies within one HDR cell: theirs begin where ours end.
            hdr.saturating_record_n(low + ((high - low) / 2).max(1), *count);
        }
        hdr
    }

    /// Count, percentiles and maximum.
    pub fn summary(&self) -> Summary {
        let Some(max) = self.max() else {
            return Summary::default();
        };
        let hdr = self.hdr();
        let quantile = |quantile: f64| {
            let enough = self.count as f64 * (1.0 - quantile) >= SAMPLES_BEYOND - 1e-6;
            enough.then(|| Duration::from_micros(hdr.value_at_quantile(quantile)).min(max))
        };
        Summary {
            count: self.count,
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: Some(max),
        }
    }

    fn grow(&mut self) -> &mut [u64] {
        if self.cells.is_empty() {
            self.cells.resize(CELLS, 0);
        }
        &mut self.cells
    }
}

/// What is shown of a distribution. A percentile is `None`, shown as `n/a`, when fewer than ten samples lie beyond it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub count: u64,
    pub p50: Option<Duration>,
    pub p95: Option<Duration>,
    pub p99: Option<Duration>,
    pub p999: Option<Duration>,
    pub max: Option<Duration>,
}

impl Summary {
    /// The percentiles with the quantile as Prometheus writes it.
    pub fn quantiles(&self) -> [(&'static str, Option<Duration>); 4] {
        [
            ("0.5", self.p50),
            ("0.95", self.p95),
            ("0.99", self.p99),
            ("0.999", self.p999),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entropy::Random;

    /// The sample at a quantile of all samples, by sorting them.
    fn exact(sorted: &[u64], quantile: f64) -> u64 {
        let rank = (quantile * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }

    fn check(name: &str, mut draw: impl FnMut(&mut Random) -> f64) {
        let mut random = Random::seeded(0x5eed);
        let mut distribution = Distribution::default();
        let mut samples: Vec<u64> = (0..50_000)
            .map(|_| draw(&mut random) as u64 * 1000)
            .collect();
        samples.iter().for_each(|nanos| distribution.record(*nanos));
        samples.sort_unstable();
        let summary = distribution.summary();
        assert_eq!(summary.count, 50_000);
        assert_eq!(summary.max, Some(Duration::from_nanos(samples[49_999])));
        for (quantile, shown) in summary.quantiles() {
            let exact = exact(&samples, quantile.parse().unwrap()) as f64;
            let shown = shown.unwrap().as_nanos() as f64;
            assert!(
                (shown - exact).abs() <= 0.01 * exact,
                "{name} p{quantile}: {shown} for {exact}"
            );
        }
    }

    #[test]
    fn percentiles_are_within_one_percent_of_those_of_the_sorted_samples() {
        check("uniform", |random| 1.0 + 1e6 * random.unit());
        check("exponential", |random| {
            100.0 - 2000.0 * (1.0 - random.unit()).ln()
        });
        check("pareto", |random| {
            150.0 / (1.0 - random.unit()).powf(1.0 / 1.3)
        });
        check("two humps", |random| if random.below(100) < 97 { 300.0 } else { 40_000.0 } + 50.0 * random.unit());
        check("microseconds", |random| 1.0 + random.below(90) as f64);
        check("constant", |_| 777.0);
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        let mut distribution = Distribution::default();
        (0..199).for_each(|sample| distribution.record(sample * 1000));
        let few = distribution.summary();
        assert!(few.p50.is_some() && few.p95.is_none() && few.p99.is_none());
        distribution.record(0);
        assert!(distribution.summary().p95.is_some());
        assert_eq!(Distribution::default().summary(), Summary::default());
    }

    #[test]
    fn a_duration_beyond_the_range_still_is_the_maximum() {
        let mut distribution = Distribution::default();
        let day = Duration::from_secs(86_400);
        distribution.record(day.as_nanos() as u64);
        assert_eq!(distribution.max(), Some(day));
    }

    proptest! {
        #[test]
        fn a_merge_equals_one_histogram_of_all_samples(
            parts in proptest::collection::vec(proptest::collection::vec(0u64..1 << 45, 0..200), 1..5)
        ) {
            let (mut merged, mut single) = (Distribution::default(), Distribution::default());
            for part in &parts {
                let histogram = Histogram::default();
                for nanos in part {
                    histogram.record(*nanos);
                    single.record(*nanos);
                }
                merged.add_histogram(&histogram);
            }
            prop_assert_eq!(merged.summary(), single.summary());
            prop_assert_eq!(merged.counts(), single.counts());
            prop_assert_eq!(merged.hdr().len(), single.count());
        }

        #[test]
        fn what_is_added_after_a_moment_is_what_remains_when_it_is_subtracted(
            before in proptest::collection::vec(0u64..1 << 40, 0..100),
            after in proptest::collection::vec(0u64..1 << 40, 0..100),
        ) {
            let (mut whole, mut rest) = (Distribution::default(), Distribution::default());
            before.iter().for_each(|nanos| whole.record(*nanos));
            let moment = whole.counts();
            after.iter().for_each(|nanos| { whole.record(*nanos); rest.record(*nanos); });
            whole.subtract(&moment);
            prop_assert_eq!(whole.counts(), rest.counts());
            prop_assert_eq!(whole.count(), rest.count());
        }

        #[test]
        fn counting_up_to_an_edge_is_exact(samples in proptest::collection::vec(0u64..100_000_000_000, 0..200)) {
            let edges: Vec<u64> = (0..20).map(|power| 125 << power).collect();
            let mut distribution = Distribution::default();
            samples.iter().for_each(|nanos| distribution.record(*nanos));
            let exact = |edge: &u64| samples.iter().filter(|nanos| **nanos <= edge * 1000).count() as u64;
            let counted: Vec<u64> = distribution.cumulative(&edges).collect();
            prop_assert_eq!(counted, edges.iter().map(exact).collect::<Vec<_>>());
        }
    }
}
