//! How long, and again? What the tries of one request shall be, decided without touching a socket.
//!
//! - [`Plan`] is the state machine of one request: it is told what happened ([`Event`]) and says what
//!   to do next ([`Action`]). Whoever carries the actions out, the proxy on sockets or a simulator on
//!   a virtual clock, is told when to come back by [`Plan::deadline`].
//! - [`Deadlines`] knows which timeout ends next, and which one it was that did.
//! - [`Pace`] tells a client that keeps up from one that drips.
//! - [`retry`] holds the rules for sending a request again, [`Backoff`] says after what pause, [`Budget`] what share of
//!   an upstream's traffic that may be.
//! - [`hedge`] says when to try in parallel.
//! - [`idempotency`] keeps the results of requests with a key for those who repeat them.
//! - [`Tried`] is the set of endpoints that a request has been to.
//!
//! Not here: which endpoint (`balance`), and how an outcome is answered (`proxy::error`).

mod backoff;
pub mod budget;
mod deadline;
mod event;
pub mod hedge;
pub mod idempotency;
mod pace;
mod plan;
pub mod retry;
mod tried;

pub use backoff::Backoff;
pub use budget::Budget;
pub use deadline::{Deadlines, Timeout};
pub use event::{Action, ConnectFailure, Death, Event, Failure, Keep, Refusal};
pub use pace::Pace;
pub use plan::Plan;
pub use tried::Tried;

#[cfg(test)]
mod tests;
