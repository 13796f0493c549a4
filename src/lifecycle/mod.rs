//! Starting, reloading and ending: the only folder that wires stages to each other.

pub mod start;

pub use start::{Running, StartError, start};
