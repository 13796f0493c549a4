//! What a plan is told and what it says: plain values between the state machine and whoever carries it out.

use super::Timeout;
use std::time::Duration;

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
    /// The final response head is received, and it is one after which another attempt may do better.
    Failing {
        /// The request can be sent again, as of [`Death::kept`].
        kept: bool,
        /// Who runs the endpoint says that after such an answer any request may be repeated.
        harmless: bool,
        /// How long the endpoint asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The connection broke, before the response head or after it; or it was given up.
    Died(Death),
    /// The budget has a token, and gives it, with an even draw for the jitter.
    Granted(u64),
    /// The budget has none.
    Denied,
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
    /// in [`super::Plan::tried`] and reserve a slot of it.
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
    /// The attempt takes too long: end it, and tell how far it had come ([`Event::Died`], [`Death::late`]).
    Abandon,
    /// The attempt under way takes longer than its like: try another endpoint beside it ([`super::Plan::rival`]), if one can
    /// be had, and go on waiting.
    Hedge,
    /// Ask the budget for a token.
    Ask,
    /// Drop the attempt under way and give its slot back; then nothing until [`super::Plan::deadline`].
    Pause,
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
    /// At least a byte of a response came, or another sign that the endpoint lived when it was asked.
    pub received: bool,
    /// The request can be sent again: it has no body, or all of what was read of it so far is kept.
    pub kept: bool,
    /// It was given up since nothing came of it in time.
    pub late: bool,
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
    /// The endpoint answered, but not with what was hoped for, and its answer was dropped for another attempt.
    Failing,
    /// This timeout ended.
    TimedOut(Timeout),
    /// The client left.
    ClientGone,
}
