//! Keys of outlier detection.

use std::time::Duration;

use super::super::{HOUR, millis, seconds};
use crate::config::setting::{block, with_default, written_as_map};
use crate::config::units::{Decimal, Share};

block! {
    /// Takes endpoints out for a time that are worse than their peers, the endpoints of the same
    /// priority and zone. What befalls most of them alike takes nobody out: that is for the
    /// breaker, which compares with nobody.
    pub struct Outlier {
        /// An endpoint goes after so many gateway failures in a row (no connection, one that broke, a
        /// timeout, 502, 503, 504) while fewer than half of its peers have as many. Off, since the
        /// breaker opens on the same; for those who switch the breaker off. As Envoy's it is 5 where
        /// it is used.
        pub consecutive_gateway_failures: Option<u32> = None, in Some(1)..=Some(1_000_000);
        /// An endpoint goes when its failures, all of 5xx among them, are this much more of its
        /// attempts than the median of its peers': with 30%, one that fails 35% of the time among
        /// peers that fail 2%. A plain difference, because the rule by standard deviations (Envoy's
        /// success rate, 1.9) can strike nobody among four or fewer: no one of n values is further
        /// than sqrt(n - 1) of them from the mean.
        pub failure_rate: Option<Share> = Some(Share::percent(30)), in Some(Share::percent(1))..=Some(Share::percent(100));
        /// An endpoint goes when its answers take more than so many times the median of its peers',
        /// each endpoint by its geometric mean, which single slow answers hardly move. Off, because
        /// endpoints may differ by design, and policies that look at load or latency send less to a
        /// slow one anyway; 3 where it is used.
        pub latency: Option<Decimal> = None, in Some(Decimal { thousandths: 1100 })..=Some(Decimal { thousandths: 1_000_000 });
        /// Attempts that an endpoint must have had in `interval` to be compared at all.
        pub min_samples: u32 = 20, in 1..=1_000_000;
        /// Endpoints with so many samples that there must be. Two, since of two the worse one can be
        /// told; with more the median of the others is worth more.
        pub min_endpoints: usize = 2, in 2..=1000;
        /// How often they are compared, by what they did since. Long enough for samples to come.
        pub interval: Duration = seconds(10), in millis(100)..=HOUR;
        /// So many endpoints of each priority and zone stay, whatever they do. A number, since a
        /// share of a few endpoints rounds to none or all.
        pub keep: usize = 1, in 1..=100_000;
        /// How long an endpoint stays out, times how often it was taken out; it counts once less for
        /// each such time that it is not. Half a minute as Envoy's.
        pub eject_for: Duration = seconds(30), in millis(10)..=HOUR;
        /// What `eject_for` grows to. Five minutes as Envoy's.
        pub eject_for_max: Duration = seconds(300), in millis(10)..=seconds(24 * 3600);
        /// By up to this share, by chance, each stay is shorter, so that many proxies do not send to
        /// it again at the same moment.
        pub jitter: Share = Share::percent(10), in Share::percent(0)..=Share::percent(100);
    }
}

written_as_map!(Outlier);
with_default!(Outlier);
