//! Starting, watching, reloading and ending: the only folder that wires stages to each other.
//!
//! [`start()`] compiles, binds and spawns the workers. What then runs is a [`Running`], whose control loop
//! ([`Running::serve`]) keeps the tick, serves the admin API, obeys [`Command`]s and signals, and ends.

pub mod changes;
mod control;
pub mod diff;
mod doors;
pub mod drain;
pub mod findings;
pub mod fixed;
mod following;
pub mod handle;
mod memory;
mod ordered;
mod origin;
pub mod privileges;
pub mod reload;
mod signal;
pub mod start;
mod watching;

pub use changes::Changes;
pub use control::{Command, Commands, Ended, Options, Running, Say};
pub use handle::Handle;
pub use reload::ReloadError;
pub use start::{StartError, start, start_with};
