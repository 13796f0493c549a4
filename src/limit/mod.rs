//! May this client enter?

pub mod rate;
pub mod table;
