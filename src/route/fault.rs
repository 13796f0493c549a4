//! Faults that a route injects on purpose: which of them a request meets, and how fast a body may then be passed on.

use std::time::Duration;

use super::Headers;
use super::error::Faults;
use super::fields::field_name;
use super::matcher::{ValueTest, each};
use crate::clock::Instant;
use crate::config::{self, Distribution};
use crate::entropy::Random;
use crate::entropy::latency::Latency;

/// What a route injects.
#[derive(Debug)]
pub struct Injection {
    /// All must hold.
    only: Box<[ValueTest]>,
    delay: Option<Delay>,
    abort: Option<Abort>,
    /// Bytes per second of each answer.
    bandwidth: Option<u64>,
    /// The same in one line, for whoever looks.
    pub text: Box<str>,
}

#[derive(Debug)]
struct Delay {
    latency: Latency,
    /// 0 to 1.
    share: f64,
    max: Duration,
}

#[derive(Debug)]
struct Abort {
    status: u16,
    /// 0 to 1.
    share: f64,
}

/// What one request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Injected {
    /// It waits so long before all else.
    pub delay: Option<Duration>,
    /// It is then answered with this status.
    pub abort: Option<u16>,
    /// Its answer is passed on with so many bytes per second.
    pub bandwidth: Option<u64>,
}

impl Injection {
    /// `None` when a fault was noted.
    pub(super) fn compile(written: &config::Fault, faults: &mut Faults<'_>) -> Option<Self> {
        let key = "fault.only_with_header";
        let only = each(faults, &written.only_with_header, key, |(name, value)| {
            ValueTest::compile(field_name(name)?, value)
        });
        Some(Self {
            only: only?,
            delay: written.delay.as_ref().map(|delay| Delay {
                latency: latency(&delay.distribution),
                share: delay.share.fraction(),
                max: delay.max,
            }),
            abort: written.abort.as_ref().map(|abort| Abort {
                status: abort.status,
                share: abort.share.fraction(),
            }),
            bandwidth: written.bandwidth,
            text: written.to_string().into(),
        })
    }

    /// Draws what a request with these fields meets. Delay and abort are drawn apart.
    pub fn decide(&self, headers: &dyn Headers, random: &mut Random) -> Injected {
        if !self.only.iter().all(|test| test.holds_in(headers)) {
            return Injected::default();
        }
        let delay = self.delay.as_ref().filter(|one| random.unit() < one.share);
        let delay = delay.map(|one| one.latency.sample(random).min(one.max));
        let abort = self.abort.as_ref().filter(|one| random.unit() < one.share);
        let abort = abort.map(|one| one.status);
        Injected {
            delay,
            abort,
            bandwidth: self.bandwidth.filter(|_| abort.is_none()),
        }
    }
}

fn latency(written: &Distribution) -> Latency {
    match written {
        Distribution::Constant(span) => Latency::Constant(*span),
        Distribution::Exponential(mean) => Latency::Exponential(*mean),
        Distribution::Lognormal(one) => Latency::lognormal(one.median, one.p99),
        Distribution::Pareto(one) => Latency::pareto(one.minimum, one.p99),
        Distribution::Bimodal(one) => Latency::Bimodal {
            usual: one.usual,
            share: 1.0 - one.share.fraction(),
            rare: one.rare,
        },
    }
}

/// How far a body may have come that is passed on with so many bytes per second.
///
/// What it was held up by others is not made good by a burst, beyond `BURST`.
#[derive(Debug)]
pub struct Bandwidth {
    per_second: f64,
    /// Bytes that may have been passed on at `at`.
    allowed: f64,
    at: Instant,
}

/// How much of its time a body may catch up.
const BURST: Duration = Duration::from_millis(100);
/// How often a body goes on: seldom enough to cost little, often enough to look like a slow line.
const STEP: Duration = Duration::from_millis(20);

impl Bandwidth {
    /// A body begins now.
    pub fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1) as f64,
            allowed: 0.0,
            at: now,
        }
    }

    /// How many bytes may have been passed on by now, of which `moved` have been.
    pub fn allow(&mut self, now: Instant, moved: u64) -> u64 {
        let grown = self.allowed + self.per_second * now.since(self.at).as_secs_f64();
        let most = moved as f64 + (self.per_second * BURST.as_secs_f64()).max(1.0);
        self.allowed = grown.min(most);
        self.at = now;
        self.allowed as u64
    }

    /// When a body that may not go on will be allowed its next step, a byte at least.
    pub fn next(&self, moved: u64) -> Instant {
        let step = (self.per_second * STEP.as_secs_f64()).max(1.0);
        let owed = (moved as f64 + step - self.allowed).max(0.0);
        self.at + Duration::from_secs_f64(owed / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::from_text;

    /// Header fields of a test.
    struct Fields(&'static [(&'static str, &'static [u8])]);

    impl Headers for Fields {
        fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            let mut named = self.0.iter().filter(|(known, _)| *known == name);
            named.any(|(_, value)| test(value))
        }
    }

    fn fault(keys: &str) -> Injection {
        let text = format!(
            "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
             routes: [{{ upstream: a, fault: {{ {keys} }} }}]\n\
             upstreams: {{ a: {{ endpoints: ['127.0.0.1:1'] }} }}\n"
        );
        let loaded = from_text("f.yaml", &text, &|_| None).unwrap_or_else(|no| panic!("{no}"));
        let written = loaded.config.routes[0].fault.clone().unwrap();
        let mut errors = Vec::new();
        Injection::compile(&written, &mut Faults::of(0, &mut errors)).unwrap()
    }

    #[test]
    fn shares_are_drawn_apart() {
        let fault = fault(
            "delay: { distribution: 100ms, share: 50% }, abort: { status: 502, share: 10% }, bandwidth: 1KiB/s",
        );
        let mut random = Random::seeded(3);
        let drawn: Vec<_> = (0..100_000)
            .map(|_| fault.decide(&Fields(&[]), &mut random))
            .collect();
        let count = |test: &dyn Fn(&Injected) -> bool| drawn.iter().filter(|one| test(one)).count();
        let delayed = count(&|one| one.delay == Some(Duration::from_millis(100)));
        let aborted = count(&|one| one.abort == Some(502));
        let both = count(&|one| one.delay.is_some() && one.abort.is_some());
        // Five standard deviations of a binomial.
        assert!((49_200..=50_800).contains(&delayed), "{delayed}");
        assert!((9_520..=10_480).contains(&aborted), "{aborted}");
        assert!((4_650..=5_350).contains(&both), "{both}");
        // An aborted request has no answer to slow down.
        assert_eq!(count(&|one| one.bandwidth == Some(1024)), 100_000 - aborted);
    }

    #[test]
    fn who_does_not_ask_for_a_fault_meets_none() {
        let fault =
            fault("only_with_header: { X-Fault: '1', X-Team: { present: true } }, abort: {}");
        let mut random = Random::seeded(1);
        let mut meets = |fields| fault.decide(&Fields(fields), &mut random).abort.is_some();
        assert!(!meets(&[]));
        assert!(!meets(&[("x-fault", b"1")]));
        assert!(!meets(&[("x-fault", b"2"), ("x-team", b"a")]));
        assert!(meets(&[("x-fault", b"1"), ("x-team", b"a")]));
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        let fault =
            fault("delay: { distribution: { pareto: { minimum: 10ms, p99: 10s } }, max: 50ms }");
        let mut random = Random::seeded(5);
        let drawn = (0..1000).map(|_| fault.decide(&Fields(&[]), &mut random).delay.unwrap());
        let (shortest, longest) = drawn
            .fold((Duration::MAX, Duration::ZERO), |(low, high), one| {
                (low.min(one), high.max(one))
            });
        let millis = Duration::from_millis;
        assert!(
            shortest >= millis(10) && shortest < millis(12),
            "{shortest:?}"
        );
        assert_eq!(longest, millis(50));
    }

    #[test]
    fn a_body_is_passed_on_at_its_rate_and_no_faster() {
        let mut bandwidth = Bandwidth::new(1000, Instant(0));
        let (mut now, mut moved, mut steps) = (Instant(0), 0, 0);
        while now < Instant(10_000_000_000) {
            moved = bandwidth.allow(now, moved).max(moved);
            let next = bandwidth.next(moved);
            assert!(next > now, "it would turn without an end");
            now = next;
            steps += 1;
        }
        assert!((9_900..=10_000).contains(&moved), "{moved}");
        assert!((400..=520).contains(&steps), "{steps}");
    }

    #[test]
    fn what_others_held_up_is_not_made_good_by_a_burst() {
        let mut bandwidth = Bandwidth::new(1000, Instant(0));
        let minute = Instant(60_000_000_000);
        assert_eq!(bandwidth.allow(minute, 0), 100);
        assert_eq!(bandwidth.allow(minute, 100), 100);
    }

    #[test]
    fn a_byte_a_second_goes_on_too() {
        let mut bandwidth = Bandwidth::new(1, Instant(0));
        assert_eq!(bandwidth.allow(Instant(0), 0), 0);
        assert_eq!(bandwidth.next(0), Instant(1_000_000_000));
        assert_eq!(bandwidth.allow(Instant(1_000_000_000), 0), 1);
    }
}
