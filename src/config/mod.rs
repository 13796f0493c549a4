//! What did the operator write? Plain, validated data; a leaf that knows no other stage.
//!
//! [`read`] takes a file to a [`Config`], or to every reason why not. [`schema`] declares every
//! key once, with its documentation, default and range; the rest of the folder carries that out:
//! `tree` (the file with positions), `cursor` (reads it and collects what is wrong), `setting`,
//! `kinds` and `quantities` (what may stand under a key), `units`, `expand` (`${VAR}`), `validate` (what spans
//! several blocks), `places` (for what later stages find), `emit` and `json_schema` (the way back).
//! [`check`] words what a file is like, [`difference`] what two differ in, [`direct`] makes a configuration without one,
//! [`mod@reference`] one that shows every key.

pub mod check;
mod cursor;
mod diagnostic;
pub mod difference;
pub mod direct;
mod emit;
mod expand;
mod json_schema;
mod kinds;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod mistakes;
mod nearest;
mod places;
mod quantities;
pub mod read;
pub mod reference;
pub mod schema;
mod setting;
#[cfg(test)]
mod shipped;
mod tree;
pub mod units;
mod validate;

pub use diagnostic::{Diagnostic, Level, Refusal};
pub use json_schema::json_schema;
pub use places::{Finding, Places};
pub use read::Loaded;
pub use schema::*;
