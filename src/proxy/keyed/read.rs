//! Reading a whole request, so that it no longer needs its client.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;

use crate::attempt::idempotency::{Guard, Hold};
use crate::http::Outgoing;
use crate::http::body::{Body, Sink};
use crate::http::fields::{Name, Names};
use crate::http::gathered::Gathered;
use crate::http::head::Length;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::{Downstream, request_error};

/// Reads the body, as far as its size is allowed and there is room for what is held in all, and leaves a head that speaks
/// of it as a whole.
pub(super) async fn read(
    exchange: &mut Exchange,
    down: &mut Downstream,
    guard: &Guard,
) -> Result<(Bytes, Hold), ProxyError> {
    if let Length::Exact(length) = exchange.head.length
        && length > guard.rules.request_bytes as u64
    {
        return Err(ProxyError::TooLarge);
    }
    let mut hold = guard.store.hold();
    let bytes = if matches!(down.body, Body::Empty) {
        Bytes::new()
    } else {
        go_on(exchange, down);
        let asked = exchange.now;
        let read = gather(exchange, down, guard, &mut hold).await;
        exchange.waited_in_vain(asked, exchange.worker.wheel.now());
        read?
    };
    let head = &mut *exchange.head;
    if !matches!(head.length, Length::Empty) {
        head.length = Length::Exact(bytes.len() as u64);
    }
    head.expects_continue = false;
    // A server may overlook the wish for another protocol (RFC 9110, 7.8); a tunnel has no result that could be kept.
    head.upgrade = None;
    const GONE: Names = Names::of(&[Name::Expect, Name::Trailer]);
    if head.fields.present().meets(GONE) {
        head.fields.remove_if(|name, _, _| GONE.contains(name));
    }
    Ok((bytes, hold))
}

/// Tells a client that waits for it to send its body.
fn go_on(exchange: &Exchange, down: &mut Downstream) {
    let Some(responder) = down
        .responder
        .as_mut()
        .filter(|_| exchange.head.expects_continue)
    else {
        return;
    };
    let none = exchange.worker.buffers.fields();
    let head = Outgoing {
        fields: &none,
        skip: Names::NONE,
        omit: &[],
        extra: &none,
        length: Length::Empty,
    };
    responder.interim(100, &head);
}

/// Trailers are left out: a recipient may do so (RFC 9110, 6.5.1), and none would know what they mean for a repeat.
async fn gather(
    exchange: &Exchange,
    down: &mut Downstream,
    guard: &Guard,
    hold: &mut Hold,
) -> Result<Bytes, ProxyError> {
    let worker = Rc::clone(&exchange.worker);
    let patience = exchange.listener.shared.timeouts.body;
    let timer = worker.wheel.after(patience);
    let mut sink = Sink::Gathered(Box::new(Gathered::new(guard.rules.request_bytes)));
    let mut moved = 0;
    let read = poll_fn(|cx| {
        if let Some(responder) = &mut down.responder {
            let _ = responder.poll_flush(cx);
        }
        let polled = down.poll(cx, &mut sink, &worker.buffers);
        if let Sink::Gathered(gathered) = &sink
            && !gathered.is_over()
            && !hold.grow(gathered.bytes.len(), guard.room())
        {
            return Poll::Ready(Err(ProxyError::NoRoomForKey));
        }
        if let Poll::Ready(read) = polled {
            // All that a sink in memory can find fault with is the size.
            let told = |error| request_error(&error).unwrap_or(ProxyError::TooLarge);
            return Poll::Ready(read.map_err(told));
        }
        if std::mem::replace(&mut moved, down.pump.bytes) != down.pump.bytes {
            let now = worker.wheel.now();
            if down.is_too_slow(now) {
                return Poll::Ready(Err(ProxyError::SlowBody));
            }
            timer.set(now + patience);
        }
        timer.poll(cx).map(|()| Err(ProxyError::SlowBody))
    })
    .await;
    read?;
    match sink {
        Sink::Gathered(gathered) if gathered.is_over() => Err(ProxyError::TooLarge),
        Sink::Gathered(mut gathered) => Ok(gathered.take_bytes()),
        Sink::Nowhere | Sink::H1(_) | Sink::H2(_) => Ok(Bytes::new()),
    }
}
