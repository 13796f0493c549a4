//! Being told when files change: one of endpoints, of the configuration, of a certificate, of those who may enter.
//!
//! - [`Watch`] follows one file by its content and says when it is to be read again.
//! - [`Cover`] asks the system to tell of changes to any number of files; [`stamps`] show which of them are others.
//! - [`FromFile`] is what a file gave, exchanged whole when the file changes.
//!
//! What is watched is the folder of a path, that of the file behind it, and that file: whoever replaces a file renames another
//! one over it, whoever mounts one swaps a symbolic link (Kubernetes), and some write in place. Where nothing can be watched, or
//! the system does not see the change, whoever follows the file looks again after a while.

mod cover;
mod from_file;
mod one;

pub use cover::{Cover, Stamp, stamps};
pub use from_file::{Content, FromFile, Renewable};
pub use one::Watch;
