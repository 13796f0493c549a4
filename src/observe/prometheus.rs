//! The Prometheus text format, version 0.0.4: counters, gauges, classic histograms, and summaries of their own name.
//!
//! Bounds of buckets are edges of cells, so a bucket counts exactly the samples that are at most its `le`.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::distribution::{Distribution, Summary};
use super::metrics::Cells;
use super::names::{Kind, Metric};
use super::reading::{settle, upstream_of};
use super::registry::{Registry, Table};
use super::window::{Merged, Window};
use crate::clock::Instant;

/// The `Content-Type` of what [`Exposition::finish`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of buckets: 0.125 ms doubled, to 65.536 s. Doubling 1 ms meets an edge of a cell in every octave.
const BOUNDS_MICROS: [u64; 20] = {
    let mut bounds = [125; 20];
    let mut place = 1;
    while place < bounds.len() {
        bounds[place] = bounds[place - 1] * 2;
        place += 1;
    }
    bounds
};

/// A scrape being written. Samples may come in any order; each family is written as one block, as the format asks.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<Metric, String>,
}

impl Exposition {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter or a gauge, with a value for each label of its family.
    pub fn sample(&mut self, metric: Metric, labels: &[&str], value: u64) {
        self.line(metric, "", labels, None, &value);
    }

    /// A gauge or a counter of seconds.
    pub fn seconds(&mut self, metric: Metric, labels: &[&str], value: Duration) {
        self.line(metric, "", labels, None, &value.as_secs_f64());
    }

    /// A gauge that is no whole number.
    pub fn fraction(&mut self, metric: Metric, labels: &[&str], value: f64) {
        self.line(metric, "", labels, None, &value);
    }

    /// A classic histogram, in seconds.
    pub fn histogram(&mut self, metric: Metric, labels: &[&str], distribution: &Distribution) {
        for (bound, count) in BOUNDS_MICROS
            .into_iter()
            .zip(distribution.cumulative(&BOUNDS_MICROS))
        {
            let le = Duration::from_micros(bound).as_secs_f64().to_string();
            self.line(metric, "_bucket", labels, Some(("le", &le)), &count);
        }
        self.line(
            metric,
            "_bucket",
            labels,
            Some(("le", "+Inf")),
            &distribution.count(),
        );
        self.line(
            metric,
            "_sum",
            labels,
            None,
            &distribution.sum().as_secs_f64(),
        );
        self.line(metric, "_count", labels, None, &distribution.count());
    }

    /// The percentiles of a window, those with enough samples, beside sum and count of the whole life.
    pub fn summary(
        &mut self,
        metric: Metric,
        labels: &[&str],
        window: &Summary,
        life: &Distribution,
    ) {
        for (quantile, value) in window.quantiles() {
            if let Some(value) = value {
                self.line(
                    metric,
                    "",
                    labels,
                    Some(("quantile", quantile)),
                    &value.as_secs_f64(),
                );
            }
        }
        self.line(metric, "_sum", labels, None, &life.sum().as_secs_f64());
        self.line(metric, "_count", labels, None, &life.count());
    }

    /// The whole text.
    pub fn finish(self) -> String {
        let mut text = String::new();
        for (metric, samples) in self.families {
            let family = metric.family();
            let (name, kind) = (family.name, family.kind.label());
            text.extend([
                "# HELP ",
                name,
                " ",
                family.help,
                "\n# TYPE ",
                name,
                " ",
                kind,
                "\n",
                &samples,
            ]);
        }
        text
    }

    fn line(
        &mut self,
        metric: Metric,
        suffix: &str,
        labels: &[&str],
        last: Option<(&str, &str)>,
        value: &dyn std::fmt::Display,
    ) {
        let family = metric.family();
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let text = self.families.entry(metric).or_default();
        text.extend([family.name, suffix]);
        let mut before = "{";
        for (name, label) in family
            .labels
            .iter()
            .copied()
            .zip(labels.iter().copied())
            .chain(last)
        {
            text.extend([before, name, "=\""]);
            escape(text, label);
            text.push('"');
            before = ",";
        }
        if before == "," {
            text.push('}');
        }
        writeln!(text, " {value}").expect("writing to a string does not fail");
    }
}

/// Backslash, quote and line feed are escaped in the value of a label; everything else stands for itself.
fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// Writes all that the registry counts. Takes microseconds for each object in use: not for a worker's thread.
pub fn expose(registry: &Registry, now: Instant, out: &mut Exposition) {
    expose_table(&registry.threads, None, now, out);
    expose_table(&registry.listeners, None, now, out);
    expose_table(&registry.routes, Some(Metric::RequestQuantiles), now, out);
    expose_table(&registry.upstreams, None, now, out);
    expose_table(
        &registry.endpoints,
        Some(Metric::AttemptQuantiles),
        now,
        out,
    );
    expose_upstreams(registry, now, out);
}

fn expose_table<C: Cells>(
    table: &Table<C>,
    quantiles: Option<Metric>,
    now: Instant,
    out: &mut Exposition,
) {
    for series in table.all() {
        let life = series.read(Window::Lifetime, now);
        let identity: Vec<&str> = series.identity.iter().map(String::as_str).collect();
        expose_series(&life, &identity, out);
        if let Some(metric) = quantiles {
            out.summary(
                metric,
                &identity,
                &series.read(Window::Minute, now).total().summary(),
                &life.total(),
            );
        }
    }
}

/// A counter that has a label of its own appears with its first count: a route has a score of possible errors, of which
/// most never happen. So do histograms.
fn expose_series(life: &Merged, identity: &[&str], out: &mut Exposition) {
    let labels = |word: &'static str| {
        let word = Some(word).filter(|word| !word.is_empty());
        identity.iter().copied().chain(word).collect::<Vec<&str>>()
    };
    for (metric, word, count) in &life.counters {
        if word.is_empty() || *count > 0 {
            out.sample(*metric, &labels(word), settle(*metric, *count));
        }
    }
    for (metric, word, distribution) in &life.histograms {
        debug_assert_eq!(metric.family().kind, Kind::Histogram);
        if distribution.count() > 0 {
            out.histogram(*metric, &labels(word), distribution);
        }
    }
}

fn expose_upstreams(registry: &Registry, now: Instant, out: &mut Exposition) {
    let mut upstreams: BTreeMap<Vec<String>, (Distribution, Distribution)> = BTreeMap::new();
    for series in registry.endpoints.all() {
        let (window, life) = upstreams.entry(upstream_of(&series.identity)).or_default();
        window.merge(&series.read(Window::Minute, now).total());
        life.merge(&series.read(Window::Lifetime, now).total());
    }
    for (identity, (window, life)) in upstreams {
        let identity: Vec<&str> = identity.iter().map(String::as_str).collect();
        out.summary(
            Metric::UpstreamQuantiles,
            &identity,
            &window.summary(),
            &life,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;
    use crate::entropy::Random;
    use crate::observe::metrics::Labels;
    use crate::observe::record::{Record, Times};

    /// A sample as a scraper reads it.
    #[derive(Debug)]
    struct Sample {
        name: String,
        labels: BTreeMap<String, String>,
        value: f64,
    }

    /// Reads labels up to the closing brace, undoing the escapes.
    fn parse_labels(text: &str) -> (BTreeMap<String, String>, &str) {
        let mut labels = BTreeMap::new();
        let mut rest = text;
        loop {
            let (name, after) = rest.split_once("=\"").unwrap();
            let (mut value, mut letters) = (String::new(), after.char_indices());
            let end = loop {
                match letters.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match letters.next().unwrap().1 {
                        'n' => '\n',
                        letter @ ('\\' | '"') => letter,
                        other => panic!("escaped {other}"),
                    }),
                    (_, letter) => value.push(letter),
                }
            };
            assert!(
                labels.insert(name.to_owned(), value).is_none(),
                "{name} stands twice"
            );
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return (labels, rest.strip_prefix('}').unwrap()),
            }
        }
    }

    fn parse(text: &str) -> Vec<Sample> {
        let (mut samples, mut seen, mut family) = (Vec::new(), HashSet::new(), String::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
                match keyword {
                    "HELP" => assert!(seen.insert(name.to_owned()), "{name} is not one block"),
                    "TYPE" => assert!(
                        ["counter", "gauge", "histogram", "summary"]
                            .contains(&words.next().unwrap())
                    ),
                    other => panic!("{other}"),
                }
                family = name.to_owned();
                continue;
            }
            let end = line.find(['{', ' ']).unwrap();
            let (labels, rest) = match line[end..].strip_prefix('{') {
                Some(labels) => parse_labels(labels),
                None => (BTreeMap::new(), &line[end..]),
            };
            let name = line[..end].to_owned();
            assert!(name.starts_with(&family), "{name} in the block of {family}");
            samples.push(Sample {
                name,
                labels,
                value: rest.strip_prefix(' ').unwrap().parse().unwrap(),
            });
        }
        samples
    }

    fn scrape(registry: &Registry) -> Vec<Sample> {
        let mut out = Exposition::new();
        out.sample(Metric::BuildInfo, &["0.1.0"], 1);
        out.seconds(Metric::Uptime, &[], Duration::from_millis(1500));
        expose(registry, Instant(0), &mut out);
        parse(&out.finish())
    }

    #[test]
    fn every_bucket_counts_exactly_the_samples_up_to_its_bound() {
        let registry = Registry::new(2, Labels::default(), Instant(0));
        let mut random = Random::seeded(11);
        let mut samples = Vec::new();
        for worker in 0..2 {
            let cells = registry.worker(worker).route("r");
            for _ in 0..3000 {
                // From well below the first bound to beyond the last, bounds themselves and their neighbours included.
                let total = match random.below(4) {
                    0 => (125_000u64 << random.below(20)) + random.below(3) as u64 - 1,
                    _ => (1000.0 * (20.0 * random.unit()).exp()) as u64,
                };
                samples.push(total);
                cells.record(&Record {
                    status: 200,
                    times: Times {
                        total,
                        ..Times::default()
                    },
                    ..Record::default()
                });
            }
        }
        let scraped = scrape(&registry);
        let of_route = |name: &str| -> Vec<&Sample> {
            let name = format!("plimsoll_request_duration_seconds{name}");
            scraped
                .iter()
                .filter(|sample| sample.name == name && sample.labels["outcome"] == "completed")
                .collect()
        };
        let buckets = of_route("_bucket");
        assert_eq!(buckets.len(), BOUNDS_MICROS.len() + 1);
        for bucket in &buckets {
            let bound: f64 = bucket.labels["le"].parse().unwrap();
            let exact = samples
                .iter()
                .filter(|nanos| **nanos as f64 / 1e9 <= bound)
                .count();
            assert_eq!(bucket.value, exact as f64, "le {}", bucket.labels["le"]);
        }
        assert_eq!(buckets.last().unwrap().labels["le"], "+Inf");
        assert_eq!(of_route("_count")[0].value, 6000.0);
        let sum = samples.iter().sum::<u64>() as f64 / 1e9;
        assert!((of_route("_sum")[0].value - sum).abs() < 1e-6);
    }

    #[test]
    fn quantiles_stand_under_a_name_of_their_own_when_there_are_enough_samples() {
        let registry = Registry::new(1, Labels::default(), Instant(0));
        let cells = registry.worker(0).route("r");
        for millis in 1..=300 {
            let times = Times {
                total: millis * 1_000_000,
                ..Times::default()
            };
            cells.record(&Record {
                status: 200,
                times,
                ..Record::default()
            });
        }
        let scraped = scrape(&registry);
        let quantiles: Vec<_> = scraped
            .iter()
            .filter(|sample| sample.name == "plimsoll_request_quantiles_seconds")
            .map(|sample| (sample.labels["quantile"].as_str(), sample.value))
            .collect();
        let [("0.5", median), ("0.95", p95)] = quantiles[..] else {
            panic!("{quantiles:?}")
        };
        assert!(
            (median - 0.150).abs() < 0.0015 && (p95 - 0.285).abs() < 0.00285,
            "{quantiles:?}"
        );
    }

    #[test]
    fn labels_of_any_text_survive_the_way_to_the_scraper() {
        let registry = Registry::new(
            1,
            Labels {
                errors: &["x"],
                refusals: &["bad_head"],
                reasons: &["policy"],
                decisions: &[],
                hedges: &[],
            },
            Instant(0),
        );
        let door = registry.worker(0);
        let name = "GET \"quoted\" \\back\nline {a=b,c} é";
        door.route(name).record(&Record {
            status: 502,
            error: Some("x"),
            ..Record::default()
        });
        door.endpoint("up", name).picks.add(3);
        door.listener("web").refused("bad_head");
        door.thread().panics.add(1);
        let scraped = scrape(&registry);
        let find = |metric: &str| scraped.iter().find(|sample| sample.name == metric).unwrap();
        assert_eq!(find("plimsoll_request_errors_total").labels["route"], name);
        assert_eq!(
            find("plimsoll_endpoint_picks_total").labels["endpoint"],
            name
        );
        assert_eq!(find("plimsoll_endpoint_picks_total").value, 3.0);
        assert_eq!(
            find("plimsoll_listener_refused_total").labels["reason"],
            "bad_head"
        );
        assert_eq!(find("plimsoll_worker_panics_total").value, 1.0);
        assert_eq!(find("plimsoll_uptime_seconds").value, 1.5);
    }
}
