//! Plimsoll: a layer-7 load balancer and reverse proxy whose decisions and percentiles can be seen.
//!
//! The modules stand in the order in which a request meets them; each may use only those below it
//! (`tests/tidy.rs` holds the order). The life of a request:
//!
//! 1. [`listener`] accepts a connection on a worker, reads the PROXY header if one is due, and does TLS.
//! 2. [`http`] reads a request head within a deadline and refuses what is ambiguous.
//! 3. [`proxy`] starts the exchange: id, start time, the worker's view of the snapshot.
//! 4. [`route`] names the action: an upstream, a split, a redirect, a direct answer.
//! 5. [`attempt`] plans the tries of this request; `proxy` carries the plan out.
//! 6. [`balance`] picks an eligible endpoint of the upstream; its slot is reserved.
//! 7. [`upstream`] lends an idle connection to it, or dials a new one.
//! 8. The head is written anew, the body streamed, both with back-pressure.
//! 9. The answer streams back; hop-by-hop fields stay behind.
//! 10. [`observe`] records times, outcome and bytes once, when the exchange is dropped.

pub mod admin;
pub mod asked;
pub mod attempt;
pub mod balance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod discovery;
pub mod entropy;
pub mod file;
pub mod http;
pub mod lab;
pub mod lifecycle;
pub mod limit;
pub mod listener;
pub mod observe;
pub mod proxy;
pub mod proxy_protocol;
pub mod route;
pub mod snapshot;
pub mod stream;
pub mod tls;
pub mod upstream;
pub mod watch;
pub mod worker;
