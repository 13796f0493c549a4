//! Time left: which timeout of an exchange ends next, and which one it was that ended.
//!
//! | in the course of the exchange | what may end it |
//! |---|---|
//! | waiting for an endpoint, or before a retry | `total` |
//! | connecting | `connect`, `total` |
//! | sending the request | `idle` |
//! | waiting for the response head | `first_byte`, `total` |
//! | streaming the response | `idle` |
//! | in a tunnel | `tunnel_idle` |
//!
//! and `max_duration`, when it is on, all along. `total` stands still while the request is being sent:
//! a long upload is as healthy a stream as a long download, and nothing cuts a healthy stream.

use crate::clock::Instant;
use crate::config::UpstreamTimeouts;
use std::time::Duration;

/// The timeouts of an exchange by their names in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// TCP and TLS together took too long.
    Connect,
    /// The request was sent, and no response head came.
    FirstByte,
    /// All attempts together brought no response head in time.
    Total,
    /// No byte either way.
    Idle,
    /// No byte either way in a tunnel.
    TunnelIdle,
    /// The exchange as a whole took too long.
    MaxDuration,
}

/// The deadlines of one exchange; a plain value that is moved on as the exchange proceeds.
#[derive(Debug, Clone)]
pub struct Deadlines {
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
    tunnel_idle: Duration,
    phase: Phase,
    total: Total,
    /// [`Instant::FAR`] when `max_duration` is off.
    end: Instant,
}

/// What holds besides `total` and `max_duration`.
#[derive(Debug, Clone, Copy)]
struct Phase {
    timeout: Timeout,
    /// [`Instant::FAR`] when nothing does.
    deadline: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Total {
    Running {
        deadline: Instant,
    },
    /// Since then; it is moved by as much when it runs again.
    Held {
        deadline: Instant,
        since: Instant,
    },
    /// The response head is there.
    Over,
}

impl Deadlines {
    /// Of an exchange whose request head was received at `start`.
    pub fn new(timeouts: &UpstreamTimeouts, start: Instant) -> Self {
        Self {
            connect: timeouts.connect,
            first_byte: timeouts.first_byte,
            idle: timeouts.idle,
            tunnel_idle: timeouts.tunnel_idle,
            phase: Phase {
                timeout: Timeout::Total,
                deadline: Instant::FAR,
            },
            total: Total::Running {
                deadline: start + timeouts.total,
            },
            end: timeouts
                .max_duration
                .map_or(Instant::FAR, |span| start + span),
        }
    }

    /// It waits for an endpoint: before its first attempt, or between two.
    pub fn waiting(&mut self, now: Instant) {
        self.run_total(now);
        self.phase.deadline = Instant::FAR;
    }

    /// A connection is being made.
    pub fn connecting(&mut self, now: Instant) {
        self.run_total(now);
        self.enter(now, Timeout::Connect);
    }

    /// The request is being sent, head first.
    pub fn sending(&mut self, now: Instant) {
        if let Total::Running { deadline } = self.total {
            self.total = Total::Held {
                deadline,
                since: now,
            };
        }
        self.enter(now, Timeout::Idle);
    }

    /// The last byte of the request is written.
    pub fn sent(&mut self, now: Instant) {
        if let Total::Held { .. } = self.total {
            self.run_total(now);
            self.enter(now, Timeout::FirstByte);
        }
    }

    /// The response head is there.
    pub fn answered(&mut self, now: Instant) {
        self.total = Total::Over;
        self.enter(now, Timeout::Idle);
    }

    /// The response head is there, and what follows is a tunnel.
    pub fn tunnelled(&mut self, now: Instant) {
        self.total = Total::Over;
        self.enter(now, Timeout::TunnelIdle);
    }

    /// A byte went either way: what counts idle time starts over.
    pub fn progress(&mut self, now: Instant) {
        if let Timeout::Idle | Timeout::TunnelIdle = self.phase.timeout {
            self.enter(now, self.phase.timeout);
        }
    }

    /// The deadline that comes first. Of two at once the wider one is named: no attempt after it would
    /// have any time left.
    pub fn next(&self) -> (Instant, Timeout) {
        let total = match self.total {
            Total::Running { deadline } => deadline,
            Total::Held { .. } | Total::Over => Instant::FAR,
        };
        let mut first = (self.end, Timeout::MaxDuration);
        for (deadline, timeout) in [
            (total, Timeout::Total),
            (self.phase.deadline, self.phase.timeout),
        ] {
            if deadline < first.0 {
                first = (deadline, timeout);
            }
        }
        first
    }

    /// Which timeout has ended by `now`, if one has.
    pub fn fired(&self, now: Instant) -> Option<Timeout> {
        let (deadline, timeout) = self.next();
        (deadline <= now).then_some(timeout)
    }

    /// What is left at `now` until there is to be a response head; `None` where there is one.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        match self.total {
            Total::Running { deadline } => Some(deadline.min(self.end).since(now)),
            Total::Held { deadline, since } => Some(deadline.min(self.end).since(since)),
            Total::Over => None,
        }
    }

    fn enter(&mut self, now: Instant, timeout: Timeout) {
        let span = match timeout {
            Timeout::Connect => self.connect,
            Timeout::FirstByte => self.first_byte,
            Timeout::Idle => self.idle,
            Timeout::TunnelIdle => self.tunnel_idle,
            // These begin with the exchange and are no phase of it.
            Timeout::Total | Timeout::MaxDuration => return,
        };
        self.phase = Phase {
            timeout,
            deadline: now + span,
        };
    }

    fn run_total(&mut self, now: Instant) {
        if let Total::Held { deadline, since } = self.total {
            self.total = Total::Running {
                deadline: deadline + now.since(since),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * SECOND)
    }

    /// connect 1 s, first_byte 10 s, total 30 s, idle 60 s, tunnel_idle 1 h.
    fn deadlines() -> Deadlines {
        Deadlines::new(&UpstreamTimeouts::default(), at(100))
    }

    #[test]
    fn each_phase_has_its_clock() {
        let mut clock = deadlines();
        assert_eq!(clock.next(), (at(130), Timeout::Total));
        clock.connecting(at(105));
        assert_eq!(clock.next(), (at(106), Timeout::Connect));
        clock.waiting(at(106));
        assert_eq!(clock.next(), (at(130), Timeout::Total));
        clock.sending(at(107));
        assert_eq!(clock.next(), (at(167), Timeout::Idle));
        clock.sent(at(107));
        assert_eq!(clock.next(), (at(117), Timeout::FirstByte));
        clock.answered(at(110));
        assert_eq!(clock.next(), (at(170), Timeout::Idle));
        clock.tunnelled(at(110));
        assert_eq!(clock.next(), (at(3710), Timeout::TunnelIdle));
    }

    #[test]
    fn total_ends_what_the_phase_would_allow() {
        let mut clock = deadlines();
        clock.sending(at(125));
        clock.sent(at(125));
        assert_eq!(clock.next(), (at(130), Timeout::Total));
        assert_eq!(clock.fired(Instant(at(130).0 - 1)), None);
        assert_eq!(clock.fired(at(130)), Some(Timeout::Total));
        clock.connecting(at(129));
        assert_eq!(
            clock.next(),
            (at(130), Timeout::Total),
            "of two at once the wider one"
        );
    }

    #[test]
    fn a_long_upload_is_not_counted_in_total() {
        let mut clock = deadlines();
        clock.sending(at(110));
        for second in 111..1000 {
            assert_eq!(clock.fired(at(second)), None);
            clock.progress(at(second));
        }
        clock.sent(at(1000));
        assert_eq!(clock.next(), (at(1010), Timeout::FirstByte));
        clock.waiting(at(1001));
        assert_eq!(
            clock.next(),
            (at(1020), Timeout::Total),
            "10 s were used before it"
        );
    }

    #[test]
    fn progress_moves_idle_and_nothing_else() {
        let mut clock = deadlines();
        clock.sending(at(100));
        clock.sent(at(100));
        clock.progress(at(105));
        assert_eq!(clock.next(), (at(110), Timeout::FirstByte));
        clock.answered(at(106));
        for hour in 1..100 {
            clock.progress(at(3600 * hour));
            assert_eq!(clock.next(), (at(3600 * hour + 60), Timeout::Idle));
        }
        clock.sent(at(400_000));
        assert_eq!(
            clock.next().1,
            Timeout::Idle,
            "an answer may come before all is sent"
        );
    }

    #[test]
    fn max_duration_holds_all_along_when_it_is_on() {
        let max_duration = Some(Duration::from_secs(45));
        let timeouts = UpstreamTimeouts {
            max_duration,
            ..UpstreamTimeouts::default()
        };
        let mut clock = Deadlines::new(&timeouts, at(100));
        clock.sending(at(100));
        assert_eq!(clock.next(), (at(145), Timeout::MaxDuration));
        clock.tunnelled(at(101));
        assert_eq!(clock.next(), (at(145), Timeout::MaxDuration));
    }
}
