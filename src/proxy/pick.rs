//! Which endpoint gets this attempt: asks the policy, takes a slot of its pick, and tells the balancer how it went.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::admit::Permit;
use super::audience::Audience;
use super::error::{ProxyError, Side};
use super::exchange::Exchange;
use super::forward::{self, Failure};
use super::verdict::{self, Verdict};
use crate::attempt::Tried;
use crate::balance::{self, Exclusion, Lack, Picked, Reason, Signals, Totals};
use crate::clock::Instant;
use crate::http::head::ResponseHead;
use crate::observe::{self, AttemptKind, AttemptOutcome};
use crate::upstream::absence::Absence;
use crate::upstream::census;
use crate::upstream::groups::Grounds;
use crate::worker::{Reach, UpstreamView, Worker};

/// Whether an answer says that the endpoint cannot serve: what it refuses for now counts as well, since it would be fast at
/// that too.
fn is_failure(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// Where an attempt broke before anything was answered.
pub struct Died {
    reach: Rc<Reach>,
    permit: Option<Permit>,
    /// What had let it through, if that was told nothing.
    verdict: Option<Verdict>,
}

/// A slot of an endpoint. Dropping it gives the slot back and counts the attempt that held it. Boxed, since it is handed on
/// many times.
pub struct Slot {
    pub reach: Rc<Reach>,
    pub record: observe::Attempt,
    taken: Instant,
    /// What else was under way at the endpoint then.
    load: u32,
    /// The endpoint was told apart from others by how this attempt fared; or it is not to be.
    is_judged: bool,
    /// What breakers and outlier detection are told.
    verdict: Verdict,
    upstream: Rc<UpstreamView>,
    /// [`Instant::FAR`] until somebody knows.
    ended: Instant,
    worker: Rc<Worker>,
    /// Given back after the slot, so that whoever is woken by it finds one. `None`: the upstream has no cap.
    pub permit: Option<Permit>,
}

impl Slot {
    fn new(
        exchange: &Exchange,
        upstream: &Rc<UpstreamView>,
        reach: Rc<Reach>,
        kind: AttemptKind,
        cap: u32,
        verdict: Verdict,
    ) -> Option<Box<Self>> {
        let signals = &reach.endpoint.signals;
        // As a policy will ask for it.
        let load = signals.load(exchange.now);
        if !signals.in_flight.reserve(cap) {
            return None;
        }
        signals.picked(exchange.now);
        reach.cells.picks.add(1);
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
        Some(Box::new(Self {
            reach,
            record,
            taken: exchange.now,
            load,
            is_judged: false,
            verdict,
            upstream: Rc::clone(upstream),
            ended: Instant::FAR,
            worker: Rc::clone(&exchange.worker),
            permit: None,
        }))
    }

    /// For a replay at the same endpoint, under the permit of the attempt that it repeats. It takes the place of that one, and
    /// asks for no other.
    pub fn again(
        exchange: &Exchange,
        upstream: &Rc<UpstreamView>,
        died: Died,
    ) -> Option<Box<Self>> {
        let Died {
            reach,
            permit,
            verdict,
        } = died;
        let anew = || Verdict::anew(exchange, &upstream.shared, &reach.endpoint);
        let verdict = verdict.unwrap_or_else(anew);
        let kind = AttemptKind::Replay;
        let slot = Self::new(exchange, upstream, reach, kind, u32::MAX, verdict)?;
        Some(slot.under(permit))
    }

    /// The same with the permit that it was taken under.
    pub fn under(mut self: Box<Self>, permit: Option<Permit>) -> Box<Self> {
        self.permit = permit;
        self
    }

    /// Where an attempt broke, and its permit, which a replay goes on with.
    pub fn died(&mut self) -> Died {
        Died {
            reach: Rc::clone(&self.reach),
            permit: self.permit.take(),
            // One that is excused has not had its say: who repeats it goes in its place.
            verdict: self.is_judged.then(|| std::mem::take(&mut self.verdict)),
        }
    }

    /// A response head came, at `now`. Tells the balancer how the endpoint fares.
    pub fn head_came(&mut self, now: Instant, response: &ResponseHead) {
        self.is_judged = true;
        let signals = &self.reach.endpoint.signals;
        let shared = &self.upstream.shared;
        let report = shared.report.as_ref();
        if let Some(load) = report.and_then(|name| reported(name, response)) {
            signals.reported(now, load);
        }
        let spent = now.since(self.taken);
        let decay = shared.groups.rules.latency_decay;
        if is_failure(response.status) {
            signals.failed(now, spent, decay);
        } else {
            signals.answered(now, spent, self.load, decay);
            if let (Some(samples), Some(permit)) = (&self.upstream.samples, &self.permit) {
                samples.answered(spent, permit.number);
            }
        }
        let endpoint = &self.reach.endpoint;
        self.verdict
            .answered(now, shared, endpoint, response.status, spent);
    }

    /// The attempt ended without a head, at `now`. Told again, it stays at that.
    pub fn failed(&mut self, failure: &Failure, now: Instant) {
        if self.ended < Instant::FAR {
            return;
        }
        let error = &failure.error;
        self.record.outcome = if error.side() == Side::Downstream {
            AttemptOutcome::Cancelled
        } else {
            AttemptOutcome::Failed
        };
        self.record.error = Some(error.label());
        self.end_at(now);
        if self.record.reused && forward::is_idle_race(&failure.event) {
            self.excuse();
        }
        let is_late = matches!(
            error,
            ProxyError::ConnectTimeout | ProxyError::FirstByteTimeout | ProxyError::TotalTimeout
        );
        if is_late && !self.is_judged {
            self.timed_out(error.label(), now.since(self.taken));
        }
    }

    /// No answer came in time: to an adaptive limit that is one that takes at least as long, where it was the endpoint
    /// that took it.
    fn timed_out(&self, error: &'static str, spent: Duration) {
        if let (Some(samples), Some(permit)) = (&self.upstream.samples, &self.permit)
            && verdict::is_to_blame(error, spent, &self.upstream.shared)
        {
            samples.timed_out(spent, permit.number);
        }
    }

    /// Another attempt answered first, at `now`.
    pub fn overtaken(&mut self, now: Instant) {
        let endpoint = &self.reach.endpoint;
        let shared = &self.upstream.shared;
        let spent = now.since(self.taken);
        if self.verdict.overtaken(now, shared, endpoint, spent) {
            self.is_judged = true;
            let decay = shared.groups.rules.latency_decay;
            endpoint.signals.overtaken(now, spent, decay);
        }
        self.end_at(now);
    }

    /// Whether a breaker finds out by this attempt whether it may close.
    pub fn is_probe(&self) -> bool {
        self.verdict.is_probe()
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
        let endpoint = &self.reach.endpoint;
        let signals = &endpoint.signals;
        signals.in_flight.release();
        let error = self.record.error.unwrap_or("failed");
        let shared = &self.upstream.shared;
        let decay = self.upstream.shared.groups.rules.latency_decay;
        let ended = self.worker.wheel.or_now(self.ended);
        let spent = ended.since(self.taken);
        match self.record.outcome {
            // Its head was fine; what followed was not.
            AttemptOutcome::Broken if self.is_judged => {
                if verdict::is_to_blame(error, spent, shared) {
                    signals.broke();
                    self.verdict.broke(ended, shared, endpoint, error);
                }
            }
            _ if self.is_judged => {}
            AttemptOutcome::Failed if verdict::is_to_blame(error, spent, shared) => {
                signals.failed(ended, spent, decay);
                self.verdict.failed(ended, shared, endpoint, error, spent);
            }
            _ => signals.cancelled(ended, spent, decay),
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
        &self.upstream.shared.groups.totals
    }

    fn full(&self, i: usize) -> bool {
        let reach = &self.upstream.reaches[i];
        let endpoint = &reach.endpoint;
        endpoint.breaker.is_taken()
            || endpoint.signals.in_flight.load()
                >= self.upstream.shared.attempt_cap(endpoint, self.now)
            || lacks_connections(self.upstream, reach, self.now)
    }

    fn tried(&self, i: usize) -> bool {
        self.tried.contains(i)
    }
}

/// Whether an endpoint has as many connections as it may have, and this worker none to spare.
fn lacks_connections(upstream: &UpstreamView, reach: &Reach, now: Instant) -> bool {
    let cap = upstream.shared.connection_cap(&reach.endpoint, now);
    crate::upstream::pool::open(&reach.endpoint) >= cap && reach.pool.is_empty()
}

/// What an endpoint says that it has in flight, the request that it answers left out.
fn reported(name: &str, response: &ResponseHead) -> Option<u32> {
    let mut fields = response.fields.iter();
    let (_, _, value) = fields.find(|(_, spelt, _)| spelt.eq_ignore_ascii_case(name.as_bytes()))?;
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

/// Picks an endpoint and takes a slot of it. One whose last slot another worker takes meanwhile is
/// full then, and another is picked.
pub fn pick(
    exchange: &mut Exchange,
    upstream: &Rc<UpstreamView>,
    tried: &Tried,
) -> Result<(usize, Box<Slot>), Lack> {
    for _ in 0..=upstream.reaches.len() {
        if let (index, Some(slot)) = pick_once(exchange, upstream, tried)? {
            return Ok((index, slot));
        }
    }
    Err(Lack::Capacity)
}

fn pick_once(
    exchange: &mut Exchange,
    upstream: &Rc<UpstreamView>,
    tried: &Tried,
) -> Result<(usize, Option<Box<Slot>>), Lack> {
    let shared = &upstream.shared;
    let verdict = Verdict::ask(exchange, shared);
    let mut verdict = verdict.map_err(|_| Lack::BreakerOpen)?;
    let picked = match choose(exchange, upstream, tried) {
        Err(Lack::Capacity) if all_are_probed(exchange, upstream, tried) => {
            return Err(if tried.is_empty() {
                Lack::BreakerOpen
            } else {
                // Those that it has been to may be the better ones.
                Lack::Untried
            });
        }
        picked => picked?,
    };
    let endpoint = &upstream.reaches[picked.endpoint].endpoint;
    if !verdict.ask_endpoint(exchange.now, shared, endpoint) {
        return Ok((picked.endpoint, None));
    }
    upstream.cells.picked(picked.by as usize);
    let reach = Rc::clone(&upstream.reaches[picked.endpoint]);
    let kind = if exchange.attempts == 0 {
        AttemptKind::First
    } else {
        AttemptKind::Retry
    };
    let cap = upstream.shared.attempt_cap(&reach.endpoint, exchange.now);
    let slot = Slot::new(exchange, upstream, reach, kind, cap, verdict);
    Ok((picked.endpoint, slot))
}

/// Why there is no use in waiting for room: nobody would be picked then either.
pub fn hopeless(exchange: &Exchange, upstream: &UpstreamView) -> Option<Lack> {
    if verdict::is_open(exchange, &upstream.shared) {
        return Some(Lack::BreakerOpen);
    }
    if !candidates(exchange, upstream, &Tried::default()).is_empty() {
        return None;
    }
    let mut seen = upstream.seen.borrow_mut();
    let spread = seen.load().section(exchange.selection.ask.section);
    Some(if spread.is_panicking() {
        Lack::Panic
    } else {
        Lack::Endpoint
    })
}

/// Asks the upstream's policies, and writes their grounds down where somebody wants to know.
fn choose(exchange: &mut Exchange, upstream: &UpstreamView, tried: &Tried) -> Result<Picked, Lack> {
    let live = Live {
        upstream,
        tried,
        now: exchange.now,
    };
    let ask = exchange.selection.ask;
    let audience = Audience::of(exchange, upstream);
    let mut grounds = audience.is_any().then(Grounds::default);
    let (picked, narrowed) = {
        let mut seen = upstream.seen.borrow_mut();
        let mut memories = upstream.memories.borrow_mut();
        let mut random = exchange.worker.random.borrow_mut();
        let groups = &upstream.shared.groups;
        let narrowed = seen.load();
        match groups.unbound_now(narrowed, &ask, &live) {
            // Since when it was tried is known already: it may have been full when it was to be dialled.
            Some(Exclusion::Tried) => {}
            reason => exchange.is_bound_full = reason == Some(Exclusion::Full),
        }
        let picked = groups.pick(
            narrowed,
            &ask,
            &live,
            &mut memories,
            &mut random,
            grounds.as_mut(),
        );
        // What it was picked among, and not what others look at a moment later.
        (picked, grounds.is_some().then(|| Arc::clone(narrowed)))
    };
    if let (Some(hot_keys), Some(key)) = (&upstream.hot_keys, &exchange.selection.key)
        && let Ok(picked) = picked
        // A session goes where it is bound, whatever its key.
        && picked.by != Reason::Bound
    {
        let away = [Reason::Spilled, Reason::ScanAfterMisses, Reason::OtherGroup];
        census::note(hot_keys, key, away.contains(&picked.by));
    }
    if let (Some(grounds), Some(narrowed)) = (grounds, narrowed) {
        audience.tell(exchange, upstream, &narrowed, picked, &grounds);
    }
    picked
}

/// What the client is told where nobody may be picked, whom the request has tried already aside.
pub fn absent(exchange: &Exchange, upstream: &UpstreamView, lack: Lack) -> Option<ProxyError> {
    if exchange.attempts > 0 || matches!(lack, Lack::Capacity | Lack::Untried) {
        return None;
    }
    let probing = candidates(exchange, upstream, &Tried::default()).into_iter();
    let probing = probing.filter(|reach| reach.endpoint.breaker.is_taken());
    let probing = probing.count();
    let mut seen = upstream.seen.borrow_mut();
    let spread = seen.load().section(exchange.selection.ask.section);
    Some(ProxyError::NoEndpoint(match (lack, probing) {
        // Nobody was asked for.
        (Lack::BreakerOpen, 0) => Absence {
            lack,
            out: Vec::new(),
        },
        (_, probing) => Absence::with_probing(lack, spread, probing),
    }))
}

/// The same when all endpoints have as many connections as they may have, some of which other workers may keep idle: one
/// is asked for until there is room or nobody has any, for no longer than a connection may take, nor after `until`.
pub async fn pick_with_room(
    exchange: &mut Exchange,
    upstream: &Rc<UpstreamView>,
    tried: &Tried,
    until: Instant,
) -> Result<(usize, Box<Slot>), Lack> {
    let worker = Rc::clone(&exchange.worker);
    let picking = async {
        loop {
            if !make_room(exchange, upstream, tried).await {
                return Err(Lack::Capacity);
            }
            // What was waited for is none of the time that the endpoint takes.
            exchange.now = worker.wheel.now();
            match pick(exchange, upstream, tried) {
                Err(Lack::Capacity) => {}
                picked => return picked,
            }
        }
    };
    let left = until.since(worker.wheel.now());
    let span = upstream.shared.timeouts.connect.min(left);
    let picked = worker.wheel.timeout(span, picking).await;
    picked.unwrap_or(Err(Lack::Capacity))
}

/// The endpoints that this request could be given.
fn candidates<'a>(
    exchange: &Exchange,
    upstream: &'a UpstreamView,
    tried: &Tried,
) -> Vec<&'a Rc<Reach>> {
    let mut seen = upstream.seen.borrow_mut();
    let spread = seen.load().section(exchange.selection.ask.section);
    let is_candidate = |i| {
        let mut groups = spread.groups().iter();
        groups.any(|group| group.members.is_candidate(i))
    };
    let all = upstream.reaches.iter().enumerate();
    all.filter(|(i, _)| is_candidate(*i) && !tried.contains(*i))
        .map(|(_, reach)| reach)
        .collect()
}

/// Whether a request that found no room lacks nothing but connections. Of those none comes free as attempts end: the idle ones
/// of other workers were asked for already.
pub fn is_about_connections(exchange: &Exchange, upstream: &UpstreamView, tried: &Tried) -> bool {
    let candidates = candidates(exchange, upstream, tried);
    let mut candidates = candidates.into_iter();
    candidates.all(|reach| lacks_connections(upstream, reach, exchange.now))
}

/// Asks for room at the endpoints that this request could be given, one after the other.
async fn make_room(exchange: &Exchange, upstream: &UpstreamView, tried: &Tried) -> bool {
    let wanted = candidates(exchange, upstream, tried);
    for reach in wanted {
        if !lacks_connections(upstream, reach, exchange.now) {
            // It has no slot, which no connection would change.
            continue;
        }
        if exchange.worker.make_room(&reach.endpoint).await {
            return true;
        }
    }
    false
}

/// Whether all endpoints that this request could be given are half-open, with their probes under way.
fn all_are_probed(exchange: &Exchange, upstream: &UpstreamView, tried: &Tried) -> bool {
    let candidates = candidates(exchange, upstream, tried);
    let mut candidates = candidates.into_iter();
    candidates.all(|reach| reach.endpoint.breaker.is_taken())
}
