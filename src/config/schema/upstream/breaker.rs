//! Keys of a breaker: of an upstream, and of a route.

use std::time::Duration;

use super::super::{HOUR, millis, seconds};
use crate::config::setting::{block, choice, with_default, written_as_map};
use crate::config::units::Share;

/// Declares a block with the keys that every breaker has, and before them `own` ones.
macro_rules! breaker {
    ($(#[doc = $doc:literal])* $name:ident { $($own:tt)* }) => {
        block! {
            $(#[doc = $doc])*
            pub struct $name {
                $($own)*
                /// It opens after so many failures in a row. Five, as with Envoy and Finagle: a lost
                /// connection or a restart alone does not open it, and what is gone is known before a
                /// second is over. Off: only rates open it.
                pub consecutive_failures: Option<u32> = Some(5), in Some(1)..=Some(1_000_000);
                /// It opens when this share of the attempts of `window` failed. Off, because how many
                /// failures are normal only their owner knows.
                pub failure_rate: Option<Share> = None, in Some(Share::percent(1))..=Some(Share::percent(100));
                /// An attempt whose response head takes longer is slow. Off: none is.
                pub slow_call: Option<Duration> = None, in Some(millis(1))..=Some(HOUR);
                /// It opens when this share of the attempts of `window` was slow. All of them, since to be
                /// slow is often better than to be refused.
                pub slow_rate: Share = Share::percent(100), in Share::percent(1)..=Share::percent(100);
                /// Attempts that `window` must hold before a rate says anything. Below about twenty one
                /// failure more or less moves the rate by more than 5%.
                pub min_samples: u32 = 20, in 1..=1_000_000;
                /// How far back a rate looks. Long enough for twenty samples at two requests a second,
                /// short enough to open within seconds under load.
                pub window: Duration = seconds(10), in seconds(1)..=seconds(600);
                /// How long it stays open before probes go through. Doubled each time that it opens again,
                /// up to `open_for_max`; it begins anew once it has been closed for that long.
                /// A second, because most failures are restarts, which are over soon.
                pub open_for: Duration = seconds(1), in millis(10)..=HOUR;
                /// What `open_for` grows to. Half a minute: probes are cheap, and an endpoint that is back
                /// is missed no longer than that.
                pub open_for_max: Duration = seconds(30), in millis(10)..=HOUR;
                /// By up to this share, by chance, each stay is shorter, so that many proxies do not probe
                /// at the same moment.
                pub jitter: Share = Share::percent(20), in Share::percent(0)..=Share::percent(100);
                /// When half-open: how many attempts go through at once, and how many must succeed for it to
                /// close. One that fails opens it again. One, because one tells enough of a restart.
                pub probes: u32 = 1, in 1..=1000;
                /// How long it takes after it has closed until all of the traffic goes through again, in
                /// proportion to the time. Five seconds, so that what is cold or was overloaded is not
                /// overrun at once. Off: all at once.
                pub ramp: Option<Duration> = Some(seconds(5)), in Some(millis(1))..=Some(HOUR);
                /// Whether 500 is a failure too, besides a connection that cannot be made or breaks, a
                /// timeout, 502, 503 and 504. Not by default: it mostly says that one request met a bug.
                pub count_500: bool = false;
            }
        }
    };
}

breaker! {
    /// Stops sending where too much fails. Closed, it lets all through; open, it refuses all, and
    /// no connection is made; half-open, it lets a few probes through, whose outcome closes it or
    /// opens it again.
    Breaker {
        /// `endpoint` or `upstream`. One for each endpoint by default, so that the others serve on. A
        /// panic that fails open (`panic`) overrides those, not one of the upstream.
        pub scope: BreakerScope = BreakerScope::Endpoint;
    }
}

breaker! {
    /// A breaker for the requests of one route, wherever they go.
    RouteBreaker {}
}

choice! {
    /// What one breaker is for.
    pub enum BreakerScope, "a scope" {
        /// Each endpoint has one. An open one is not picked.
        Endpoint = "endpoint",
        /// One for all endpoints together. While it is open every request is answered with 503, and
        /// in its ramp a share of them.
        Upstream = "upstream",
    }
}

written_as_map!(Breaker, RouteBreaker);
with_default!(Breaker, RouteBreaker);
