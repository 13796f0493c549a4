//! Faults that a route injects on purpose, to see in staging what becomes of them.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::kinds::Fields;
use super::super::quantities::SizePerSecond;
use super::super::setting::{Block as _, Book, Setting, block, with_default, written_as_map};
use super::super::tree::{Node, Value};
use super::super::units::{Share, format_duration, format_size};
use super::matcher::{ValueMatch, one_key, one_of, single};
use super::{HOUR, seconds};

/// The shortest time that can be asked for: of nothing no multiple can be drawn.
const MICROSECOND: Duration = Duration::from_micros(1);
const ALL: Share = Share::percent(100);
const SOME: Share = Share { millionths: 1 };

block! {
    /// Faults that are injected on purpose, before an endpoint is chosen. For staging: `check`
    /// warns of each. A request may meet several: it waits, then it is aborted or goes on.
    pub struct Fault {
        /// Only requests with these header fields, as in `match`; so a tester asks for a fault that
        /// others do not meet. Empty: every request of the route.
        pub only_with_header: Vec<(String, ValueMatch)> as Fields<ValueMatch> = Vec::new();
        /// Waits before anything is sent to an endpoint. The wait counts into the `total` of the
        /// upstream, which ends it. Off.
        pub delay: Option<FaultDelay> = None;
        /// Answers with an error, and no endpoint is asked. Off.
        pub abort: Option<FaultAbort> = None;
        /// Passes the bodies of answers on no faster than this, each by itself. Off.
        pub bandwidth: Option<u64> as Option<SizePerSecond> = None, in Some(1)..=Some(1 << 40);
    }
}

block! {
    /// A wait that is injected.
    pub struct FaultDelay {
        /// How long: `{ constant: 100ms }` or `100ms`, `{ exponential: 20ms }` by its mean,
        /// `{ lognormal: { median: 20ms, p99: 200ms } }`, `{ pareto: { minimum: 20ms, p99: 2s } }`
        /// for a heavier tail, or `{ bimodal: { usual: 5ms, rare: 1s, share: 1% } }`.
        pub distribution: Distribution;
        /// The share of requests that wait. All, since a distribution with a tail spares most
        /// requests anyway.
        pub share: Share = ALL, in SOME..=ALL;
        /// The longest wait: what is drawn beyond it is cut to it, since a tail has no end. Below
        /// the 30 s of `total`, so that by default no wait alone ends a request.
        pub max: Duration = seconds(10), in MICROSECOND..=HOUR;
    }
}

block! {
    /// An error that is injected.
    pub struct FaultAbort {
        /// The status of the answer. 503, which clients may retry.
        pub status: u16 = 503, in 400..=599;
        /// The share of requests that are aborted. All, to be narrowed by `only_with_header`.
        pub share: Share = ALL, in SOME..=ALL;
    }
}

/// How long a wait is, by chance.
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Constant(Duration),
    /// Memoryless, with this mean.
    Exponential(Duration),
    Lognormal(Lognormal),
    Pareto(Pareto),
    Bimodal(Bimodal),
}

block! {
    /// Most times near the median, a tail that grows with the distance of the p99.
    pub struct Lognormal {
        /// Half of the times are shorter.
        pub median: Duration as Span;
        /// One in a hundred is longer.
        pub p99: Duration as Span;
    }
}

block! {
    /// Most times near the minimum, and a heavy tail.
    pub struct Pareto {
        /// No time is shorter.
        pub minimum: Duration as Span;
        /// One in a hundred is longer.
        pub p99: Duration as Span;
    }
}

block! {
    /// One of two times.
    pub struct Bimodal {
        /// Most of the time.
        pub usual: Duration as Span;
        /// Now and then.
        pub rare: Duration as Span;
        /// How often it is the rare one. Once in a hundred, which is where a p99 begins to see it.
        pub share: Share = Share::percent(1), in SOME..=ALL;
    }
}

/// A time that is drawn, from a microsecond to an hour.
pub(crate) struct Span;

impl Setting<Duration> for Span {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Duration> {
        let span = Duration::read(node, reader)?;
        if !(MICROSECOND..=HOUR).contains(&span) {
            reader.error(node, "out of range; from 1us to 1h");
        }
        Some(span)
    }
    fn write(value: &Duration) -> Yaml {
        Duration::write(value)
    }
    fn shape(book: &mut Book) -> Json {
        Duration::shape(book)
    }
}

const KINDS: [&str; 5] = ["constant", "exponential", "lognormal", "pareto", "bimodal"];

impl Distribution {
    /// A tail is longer than what it is the tail of.
    fn check(low: Duration, p99: Duration, what: &str, node: &Node, reader: &mut Reader<'_>) {
        if p99 < low {
            let message = format!("the p99 is below the {what}");
            reader.error_with_help(node, message, "one in a hundred is longer than `p99`");
        }
    }
}

/// A time, or a map with one key.
impl Setting for Distribution {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            return Span::read(node, reader).map(Self::Constant);
        };
        let (key, value) = one_of(node, reader, &KINDS)?;
        reader.under(key, |reader| match key {
            "constant" => Span::read(value, reader).map(Self::Constant),
            "exponential" => Span::read(value, reader).map(Self::Exponential),
            "lognormal" => {
                let read = Lognormal::read_block(value, reader)?;
                Self::check(read.median, read.p99, "median", value, reader);
                Some(Self::Lognormal(read))
            }
            "pareto" => {
                let read = Pareto::read_block(value, reader)?;
                Self::check(read.minimum, read.p99, "minimum", value, reader);
                Some(Self::Pareto(read))
            }
            _ => Bimodal::read_block(value, reader).map(Self::Bimodal),
        })
    }
    fn write(value: &Self) -> Yaml {
        match value {
            Self::Constant(span) => single("constant", Duration::write(span)),
            Self::Exponential(mean) => single("exponential", Duration::write(mean)),
            Self::Lognormal(block) => single("lognormal", block.write_block()),
            Self::Pareto(block) => single("pareto", block.write_block()),
            Self::Bimodal(block) => single("bimodal", block.write_block()),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let span = Span::shape(book);
        let (lognormal, pareto) = (book.refer::<Lognormal>(), book.refer::<Pareto>());
        let bimodal = book.refer::<Bimodal>();
        let kinds = [&span, &span, &lognormal, &pareto, &bimodal];
        let keys: Vec<(&str, &Json)> = KINDS.into_iter().zip(kinds).collect();
        json!({ "anyOf": [span, one_key(&keys)] })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = format_duration;
        match self {
            Self::Constant(span) => write!(out, "{}", time(*span)),
            Self::Exponential(mean) => write!(out, "{} in the mean", time(*mean)),
            Self::Lognormal(Lognormal { median, p99 }) => {
                write!(out, "{} in the median, p99 {}", time(*median), time(*p99))
            }
            Self::Pareto(Pareto { minimum, p99 }) => {
                write!(out, "{} at least, p99 {}", time(*minimum), time(*p99))
            }
            Self::Bimodal(Bimodal { usual, rare, share }) => {
                write!(out, "{}, {share} {}", time(*usual), time(*rare))
            }
        }
    }
}

/// What is injected in one line: `delay of 100ms to 50%, abort with 503 to 10%, 64KiB/s`.
impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delay = self.delay.as_ref().map(|delay| {
            let FaultDelay {
                distribution,
                share,
                ..
            } = delay;
            format!("delay of {distribution} to {share}")
        });
        let abort = self.abort.as_ref().map(|abort| {
            let FaultAbort { status, share } = abort;
            format!("abort with {status} to {share}")
        });
        let bandwidth = self
            .bandwidth
            .map(|bytes| format!("{}/s", format_size(bytes)));
        let parts: Vec<String> = [delay, abort, bandwidth].into_iter().flatten().collect();
        out.write_str(&parts.join(", "))?;
        if self.only_with_header.is_empty() {
            return Ok(());
        }
        let names = self.only_with_header.iter().map(|(name, _)| name.as_str());
        write!(out, ", by {}", names.collect::<Vec<_>>().join(" and "))
    }
}

written_as_map!(Fault, FaultDelay, FaultAbort);
with_default!(Fault, FaultAbort);
