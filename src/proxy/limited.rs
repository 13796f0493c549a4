//! Judges a client by how much it asks for.

use super::error::ProxyError;
use super::exchange::Exchange;
use crate::route::Route;
use crate::worker::View;

/// By the limits of the listener, before there is a route.
pub fn judge_listener(_exchange: &mut Exchange, _view: &View) -> Result<(), ProxyError> {
    Ok(())
}

/// By those limits of the route that need not know who the client is.
pub fn judge(_exchange: &mut Exchange, _view: &View, _route: &Route) -> Result<(), ProxyError> {
    Ok(())
}

/// By those limits of the route that are kept for each identity.
pub fn judge_identity(
    _exchange: &mut Exchange,
    _view: &View,
    _route: &Route,
) -> Result<(), ProxyError> {
    Ok(())
}
