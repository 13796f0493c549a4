//! What makes an endpoint count less than its weight says.

use std::time::Duration;

use super::super::{DAY, millis, seconds};
use crate::config::setting::{block, with_default, written_as_map};
use crate::config::units::{Decimal, Share};

block! {
    /// How an endpoint begins that has become healthy.
    pub struct SlowStart {
        /// How long it takes until the endpoint counts in full. Half a minute to begin with; whether it
        /// is enough is seen in the latency of an endpoint that has just come.
        pub window: Duration = seconds(30), in millis(100)..=DAY;
        /// The shape of the way there. 1: in proportion to the time, as Envoy's. Above it begins
        /// fast (2: half of its weight after a quarter of the window), below it begins slowly
        /// (0.5: a quarter after half of it).
        pub aggression: Decimal = Decimal { thousandths: 1000 }, in Decimal { thousandths: 100 }..=Decimal { thousandths: 10_000 };
        /// The share of its weight that it has at least, so that it is warmed at all. As Envoy's.
        pub min_weight: Share = Share::percent(10), in Share::percent(1)..=Share::percent(100);
    }
}

block! {
    /// How much less an endpoint counts that fails.
    pub struct FailurePenalty {
        /// Attempts of this time back count. Long enough for a rare failure to weigh little, short
        /// enough for an endpoint to be back soon after its failures end.
        pub window: Duration = seconds(10), in seconds(1)..=seconds(600);
    }
}

written_as_map!(SlowStart, FailurePenalty);
with_default!(SlowStart, FailurePenalty);
