//! The state machine of one request's tries: told what happened, it says what to do next.
//!
//! What it knows so far is one attempt, and two cases in which another one is safe for certain:
//!
//! - A connection could not be made. Nothing was sent, so a request of any method goes to another
//!   endpoint, while `total` lasts, and to each endpoint once.
//! - A reused idle connection died without a byte of a response. The request is replayed once, free of
//!   charge, on a new connection to the same endpoint, when [`retry::replayable`] allows it. For that its
//!   body must still be there: [`Plan::keep`] says what of it is worth keeping meanwhile.
//!   So is one of which the endpoint did nothing for certain, as it says by REFUSED_STREAM or GOAWAY, or
//!   of which no byte was written: whatever its method, and on a new connection too.
//!
//! The straight path, events above and actions below:
//!
//! ```text
//! Admitted   Picked       Connected   Sent   Head       Done
//!       Pick      Connect        Send    Wait    Answer     Wait
//! ```

use super::{Deadlines, Timeout, Tried, retry};
use crate::clock::Instant;

/// What happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The upstream lets one attempt of it in.
    Admitted,
    /// A slot of this endpoint is reserved for it.
    Picked(usize),
    /// This endpoint was picked, and had no slot left when it was to be reserved.
    Full(usize),
    /// There is no endpoint to pick.
    Refused(Refusal),
    /// There is a connection to the endpoint picked.
    Connected {
        /// It had carried a request before.
        reused: bool,
    },
    /// There is none, and nothing was sent.
    ConnectFailed(ConnectFailure),
    /// The last byte of the request is written.
    Sent,
    /// The final response head is received.
    Head {
        /// What follows is not a body but a tunnel (WebSocket, CONNECT).
        tunnel: bool,
    },
    /// The connection broke, before the response head or after it.
    Died(Death),
    /// Time has passed; whether a deadline has, the plan finds out.
    Timer,
    /// Nobody waits for the answer any more.
    ClientGone,
    /// The exchange ended as it should.
    Done,
}

/// What to do next for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Drop the attempt under way and give its slot back, if there is one; pick an endpoint that is not
    /// in [`Plan::tried`] and reserve a slot of it.
    Pick,
    /// Get a connection to this endpoint, whose slot is held.
    Connect {
        /// Its index.
        endpoint: usize,
        /// A new one; one that was idle will not do.
        fresh: bool,
    },
    /// Write the request on that connection, from its first byte.
    Send,
    /// Pass the response on.
    Answer,
    /// Drop what is under way, and answer with this; if the response head was passed on already, break
    /// the client's stream off, so that it cannot be taken for a whole one.
    GiveUp(Failure),
    /// Nothing, until the next event.
    Wait,
}

/// Why there is no endpoint to pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// None is eligible.
    NoEndpoint,
    /// All that are left are full.
    Full,
    /// The request has been to all of them.
    AllTried,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// The endpoint's system refused or reset it.
    Refused,
    /// There is no way there, or its name has no address.
    Unreachable,
    /// The `connect` timeout ended.
    TimedOut,
    /// The TLS handshake failed.
    Tls,
    /// It does not speak the protocol that it is to be spoken to in.
    Protocol,
}

/// How far an exchange had come when its connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// At least a byte of the request may have left, and the endpoint does not say that it did nothing.
    pub written: bool,
    /// At least a byte of a response came.
    pub received: bool,
    /// The request can be sent again: it has no body, or all of what was read of it so far is kept.
    pub kept: bool,
}

/// What of a request's body is worth keeping until its response head comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: whatever happens to its connection, the request is not sent again on its account.
    Nothing,
    /// What was read before a byte of the request may have reached the endpoint, or of which the
    /// endpoint may still say that it did nothing with it. After that the request is not repeated.
    Unwritten,
    /// All that is read.
    All,
}

/// Why a request was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No endpoint is eligible.
    NoEndpoint,
    /// Endpoints are eligible, but full.
    NoCapacity,
    /// No connection could be made, to the last endpoint tried for this reason.
    Connect(ConnectFailure),
    /// The endpoint broke the exchange.
    Died,
    /// This timeout ended.
    TimedOut(Timeout),
    /// The client left.
    ClientGone,
}

/// The tries of one request; built when its head is routed.
#[derive(Debug, Clone)]
pub struct Plan {
    state: State,
    idempotent: bool,
    /// A death on a reused connection was made good; later connections are new ones.
    replayed: bool,
    /// Why the last connection was not made.
    failure: Option<ConnectFailure>,
    /// Endpoints that may still be picked, so that the tries end even if a pick ignores `tried`.
    picks_left: usize,
    tried: Tried,
    deadlines: Deadlines,
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
    Answering,
    Over,
}

impl Plan {
    /// For a request to an upstream of so many endpoints; see [`retry::idempotent`].
    pub fn new(idempotent: bool, endpoints: usize, deadlines: Deadlines) -> Self {
        Self {
            state: State::Queued,
            idempotent,
            replayed: false,
            failure: None,
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
            (State::Picking, Event::Refused(refusal)) => self.refused(refusal),
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
                Action::Wait
            }
            (State::Sending { .. }, Event::Head { tunnel }) => self.answer(now, tunnel),
            (State::Sending { endpoint, reused }, Event::Died(death)) => {
                self.died(now, endpoint, reused, death)
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
        self.deadlines.next()
    }

    /// What of the body is worth keeping, now that the request is being sent. It is so until the
    /// response head comes, and as long as there is room.
    pub fn keep(&self) -> Keep {
        match self.state {
            State::Sending { reused, .. } if !self.replayed => {
                if self.idempotent && reused {
                    Keep::All
                } else {
                    Keep::Unwritten
                }
            }
            _ => Keep::Nothing,
        }
    }

    /// The endpoints that this request has been to.
    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    fn pick(&mut self, now: Instant) -> Action {
        if let Some(timeout) = self.deadlines.fired(now) {
            return self.give_up(Failure::TimedOut(timeout));
        }
        if self.picks_left == 0 {
            return self.refused(Refusal::AllTried);
        }
        self.picks_left -= 1;
        self.state = State::Picking;
        self.deadlines.waiting(now);
        Action::Pick
    }

    fn refused(&mut self, refusal: Refusal) -> Action {
        let failure = match (refusal, self.failure) {
            (Refusal::Full, _) | (Refusal::AllTried, None) => Failure::NoCapacity,
            (Refusal::NoEndpoint, None) => Failure::NoEndpoint,
            (Refusal::AllTried | Refusal::NoEndpoint, Some(failure)) => Failure::Connect(failure),
        };
        self.give_up(failure)
    }

    fn connect(&mut self, now: Instant, endpoint: usize) -> Action {
        self.state = State::Connecting { endpoint };
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
        let is_free = !self.replayed && (reused || !death.written);
        if !is_free || !retry::replayable(self.idempotent, death) {
            return self.give_up(Failure::Died);
        }
        self.deadlines.waiting(now);
        if let Some(timeout) = self.deadlines.fired(now) {
            return self.give_up(Failure::TimedOut(timeout));
        }
        self.replayed = true;
        self.connect(now, endpoint)
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
            (None, _) => Action::Wait,
            (Some(Timeout::Connect), State::Connecting { endpoint }) => {
                self.connect_failed(now, endpoint, ConnectFailure::TimedOut)
            }
            (Some(timeout), _) => self.give_up(Failure::TimedOut(timeout)),
        }
    }

    fn give_up(&mut self, failure: Failure) -> Action {
        self.state = State::Over;
        Action::GiveUp(failure)
    }
}
