//! May this client enter?
//!
//! A [`Limiter`] tells clients apart by a [`Key`](key::Key) and allows each so much: requests in a time ([`Rate`]),
//! requests at once ([`concurrency`]), bytes in a time ([`Bandwidth`]). The counting stands behind the few methods of
//! `known.rs`: what is known of a key is one number in a [`Table`](table::Table) that all workers share, so that a limit
//! holds exactly, whichever worker a client comes to.
//! Those of a listener or a route are [`Attached`] to it and asked together; a [`Registry`] keeps what is known over
//! reloads. That one refuses is told as an event, at most once in ten seconds for each. Who a client is, by what it shows, is found out in [`auth`].
//!
//! Nothing here reads a clock or knows HTTP. Refusing and slowing down is done in `proxy::limited`.

mod attached;
pub mod auth;
pub mod bandwidth;
pub mod concurrency;
mod counts;
mod fields;
pub mod key;
mod known;
mod limiter;
mod notice;
mod rate;
mod registry;
mod shown;
pub mod table;
#[cfg(test)]
mod tests;

pub use attached::{Attached, Entered, Phase, Refused, Standing, Way, retry_after};
pub use bandwidth::{Bandwidth, Flow};
pub use counts::{Counts, Event};
pub use key::Client;
pub use limiter::{Appraisal, Exceptions, Limiter, Permit, Refusal, Rule};
pub use notice::Whose;
pub use rate::{Rate, Verdict};
pub use registry::{Kind, Limits, Registry};
