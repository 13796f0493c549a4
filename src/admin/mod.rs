//! How does an operator look and touch? A listener of its own that answers whether the process lives and is ready, what it
//! counts, and how every route and endpoint fares. It changes nothing itself: what is ordered there is sent to the control
//! loop ([`command`]).
//!
//! - [`Live`] is the running process as it is seen from here; `lifecycle` builds it and keeps it up to date.
//! - [`auth`] judges who may ask; [`server`] accepts, [`api`] maps a path to an answer; [`readiness`], [`status`], [`scrape`], [`signals`],
//!   [`decisions`] and [`events`] make the answers.

pub mod api;
pub mod auth;
pub mod command;
pub mod credentials;
pub mod decisions;
pub mod events;
mod limits;
pub mod live;
pub mod memory;
pub mod readiness;
pub mod scrape;
pub mod server;
pub mod signals;
pub mod status;
pub mod swaps;

pub use live::{Bound, Cause, Live, OlderGeneration, Reload, Reloads};
pub use readiness::Reason;
pub use status::Status;
