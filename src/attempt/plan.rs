//! The state machine of one request's tries: told what happened, it says what to do next.
//!
//! Three cases in which another attempt is made:
//!
//! - Nothing was sent, or nothing was done with it for certain: a connection could not be made, not a byte was
//!   written, or the endpoint says so by REFUSED_STREAM or GOAWAY. A request of any method goes to another endpoint
//!   at once, while `total` lasts, and to each endpoint once. It costs no endpoint any work, and so counts neither
//!   as one of [`Rules::max_attempts`] nor against the budget.
//! - A reused idle connection died without a byte of a response. The request is replayed once, free of
//!   charge, on a new connection to the same endpoint, when [`retry::replayable`] allows it. For that its
//!   body must still be there: [`Plan::keep`] says what of it is worth keeping meanwhile.
//! - The attempt failed: it died, its `first_byte` ended, or its answer is one of those that the upstream lists. A request
//!   that may have been acted upon is sent again only if it is idempotent and its body is kept, if it has attempts and
//!   time left, and if the budget has a token; after a pause, to an endpoint that it has not been to. Only when it has
//!   been to all of them does it go back to one.
//!
//! Beside a slow first attempt another one can run ([`Action::Hedge`]), by a plan of its own ([`Plan::rival`]).
//!
//! The straight path, events above and actions below:
//!
//! ```text
//! Admitted   Picked       Connected   Sent   Head       Done
//!       Pick      Connect        Send    Wait    Answer     Wait
//! ```
//!
//! and when an attempt fails:
//!
//! ```text
//! Died, Failing   Granted   Timer       Picked
//!              Ask       Pause     Pick
//! ```

use super::retry::{self, Decision, Repeat, Rules};
use super::{
    Action, ConnectFailure, Deadlines, Death, Event, Failure, Keep, Refusal, Timeout, Tried,
};
use crate::clock::Instant;
use std::time::Duration;

/// The tries of one request; built when its head is routed.
#[derive(Debug, Clone)]
pub struct Plan {
    state: State,
    repeat: Repeat,
    /// A death on a reused connection was made good; later connections are new ones.
    replayed: bool,
    /// The tries of this round have gone back to endpoints tried before.
    came_back: bool,
    /// Retries made: attempts beyond the first that an endpoint may have acted upon.
    retries: u32,
    rules: Rules,
    hedge: Hedge,
    /// Why the last connection was not made.
    failure: Option<ConnectFailure>,
    /// Why the last attempt failed that had one.
    cause: Option<Failure>,
    /// What was decided after the last failure.
    decision: Option<Decision>,
    endpoints: usize,
    /// Endpoints that may still be picked, so that the tries end even if a pick ignores `tried`.
    picks_left: usize,
    tried: Tried,
    deadlines: Deadlines,
}

/// When another attempt runs beside the one under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hedge {
    Off,
    /// So long after the request is sent.
    After(Duration),
    Due(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    Picking,
    Connecting {
        endpoint: usize,
    },
    /// The request is on its way, or the response head awaited.
    Sending {
        endpoint: usize,
        reused: bool,
    },
    /// The attempt at this endpoint failed, and the budget is asked for another.
    Asking {
        endpoint: usize,
        cause: Failure,
        /// The least pause before it.
        least: Duration,
    },
    Pausing {
        until: Instant,
    },
    Answering,
    Over,
}

impl Plan {
    /// For a request to an upstream of so many endpoints.
    pub fn new(repeat: Repeat, endpoints: usize, deadlines: Deadlines, rules: Rules) -> Self {
        Self {
            state: State::Queued,
            repeat,
            replayed: false,
            came_back: false,
            retries: 0,
            rules,
            hedge: Hedge::Off,
            failure: None,
            cause: None,
            decision: None,
            endpoints,
            picks_left: endpoints.max(1),
            tried: Tried::default(),
            deadlines,
        }
    }

    /// Takes note of an event. One that does not fit the state, as a timer that crossed the end, is
    /// answered with [`Action::Wait`].
    pub fn step(&mut self, now: Instant, event: Event) -> Action {
        match (self.state, event) {
            (State::Over, _) => Action::Wait,
            (_, Event::Timer) => self.timer(now),
            (_, Event::ClientGone) => self.give_up(Failure::ClientGone),
            (_, Event::Done) => {
                self.state = State::Over;
                Action::Wait
            }
            (State::Queued, Event::Admitted) => self.pick(now),
            (State::Picking, Event::Picked(endpoint)) => self.connect(now, endpoint),
            (State::Picking, Event::Full(endpoint)) => {
                self.tried.insert(endpoint);
                self.pick(now)
            }
            (State::Picking, Event::Refused(refusal)) => self.refused(now, refusal),
            (State::Connecting { endpoint }, Event::Connected { reused }) => {
                self.state = State::Sending { endpoint, reused };
                self.deadlines.sending(now);
                Action::Send
            }
            (State::Connecting { endpoint }, Event::ConnectFailed(failure)) => {
                self.connect_failed(now, endpoint, failure)
            }
            (State::Sending { .. }, Event::Sent) => {
                self.deadlines.sent(now);
                if let Hedge::After(span) = self.hedge {
                    self.hedge = Hedge::Due(now + span);
                }
                Action::Wait
            }
            (State::Sending { .. }, Event::Head { tunnel }) => self.answer(now, tunnel),
            (State::Sending { endpoint, reused }, Event::Died(death)) => {
                self.died(now, endpoint, reused, death)
            }
            (
                State::Sending { endpoint, .. },
                Event::Failing {
                    kept,
                    harmless,
                    retry_after,
                },
            ) => {
                // What no answer makes repeatable is not, whatever an endpoint says of its call.
                let harmless = harmless && self.repeat != Repeat::No;
                let may_repeat = kept && (self.is_idempotent() || harmless);
                self.consider(now, endpoint, Failure::Failing, may_repeat, retry_after)
            }
            (
                State::Asking {
                    endpoint, least, ..
                },
                Event::Granted(draw),
            ) => self.retry(now, endpoint, least, draw),
            (State::Asking { cause, .. }, Event::Denied) => {
                self.decline(now, Decision::NoBudget, cause)
            }
            (State::Answering, Event::Died(_)) => self.give_up(Failure::Died),
            _ => Action::Wait,
        }
    }

    /// A byte went either way: idle time starts over.
    pub fn progress(&mut self, now: Instant) {
        self.deadlines.progress(now);
    }

    /// When an [`Event::Timer`] is due if nothing else happens before, and which timeout ends then.
    pub fn deadline(&self) -> (Instant, Timeout) {
        let next = self.deadlines.next();
        match self.state {
            State::Pausing { until } => (next.0.min(until), next.1),
            State::Sending { .. } => (next.0.min(self.hedge_at()), next.1),
            _ => next,
        }
    }

    /// Hedges the first attempt when its answer takes longer than this. Only of a request that may be repeated.
    pub fn hedge_after(&mut self, span: Duration) {
        if self.is_idempotent() {
            self.hedge = Hedge::After(span);
        }
    }

    /// The plan of the attempt beside the one under way, which will be the request's if that one answers first. It picks
    /// among the endpoints that are not in its `tried`. Whatever becomes of it, this plan does not go to `endpoint` as if it
    /// had not been there: [`Plan::also_tried`].
    pub fn rival(&self, now: Instant) -> Self {
        let mut rival = self.clone();
        if let State::Sending { endpoint, .. } = self.state {
            rival.tried.insert(endpoint);
        }
        rival.hedge = Hedge::Off;
        rival.state = State::Picking;
        rival.deadlines.waiting(now);
        rival
    }

    /// Another attempt was made at this endpoint, beside those of this plan.
    pub fn also_tried(&mut self, endpoint: usize) {
        self.tried.insert(endpoint);
    }

    /// What is left at `now` until there is to be a response head.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        self.deadlines.left(now)
    }

    /// What of the body is worth keeping, now that the request is being sent. It is so until its answer is passed on, and
    /// as long as there is room.
    pub fn keep(&self) -> Keep {
        match self.state {
            State::Sending { reused, .. } => {
                let may_retry = self.retries + 1 < self.rules.max_attempts;
                let may_replay = reused && !self.replayed;
                let keeps_all = match self.repeat {
                    Repeat::Yes => may_retry || may_replay,
                    Repeat::WhenHarmless => may_retry,
                    Repeat::No => false,
                };
                if keeps_all {
                    Keep::All
                } else if !self.replayed || self.picks_left > 0 {
                    Keep::Unwritten
                } else {
                    Keep::Nothing
                }
            }
            _ => Keep::Nothing,
        }
    }

    /// What was decided after the last failure, once: to be counted.
    pub fn decision(&mut self) -> Option<Decision> {
        self.decision.take()
    }

    /// Attempts that an endpoint may have acted upon, the one under way included; replays of one are it.
    pub fn attempt(&self) -> u32 {
        self.retries + 1
    }

    /// The endpoints that this request has been to.
    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    fn hedge_at(&self) -> Instant {
        match self.hedge {
            Hedge::Due(at) => at,
            Hedge::Off | Hedge::After(_) => Instant::FAR,
        }
    }

    fn is_idempotent(&self) -> bool {
        self.repeat == Repeat::Yes
    }

    fn pick(&mut self, now: Instant) -> Action {
        if let Some(timeout) = self.deadlines.fired(now) {
            return self.give_up(Failure::TimedOut(timeout));
        }
        if self.picks_left == 0 {
            return self.refused(now, Refusal::AllTried);
        }
        self.picks_left -= 1;
        self.state = State::Picking;
        self.deadlines.waiting(now);
        Action::Pick
    }

    fn refused(&mut self, now: Instant, refusal: Refusal) -> Action {
        if refusal == Refusal::AllTried && self.retries > 0 && !self.came_back {
            // Better the same endpoint again than none.
            self.came_back = true;
            self.tried = Tried::default();
            self.picks_left = self.endpoints.max(1);
            return self.pick(now);
        }
        let failure = match (refusal, self.failure, self.cause) {
            (Refusal::AllTried | Refusal::NoEndpoint, Some(failure), _) => {
                Failure::Connect(failure)
            }
            (_, _, Some(cause)) => cause,
            (Refusal::Full, _, None) | (Refusal::AllTried, None, None) => Failure::NoCapacity,
            (Refusal::NoEndpoint, None, None) => Failure::NoEndpoint,
        };
        self.give_up(failure)
    }

    fn connect(&mut self, now: Instant, endpoint: usize) -> Action {
        self.state = State::Connecting { endpoint };
        if let Hedge::Due(_) = self.hedge {
            self.hedge = Hedge::Off;
        }
        self.deadlines.connecting(now);
        Action::Connect {
            endpoint,
            fresh: self.replayed,
        }
    }

    fn connect_failed(&mut self, now: Instant, endpoint: usize, failure: ConnectFailure) -> Action {
        self.failure = Some(failure);
        self.tried.insert(endpoint);
        // The `connect` deadline is over with the connection; `total` is what remains to be asked.
        self.deadlines.waiting(now);
        self.pick(now)
    }

    fn died(&mut self, now: Instant, endpoint: usize, reused: bool, death: Death) -> Action {
        let replayable = retry::replayable(self.is_idempotent(), death);
        if replayable && !self.replayed && (reused || !death.written) {
            self.deadlines.waiting(now);
            if let Some(timeout) = self.deadlines.fired(now) {
                return self.give_up(Failure::TimedOut(timeout));
            }
            self.replayed = true;
            return self.connect(now, endpoint);
        }
        if replayable && !death.written {
            self.cause = Some(Failure::Died);
            self.tried.insert(endpoint);
            self.deadlines.waiting(now);
            return self.pick(now);
        }
        let cause = if death.late {
            Failure::TimedOut(Timeout::FirstByte)
        } else {
            Failure::Died
        };
        let may_repeat = death.kept && self.is_idempotent();
        self.consider(now, endpoint, cause, may_repeat, None)
    }

    /// Whether a failed attempt is followed by another, as far as that can be told without the budget.
    fn consider(
        &mut self,
        now: Instant,
        endpoint: usize,
        cause: Failure,
        may_repeat: bool,
        retry_after: Option<Duration>,
    ) -> Action {
        let least = self.rules.asked(retry_after);
        if !may_repeat {
            return self.decline(now, Decision::NotReplayable, cause);
        }
        if self.retries + 1 >= self.rules.max_attempts {
            return self.decline(now, Decision::AttemptsUsed, cause);
        }
        self.deadlines.waiting(now);
        if self.deadlines.left(now).is_some_and(|left| left <= least) {
            return self.decline(now, Decision::NoTime, cause);
        }
        self.state = State::Asking {
            endpoint,
            cause,
            least,
        };
        Action::Ask
    }

    /// The failure is what the request comes to.
    fn decline(&mut self, now: Instant, decision: Decision, cause: Failure) -> Action {
        self.decision = Some(decision);
        if cause == Failure::Failing {
            self.answer(now, false)
        } else {
            self.give_up(cause)
        }
    }

    /// A token was given: the pause before the next attempt begins.
    fn retry(&mut self, now: Instant, endpoint: usize, least: Duration, draw: u64) -> Action {
        if let State::Asking { cause, .. } = self.state {
            self.cause = Some(cause);
        }
        let jitter = self.rules.backoff.pause(self.retries, draw);
        // Whatever was drawn, half of the time left is for the attempt.
        let spare = self.deadlines.left(now).unwrap_or(Duration::MAX);
        let spare = spare.saturating_sub(least);
        let pause = least + jitter.min(spare / 2);
        self.decision = Some(Decision::Made);
        self.hedge = Hedge::Off;
        self.retries += 1;
        self.failure = None;
        self.came_back = false;
        self.tried.insert(endpoint);
        self.picks_left = self.endpoints.max(1);
        self.state = State::Pausing { until: now + pause };
        Action::Pause
    }

    fn answer(&mut self, now: Instant, tunnel: bool) -> Action {
        self.state = State::Answering;
        if tunnel {
            self.deadlines.tunnelled(now);
        } else {
            self.deadlines.answered(now);
        }
        Action::Answer
    }

    fn timer(&mut self, now: Instant) -> Action {
        match (self.deadlines.fired(now), self.state) {
            (None, State::Pausing { until }) if until <= now => self.pick(now),
            (None, State::Sending { .. }) if self.hedge_at() <= now => {
                self.hedge = Hedge::Off;
                Action::Hedge
            }
            (None, _) => Action::Wait,
            (Some(Timeout::Connect), State::Connecting { endpoint }) => {
                self.connect_failed(now, endpoint, ConnectFailure::TimedOut)
            }
            (Some(Timeout::FirstByte), State::Sending { .. }) => Action::Abandon,
            (Some(timeout), _) => self.give_up(Failure::TimedOut(timeout)),
        }
    }

    fn give_up(&mut self, failure: Failure) -> Action {
        self.state = State::Over;
        Action::GiveUp(failure)
    }
}
