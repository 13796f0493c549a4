//! The words in which tests are written: what stands before, behind and around the proxy.
//!
//! - [`Backend`]: the fake upstream of `plimsoll::lab`, on a thread of its own.
//! - [`Scripted`]: a raw server that says exactly the bytes it was given, for upstreams that misbehave; [`Closed`]: an
//!   address where nobody listens.
//! - [`Proxy`]: the proxy under test, inside the test's process; [`Front`]: one that stands before what is hostile;
//!   [`Process`]: the program itself; [`Program`]: the same with its file.
//! - [`Told`]: an endpoint that reads a PROXY header before all else.
//! - [`NameServer`]: one that says what a test wants, and fails as it wants.
//! - [`Faults`]: a panic or a standstill within the proxy, on demand.
//! - [`Traffic`]: requests at a steady rate with streams beside them, and what of it was lost; [`Loading`]: the requests alone.
//! - [`Client`]: a well-behaved client of either protocol; [`Raw`]: one that sends any bytes and reads strictly;
//!   [`WebSocket`].
//! - [`Unfinished`]: a request that is under way until a test says otherwise.
//! - [`Authority`]: certificates for both sides.
//! - [`eventually`], [`within`] and [`pass`]: waiting without sleeping, and never for ever.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "a vocabulary shared by all tests: no single test speaks all of it, and a test binary exports nothing"
)]

mod backend;
mod certificates;
mod client;
mod directory;
mod faults;
mod front;
pub mod grpc;
mod message;
mod name_server;
mod process;
mod program;
mod proxy;
mod raw;
mod scripted;
mod selftest;
mod told;
mod traffic;
mod unfinished;
mod waiting;
mod websocket;

pub use backend::{Backend, Planned, field, fields, pattern};
pub use certificates::{Authority, Identity, showing};
pub use client::{Answer, Client, Outgoing, Upload, request};
pub use directory::Directory;
pub use faults::{Faults, ON_PURPOSE, assert_on_purpose};
pub use front::{Front, expect_no_panic};
pub use message::{Head, Message};
pub use name_server::{NameServer, Trouble};
pub use process::Process;
pub use program::Program;
pub use proxy::{Proxy, config, plain};
pub use raw::Raw;
pub use scripted::{Closed, Scripted, Step};
pub use told::{Speaks, Told};
pub use traffic::{Loading, Measured, Running, Traffic, long_rate};
pub use unfinished::Unfinished;
pub use waiting::{DEADLINE, FAST, eventually, pass, within};
pub use websocket::WebSocket;
