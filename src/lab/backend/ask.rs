//! What a path asks of a backend (pure).

use std::str::{FromStr, Split};
use std::time::Duration;

use hyper::StatusCode;

/// One row of the table in [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Label,
    Echo,
    Headers,
    Health,
    Checksum,
    Bytes(u64),
    Chunked {
        length: u64,
        size: u64,
        gap: Duration,
    },
    Trailers,
    Status(StatusCode),
    Delay(Duration),
    Events {
        count: u64,
        gap: Duration,
    },
    Early(Duration),
    /// `None`: the expectation is met.
    Expect(Option<StatusCode>),
    WebSocket,
    Upgrade,
    Drop {
        after: u64,
        chunked: bool,
    },
    /// `None`: before any byte of the answer.
    Reset(Option<u64>),
    Gone,
    Hang,
    Close,
    /// Bytes of the request's id.
    Identified(usize),
}

impl Ask {
    /// `None` when an argument does not read as what its place asks for.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut segments = path.trim_start_matches('/').split('/');
        let name = segments.next()?;
        let mut rest = Arguments(segments);
        Some(match name {
            "echo" => Self::Echo,
            "headers" => Self::Headers,
            "healthz" => Self::Health,
            "checksum" => Self::Checksum,
            "bytes" => Self::Bytes(rest.next_or(0)?),
            "chunked" => Self::Chunked {
                length: rest.next_or(0)?,
                size: rest.next_or(1000)?,
                gap: rest.millis()?,
            },
            "trailers" => Self::Trailers,
            "status" => Self::Status(rest.status()?.unwrap_or(StatusCode::OK)),
            "delay" => Self::Delay(rest.millis()?),
            "sse" => Self::Events {
                count: rest.next_or(3)?,
                gap: rest.millis()?,
            },
            "early" => Self::Early(rest.millis()?),
            "expect" => Self::Expect(rest.status()?),
            "ws" => Self::WebSocket,
            "upgrade" => Self::Upgrade,
            "drop" => Self::Drop {
                after: rest.next_or(500)?,
                chunked: rest.0.next() == Some("chunked"),
            },
            "reset" => Self::Reset(rest.next()?),
            "gone" => Self::Gone,
            "hang" => Self::Hang,
            "close" => Self::Close,
            "identified" => Self::Identified(rest.next_or(100)?),
            _ => Self::Label,
        })
    }
}

/// The segments of a path behind its name. The outer `None` of each is a malformed one.
struct Arguments<'a>(Split<'a, char>);

impl Arguments<'_> {
    fn next<T: FromStr>(&mut self) -> Option<Option<T>> {
        match self.0.next() {
            None | Some("") => Some(None),
            Some(segment) => segment.parse().ok().map(Some),
        }
    }

    fn next_or<T: FromStr>(&mut self, default: T) -> Option<T> {
        Some(self.next()?.unwrap_or(default))
    }

    fn millis(&mut self) -> Option<Duration> {
        self.next_or(0).map(Duration::from_millis)
    }

    /// An interim one is no answer.
    fn status(&mut self) -> Option<Option<StatusCode>> {
        self.next()
            .filter(|status| status.is_none_or(|status: StatusCode| status >= StatusCode::OK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_names_what_it_asks_for() {
        let millis = Duration::from_millis;
        let (length, size, gap) = (5, 2, millis(3));
        for (path, ask) in [
            ("/", Ask::Label),
            ("/any/thing", Ask::Label),
            ("/healthz", Ask::Health),
            ("/bytes/12", Ask::Bytes(12)),
            ("/chunked/5/2/3", Ask::Chunked { length, size, gap }),
            ("/status/404", Ask::Status(StatusCode::NOT_FOUND)),
            ("/delay/7", Ask::Delay(millis(7))),
            ("/expect", Ask::Expect(None)),
            (
                "/expect/417",
                Ask::Expect(Some(StatusCode::EXPECTATION_FAILED)),
            ),
            ("/identified/7", Ask::Identified(7)),
            ("/reset", Ask::Reset(None)),
            ("/reset/0", Ask::Reset(Some(0))),
            (
                "/drop/9/chunked",
                Ask::Drop {
                    after: 9,
                    chunked: true,
                },
            ),
        ] {
            assert_eq!(Ask::parse(path), Some(ask), "{path}");
        }
    }

    #[test]
    fn a_malformed_argument_is_refused() {
        for path in [
            "/bytes/x",
            "/bytes/-1",
            "/status/100",
            "/status/1000",
            "/sse/1/x",
        ] {
            assert_eq!(Ask::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/[a-z0-9-]{0,20}){0,5}") {
            let _ = Ask::parse(&path);
        }
    }
}
