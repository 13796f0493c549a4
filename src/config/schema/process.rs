//! Keys of the process as a whole: its memory.

use super::super::quantities::Size;
use super::super::setting::{block, with_default, written_as_map};
use super::super::units::Share;

block! {
    /// What happens before memory runs out. Above `shed_at` no connection is accepted (clients wait in
    /// the system's queue), readiness turns negative, and connections that rest for a second or two are closed,
    /// those of clients and those to endpoints, and so are those that stop within a head; below `resume_at` all
    /// is as before. What runs goes on, until half of what `shed_at` leaves below the limit is used too: then
    /// connections are cut whatever they do, those first that hold the most, because the kernel would
    /// end them all. Nobody is kept out for nothing: when for 5 s no client is connected, or for a minute the
    /// same number is, and memory is still short, connections are accepted again, and an event says so.
    pub struct Memory {
        /// What this process may use, against its resident memory. Off: the limit of its control group
        /// (version 2), against what that group uses without file caches that can be dropped; where
        /// it has none, nothing is watched, because the memory of a machine says nothing of what is
        /// left of it for others.
        pub limit: Option<u64> as Option<Size> = None, in Some(1 << 20)..=Some(1 << 50);
        /// The share of the limit above which is shed. 90 % leaves what is under way room to end in.
        pub shed_at: Share = Share::percent(90), in Share::percent(1)..=Share::percent(100);
        /// The share of the limit below which all is as before. Below `shed_at`, so that one
        /// connection more or less does not turn it on and off.
        pub resume_at: Share = Share::percent(85), in Share::percent(1)..=Share::percent(100);
    }
}

written_as_map!(Memory);
with_default!(Memory);
