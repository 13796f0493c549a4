//! The cells of one worker: what it counts for a route, an endpoint, a listener and itself.
//!
//! Only the worker that owns them writes, with plain stores; anybody reads. Recording takes no lock and, once the octaves
//! that traffic falls into exist, no memory.

use super::counter::{Counter, Tally};
use super::histogram::Histogram;
use super::names::{CLASSES, Metric, class};
use super::record::{
    Attempt, AttemptKind, AttemptOutcome, FaultsMet, Outcome, Phase, Record, Times,
};

/// The words that may appear as labels of errors and refusals; what is not listed is counted as `other`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels {
    /// What went wrong with a request or an attempt.
    pub errors: &'static [&'static str],
    /// Why a connection or a request was refused before routing.
    pub refusals: &'static [&'static str],
    /// How a pick can come about.
    pub reasons: &'static [&'static str],
    /// What can be decided after a failed attempt.
    pub decisions: &'static [&'static str],
    /// What can become of a hedge.
    pub hedges: &'static [&'static str],
}

/// What a reader does with one counter: its metric, the value of its last label if it has one of its own, its count.
pub(super) type EachCounter<'a> = &'a mut dyn FnMut(Metric, &'static str, u64);
/// What a reader does with one histogram.
pub(super) type EachHistogram<'a> = &'a mut dyn FnMut(Metric, &'static str, &Histogram);

/// Cells that can be listed. The order is the same for all cells of a kind, so that workers can be summed by place.
pub(super) trait Cells {
    fn new(labels: &Labels) -> Self;
    fn counters(&self, each: EachCounter<'_>);
    fn histograms(&self, each: EachHistogram<'_>);
}

/// Histograms of the phases, in the order of [`Phase::ALL`].
#[derive(Debug, Default)]
struct Phases([Histogram; Phase::ALL.len()]);

impl Phases {
    #[inline]
    fn record(&self, times: &Times) {
        let [queue, connect, first_byte, body, own] = &self.0;
        let all = [
            (queue, times.queue),
            (connect, times.connect),
            (first_byte, times.first_byte),
            (body, times.body),
            (own, times.own),
        ];
        for (histogram, nanos) in all {
            if let Some(nanos) = nanos {
                histogram.record(nanos);
            }
        }
    }

    fn list(&self, metric: Metric, each: EachHistogram<'_>) {
        Phase::ALL
            .iter()
            .zip(&self.0)
            .for_each(|(phase, histogram)| each(metric, phase.label(), histogram));
    }
}

fn list_counters(
    metric: Metric,
    words: impl Iterator<Item = &'static str>,
    all: &[Counter],
    each: EachCounter<'_>,
) {
    words
        .zip(all)
        .for_each(|(word, counter)| each(metric, word, counter.value()));
}

/// What one worker counts for one route.
#[derive(Debug)]
pub struct RouteCells {
    classes: [Counter; CLASSES.len()],
    outcomes: [Counter; Outcome::ALL.len()],
    errors: Tally,
    received_bytes: Counter,
    sent_bytes: Counter,
    attempts: Counter,
    retries: Counter,
    replays: Counter,
    faults: [Counter; FaultsMet::WORDS.len()],
    durations: [Histogram; Outcome::ALL.len()],
    phases: Phases,
    /// What the service took that is asked whether a request may enter.
    auth_durations: Histogram,
}

impl RouteCells {
    /// Counts how long it took until a service said whether a request may enter, or nobody did.
    pub fn asked_service(&self, nanos: u64) {
        self.auth_durations.record(nanos);
    }

    /// Counts one request that has ended.
    #[inline]
    pub fn record(&self, record: &Record<'_>) {
        self.classes[class(record.status)].add(1);
        self.outcomes[record.outcome as usize].add(1);
        self.durations[record.outcome as usize].record(record.times.total);
        self.phases.record(&record.times);
        self.received_bytes.add(record.bytes_in);
        self.sent_bytes.add(record.bytes_out);
        self.attempts.add(u64::from(record.attempts));
        if record.attempts > 1 {
            self.retries.add(u64::from(
                (record.attempts - 1).saturating_sub(record.replays),
            ));
            self.replays.add(u64::from(record.replays));
        }
        if let Some(error) = record.error {
            self.errors.add(error);
        }
        if record.faults != FaultsMet::default() {
            for (counter, is_met) in self.faults.iter().zip(record.faults.each()) {
                counter.add(u64::from(is_met));
            }
        }
    }
}

impl Cells for RouteCells {
    fn new(labels: &Labels) -> Self {
        Self {
            classes: Default::default(),
            outcomes: Default::default(),
            errors: Tally::new(labels.errors),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            attempts: Counter::default(),
            retries: Counter::default(),
            replays: Counter::default(),
            faults: Default::default(),
            durations: Default::default(),
            phases: Phases::default(),
            auth_durations: Histogram::default(),
        }
    }

    fn counters(&self, each: EachCounter<'_>) {
        list_counters(Metric::Requests, CLASSES.into_iter(), &self.classes, each);
        list_counters(
            Metric::RequestOutcomes,
            Outcome::ALL.into_iter().map(Outcome::label),
            &self.outcomes,
            each,
        );
        self.errors
            .iter()
            .for_each(|(error, count)| each(Metric::RequestErrors, error, count));
        each(Metric::RequestBytes, "", self.received_bytes.value());
        each(Metric::ResponseBytes, "", self.sent_bytes.value());
        each(Metric::RequestAttempts, "", self.attempts.value());
        each(Metric::Retries, "", self.retries.value());
        each(Metric::Replays, "", self.replays.value());
        let words = FaultsMet::WORDS.into_iter();
        list_counters(Metric::RequestFaults, words, &self.faults, each);
    }

    fn histograms(&self, each: EachHistogram<'_>) {
        for (outcome, histogram) in Outcome::ALL.iter().zip(&self.durations) {
            each(Metric::RequestDuration, outcome.label(), histogram);
        }
        self.phases.list(Metric::RequestPhase, each);
        each(Metric::AuthDuration, "", &self.auth_durations);
    }
}

/// What one worker counts for one upstream as a whole.
#[derive(Debug)]
pub struct UpstreamCells {
    reasons: &'static [&'static str],
    picks: Box<[Counter]>,
    /// Attempts that were answered well: what funds the budget of retries.
    pub successes: Counter,
    decisions: &'static [&'static str],
    /// What was decided after failed attempts.
    retries: Box<[Counter]>,
    hedge_words: &'static [&'static str],
    hedges: Box<[Counter]>,
}

impl UpstreamCells {
    /// Counts a pick that came about by the reason of this place in [`Labels::reasons`].
    #[inline]
    pub fn picked(&self, reason: usize) {
        self.picks[reason].add(1);
    }

    /// Counts what became of a hedge, by its place in [`Labels::hedges`].
    pub fn hedged(&self, outcome: usize) {
        self.hedges[outcome].add(1);
    }

    /// Counts what was decided after a failed attempt, by its place in [`Labels::decisions`].
    pub fn decided(&self, decision: usize) {
        self.retries[decision].add(1);
    }
}

impl Cells for UpstreamCells {
    fn new(labels: &Labels) -> Self {
        Self {
            reasons: labels.reasons,
            picks: labels.reasons.iter().map(|_| Counter::default()).collect(),
            successes: Counter::default(),
            decisions: labels.decisions,
            hedge_words: labels.hedges,
            hedges: labels.hedges.iter().map(|_| Counter::default()).collect(),
            retries: labels
                .decisions
                .iter()
                .map(|_| Counter::default())
                .collect(),
        }
    }

    fn counters(&self, each: EachCounter<'_>) {
        let reasons = self.reasons.iter().copied();
        list_counters(Metric::UpstreamPicks, reasons, &self.picks, each);
        let decisions = self.decisions.iter().copied();
        list_counters(Metric::UpstreamRetries, decisions, &self.retries, each);
        let hedges = self.hedge_words.iter().copied();
        list_counters(Metric::UpstreamHedges, hedges, &self.hedges, each);
    }

    fn histograms(&self, _: EachHistogram<'_>) {}
}

/// What one worker counts for one endpoint.
#[derive(Debug)]
pub struct EndpointCells {
    /// How often the balancer chose it, whether or not a slot was then free.
    pub picks: Counter,
    /// Connections made.
    pub connections: Counter,
    /// Connections that could not be made.
    pub connections_failed: Counter,
    /// Connections closed, by either side; open are those made and not closed.
    pub connections_closed: Counter,
    /// TLS handshakes completed.
    pub handshakes: Counter,
    /// Those of them that resumed a session.
    pub handshakes_resumed: Counter,
    reused: Counter,
    outcomes: [Counter; AttemptOutcome::ALL.len()],
    kinds: [Counter; AttemptKind::ALL.len()],
    classes: [Counter; CLASSES.len()],
    errors: Tally,
    sent_bytes: Counter,
    received_bytes: Counter,
    durations: [Histogram; AttemptOutcome::ALL.len()],
    phases: Phases,
}

impl EndpointCells {
    /// Counts one attempt that has ended. The phases of a cancelled one are left out: the last was cut short.
    #[inline]
    pub fn record(&self, attempt: &Attempt) {
        self.outcomes[attempt.outcome as usize].add(1);
        self.kinds[attempt.kind as usize].add(1);
        self.classes[class(attempt.status)].add(1);
        self.reused.add(u64::from(attempt.reused));
        self.sent_bytes.add(attempt.bytes_sent);
        self.received_bytes.add(attempt.bytes_received);
        self.durations[attempt.outcome as usize].record(attempt.times.total);
        if attempt.outcome != AttemptOutcome::Cancelled {
            self.phases.record(&attempt.times);
        }
        if let Some(error) = attempt.error {
            self.errors.add(error);
        }
    }
}

impl Cells for EndpointCells {
    fn new(labels: &Labels) -> Self {
        Self {
            picks: Counter::default(),
            connections: Counter::default(),
            connections_failed: Counter::default(),
            connections_closed: Counter::default(),
            handshakes: Counter::default(),
            handshakes_resumed: Counter::default(),
            reused: Counter::default(),
            outcomes: Default::default(),
            kinds: Default::default(),
            classes: Default::default(),
            errors: Tally::new(labels.errors),
            sent_bytes: Counter::default(),
            received_bytes: Counter::default(),
            durations: Default::default(),
            phases: Phases::default(),
        }
    }

    fn counters(&self, each: EachCounter<'_>) {
        list_counters(
            Metric::Attempts,
            AttemptOutcome::ALL.into_iter().map(AttemptOutcome::label),
            &self.outcomes,
            each,
        );
        list_counters(
            Metric::AttemptKinds,
            AttemptKind::ALL.into_iter().map(AttemptKind::label),
            &self.kinds,
            each,
        );
        list_counters(
            Metric::AttemptResponses,
            CLASSES.into_iter(),
            &self.classes,
            each,
        );
        self.errors
            .iter()
            .for_each(|(error, count)| each(Metric::AttemptErrors, error, count));
        each(Metric::Picks, "", self.picks.value());
        each(Metric::EndpointSentBytes, "", self.sent_bytes.value());
        each(
            Metric::EndpointReceivedBytes,
            "",
            self.received_bytes.value(),
        );
        each(Metric::EndpointConnections, "", self.connections.value());
        each(
            Metric::EndpointConnectionsFailed,
            "",
            self.connections_failed.value(),
        );
        each(Metric::EndpointConnectionsReused, "", self.reused.value());
        each(
            Metric::EndpointConnectionsOpen,
            "",
            open(&self.connections, &self.connections_closed),
        );
        each(Metric::EndpointHandshakes, "", self.handshakes.value());
        each(
            Metric::EndpointHandshakesResumed,
            "",
            self.handshakes_resumed.value(),
        );
    }

    fn histograms(&self, each: EachHistogram<'_>) {
        for (outcome, histogram) in AttemptOutcome::ALL.iter().zip(&self.durations) {
            each(Metric::AttemptDuration, outcome.label(), histogram);
        }
        self.phases.list(Metric::AttemptPhase, each);
    }
}

/// What one worker counts for one listener.
#[derive(Debug)]
pub struct ListenerCells {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed; open are those accepted and not closed.
    pub closed: Counter,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
    /// TLS handshakes that resumed a session.
    pub handshakes_resumed: Counter,
    /// TLS handshakes that had to wait for their turn.
    pub handshakes_queued: Counter,
    /// Those of them that wait no more.
    pub handshakes_called: Counter,
    refusals: Tally,
    handshakes: Counter,
    handshake_durations: Histogram,
    classes: [Counter; CLASSES.len()],
    received_bytes: Counter,
    sent_bytes: Counter,
    durations: [Histogram; Outcome::ALL.len()],
}

impl ListenerCells {
    /// Counts one request that has ended. Every request has a listener, so the process is the sum of its listeners.
    #[inline]
    pub fn record(&self, record: &Record<'_>) {
        self.classes[class(record.status)].add(1);
        self.received_bytes.add(record.bytes_in);
        self.sent_bytes.add(record.bytes_out);
        self.durations[record.outcome as usize].record(record.times.total);
    }

    /// Counts a connection or a request that was refused before routing.
    pub fn refused(&self, reason: &str) {
        self.refusals.add(reason);
    }

    /// Counts a TLS handshake that succeeded.
    pub fn handshake(&self, nanos: u64) {
        self.handshakes.add(1);
        self.handshake_durations.record(nanos);
    }
}

impl Cells for ListenerCells {
    fn new(labels: &Labels) -> Self {
        Self {
            accepted: Counter::default(),
            closed: Counter::default(),
            handshake_failures: Counter::default(),
            handshakes_resumed: Counter::default(),
            handshakes_queued: Counter::default(),
            handshakes_called: Counter::default(),
            refusals: Tally::new(labels.refusals),
            handshakes: Counter::default(),
            handshake_durations: Histogram::default(),
            classes: Default::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            durations: Default::default(),
        }
    }

    fn counters(&self, each: EachCounter<'_>) {
        each(Metric::ListenerAccepted, "", self.accepted.value());
        each(Metric::ListenerOpen, "", open(&self.accepted, &self.closed));
        self.refusals
            .iter()
            .for_each(|(reason, count)| each(Metric::ListenerRefused, reason, count));
        each(Metric::ListenerHandshakes, "", self.handshakes.value());
        each(
            Metric::ListenerHandshakesResumed,
            "",
            self.handshakes_resumed.value(),
        );
        each(
            Metric::ListenerHandshakesWaiting,
            "",
            open(&self.handshakes_queued, &self.handshakes_called),
        );
        each(
            Metric::ListenerHandshakeFailures,
            "",
            self.handshake_failures.value(),
        );
        list_counters(
            Metric::ListenerRequests,
            CLASSES.into_iter(),
            &self.classes,
            each,
        );
        each(
            Metric::ListenerReceivedBytes,
            "",
            self.received_bytes.value(),
        );
        each(Metric::ListenerSentBytes, "", self.sent_bytes.value());
    }

    fn histograms(&self, each: EachHistogram<'_>) {
        each(
            Metric::ListenerHandshakeDuration,
            "",
            &self.handshake_durations,
        );
        for (outcome, histogram) in Outcome::ALL.iter().zip(&self.durations) {
            each(Metric::ListenerDuration, outcome.label(), histogram);
        }
    }
}

/// What one worker counts for itself.
#[derive(Debug, Default)]
pub struct WorkerCells {
    /// Connections and HTTP/2 streams ended by a panic.
    pub panics: Counter,
    /// Accepted connections handed to another worker.
    pub hand_overs: Counter,
    /// How late the worker's timer ran.
    pub lag: Histogram,
}

impl Cells for WorkerCells {
    fn new(_: &Labels) -> Self {
        Self::default()
    }

    fn counters(&self, each: EachCounter<'_>) {
        each(Metric::WorkerPanics, "", self.panics.value());
        each(Metric::WorkerHandOvers, "", self.hand_overs.value());
    }

    fn histograms(&self, each: EachHistogram<'_>) {
        each(Metric::WorkerLag, "", &self.lag);
    }
}

/// What was opened and not closed. A connection may be closed on another worker than it was opened on, so this may wrap
/// below zero on one worker; the wrapping sum over workers is right.
fn open(opened: &Counter, closed: &Counter) -> u64 {
    opened.value().wrapping_sub(closed.value())
}
