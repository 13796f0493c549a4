//! What happened? Counters and exact percentiles by route, endpoint and listener, their exposition, and the access log.
//!
//! - A worker takes its [`Door`] to the [`Registry`] and, when a snapshot is installed, the cells of every object in it:
//!   plain memory of its own, keyed by identity, so that a reload keeps numbers.
//! - The proxy fills one [`Record`] per exchange and one [`Attempt`] per attempt, when they are dropped, and hands them
//!   to the cells and to the worker's [`access_log::WorkerLog`].
//! - The control thread calls [`Registry::fold`] from its tick; readers ask for a [`Report`] over a [`Window`], or have
//!   [`prometheus::expose`] write everything down.
//!
//! Merging adds counts; percentiles are computed from merged counts and never averaged.

pub mod access_log;
pub mod amplification;
pub mod console;
pub mod counter;
pub mod decision;
pub mod distribution;
pub mod event;
pub mod histogram;
pub mod imbalance;
pub mod metrics;
pub mod names;
pub mod prometheus;
pub mod reading;
pub mod recent;
pub mod record;
pub mod registry;
pub mod window;

pub use amplification::Amplification;
pub use distribution::{Distribution, Summary};
pub use imbalance::{Imbalance, Part};
pub use metrics::{EndpointCells, Labels, ListenerCells, RouteCells, UpstreamCells, WorkerCells};
pub use names::Metric;
pub use reading::{Picks, Reading, Report};
pub use record::{
    Attempt, AttemptKind, AttemptOutcome, FaultsMet, Outcome, Phase, Protocol, Record, Times,
};
pub use registry::{Door, Registry};
pub use window::Window;
