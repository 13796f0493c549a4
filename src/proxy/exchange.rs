//! All that is known of one request so far. What happened is recorded once, when it is dropped.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::entry::Entry;
use super::error::{ProxyError, Side};
use super::request::Request;
use super::select::Selection;
use crate::clock::Instant;
use crate::http::Peer;
use crate::http::buffers::Lent;
use crate::http::fields::Name;
use crate::http::head::{RequestHead, Version};
use crate::observe::{FaultsMet, Outcome, Protocol, Record, Times};
use crate::worker::{ListenerView, RouteView, UpstreamView, Worker};

/// When an attempt came how far; [`Instant::FAR`] as long as it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// It began to look for a connection.
    pub picked: Instant,
    pub connected: Instant,
    /// The last byte of the request was written.
    pub sent: Instant,
    /// The head of its answer came.
    pub answered: Instant,
    /// Whether its connection had carried a request before.
    pub reused: bool,
}

/// How far an exchange has come that is carried out apart from its client.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub attempts: u32,
    pub endpoint: Option<usize>,
    /// When the last attempt began.
    pub picked: Instant,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            attempts: 0,
            endpoint: None,
            picked: Instant::FAR,
        }
    }
}

impl Steps {
    /// Of an attempt that begins at `picked`.
    pub fn begun(picked: Instant) -> Self {
        Self {
            picked,
            connected: Instant::FAR,
            sent: Instant::FAR,
            answered: Instant::FAR,
            reused: false,
        }
    }
}

/// One request with its response and record.
pub struct Exchange {
    pub worker: Rc<Worker>,
    /// What it is about, whatever is swapped in meanwhile. Not the whole view that it started with: its stream may
    /// outlast many of those.
    pub listener: Rc<ListenerView>,
    pub route: Option<Rc<RouteView>>,
    pub upstream: Option<Rc<UpstreamView>>,
    /// What of it decides among the endpoints of the upstream.
    pub selection: Selection,
    /// Its place in the upstream.
    pub endpoint: Option<usize>,
    /// The endpoint that its session is bound to had no room, and nothing else is held against it: another may serve,
    /// and the session stays.
    pub is_bound_full: bool,
    /// Why its endpoints were picked, as it is told to a client that asked.
    pub told: Vec<String>,
    pub head: Lent<RequestHead>,
    pub peer: Rc<Peer>,
    /// What is known of a client that was judged; `None` as long as nobody has.
    pub entry: Option<Box<Entry>>,
    /// When the first bytes of the head were read.
    pub begun: Instant,
    /// When the head was complete: from here on time is the proxy's, and deadlines run.
    pub started: Instant,
    /// Chance; shown as 16 hex digits.
    pub id: u64,
    pub attempts: u32,
    pub replays: u32,
    /// 0 until a head was sent to the client.
    pub status: u16,
    pub error: Option<ProxyError>,
    /// What its route injected on purpose.
    pub faults: FaultsMet,
    /// Bytes per second at which its answer is passed on, when its route slows it down on purpose.
    pub bandwidth: Option<u64>,
    /// The head of an endpoint's answer was passed on.
    pub passed_on: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// How far the attempt came whose answer it has, or else the last one.
    pub steps: Steps,
    /// When it ended, once that is known.
    pub ended: Instant,
    /// When the last thing happened to it that was waited for; as long as nothing is, no time passes that counts.
    pub now: Instant,
    /// An endpoint may have acted upon it: at least a byte of it may have left, and nobody said that nothing was done.
    pub in_doubt: bool,
    /// It carries a request out apart from the exchange of the client, which is the one that is recorded.
    apart: Option<Rc<Cell<Seen>>>,
    /// Spent on attempts, and on waiting for room, that came to nothing.
    in_vain: Duration,
    /// Spent in the queue of its upstream.
    pub queued: Duration,
    /// Since when it waits there; [`Instant::FAR`] when it does not.
    queues_since: Instant,
}

impl Exchange {
    /// Begins with a request head that came in by `listener`.
    pub fn start(
        worker: &Rc<Worker>,
        listener: &Rc<ListenerView>,
        head: Lent<RequestHead>,
        begun: Option<Instant>,
        peer: Rc<Peer>,
    ) -> Self {
        let started = worker.wheel.now();
        Self {
            listener: Rc::clone(listener),
            head,
            peer,
            entry: None,
            begun: begun.unwrap_or(started),
            started,
            id: worker.random.borrow_mut().next_u64(),
            worker: Rc::clone(worker),
            route: None,
            upstream: None,
            selection: Selection::default(),
            endpoint: None,
            is_bound_full: false,
            told: Vec::new(),
            attempts: 0,
            replays: 0,
            status: 0,
            // What it stays when it is dropped half way, which a client that left brings about, if not a panic.
            error: Some(ProxyError::ClientGone),
            faults: FaultsMet::default(),
            bandwidth: None,
            passed_on: false,
            bytes_in: 0,
            bytes_out: 0,
            steps: Steps::begun(Instant::FAR),
            ended: Instant::FAR,
            now: started,
            in_doubt: false,
            apart: None,
            in_vain: Duration::ZERO,
            queued: Duration::ZERO,
            queues_since: Instant::FAR,
        }
    }

    /// Another one for the same request, which begins now and tells `seen` how far it comes. Nothing of it is recorded.
    pub fn set_apart(&self, now: Instant, seen: &Rc<Cell<Seen>>) -> Self {
        let mut head = self.worker.buffers.request_head();
        head.clone_from(&self.head);
        Self {
            worker: Rc::clone(&self.worker),
            listener: Rc::clone(&self.listener),
            route: self.route.clone(),
            upstream: self.upstream.clone(),
            selection: self.selection.clone(),
            head,
            peer: Rc::clone(&self.peer),
            entry: self.entry.clone(),
            begun: self.begun,
            started: now,
            id: self.id,
            endpoint: None,
            is_bound_full: false,
            told: Vec::new(),
            attempts: 0,
            replays: 0,
            status: 0,
            error: None,
            faults: FaultsMet::default(),
            bandwidth: None,
            passed_on: false,
            bytes_in: 0,
            bytes_out: 0,
            steps: Steps::begun(Instant::FAR),
            ended: Instant::FAR,
            now,
            queued: Duration::ZERO,
            queues_since: Instant::FAR,
            in_doubt: false,
            apart: Some(Rc::clone(seen)),
            in_vain: Duration::ZERO,
        }
    }

    /// What the exchange set apart did was done for this one.
    pub fn adopt(&mut self, other: &mut Self) {
        self.attempts = other.attempts;
        self.replays = other.replays;
        self.endpoint = other.endpoint;
        self.is_bound_full = other.is_bound_full;
        self.selection = std::mem::take(&mut other.selection);
        self.told = std::mem::take(&mut other.told);
        self.steps = other.steps;
        self.now = other.now;
        self.queued = other.queued;
        self.in_vain += other.in_vain;
    }

    /// The exchange set apart has not come to an end, and this one waits for it no longer.
    pub fn leave(&mut self, seen: Seen) {
        self.attempts = seen.attempts;
        self.endpoint = seen.endpoint;
        self.steps = Steps::begun(seen.picked);
    }

    /// What routes, keys, sessions and subsets read of it.
    pub fn request(&self) -> Request<'_> {
        Request {
            head: &self.head,
            peer: self.peer.address,
            tls: self.peer.tls,
            listener: self.listener.place,
            rules: &self.listener.shared,
        }
    }

    /// The wait that began at `since` came to nothing, at `now`.
    pub fn waited_in_vain(&mut self, since: Instant, now: Instant) {
        self.in_vain += now.since(since);
        self.now = now;
    }

    /// The wait for room that began at `since` is over at `now`. What is waited for in the queue counts there.
    pub fn waited_for_room(&mut self, since: Instant, now: Instant) {
        if self.queues_since == Instant::FAR {
            self.waited_in_vain(since, now);
        }
        self.now = now;
    }

    /// It begins to wait in the queue of its upstream.
    pub fn queues(&mut self, now: Instant) {
        self.queues_since = now;
    }

    /// It waits no more.
    pub fn has_queued(&mut self, now: Instant) {
        self.queued = self.queued_until(now);
        self.queues_since = Instant::FAR;
        self.now = now;
        if self.steps.picked < Instant::FAR {
            // The attempt before, which has no answer, is not what was waited for.
            self.steps.picked = now;
        }
    }

    fn queued_until(&self, now: Instant) -> Duration {
        if self.queues_since == Instant::FAR {
            self.queued
        } else {
            self.queued + now.since(self.queues_since)
        }
    }

    /// An attempt begins: it looks for a connection now. Nothing of an earlier one counts any more.
    pub fn attempt(&mut self) {
        self.attempts += 1;
        self.steps = Steps::begun(self.now);
        if let Some(seen) = &self.apart {
            seen.set(Seen {
                attempts: self.attempts,
                endpoint: self.endpoint,
                picked: self.now,
            });
        }
    }

    /// The attempt came to nothing, at `now`.
    pub fn attempt_failed(&mut self, now: Instant) {
        self.waited_in_vain(self.steps.picked, now);
        self.steps.picked = now;
    }

    /// Another attempt that ran beside the last one has answered: what was before it was in vain.
    pub fn take_over(&mut self, endpoint: usize, steps: Steps) {
        self.in_vain += steps.picked.since(self.steps.picked);
        self.endpoint = Some(endpoint);
        self.steps = steps;
    }

    /// The id as it is shown.
    pub fn id(&self) -> String {
        format!("{:016x}", self.id)
    }

    fn outcome(&self) -> Outcome {
        match &self.error {
            None => Outcome::Completed,
            Some(ProxyError::ClientGone) => Outcome::ClientGone,
            Some(_) if self.passed_on => Outcome::Broken,
            Some(error) if error.side() == Side::Downstream || self.attempts == 0 => {
                Outcome::Refused
            }
            Some(_) => Outcome::Failed,
        }
    }

    /// Where the time went until `now`. The proxy's own share is what is left without waiting: for the rest of the head,
    /// for a connection, for a request body, for the endpoint, and for a response body that did not come at once.
    fn times(&self, now: Instant) -> Times {
        let span = |from: Instant, to: Instant| {
            (from < Instant::FAR && to < Instant::FAR)
                .then(|| u64::try_from(to.since(from).as_nanos()).unwrap_or(u64::MAX))
        };
        let steps = &self.steps;
        let total = u64::try_from(now.since(self.begun).as_nanos()).unwrap_or(u64::MAX);
        let head = span(self.begun, self.started);
        let connect = if steps.reused {
            None
        } else {
            span(steps.picked, steps.connected)
        };
        let first_byte = span(steps.sent, steps.answered);
        let body = if self.bytes_out > 0 {
            span(steps.answered, now)
        } else {
            None
        };
        let upload = if self.bytes_in > 0 {
            span(steps.connected, steps.sent)
        } else {
            None
        };
        let streamed = if self.bytes_out > AT_ONCE { body } else { None };
        // An attempt without an answer was waited for from its pick on, whatever it waited for.
        let unanswered = if steps.answered == Instant::FAR {
            span(steps.picked, now)
        } else {
            None
        };
        let waits = match unanswered {
            Some(_) => [head, unanswered, None, None, None],
            None => [head, connect, first_byte, upload, streamed],
        };
        let queued = self.queued_until(now);
        let elsewhere = (self.in_vain + queued).as_nanos();
        let elsewhere = u64::try_from(elsewhere).unwrap_or(u64::MAX);
        let waited = waits.into_iter().flatten().sum::<u64>();
        let waited = waited.saturating_add(elsewhere);
        Times {
            total,
            queue: (queued > Duration::ZERO)
                .then(|| u64::try_from(queued.as_nanos()).unwrap_or(u64::MAX)),
            connect,
            first_byte,
            body,
            own: Some(total.saturating_sub(waited)),
        }
    }
}

/// Bodies up to this size usually come and go with their head; passing them on is the proxy's own work.
const AT_ONCE: u64 = 16 * 1024;

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.apart.is_some() {
            return;
        }
        if std::thread::panicking() {
            self.error = Some(ProxyError::Panicked);
            if self.route.is_none() {
                self.listener.cells.refused(ProxyError::Panicked.label());
            }
        }
        let now = self.worker.wheel.or_now(self.ended);
        let log = &self.worker.log;
        let is_logged = log.borrow().is_on();
        let mut record = Record {
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            attempts: self.attempts,
            replays: self.replays,
            reused: self.steps.reused,
            times: self.times(now),
            outcome: self.outcome(),
            error: self.error.as_ref().map(ProxyError::label),
            faults: self.faults,
            ..Record::default()
        };
        self.listener.cells.record(&record);
        if let Some(route) = &self.route {
            route.cells.record(&record);
        }
        if !is_logged {
            return;
        }
        let id = self.id();
        if self.status == 0 && self.error == Some(ProxyError::ClientGone) {
            record.status = ProxyError::ClientGone.status();
        }
        record.id = &id;
        record.unix_millis = self.worker.unix_millis(self.begun);
        record.client = &self.peer.text;
        record.proxy = self.peer.proxy.as_deref().unwrap_or_default();
        let entry = self.entry.as_ref();
        record.user = entry
            .and_then(|entry| entry.identity.as_deref())
            .unwrap_or_default();
        record.listener = &self.listener.shared.name;
        record.method = self.head.method.as_str();
        record.target = &self.head.target;
        record.protocol = match self.head.version {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
            Version::Http2 => Protocol::Http2,
        };
        record.route = self.route.as_ref().map_or("", |route| &route.name);
        let upstream = self.upstream.as_ref();
        record.upstream = upstream.map_or("", |upstream| &upstream.shared.name);
        let endpoint = upstream
            .zip(self.endpoint)
            .and_then(|(upstream, index)| upstream.reaches.get(index));
        record.endpoint = endpoint.map_or("", |reach| &reach.endpoint.id);
        record.user_agent = self.head.fields.get(Name::UserAgent).unwrap_or_default();
        record.referer = self.head.fields.get(Name::Referer).unwrap_or_default();
        self.worker.write_log(&record);
    }
}
