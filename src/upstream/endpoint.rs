//! One address of an upstream and its live numbers.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::connect::Target;

/// Attempts at an endpoint that have not ended. Shared by all workers; one of the few numbers that are.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

impl InFlight {
    /// Takes a slot unless `cap` are taken. Whoever got one owes a `release`.
    pub fn reserve(&self, cap: u32) -> bool {
        if cap == u32::MAX {
            self.0.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < cap).then_some(taken + 1)
            })
            .is_ok()
    }

    /// Gives a slot back.
    pub fn release(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Slots taken now.
    pub fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One address of an upstream. Lives as long as its identity (upstream, id) is configured.
#[derive(Debug)]
pub struct Endpoint {
    pub upstream: String,
    pub id: String,
    /// The address as written: what `host: endpoint` puts into `Host`.
    pub authority: String,
    pub target: Target,
    pub in_flight: InFlight,
    /// Connections open to it, idle ones included.
    pub open: AtomicUsize,
}

impl Endpoint {
    /// An endpoint that nothing is known of yet.
    pub fn new(upstream: &str, id: &str, authority: &str, target: Target) -> Self {
        Self {
            upstream: upstream.to_owned(),
            id: id.to_owned(),
            authority: authority.to_owned(),
            target,
            in_flight: InFlight::default(),
            open: AtomicUsize::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::InFlight;

    #[test]
    fn a_cap_is_never_exceeded() {
        let in_flight = InFlight::default();
        assert!(in_flight.reserve(2) && in_flight.reserve(2) && !in_flight.reserve(2));
        in_flight.release();
        assert!(in_flight.reserve(2));
        assert_eq!(in_flight.load(), 2);
    }
}
