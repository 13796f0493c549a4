//! Which endpoint gets this attempt: asks the policy, takes a slot of its pick, and tells the balancer how it went.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;
use crate::attempt::Tried;
use crate::balance::{self, Lack, Signals, Totals};
use crate::clock::Instant;
use crate::observe::{self, AttemptKind, AttemptOutcome};
use crate::worker::{Reach, UpstreamView, Worker};

/// Whether an answer says that the endpoint cannot serve: what it refuses for now counts as well, since it would be fast at
/// that too.
fn is_failure(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// A slot of an endpoint. Dropping it gives the slot back and counts the attempt that held it.
pub struct Slot {
    pub reach: Rc<Reach>,
    pub record: observe::Attempt,
    taken: Instant,
    /// What else was under way at the endpoint then.
    load: u32,
    /// The endpoint was told apart from others by how this attempt fared; or it is not to be.
    is_judged: bool,
    /// Counted among those of the whole upstream.
    totals: Option<Arc<Totals>>,
    decay: Duration,
    /// [`Instant::FAR`] until somebody knows.
    ended: Instant,
    worker: Rc<Worker>,
}

impl Slot {
    fn new(
        exchange: &Exchange,
        upstream: &UpstreamView,
        reach: Rc<Reach>,
        kind: AttemptKind,
    ) -> Self {
        let signals = &reach.endpoint.signals;
        let load = signals.in_flight.load();
        signals.in_flight.reserve(u32::MAX);
        signals.picked(exchange.now);
        reach.cells.picks.add(1);
        let shared = &upstream.shared;
        let totals = shared
            .policy
            .counts_all()
            .then(|| Arc::clone(&shared.totals));
        if let Some(totals) = &totals {
            totals.in_flight.reserve(u32::MAX);
        }
        let record = observe::Attempt {
            kind,
            // What it stays when the exchange is dropped half way.
            outcome: AttemptOutcome::Cancelled,
            status: 0,
            reused: false,
            bytes_sent: 0,
            bytes_received: 0,
            times: observe::Times::default(),
            error: None,
        };
        Self {
            reach,
            record,
            taken: exchange.now,
            load,
            is_judged: false,
            totals,
            decay: shared.rules.latency_decay,
            ended: Instant::FAR,
            worker: Rc::clone(&exchange.worker),
        }
    }

    /// For a replay at the same endpoint.
    pub fn again(exchange: &Exchange, upstream: &UpstreamView, reach: Rc<Reach>) -> Self {
        Self::new(exchange, upstream, reach, AttemptKind::Replay)
    }

    /// A response head came, at `now`. Tells the balancer how the endpoint fares.
    pub fn head_came(&mut self, now: Instant, status: u16) {
        self.is_judged = true;
        let signals = &self.reach.endpoint.signals;
        let spent = now.since(self.taken);
        if is_failure(status) {
            signals.failed(now, spent, self.decay);
        } else {
            signals.answered(now, spent, self.load, self.decay);
        }
    }

    /// That the attempt failed says nothing of the endpoint.
    pub fn excuse(&mut self) {
        self.is_judged = true;
    }

    /// Says when the attempt ended, which otherwise is when the slot is dropped.
    pub fn end_at(&mut self, now: Instant) {
        self.ended = now;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let signals = &self.reach.endpoint.signals;
        signals.in_flight.release();
        if let Some(totals) = &self.totals {
            totals.in_flight.release();
        }
        let ended = self.worker.wheel.or_now(self.ended);
        let spent = ended.since(self.taken);
        match self.record.outcome {
            _ if self.is_judged => {}
            AttemptOutcome::Failed => signals.failed(ended, spent, self.decay),
            _ => signals.cancelled(ended, spent, self.decay),
        }
        self.record.times.total = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.reach.cells.record(&self.record);
    }
}

/// The live numbers that a pick asks for.
struct Live<'a> {
    upstream: &'a UpstreamView,
    tried: &'a Tried,
    now: Instant,
}

impl balance::Live for Live<'_> {
    fn now(&self) -> Instant {
        self.now
    }

    fn signals(&self, i: usize) -> &Signals {
        &self.upstream.reaches[i].endpoint.signals
    }

    fn totals(&self) -> &Totals {
        &self.upstream.shared.totals
    }

    fn full(&self, i: usize) -> bool {
        let reach = &self.upstream.reaches[i];
        crate::upstream::pool::open(&reach.endpoint) >= self.upstream.shared.connections.max
            && reach.pool.is_empty()
    }

    fn tried(&self, i: usize) -> bool {
        self.tried.contains(i)
    }
}

/// Picks an endpoint and takes a slot of it.
pub fn pick(
    exchange: &Exchange,
    upstream: &UpstreamView,
    tried: &Tried,
) -> Result<(usize, Slot), Lack> {
    let worker = &exchange.worker;
    let live = Live {
        upstream,
        tried,
        now: exchange.now,
    };
    let view = balance::View::new(&upstream.shared.members, &live);
    let picked = {
        let mut memory = upstream.memory.borrow_mut();
        let mut random = worker.random.borrow_mut();
        upstream
            .shared
            .policy
            .pick(&mut memory, &view, None, &mut random, None)
    };
    let index = picked.ok_or_else(|| view.lack())?.endpoint;
    let reach = Rc::clone(&upstream.reaches[index]);
    let kind = if exchange.attempts == 0 {
        AttemptKind::First
    } else {
        AttemptKind::Retry
    };
    Ok((index, Slot::new(exchange, upstream, reach, kind)))
}

/// The same when all endpoints have as many connections as they may have, some of which other workers may keep idle: one
/// is asked for until there is room or nobody has any, for no longer than a connection may take.
pub async fn pick_with_room(
    exchange: &Exchange,
    upstream: &UpstreamView,
    tried: &Tried,
) -> Result<(usize, Slot), Lack> {
    let worker = &exchange.worker;
    let picking = async {
        loop {
            if !make_room(worker, upstream, tried).await {
                return Err(Lack::Capacity);
            }
            match pick(exchange, upstream, tried) {
                Err(Lack::Capacity) => {}
                picked => return picked,
            }
        }
    };
    let span = upstream.shared.timeouts.connect;
    let picked = worker.wheel.timeout(span, picking).await;
    picked.unwrap_or(Err(Lack::Capacity))
}

async fn make_room(worker: &Worker, upstream: &UpstreamView, tried: &Tried) -> bool {
    for (i, reach) in upstream.reaches.iter().enumerate() {
        let is_wanted = upstream.shared.members.is_candidate(i) && !tried.contains(i);
        if is_wanted && worker.make_room(&reach.endpoint).await {
            return true;
        }
    }
    false
}
