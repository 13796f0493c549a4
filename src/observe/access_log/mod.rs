//! One line per exchange, off the way of requests: a worker builds lines into a buffer of its own and hands full buffers
//! to a thread that writes. When that thread cannot keep up, lines are dropped and counted, never waited for.
//!
//! A worker calls [`WorkerLog::record`] for each exchange and [`WorkerLog::flush`] from its tick, so that lines do not
//! wait for a full buffer. With the log off, both are one branch.

mod date;
mod file;
mod line;
mod losses;
mod redact;
mod writer;

pub use losses::{Losses, Turn};
pub use writer::{AccessLog, WorkerLog};
