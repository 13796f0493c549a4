//! May this client enter?

pub mod auth;
