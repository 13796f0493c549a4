//! How many attempts at once, and who waits for a place.

use std::time::Duration;

use super::super::{DAY, millis, seconds};
use crate::config::setting::{block, choice, with_default, written_as_map};
use crate::config::units::Decimal;

block! {
    /// How many attempts may be under way at once, and how the others wait. An attempt counts from its pick to the end
    /// of its body or tunnel, not while its request waits to be tried again.
    pub struct Bulkhead {
        /// Attempts at once at all endpoints together, counted for the whole process. 1024 as in Envoy: far above
        /// what a healthy upstream has in flight (1000 requests a second that take 50 ms each are 50), and
        /// few enough that one which hangs does not hold the sockets and the memory of all others.
        pub max_in_flight: usize = 1024, in 1..=1_000_000;
        /// Attempts at once at each endpoint, fewer while it is in slow start. An endpoint that has so many is picked
        /// no more until one ends. A quarter of `max_in_flight`, so that one endpoint that hangs leaves places for
        /// the others.
        pub per_endpoint: usize = 256, in 1..=1_000_000;
        /// Requests that may wait for a place; what comes when so many do is answered with 503 at once,
        /// unless one of a lower priority waits, which then is. 0: none waits. As many as may be in
        /// flight. Best less than what the upstream can answer within `queue_timeout`: what stands further
        /// back waits in vain.
        pub queue: usize = 1024, in 0..=1_000_000;
        /// How long one may wait for a place, all its attempts together; `total` ends it before if
        /// that is less. A second: longer than a burst, shorter than the patience of a person.
        pub queue_timeout: Duration = seconds(1), in millis(1)..=DAY;
        /// Who of one priority is next. A queue that does not become empty is too long for all who wait in it,
        /// and then it is better to serve some in time than everybody too late.
        pub order: QueueOrder = QueueOrder::Adaptive;
        /// When a queue stands, for `order: adaptive`.
        pub standing: StandingQueue = StandingQueue::default();
        /// What is refused when this proxy itself cannot keep up.
        pub shed: Shedding = Shedding::default();
        /// Finds out how many attempts at once are good for the upstream, by what they do to its latency; what it
        /// finds takes the place of `max_in_flight`. Off, because it needs steady traffic to go by, and a number
        /// that somebody chose is easier to understand.
        pub adaptive: Option<AdaptiveLimit> = None;
    }
}

choice! {
    /// Who of those that wait is next.
    pub enum QueueOrder, "an order" {
        /// Who has waited longest.
        Fifo = "fifo",
        /// Who came last.
        Lifo = "lifo",
        /// Who has waited longest; who came last while the queue stands, when also what has waited
        /// for longer than `standing.timeout` is given up (Facebook's adaptive LIFO and CoDel,
        /// "Fail at Scale", ACM Queue 2015).
        Adaptive = "adaptive",
    }
}

block! {
    /// A queue that is not a burst but an overload.
    pub struct StandingQueue {
        /// It stands when it was not empty for so long. As published.
        pub after: Duration = millis(100), in millis(1)..=DAY;
        /// How long one may wait while it stands. Facebook's is 5 ms, within a data centre and for services that
        /// answer in as much; a proxy does not know how long its upstream takes, and a burst that is worked
        /// off in a quarter of a second is worth waiting for.
        pub timeout: Duration = millis(250), in millis(1)..=DAY;
    }
}

block! {
    /// What is refused when the worker that took a request runs late, the lowest priority first. What is of high
    /// priority never is.
    pub struct Shedding {
        /// Requests of low priority, when the worker came to a timer of its own this late, twice in a row within 100 ms. A worker that keeps
        /// up is late by a millisecond or two; a tenth of a second is what a person begins to notice.
        pub low: Option<Duration> = Some(millis(100)), in Some(millis(1))..=Some(DAY);
        /// Those of normal priority. Off, because that is nearly everything, and a machine that stands still
        /// for a moment must not refuse it all.
        pub normal: Option<Duration> = None, in Some(millis(1))..=Some(DAY);
    }
}

block! {
    /// A limit that follows the latency of the upstream. Every 100 ms in which ten attempts were answered it is moved by
    /// the mean of their latencies; it does not grow while less than half of it is used, and never shrinks
    /// in order to measure.
    pub struct AdaptiveLimit {
        /// The rule.
        pub algorithm: LimitAlgorithm = LimitAlgorithm::Gradient2;
        /// Never less. As published for Gradient2: with fewer the mean of a few answers decides.
        pub min: usize = 20, in 1..=1_000_000;
        /// Never more. As `max_in_flight`, so that switching this on takes nothing away.
        pub max: usize = 1024, in 1..=1_000_000;
        /// To begin with. As published; it grows within seconds.
        pub initial: usize = 20, in 1..=1_000_000;
        /// For `gradient2`: how many times its long mean a latency may be before the limit shrinks. As published: half as
        /// long again is no queue yet.
        pub tolerance: Decimal = Decimal { thousandths: 1500 }, in Decimal { thousandths: 1000 }..=Decimal { thousandths: 10_000 };
    }
}

choice! {
    /// The rule by which a limit is moved.
    pub enum LimitAlgorithm, "an algorithm" {
        /// Netflix's Gradient2: shrinks by as much as the latency exceeds `tolerance` times its long
        /// mean (600 windows, a minute of steady traffic), at most by half. For latencies that vary. Unlike the
        /// original, the mean does not follow what is slow because of the limit, so that an overload which
        /// lasts is not taken for the usual.
        Gradient2 = "gradient2",
        /// Netflix's Vegas, after TCP's: keeps the queue, as told from the least latency seen, between 3·log10 and
        /// 6·log10 of the limit. For latencies that do not vary; it settles lower.
        Vegas = "vegas",
    }
}

written_as_map!(Bulkhead, StandingQueue, Shedding, AdaptiveLimit);
with_default!(Bulkhead, StandingQueue, Shedding, AdaptiveLimit);
