//! Holds a body to a bandwidth: that of a fault which its route injects, and those that limit its client.

use std::task::{Context, Poll};

use super::exchange::Exchange;
use super::limited;
use crate::clock::wheel::{Timer, Wheel};
use crate::http::body::{Body, Pump, PumpError, Sink};
use crate::http::buffers::Buffers;
use crate::limit::{Flow, Way};
use crate::route::Bandwidth;

/// Bytes that one exchange may move before others have their turn.
const TURN: u64 = 1024 * 1024;

/// One direction of an exchange that may not go as fast as it could.
pub struct Brake {
    fault: Option<Bandwidth>,
    flow: Option<Flow>,
    timer: Timer,
    wheel: Wheel,
}

impl Brake {
    /// For the answer that begins now, when something slows it down.
    pub fn of(exchange: &Exchange) -> Option<Self> {
        let wheel = &exchange.worker.wheel;
        let fault = exchange.bandwidth;
        let fault = fault.map(|per_second| Bandwidth::new(per_second, wheel.now()));
        let flow = limited::flow(exchange, Way::Down);
        if fault.is_none() && flow.is_none() {
            return None;
        }
        Some(Self {
            fault,
            flow,
            timer: wheel.timer(),
            wheel: wheel.clone(),
        })
    }

    /// For a body that a limit slows down.
    pub fn of_flow(exchange: &Exchange, flow: Flow) -> Self {
        let wheel = &exchange.worker.wheel;
        Self {
            fault: None,
            flow: Some(flow),
            timer: wheel.timer(),
            wheel: wheel.clone(),
        }
    }

    /// Moves the body as far as it may have come by now.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pump: &mut Pump,
        body: &mut Body,
        sink: &mut Sink,
        buffers: &Buffers,
    ) -> Poll<Result<(), PumpError>> {
        let begun = pump.bytes;
        loop {
            let now = self.wheel.now();
            let (mut allowed, mut until) = (u64::MAX, now);
            if let Some(fault) = &mut self.fault {
                allowed = fault.allow(now, pump.bytes);
            }
            if let Some(flow) = &mut self.flow {
                match flow.allow(now, pump.bytes) {
                    Ok(granted) => allowed = allowed.min(granted),
                    Err(at) => (allowed, until) = (pump.bytes, at),
                }
            }
            pump.allowance = Some(allowed);
            let polled = pump.poll(cx, body, sink, buffers);
            if let Some(flow) = &mut self.flow {
                flow.has_moved(pump.bytes);
            }
            if polled.is_ready() || !pump.is_held {
                return polled;
            }
            if pump.bytes - begun >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(fault) = &self.fault {
                until = until.max(fault.next(pump.bytes));
            }
            if until > now {
                self.timer.set(until);
                if self.timer.poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
    }
}
