//! What an attempt runs on: an idle connection of the pool, or a new one.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::opening;
use super::pick::Slot;
use crate::clock::Instant;
use crate::config::Protocol;
use crate::http::body::{Body, Sink};
use crate::http::h1::connection::HeadError;
use crate::http::h1::parse::Limits;
use crate::http::head::ResponseHead;
use crate::http::{h1, h2};
use crate::upstream::connect::{DialError, dial_after};
use crate::upstream::pool::{Connected, Open};
use crate::worker::{Reach, UpstreamView, Worker};

/// Bounds of a response head. An endpoint is trusted more than a client, not without end.
const RESPONSE_LIMITS: Limits = Limits {
    head_bytes: 64 * 1024,
    fields: 256,
};

/// What an attempt runs on.
pub enum Link {
    H1(Connected),
    H2 {
        client: h2::Client,
        pending: Option<h2::client::Pending>,
    },
}

/// A connection to the endpoint of `slot`, and whether it was used before. `fresh` takes no idle one. That there is none is
/// excused where the endpoint was not given the time to take one.
pub async fn link(
    exchange: &Exchange,
    upstream: &UpstreamView,
    slot: &mut Slot,
    fresh: bool,
    until: Instant,
) -> Result<(Link, bool), ProxyError> {
    let worker = &exchange.worker;
    let reach = Rc::clone(&slot.reach);
    let protocol = upstream.shared.protocol;
    // A connection that tells whose it is serves this request alone.
    let opening = opening::of(exchange, upstream);
    if !fresh && opening.is_empty() {
        let now = exchange.now;
        if protocol != Protocol::H2
            && let Some(connected) = reach.pool.take(now, &upstream.limits)
        {
            return Ok((Link::H1(connected), true));
        }
        if protocol != Protocol::H1
            && let Some(client) = reach.pool.multiplexed(now, Instant(0), &upstream.limits)
        {
            return Ok((
                Link::H2 {
                    client,
                    pending: None,
                },
                true,
            ));
        }
    }
    // What others have dialled since this attempt began is as good as a connection of its own.
    let since = if fresh {
        exchange.steps.picked
    } else {
        Instant(0)
    };
    let span = until.since(worker.wheel.now());
    let dialled = Cell::new(Instant::FAR);
    let connecting = async {
        if opening.is_empty() {
            connect(worker, upstream, &reach, since, &dialled).await
        } else {
            establish(worker, upstream, &reach, &opening, &dialled).await
        }
    };
    let connecting = Box::pin(connecting);
    let linked = worker.wheel.timeout(span, connecting).await;
    let linked = linked.unwrap_or(Err(ProxyError::ConnectTimeout));
    if let Err(error) = &linked {
        let has_dialled = dialled.get() < Instant::FAR;
        // Who waited in vain for room, or for another's dial, made no connection that could fail.
        if has_dialled {
            reach.cells.connections_failed.add(1);
        }
        let spent = worker.wheel.now().since(dialled.get());
        let is_cut_short = *error == ProxyError::ConnectTimeout
            && is_cut_short(spent, upstream.shared.timeouts.connect);
        if !has_dialled || is_cut_short {
            slot.excuse();
        }
    }
    linked.map(|link| (link, false))
}

/// Whether a dial had much less time than it may take: the request had spent it elsewhere, or waited for its turn.
fn is_cut_short(spent: Duration, connect: Duration) -> bool {
    spent * 2 < connect
}

/// Dials. Of several requests that can share an HTTP/2 connection, one dials and the others wait for it; as long as it
/// is not known what an endpoint chooses, they might. One that was made before `since` will not do.
async fn connect(
    worker: &Rc<Worker>,
    upstream: &UpstreamView,
    reach: &Rc<Reach>,
    since: Instant,
    dialled: &Cell<Instant>,
) -> Result<Link, ProxyError> {
    let may_share = || match upstream.shared.protocol {
        Protocol::H1 => false,
        Protocol::H2 => true,
        Protocol::Auto => upstream.shared.tls.is_some() && !reach.chose_h1.get(),
    };
    if may_share() {
        let turn = reach.dialling.lock().await;
        let now = worker.wheel.now();
        if let Some(client) = reach.pool.multiplexed(now, since, &upstream.limits) {
            return Ok(Link::H2 {
                client,
                pending: None,
            });
        }
        if may_share() {
            return establish(worker, upstream, reach, &[], dialled).await;
        }
        // It came out while this one waited.
        drop(turn);
    }
    establish(worker, upstream, reach, &[], dialled).await
}

/// `opening` is sent before all else; with one, nobody else may use the connection. `dialled` says, once it fails or is given up, since when it had made a connection, if it had begun to.
async fn establish(
    worker: &Rc<Worker>,
    upstream: &UpstreamView,
    reach: &Rc<Reach>,
    opening: &[u8],
    dialled: &Cell<Instant>,
) -> Result<Link, ProxyError> {
    let max = upstream.shared.connections.max;
    let open = loop {
        if let Some(open) = Open::reserve(&reach.endpoint, max) {
            break open;
        }
        if !worker.make_room(&reach.endpoint).await {
            return Err(ProxyError::Full);
        }
    };
    dialled.set(worker.wheel.now());
    let tls = upstream.shared.tls.as_ref();
    let stream = dial_after(opening, &reach.endpoint.target, tls).await?;
    reach.cells.connections.add(1);
    if stream.is_tls() {
        reach.cells.handshakes.add(1);
        let was_resumed = u64::from(stream.was_resumed());
        reach.cells.handshakes_resumed.add(was_resumed);
    }
    let now = worker.wheel.now();
    let multiplexed = match upstream.shared.protocol {
        Protocol::H1 => false,
        Protocol::H2 => true,
        Protocol::Auto => {
            let chose_h2 = stream.alpn() == Some(b"h2");
            reach.chose_h1.set(!chose_h2);
            chose_h2
        }
    };
    let open = open.counted(&reach.cells);
    if !multiplexed {
        let connection = h1::Connection::new(stream, &[], worker.buffers.clone());
        return Ok(Link::H1(Connected {
            client: h1::Client::new(connection),
            born: now,
            open,
        }));
    }
    let settings = h2::client::Settings {
        streams: upstream.limits.streams,
        ..h2::client::Settings::default()
    };
    let connected = h2::client::connect(
        stream,
        settings,
        worker.buffers.clone(),
        worker.wheel.clone(),
    );
    let (client, driver) = connected.await.map_err(|_| ProxyError::NotHttp2)?;
    let worker_of_it = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _counting = worker_of_it.count_panic();
        driver.await;
        drop(open);
    });
    if opening.is_empty() {
        reach.pool.add(now, client.clone());
        worker.sweep();
    }
    Ok(Link::H2 {
        client,
        pending: None,
    })
}

impl From<DialError> for ProxyError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused => Self::Refused,
            DialError::Unreachable(_) => Self::Unreachable,
            DialError::Tls(failure) if failure.is_certificate() => {
                Self::Certificate(failure.label())
            }
            DialError::Tls(failure) => Self::Tls(failure.label()),
        }
    }
}

impl From<h2::client::ClientError> for ProxyError {
    fn from(error: h2::client::ClientError) -> Self {
        use h2::client::ClientError;
        match error {
            ClientError::Refused => Self::Unprocessed,
            ClientError::Lost => Self::Closed,
            ClientError::TooManyInterim => Self::TooManyInterim,
            ClientError::Reset(_) | ClientError::Protocol(_) => Self::Reset,
            ClientError::Head(error) => Self::Response(error),
            ClientError::NoExtendedConnect => Self::BadUpgrade,
            ClientError::Unsendable => Self::Target,
        }
    }
}

impl Link {
    /// Ready with true when a head was read, false when the endpoint closed without one.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &::http::Method,
        response: &mut ResponseHead,
    ) -> Poll<Result<bool, ProxyError>> {
        match self {
            Self::H1(connected) => {
                match connected
                    .client
                    .poll_head(cx, method, &RESPONSE_LIMITS, response)
                {
                    Poll::Ready(Ok(head)) => Poll::Ready(Ok(head.is_some())),
                    Poll::Ready(Err(HeadError::Parse(error))) => {
                        Poll::Ready(Err(ProxyError::Response(error)))
                    }
                    Poll::Ready(Err(HeadError::Truncated | HeadError::Io(_))) => {
                        Poll::Ready(Ok(false))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
            Self::H2 { pending, .. } => match pending {
                Some(pending) => pending
                    .poll_head(cx, response)
                    .map(|head| head.map(|()| true).map_err(ProxyError::from)),
                None => Poll::Ready(Ok(false)),
            },
        }
    }

    /// Something of the exchange moved.
    pub(super) fn moved(&self) {
        if let Self::H2 {
            pending: Some(pending),
            ..
        } = self
        {
            pending.moved();
        }
    }

    /// The exchange ran into a timeout. A connection of its own ends with it; one that others share is used no more if
    /// nothing comes on it at all.
    pub(super) fn doubt(&self) {
        if let Self::H2 {
            pending: Some(pending),
            ..
        } = self
        {
            pending.doubt();
        }
    }

    /// Whether the endpoint was heard since the request was sent: with a part of a head, or on a shared connection with
    /// anything.
    pub(super) fn was_heard(&self) -> bool {
        match self {
            Self::H1(connected) => connected.client.connection().has_unread(),
            Self::H2 { pending, .. } => pending.as_ref().is_some_and(|one| !one.is_unheard()),
        }
    }

    /// Leaves HTTP: what comes from the endpoint, and where to it.
    pub fn tunnel(&mut self, response: &ResponseHead, sink: Sink) -> (Body, Sink) {
        match self {
            Self::H1(connected) => connected.client.switch(),
            Self::H2 { .. } => (self.body(response), sink),
        }
    }

    /// The body that follows the final head.
    pub fn body(&mut self, response: &ResponseHead) -> Body {
        match self {
            Self::H1(connected) => connected.client.body(response.length),
            Self::H2 { pending, .. } => pending
                .as_mut()
                .map_or(Body::Empty, h2::client::Pending::body),
        }
    }
}
