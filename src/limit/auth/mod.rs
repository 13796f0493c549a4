//! Who is it? What a route asks of those who want to enter, and the judgement of what they say.
//!
//! - [`claim`] reads what a request says: user and password, or a key.
//! - [`Users`] and [`Keys`] are the files of those who may enter; [`password`] is how a password is kept.
//! - [`Gate`] is what one route asks, compiled; [`Ledger`] is the State: which passwords were judged lately ([`Checks`]) and
//!   how requests fared ([`Counts`]).
//!
//! Whatever is secret is compared in constant time. Pure but for the files that are read when a configuration is compiled.
//! Not here: hashing a password apart from the workers, asking a service, and answering (`proxy::authorize`).

mod base64;
mod checks;
pub mod claim;
mod counts;
mod files;
mod gate;
pub mod password;
#[cfg(test)]
mod tests;

pub use checks::{Checks, Code, Turn};
pub use counts::{Counts, Verdict};
pub use files::{FileError, Keys, LineFault, Users, is_name, key_line};
pub use gate::{ApiKey, AuthError, Basic, Candidate, Forward, Gate, Ledger, Way, compile};
