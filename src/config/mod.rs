//! What did the operator write? Plain, validated data; a leaf that knows no other stage.

pub mod schema;

pub use schema::*;
