//! What the proxy says of an exchange and of an attempt when it ends: plain values, filled in once.

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The response was delivered whole, whatever its status; redirects and direct answers too.
    Completed,
    /// The response began and could not be finished: the endpoint broke off or a timeout struck.
    Broken,
    /// The proxy answered with an error of its own after it had tried, or waited to try, an endpoint.
    Failed,
    /// The proxy answered at once without trying: a limit, no capacity, a malformed request.
    Refused,
    /// The client left before the end.
    ClientGone,
}

impl Outcome {
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::Broken,
        Self::Failed,
        Self::Refused,
        Self::ClientGone,
    ];

    /// The word in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::ClientGone => "client_gone",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The response was read to its end.
    Answered,
    /// A response head came, its body broke.
    Broken,
    /// No response head came: connect, reset, timeout.
    Failed,
    /// Given up by us: the client left, or another attempt won. It would have taken at least as long as it did, so its
    /// duration is censored and kept apart.
    Cancelled,
}

impl AttemptOutcome {
    pub const ALL: [Self; 4] = [Self::Answered, Self::Broken, Self::Failed, Self::Cancelled];

    /// The word in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    First,
    /// After a failure that counts.
    Retry,
    /// In parallel to a slow one.
    Hedge,
    /// Free of charge: a reused connection had died, nothing was received.
    Replay,
}

impl AttemptKind {
    pub const ALL: [Self; 4] = [Self::First, Self::Retry, Self::Hedge, Self::Replay];

    /// The word in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::Replay => "replay",
        }
    }
}

/// A part of an exchange's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Queue,
    Connect,
    FirstByte,
    Body,
    Own,
}

impl Phase {
    pub const ALL: [Self; 5] = [
        Self::Queue,
        Self::Connect,
        Self::FirstByte,
        Self::Body,
        Self::Own,
    ];

    /// The word in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Body => "body",
            Self::Own => "proxy",
        }
    }
}

/// Where the time went, in nanoseconds; `None` where a phase was not entered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// From the first byte of the request head to the last byte of the response; of an attempt, from its pick on.
    pub total: u64,
    /// Waiting for a permit or a slot; zero when there was no need to wait.
    pub queue: Option<u64>,
    /// TCP and TLS of a new connection; `None` when one was reused.
    pub connect: Option<u64>,
    /// From the request sent to the response head.
    pub first_byte: Option<u64>,
    /// From the response head to the end of its body.
    pub body: Option<u64>,
    /// The proxy's own share: the total without waiting for the client, the queue or the endpoint.
    pub own: Option<u64>,
}

impl Times {
    /// The time of one phase.
    #[inline]
    pub const fn phase(&self, phase: Phase) -> Option<u64> {
        match phase {
            Phase::Queue => self.queue,
            Phase::Connect => self.connect,
            Phase::FirstByte => self.first_byte,
            Phase::Body => self.body,
            Phase::Own => self.own,
        }
    }
}

/// The version of HTTP that the client spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Protocol {
    /// As it stands in a request line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// Which faults a request met that its route injects on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultsMet {
    pub delay: bool,
    pub abort: bool,
    pub bandwidth: bool,
}

impl FaultsMet {
    /// The words in metrics.
    pub const WORDS: [&str; 3] = ["delay", "abort", "bandwidth"];

    /// Whether each was met, in the order of [`Self::WORDS`].
    #[inline]
    pub const fn each(self) -> [bool; 3] {
        [self.delay, self.abort, self.bandwidth]
    }

    /// The text in the log; empty for none.
    pub const fn label(self) -> &'static str {
        match (self.delay, self.abort, self.bandwidth) {
            (false, false, false) => "",
            (true, false, false) => "fault_delay",
            (false, true, _) => "fault_abort",
            (true, true, _) => "fault_delay,fault_abort",
            (false, false, true) => "fault_bandwidth",
            (true, false, true) => "fault_delay,fault_bandwidth",
        }
    }
}

/// All that is kept of one exchange. Text that is empty was not known or not sent.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the request began: milliseconds since 1970, UTC. Only the access log looks at it.
    pub unix_millis: u64,
    pub id: &'a str,
    /// The client's address as text, made once per connection.
    pub client: &'a str,
    /// The address of the proxy that told the client's by a PROXY header.
    pub proxy: &'a str,
    /// Who it is, where that was asked.
    pub user: &'a str,
    pub listener: &'a str,
    pub method: &'a str,
    /// As received.
    pub target: &'a [u8],
    pub protocol: Protocol,
    /// Of the response sent; 0 when none was.
    pub status: u16,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    pub route: &'a str,
    pub upstream: &'a str,
    /// The id of the endpoint whose answer was sent, or of the last one tried.
    pub endpoint: &'a str,
    /// Attempts made, replays included.
    pub attempts: u32,
    /// Attempts that were free replays.
    pub replays: u32,
    /// Whether the last attempt used an idle connection.
    pub reused: bool,
    pub times: Times,
    pub outcome: Outcome,
    /// The label of the error that the proxy met.
    pub error: Option<&'static str>,
    pub faults: FaultsMet,
    pub user_agent: &'a [u8],
    pub referer: &'a [u8],
}

impl Default for Record<'_> {
    fn default() -> Self {
        Self {
            unix_millis: 0,
            id: "",
            client: "",
            proxy: "",
            user: "",
            listener: "",
            method: "",
            target: b"",
            protocol: Protocol::Http11,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            route: "",
            upstream: "",
            endpoint: "",
            attempts: 0,
            replays: 0,
            reused: false,
            times: Times::default(),
            outcome: Outcome::Completed,
            error: None,
            faults: FaultsMet::default(),
            user_agent: b"",
            referer: b"",
        }
    }
}

/// All that is kept of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    pub kind: AttemptKind,
    pub outcome: AttemptOutcome,
    /// Of the endpoint's response; 0 when no head came.
    pub status: u16,
    /// Whether it used an idle connection.
    pub reused: bool,
    /// Body bytes sent to the endpoint.
    pub bytes_sent: u64,
    /// Body bytes received from the endpoint.
    pub bytes_received: u64,
    pub times: Times,
    /// The label of the error it ended with.
    pub error: Option<&'static str>,
}
