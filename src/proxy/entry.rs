//! May this client enter? Asks those who judge it, in their order, and keeps what they found: who the client is, what its
//! endpoint and it are to be told.
//!
//! Before there is a route ([`before_route`]): what its connection shows ([`certified`]), the limits of its listener
//! ([`limited`]). Once there is one ([`admit`]): the addresses ([`addresses`]) and the limits of the route, who the client is
//! ([`authorize`]), and the limits that are kept for each of whom it is.

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Downstream;
use super::{addresses, authorize, certified, limited};
use crate::http::fields::Fields;
use crate::route::Route;
use crate::worker::View;

/// What is known of a client that was judged. A request that nobody judges has none; a judge that has something to tell begins one
/// by `exchange.entry.get_or_insert_default()`. What an execution apart from the client must hold as well stands in it by `Rc`.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Who it is: the subject of a certificate, a user, the name of a key.
    pub identity: Option<Box<str>>,
    /// Names of fields that only the proxy may write: what the client said there does not reach the endpoint.
    pub omitted: Vec<Box<[u8]>>,
    /// What the endpoint is told, by name; in place of what the client said there.
    pub upstream: Vec<(Box<[u8]>, Box<[u8]>)>,
    /// What the client is told with any answer, by name.
    pub downstream: Vec<(Box<[u8]>, Box<[u8]>)>,
}

/// Judges a request before a route is looked for.
pub fn before_route(exchange: &mut Exchange, view: &View) -> Result<(), ProxyError> {
    certified::judge(exchange)?;
    limited::judge_listener(exchange, view)
}

/// Judges a request that has a route, before anything is done for it.
pub async fn admit(
    exchange: &mut Exchange,
    down: &mut Downstream,
    view: &View,
    route: &Route,
) -> Result<(), ProxyError> {
    addresses::judge(exchange, view, route)?;
    limited::judge(exchange, view, route)?;
    if authorize::asks(route) {
        // Boxed: it is rare, and waits for others.
        Box::pin(authorize::judge(exchange, down, view, route)).await?;
    }
    limited::judge_identity(exchange, view, route)
}

/// Adds to the head of a request what its endpoint is told of the client, and leaves out what the client may not say.
pub fn write_upstream(exchange: &Exchange, omit: &mut Vec<Vec<u8>>, extra: &mut Fields) {
    let Some(entry) = &exchange.entry else {
        return;
    };
    let told = entry.upstream.iter().map(|(name, _)| name);
    omit.extend(entry.omitted.iter().chain(told).map(|name| name.to_vec()));
    for (name, value) in &entry.upstream {
        extra.push(name, value);
    }
}

/// Adds to the head of an answer what the client is told of how it was judged.
pub fn write_downstream(exchange: &Exchange, extra: &mut Fields) {
    let Some(entry) = &exchange.entry else {
        return;
    };
    for (name, value) in &entry.downstream {
        extra.push(name, value);
    }
}
