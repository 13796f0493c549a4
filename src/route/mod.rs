//! Which upstream? The first route from top to bottom that matches a request names what is done with it.
//!
//! [`Table::compile`] turns the written routes into a lookup, [`Table::find`] answers one request from it. What the
//! lookup proves by its structure (host, path) is not tested again; listener, method, header and query are tested on
//! the few candidates that are left, in the order in which they were written.
//!
//! Pure: nothing here reads a socket, a clock or the system's randomness.
//! Not here: bringing a host or a path into canonical form, which is a rule of HTTP ([`crate::http`]); carrying an
//! [`Action`] out, which is the journey's ([`crate::proxy`]).

mod anchored;
mod cover;
mod error;
mod explain;
mod fault;
mod fields;
mod host;
mod index;
mod matcher;
mod name;
mod path;
mod query;
mod redirect;
mod rewrite;
mod split;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::config::Priority;

pub use cover::Covered;
pub use error::{CompileError, Fault};
pub use explain::{Explanation, Failed, Passed, Test};
pub use fault::{Bandwidth, Injected, Injection};
pub use fields::{Edit, FieldEdits, HostRewrite};
pub use name::default_name;
pub use redirect::{Redirect, Respond};
pub use rewrite::Rewrite;
pub use split::Split;
pub use table::Table;

/// What a route may ask about a request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Index of the listener that took it, in the list that the table was compiled with.
    pub listener: usize,
    /// The host as the client named it; a port, a trailing dot and the case of letters do not matter.
    pub host: &'a [u8],
    /// The path in canonical form: dot segments removed, triplets of unreserved characters decoded, other triplets
    /// with upper-case digits, bytes beyond ASCII percent-encoded (RFC 3986, 6.2.2), no query.
    pub path: &'a [u8],
    /// What follows the first `?`, as received; `None` when there is none.
    pub query: Option<&'a [u8]>,
    pub method: &'a ::http::Method,
    pub headers: &'a dyn Headers,
}

/// The header fields of a request, however the caller keeps them.
pub trait Headers {
    /// Whether some value of the field `name` (in lower case) passes `test`; false when there is no such field.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// What is done with the requests that one route matches.
#[derive(Debug)]
pub struct Route {
    /// Its place from the top, the first being 0.
    pub index: usize,
    /// The identity of its numbers over reloads: as written, or the canonical text of its match.
    pub name: Arc<str>,
    pub action: Action,
    /// Applied to the target before the action, a redirect without a path included.
    pub rewrite: Option<Rewrite>,
    /// `Host` towards the endpoint; `None` keeps the client's.
    pub host: Option<HostRewrite>,
    /// The value that the subset of the upstream asks for, before what the request says.
    pub subset: Option<Box<str>>,
    /// How much it matters, and the header that may say otherwise.
    pub priority: Priority,
    pub priority_header: Option<Box<str>>,
    pub request_edits: FieldEdits,
    pub response_edits: FieldEdits,
    /// What is injected on purpose.
    pub fault: Option<Injection>,
}

/// Upstreams are indices into the list that the table was compiled with.
#[derive(Debug)]
pub enum Action {
    Upstream(usize),
    Split(Split),
    Redirect(Redirect),
    Respond(Respond),
}

impl Action {
    /// Whether an endpoint gets the request.
    pub fn forwards(&self) -> bool {
        matches!(self, Self::Upstream(_) | Self::Split(_))
    }
}
