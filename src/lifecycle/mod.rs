//! Starting, watching, reloading and ending: the only folder that wires stages to each other.
//!
//! [`start()`] compiles, binds and spawns the workers. What then runs is a [`Running`], whose control loop
//! ([`Running::serve`]) keeps the tick, serves the admin API, obeys [`Command`]s and signals, and ends.

pub mod between;
pub mod changes;
mod control;
mod course;
mod cut;
pub mod diff;
mod doors;
pub mod drain;
mod ending;
pub mod findings;
pub mod fixed;
mod following;
pub mod handle;
mod handover;
pub mod inherited;
mod memory;
mod needed;
pub mod notify;
mod ordered;
mod origin;
mod orphans;
pub mod predecessor;
pub mod privileges;
pub mod reload;
mod renewal;
mod signal;
pub mod start;
mod succession;
mod upgrade;
mod watching;

pub use changes::Changes;
pub use control::{Command, Commands, Ended, Options, Running, Say};
pub use handle::Handle;
pub use inherited::Inherited;
pub use notify::Notify;
pub use predecessor::Predecessor;
pub use reload::ReloadError;
pub use start::{StartError, start, start_from, start_with};
