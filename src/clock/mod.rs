//! Time: the only caller of the system clock, the coarse timer wheel that every deadline of a worker shares, and the
//! wall time that log lines and `Date` show.

pub mod calendar;
pub mod wheel;

use std::time::Duration;

/// A point in time: nanoseconds since the process's clock began. Fits an atomic and a virtual clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Later than any real one.
    pub const FAR: Self = Self(u64::MAX);

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Reads the system's monotonic clock, optionally sped up so that tests of long timeouts are short.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: std::time::Instant,
    rate: u32,
}

impl Clock {
    /// A clock that starts now, at zero.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the system clock"
    )]
    pub fn system() -> Self {
        Self {
            origin: std::time::Instant::now(),
            rate: 1,
        }
    }

    /// A clock on which `rate` seconds pass in each real one.
    pub fn scaled(rate: u32) -> Self {
        Self {
            rate: rate.max(1),
            ..Self::system()
        }
    }

    /// The time now.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the system clock"
    )]
    pub fn now(&self) -> Instant {
        let real = std::time::Instant::now().saturating_duration_since(self.origin);
        let nanos = real.as_secs() * 1_000_000_000 + u64::from(real.subsec_nanos());
        Instant(nanos.saturating_mul(u64::from(self.rate)))
    }

    /// How long the system must sleep for `span` to pass on this clock.
    pub fn real(&self, span: Duration) -> Duration {
        span / self.rate
    }
}

/// The wall clock, for what people are shown and for certificates only; a worker asks its [`calendar::Calendar`].
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Microseconds of CLOCK_MONOTONIC, by which a service manager orders what it is told.
pub fn monotonic_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000
}
