//! Judges a client by its address.

use super::error::ProxyError;
use super::exchange::Exchange;
use crate::route::Route;
use crate::worker::View;

/// By the lists of the route. The address is that of the client as far as trusted proxies tell it.
pub fn judge(exchange: &Exchange, view: &View, route: &Route) -> Result<(), ProxyError> {
    let Some(addresses) = &view.snapshot.addresses[route.index] else {
        return Ok(());
    };
    if addresses.admit(exchange.request().client()) {
        Ok(())
    } else {
        Err(ProxyError::AddressDenied)
    }
}
