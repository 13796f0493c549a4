//! What of a request decides among the endpoints of its upstream: its subset, its key, its session. Found out once, before
//! the first pick; an upstream that asks for nothing of it costs nothing.

use super::error::ProxyError;
use super::exchange::Exchange;
use super::request::Request;
use crate::asked::Asked;
use crate::balance::Key;
use crate::entropy::Random;
use crate::route;
use crate::upstream::Upstream;
use crate::upstream::absence::Absence;
use crate::upstream::groups::Ask;
use crate::upstream::selectors::{Otherwise, Selectors};
use crate::worker::UpstreamView;

/// What was found out.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// For the pick.
    pub ask: Ask,
    pub key: Option<Key>,
    /// `Set-Cookie` of a key that was made for the client.
    pub created: Option<Vec<u8>>,
    session: Session,
}

/// How the session of a request stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Session {
    /// The upstream binds none, or the client has none that counts.
    #[default]
    New,
    /// It is bound to the endpoint of this identity.
    Bound { identity: u64, is_due: bool },
}

impl Selection {
    /// Reads what the upstream asks for. `random` makes a key for a client that lacks one, `unix_seconds` is for the time
    /// of sessions.
    pub fn of(
        request: &Request<'_>,
        upstream: &Upstream,
        route: &route::Route,
        random: &mut Random,
        unix_seconds: impl FnOnce() -> u64,
    ) -> Result<Self, ProxyError> {
        let Some(selectors) = &upstream.selectors else {
            return Ok(Self::default());
        };
        let mut selection = Self {
            ask: Ask {
                section: section(request, upstream, selectors, route)?,
                ..Ask::default()
            },
            ..Self::default()
        };
        if let Some(hash_key) = &selectors.key {
            selection.key = hash_key.of(request);
            if selection.key.is_none()
                && let Some((key, cookie)) = hash_key.create(random.next_u64(), request.tls)
            {
                (selection.key, selection.created) = (Some(key), Some(cookie));
            }
            selection.ask.key = selection.key.map(|key| key.hash);
        }
        if let Some(sticky) = &selectors.sticky {
            // What is forged, foreign or over is as good as nothing: the answer replaces it.
            let found = sticky.find(request, unix_seconds());
            if let Some(Ok(bound)) = found {
                let endpoint = upstream.groups.index_of(bound.identity);
                selection.ask.bound = endpoint;
                selection.ask.bound_out = endpoint.and_then(|i| upstream.endpoints[i].out());
                selection.session = Session::Bound {
                    identity: bound.identity,
                    is_due: bound.is_due,
                };
            }
        }
        Ok(selection)
    }

    /// Values of `Set-Cookie` for an answer of this endpoint.
    pub fn cookies(&self, exchange: &Exchange, upstream: &UpstreamView) -> Vec<Vec<u8>> {
        let mut cookies: Vec<Vec<u8>> = self.created.iter().cloned().collect();
        let sticky = upstream
            .shared
            .selectors
            .as_ref()
            .and_then(|all| all.sticky.as_ref());
        if let (Some(sticky), Some(endpoint)) = (sticky, exchange.endpoint) {
            let identity = upstream.shared.groups.identity(endpoint);
            let is_needed = match self.session {
                Session::New => true,
                Session::Bound {
                    identity: bound,
                    is_due,
                } if bound == identity => is_due,
                // Another served for once, since it was full; the session stays where it is.
                Session::Bound { .. } => !exchange.is_bound_full,
            };
            if is_needed {
                let now = exchange.worker.unix_seconds(exchange.now);
                cookies.push(sticky.set_cookie(identity, now, exchange.peer.tls));
            }
        }
        cookies
    }
}

/// The section of the subset that the route or else the request asks for.
fn section(
    request: &Request<'_>,
    upstream: &Upstream,
    selectors: &Selectors,
    route: &route::Route,
) -> Result<usize, ProxyError> {
    const ALL: usize = 0;
    let Some(subset) = &selectors.subset else {
        return Ok(ALL);
    };
    let mut section = None;
    let groups = &upstream.groups;
    if let Some(value) = &route.subset {
        section = Some(groups.section_of(value.as_bytes()));
    } else if let Some(header) = &subset.header {
        request.each_header(header, &mut |value| {
            section.get_or_insert_with(|| groups.section_of(value));
        });
    }
    match (section, subset.otherwise) {
        (Some(Some(section)), _) => Ok(section),
        (None, _) | (Some(None), Otherwise::Any) => Ok(ALL),
        (Some(None), Otherwise::None) => Err(ProxyError::NoEndpoint(Absence::NO_SUBSET)),
    }
}
