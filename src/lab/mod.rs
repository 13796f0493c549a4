//! How does it behave?  Synthetic backends to stand behind the proxy and open-loop load to put before it.
//!
//! - [`backend`]: the one fake upstream of all tests, of the benches and of `plimsoll backend`.
//! - [`distribution`]: latencies and failures drawn from named distributions (pure).
//! - [`schedule`]: when each request of a load is due, whatever the answers do (pure).
//! - [`generator`]: sends such a schedule and measures from the time at which each request was due.
//! - [`experiment`]: one slow endpoint among several, under each policy in turn.
//! - [`metastable`]: an overload that outlives its cause, and what ends it.
//! - [`isolation`]: one slow upstream beside another.
//! - `stage`: a proxy for an experiment, from YAML.

pub mod backend;
pub mod distribution;
pub mod experiment;
pub mod generator;
pub mod isolation;
pub mod metastable;
pub mod schedule;
mod stage;
