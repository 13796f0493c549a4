//! Judges who the client is.

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Downstream;
use crate::route::Route;
use crate::worker::View;

/// Whether the route asks who its clients are.
pub fn asks(_route: &Route) -> bool {
    false
}

/// Finds out who the client is, and whether it may come in.
pub async fn judge(
    _exchange: &mut Exchange,
    _down: &mut Downstream,
    _view: &View,
    _route: &Route,
) -> Result<(), ProxyError> {
    Ok(())
}
