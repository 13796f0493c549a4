//! What becomes of paths whose slashes an endpoint may read in another way than the routes do.
//!
//! - [`apply`] brings the target into the form that the listener asks for, before anybody looks at it.
//! - [`guard`] refuses what is left of them where it would be a way around a route that guards something.

use super::error::ProxyError;
use super::request::Request;
use crate::config::{EscapedSlashes, Slashes};
use crate::http::slashes::{self, Plain};
use crate::route::{Route, Table};
use crate::snapshot::Listener;

/// Rewrites or refuses, where the listener says so.
pub fn apply(rules: &Listener, target: &mut Vec<u8>) -> Result<(), ProxyError> {
    let (merge, refuse) = match rules.slashes {
        Slashes::Guard | Slashes::Pass => (false, false),
        Slashes::Merge => (true, false),
        Slashes::Refuse => (false, true),
    };
    let (decode, refuse_disguised) = match rules.escaped_slashes {
        EscapedSlashes::Guard | EscapedSlashes::Pass => (false, false),
        EscapedSlashes::Decode => (true, false),
        EscapedSlashes::Refuse => (false, true),
    };
    if refuse_disguised && slashes::are_disguised(target) {
        return Err(ProxyError::AmbiguousPath);
    }
    if (decode && slashes::are_disguised(target)) || (merge && slashes::are_repeated(target)) {
        let mut plain = Vec::with_capacity(target.len());
        slashes::rewrite(target, Plain { merge, decode }, &mut plain);
        *target = plain;
    }
    // Last: what was decoded may stand in a row.
    if refuse && slashes::are_repeated(target) {
        return Err(ProxyError::AmbiguousPath);
    }
    Ok(())
}

/// Refuses a request that goes to an endpoint by `route`, if by a reading of its slashes that the listener does not exclude it
/// would meet another route that guards something.
pub fn guard(request: &Request<'_>, routes: &Table, route: &Route) -> Result<(), ProxyError> {
    if !routes.guards() || !route.action.forwards() {
        return Ok(());
    }
    let (rules, target) = (request.rules, &request.head.target);
    let may_merge = rules.slashes != Slashes::Pass;
    let is_disguised =
        rules.escaped_slashes == EscapedSlashes::Guard && slashes::are_disguised(target);
    let is_repeated = rules.slashes == Slashes::Guard && slashes::are_repeated(target);
    if !is_disguised && !is_repeated {
        return Ok(());
    }
    // Only merged, only decoded, or both.
    for (merge, decode) in [(true, false), (false, true), (true, true)] {
        if (merge && !may_merge) || (decode && !is_disguised) {
            continue;
        }
        let (mut read, mut buffer) = (Vec::new(), Vec::new());
        slashes::rewrite(target, Plain { merge, decode }, &mut read);
        let other = request.with_routes_for(&read, &mut buffer, |request| {
            routes.find(request).map(|other| other.index)
        })?;
        if other.is_some_and(|other| other != route.index && routes.is_guarded(other)) {
            return Err(ProxyError::AmbiguousPath);
        }
    }
    Ok(())
}
