//! When a request is sent again, and what that may cost.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::{HOUR, millis, seconds};
use crate::config::cursor::Reader;
use crate::config::emit::Yaml;
use crate::config::json_schema::or_variable;
use crate::config::kinds::FieldName;
use crate::config::quantities::Size;
use crate::config::setting::{Book, Setting, block, choice, with_default, written_as_map};
use crate::config::tree::Node;
use crate::config::units::Share;

block! {
    /// When a request is sent again, and what that may cost. Sent again is what an endpoint broke off, did not begin to
    /// answer within `first_byte`, or answered as `on` and `grpc_on` say: only if the method is idempotent (GET, HEAD,
    /// OPTIONS, TRACE, PUT, DELETE) and the body is kept, never after `total`, and never once an answer was passed on. It
    /// goes to an endpoint that it has not been to, as long as there is one. What no endpoint has begun with for certain (no
    /// connection could be made, an HTTP/2 endpoint says so, an idle connection had died) goes on at once whatever its method,
    /// and counts nowhere here.
    pub struct Retry {
        /// Attempts of one request, the first included; 1 is one alone. One more helps against an endpoint that fails; what
        /// fails twice mostly fails a third time too, and costs as much again.
        pub max_attempts: u32 = 2, in 1..=10;
        /// Tokens that each success of the upstream adds, of which each retry and each hedge takes one: the share of traffic
        /// that they may be. Beginning with 10 tokens, so that little traffic has some. Only successes add, so that an outage
        /// ends the retries instead of feeding them. 10%: at most so much more load than there is. Off: no bound, which keeps
        /// an overload alive; for experiments.
        pub budget: Option<Share> = Some(Share::percent(10)), in Some(Share::percent(0))..=Some(Share::percent(100));
        /// Tokens that are saved up at most, so that a long good time does not pay for a storm.
        pub budget_cap: u32 = 100, in 1..=1_000_000;
        /// The pause before a retry.
        pub backoff: Backoff = Backoff::default();
        /// Statuses after which a request is tried again. As a gateway in front of a dead or full server gives them, so that
        /// another endpoint may do better. Not 500, which mostly is a fault in the request's own work and comes again, and
        /// not 429, which is meant for the client. `[]`: none. The answer to an attempt that is not followed by another is
        /// passed on as it is.
        pub on: Vec<u16> as Vec<RetryStatus> = vec![502, 503, 504];
        /// Statuses of gRPC after which a call is tried again whose answer is that status and nothing else. `unavailable`
        /// is the one that is meant for it. Of calls nobody can tell which may be repeated, since all are POST: only where
        /// all of them may. None, for that reason.
        pub grpc_on: Vec<GrpcStatus> = Vec::new();
        /// The longest wait that an endpoint can ask for by `Retry-After`, in seconds or as a date, with a status of `on`;
        /// one that asks for more is tried again after this. When `total` leaves less, its answer is passed on instead.
        /// A second, since a client waits meanwhile. Off: what it asks for is not heeded.
        pub retry_after_max: Option<Duration> = Some(seconds(1)), in Some(millis(1))..=Some(HOUR);
        /// A header field that tells the endpoint which attempt it gets, counted from 1, such as `X-Attempt`. Off: nobody
        /// asks for it by itself.
        pub attempt_header: Option<String> as Option<FieldName> = None;
        /// Bytes of a request body that are kept until the response head is passed on, so that a request can be sent
        /// again; of a larger body the first failure is the last. Off: nothing is kept. 64 KiB holds nearly all
        /// bodies that are no uploads, and is what one read brings. At most so much for each request that waits for its
        /// answer.
        pub buffer: Option<usize> as Option<Size> = Some(64 * 1024), in Some(0)..=Some(16 * 1024 * 1024);
    }
}

block! {
    /// The pause before a retry: before the first drawn evenly from zero to `base`, and before each further one from zero
    /// to twice as much as before, up to `max`. What failed together so comes back apart.
    pub struct Backoff {
        /// Long enough for a burst to pass, short enough for a client not to notice. As Envoy's.
        pub base: Duration = millis(25), in millis(1)..=HOUR;
        /// The longest. As Envoy's.
        pub max: Duration = millis(250), in millis(1)..=HOUR;
    }
}

/// A status that can mean that another attempt does better.
pub(crate) struct RetryStatus;

impl Setting<u16> for RetryStatus {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<u16> {
        let status = u16::read(node, reader)?;
        if !(400..=599).contains(&status) {
            let help = "what failed has a status from 400 to 599";
            reader.error_with_help(node, "this status is no failure", help);
            return None;
        }
        Some(status)
    }
    fn write(value: &u16) -> Yaml {
        Yaml::Number((*value).into())
    }
    fn shape(_: &mut Book) -> Json {
        or_variable(json!({ "type": "integer", "minimum": 400, "maximum": 599 }))
    }
}

choice! {
    /// A status of gRPC, by its name in small letters.
    pub enum GrpcStatus, "a status of gRPC" {
        /// 1: the client gave up.
        Cancelled = "cancelled",
        /// 2: something else.
        Unknown = "unknown",
        /// 4: it took too long.
        DeadlineExceeded = "deadline_exceeded",
        /// 8: a quota or a resource is used up.
        ResourceExhausted = "resource_exhausted",
        /// 10: it met another call in its way.
        Aborted = "aborted",
        /// 13: a fault of the server.
        Internal = "internal",
        /// 14: the server cannot serve now.
        Unavailable = "unavailable",
        /// 15: data are lost.
        DataLoss = "data_loss",
    }
}

impl GrpcStatus {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Cancelled => 1,
            Self::Unknown => 2,
            Self::DeadlineExceeded => 4,
            Self::ResourceExhausted => 8,
            Self::Aborted => 10,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::DataLoss => 15,
        }
    }
}

written_as_map!(Retry, Backoff);
with_default!(Retry, Backoff);
